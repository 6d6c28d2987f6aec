package cell

import (
	"context"
	"io"

	"bahnpost/home"
	"bahnpost/mail"
	"bahnpost/store/mailstore"
)

// BodyWriter takes a message in. Exactly one of Finish and Abort ends it. It is
// an alias so that flow/intake can name the same type without importing this package.
type BodyWriter = interface {
	io.Writer
	Finish() (Body, error)
	Abort()
}

// Body is a received message; see mailstore.Body.
type Body = interface {
	io.WriterTo
	Size() int64
	SHA256() [32]byte
	Release()
}

// NewBody starts a message that goes straight into the store's own buffer.
func (l *Local) NewBody(ctx context.Context) BodyWriter { return bodyWriter{l.store.NewBody(ctx)} }

// bodyWriter gives Finish a result that others can name.
type bodyWriter struct{ *mailstore.BodyWriter }

// Finish implements BodyWriter.
func (w bodyWriter) Finish() (Body, error) {
	b, err := w.BodyWriter.Finish()
	if err != nil {
		return nil, err
	}
	return b, nil
}

// adopt gives b as a body of our store, copied if it was received elsewhere.
func (l *Local) adopt(ctx context.Context, b home.Body) (_ *mailstore.Body, release func(), err error) {
	if own, ok := b.(*mailstore.Body); ok {
		return own, func() {}, nil
	}
	w := l.store.NewBody(ctx)
	if _, err := b.WriteTo(w); err != nil {
		w.Abort()
		return nil, nil, err
	}
	own, err := w.Finish()
	if err != nil {
		w.Abort()
		return nil, nil, err
	}
	return own, own.Release, nil
}

// receiptsOf gives all recipients the same end.
func receiptsOf(env *mail.Envelope, err error) []mail.Receipt {
	rs := make([]mail.Receipt, len(env.To))
	for i := range rs {
		rs[i] = mail.Receipt{To: env.To[i].Address, Err: err}
	}
	return rs
}
