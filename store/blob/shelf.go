package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"bahnpost/store/blob/s3"
)

// ErrAway says that the place where bodies live can't be reached now: try later. It is never said of a body that is known to be missing.
var ErrAway = errors.New("blob: the store of bodies is away")

// ErrTaken says that a place has bodies already, of a cell that is another one or was lost.
var ErrTaken = errors.New("blob: bodies of a cell live there")

// mark is in each place of bodies, beside them: another bucket, another prefix, a directory in which nothing is mounted lack it, so
// that what is not found there is not taken for missing, and nothing is put there.
const mark = "bahnpost-bodies"

// errUnmarked is said of a place without mark.
func errUnmarked(place string) error {
	return fmt.Errorf("%w: %s has no %q: it is another place, is not mounted, or was emptied", ErrAway, place, mark)
}

// errExists says that a name is taken.
var errExists = errors.New("blob: body exists")

type thorough struct{}

// Thorough returns a context under which Remote.Open reads bodies from their place itself, not from a copy, and from both sides of a
// mirror; what a side has damaged is repaired. For who checks everything.
func Thorough(ctx context.Context) context.Context {
	return context.WithValue(ctx, thorough{}, true)
}

func isThorough(ctx context.Context) bool { return ctx.Value(thorough{}) != nil }

// Path is one way to where bodies live, for doctor and metrics.
type Path = s3.Path

// shelf keeps sealed bodies by name. Safe for concurrent use; close comes last.
type shelf interface {
	// put makes a body durable. fresh: if the name is taken, errExists; else what is there is replaced, at one
	// stroke. After another error it is not known whether the body is there.
	put(ctx context.Context, b sealed, fresh bool) error
	// read fills dst with verified octets from block first on: whole blocks, or up to the body's end.
	// Errors: fs.ErrNotExist, ErrCorrupt, ErrAway, or what it met.
	read(ctx context.Context, n sealedName, first int, dst []byte) error
	// remove forgets bodies; none of them must be there.
	remove(ctx context.Context, names []sealedName) error
	// list yields what is there in the order of keys. An error ends it.
	list(ctx context.Context) iter.Seq2[found, error]
	// found makes an empty place ready for bodies. Twice does no harm; one that has bodies: ErrTaken.
	found(ctx context.Context) error
	// ready reports why the shelf can't be used.
	ready(ctx context.Context) error
	paths() []Path
	close()
}

// found is an entry of a listing.
type found struct {
	sealedName
	time   time.Time                   // it was stored, by the shelf's clock
	age    time.Duration               // by the shelf's clock
	bad    error                       // it is damaged: wraps ErrCorrupt
	repair func(context.Context) error // nil: nothing to repair, or nothing to do it with
}

// readBuffer is a pooled buffer for sealed octets.
type buffers struct{ sync.Pool }

func (b *buffers) get(n int) *[]byte {
	if p, ok := b.Get().(*[]byte); ok && cap(*p) >= n {
		*p = (*p)[:n]
		return p
	}
	p := make([]byte, n)
	return &p
}

// readSpan reads and verifies by way of get, which is asked for octets of the sealed body and says how long that is in all.
func readSpan(n sealedName, first int, dst []byte, pool *buffers, get func(off int64, p []byte) (total int64, err error)) error {
	off, size := sealedSpan(first, int64(len(dst)))
	raw := pool.get(int(size))
	defer pool.Put(raw)
	total, err := get(off, *raw)
	if err != nil {
		return err
	}
	if total != sealedSize(n.length) {
		return fmt.Errorf("%d octets, not %d: %w", total, sealedSize(n.length), ErrCorrupt)
	}
	return unseal(dst, *raw, n.id, first)
}

// s3Shelf is a bucket.
type s3Shelf struct {
	c      *s3.Client
	pool   buffers
	marked atomic.Bool // mark was seen
}

// said translates an error of the client.
func said(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, s3.ErrAway):
		return fmt.Errorf("%w: %w", ErrAway, err)
	case errors.Is(err, s3.ErrExists):
		return fmt.Errorf("%w: %w", errExists, err)
	case errors.Is(err, s3.ErrRange):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

func (s *s3Shelf) put(ctx context.Context, b sealed, fresh bool) error {
	if !s.marked.Load() {
		if err := s.ready(ctx); err != nil {
			return err
		}
	}
	return said(s.c.Put(ctx, b.key(), b.from, b.size(), b.sum, fresh))
}

// read asks again when a checksum fails: the damage may have happened on the way.
func (s *s3Shelf) read(ctx context.Context, n sealedName, first int, dst []byte) error {
	get := func(off int64, p []byte) (int64, error) { return s.c.Get(ctx, n.key(), off, p) }
	err := readSpan(n, first, dst, &s.pool, get)
	if errors.Is(err, ErrCorrupt) {
		err = readSpan(n, first, dst, &s.pool, get)
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.ready(ctx); err != nil {
			return err
		}
	}
	return said(err)
}

func (s *s3Shelf) remove(ctx context.Context, names []sealedName) error {
	keys := make([]string, len(names))
	for i, n := range names {
		keys[i] = n.key()
	}
	return said(s.c.Delete(ctx, keys...))
}

func (s *s3Shelf) list(ctx context.Context) iter.Seq2[found, error] {
	return func(yield func(found, error) bool) {
		for o, err := range s.c.List(ctx, "") {
			if err != nil {
				yield(found{}, said(err))
				return
			}
			if o.Key == mark {
				continue
			}
			if !yield(listed(o.Key, o.Size, o.Time, o.Age), nil) {
				return
			}
		}
	}
}

// listed makes an entry of what a listing shows.
func listed(key string, size int64, at time.Time, age time.Duration) found {
	n, ok := parseKey(key)
	f := found{sealedName: n, time: at, age: age}
	if !ok {
		f.bad = fmt.Errorf("blob: stray object %.100q among the bodies: %w", key, ErrCorrupt)
	} else if size != sealedSize(n.length) {
		f.bad = fmt.Errorf("blob: %s has %d octets, not %d: %w", n.ref(), size, sealedSize(n.length), ErrCorrupt)
	}
	return f
}

func (s *s3Shelf) found(ctx context.Context) error {
	if err := empty(ctx, s, s.c.String()); err != nil {
		return err
	}
	text := []byte("Bodies of a Bahnpost cell.\n")
	err := s.c.Put(ctx, mark, bytes.NewReader(text), int64(len(text)), sha256.Sum256(text), true)
	if err != nil && !errors.Is(err, s3.ErrExists) {
		return said(err)
	}
	return s.ready(ctx)
}

// empty reports whether a shelf has no bodies.
func empty(ctx context.Context, s shelf, name string) error {
	for _, err := range s.list(ctx) {
		if err == nil {
			err = fmt.Errorf("%w: %s; name another prefix or directory", ErrTaken, name)
		}
		return err
	}
	return nil
}

func (s *s3Shelf) ready(ctx context.Context) error {
	if err := s.c.Ready(ctx); err != nil {
		return said(err)
	}
	_, err := s.c.Get(ctx, mark, 0, make([]byte, 1))
	if errors.Is(err, fs.ErrNotExist) {
		return errUnmarked(s.c.String())
	}
	if err == nil {
		s.marked.Store(true)
	}
	return said(err)
}

func (s *s3Shelf) paths() []Path { return s.c.Paths() }
func (s *s3Shelf) close()        { s.c.Close() }

// isLasting reports whether an error says something for good about the body.
func isLasting(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrCorrupt) }
