package mailstore

import (
	"context"
	"errors"

	"bahnpost/mail"
	"bahnpost/store/blob"
	"bahnpost/store/internal/db"
)

// Patient returns a context for what may wait up to Config.Patience for a database that is away, as a session with its client
// does. All else hears kind Unavailable at once: who delivers shall try another way.
func (s *Store) Patient(ctx context.Context) context.Context {
	if !s.shared {
		return ctx
	}
	return db.Patient(ctx, s.cfg.Patience)
}

// view is db.View with errors as said.
func (s *Store) view(ctx context.Context, fn func(*db.Conn) error) error {
	return said(s.db.View(ctx, fn))
}

// said gives an error of the database that passes its kind: the client shall hear that it is for a while.
func said(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, db.ErrAway) || errors.Is(err, db.ErrUnknown) {
		if _, said := errors.AsType[*mail.Error](err); !said {
			return &mail.Error{Kind: mail.Unavailable, Text: "mail store cannot be reached, try again later", Err: err}
		}
	}
	return spacious(err)
}

// spacious gives the error of a full disk its kind: the sender shall know to come
// back later (RFC 5321 §4.2.2: 452), and the log says what the matter is. So it does for bodies whose place is away.
func spacious(err error) error {
	away := errors.Is(err, blob.ErrAway)
	if err == nil || !away && !db.Full(err) {
		return err
	}
	if _, said := errors.AsType[*mail.Error](err); said {
		return err
	}
	if away {
		return &mail.Error{Kind: mail.Unavailable, Text: "bodies of messages can't be reached now, try again later", Err: err}
	}
	return &mail.Error{Kind: mail.Full, Text: "server has no room on its disk, try again later", Err: err}
}
