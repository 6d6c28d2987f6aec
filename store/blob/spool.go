package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// spool keeps bodies on this node, durably, while the shelf is away, and takes them there when it is back.
// Until then only this node can read them: elsewhere Open says ErrAway, since the kind
// in their name tells that they may be late. If this node is lost, so are they.
type spool struct {
	f   *folder
	to  shelf
	max int64
	log *slog.Logger

	mu    sync.Mutex
	sizes map[Ref]int64
	stuck map[Ref]bool // damaged: they stay where they are
	size  int64
	wake  chan struct{}

	uploaded atomic.Int64
	done     sync.WaitGroup
}

// Pauses of the spool and of the list of what a mirror owes, while the other side does not answer.
const (
	firstRetry = 500 * time.Millisecond
	mostRetry  = 30 * time.Second
)

// errSpoolFull says that no more may wait on this node.
var errSpoolFull = errors.New("blob: spool is full")

func openSpool(ctx context.Context, path string, limit int64, to shelf, d disk, log *slog.Logger) (*spool, error) {
	s := &spool{f: openFolder(path, d), to: to, max: limit, log: log, sizes: make(map[Ref]int64), stuck: make(map[Ref]bool), wake: make(chan struct{}, 1)}
	if err := s.f.make(); err != nil {
		return nil, err
	}
	s.f.tidy(0)
	for x, err := range s.f.list(ctx) {
		if err != nil {
			return nil, err
		}
		if x.bad != nil { // it was synced before it got its name: the disk
			log.Error("a file in the spool of bodies is damaged and stays there", "err", x.bad)
			continue
		}
		s.sizes[x.ref()] = sealedSize(x.length)
		s.size += sealedSize(x.length)
	}
	s.wake <- struct{}{}
	s.done.Go(func() { s.run(ctx) })
	return s, nil
}

// put keeps b, durably.
func (s *spool) put(ctx context.Context, b sealed) error {
	s.mu.Lock()
	if s.size+b.size() > s.max {
		s.mu.Unlock()
		return errSpoolFull
	}
	s.size += b.size()
	s.mu.Unlock()
	err := s.f.put(ctx, b, true)
	s.mu.Lock()
	if err != nil {
		s.size -= b.size()
	} else {
		s.sizes[b.ref()] = b.size()
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return err
}

func (s *spool) has(n sealedName) bool {
	if n.kind != kindLate {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.sizes[n.ref()]
	return ok
}

// forget removes bodies that are on the shelf, or that nobody wants.
func (s *spool) forget(ctx context.Context, names []sealedName) error {
	var errs []error
	for _, n := range names {
		if !s.has(n) {
			continue
		}
		if err := s.f.remove(ctx, []sealedName{n}); err != nil {
			errs = append(errs, err)
			continue
		}
		s.mu.Lock()
		s.size -= s.sizes[n.ref()]
		delete(s.sizes, n.ref())
		s.mu.Unlock()
	}
	return errors.Join(errs...)
}

// some returns a body that waits.
func (s *spool) some() (n sealedName, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ref := range s.sizes {
		if !s.stuck[ref] {
			n, err := parseSealed(ref)
			return n, err == nil
		}
	}
	return n, false
}

// run takes bodies to the shelf.
func (s *spool) run(ctx context.Context) {
	pause := firstRetry
	for {
		n, ok := s.some()
		if !ok {
			pause = firstRetry
			select {
			case <-s.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		err := s.upload(ctx, n)
		if err == nil {
			s.uploaded.Add(1)
			pause = firstRetry
			continue
		}
		if ctx.Err() == nil && !errors.Is(err, ErrAway) {
			s.log.Error("a body cannot leave the spool", "body", string(n.ref()), "err", err)
		}
		if errors.Is(err, ErrCorrupt) {
			s.mu.Lock()
			s.stuck[n.ref()] = true
			s.mu.Unlock()
			continue
		}
		if !wait(ctx, pause) {
			return
		}
		pause = min(2*pause, mostRetry)
	}
}

func (s *spool) upload(ctx context.Context, n sealedName) error {
	f, err := os.Open(s.f.file(n))
	if errors.Is(err, fs.ErrNotExist) {
		return s.forget(ctx, []sealedName{n})
	}
	if err != nil {
		return err
	}
	defer f.Close()
	b := sealed{sealedName: n, from: f}
	if b.sum, err = s.verify(f, n); err != nil {
		return err
	}
	if err := s.to.put(ctx, b, true); errors.Is(err, ErrAway) || err != nil && !errors.Is(err, errExists) {
		return err // errExists: we have died between this and the next line
	}
	return s.forget(ctx, []sealedName{n})
}

// verify reads the whole of a body, and sums its sealed octets.
func (s *spool) verify(f *os.File, n sealedName) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, sealedSize(n.length))); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	buf := make([]byte, min(n.length, mostSpan))
	for off := int64(0); off < n.length || off == 0; off += mostSpan {
		if err := readFile(f, n, int(off/blockSize), buf[:min(int64(len(buf)), n.length-off)], &s.f.pool); err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// waiting is how much waits.
func (s *spool) waiting() (bodies int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sizes), s.size
}
