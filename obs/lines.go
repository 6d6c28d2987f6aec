package obs

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

// Lines of the log below Warn are written together: at most so long after the first of them, or when so much has come together. A
// process that is killed loses those; one write a session was a twentieth of what a node with many short sessions did.
const (
	linesDelay = 100 * time.Millisecond
	linesSize  = 32 << 10 // octets
)

// lines is the writer behind a log.
type lines struct {
	to io.Writer

	mu    sync.Mutex
	buf   []byte
	timer *time.Timer // runs while buf is not empty
}

// Write implements io.Writer for whole lines; it keeps none of p.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buf) == 0 {
		if l.timer == nil {
			l.timer = time.AfterFunc(linesDelay, l.flush)
		} else {
			l.timer.Reset(linesDelay)
		}
	}
	if l.buf = append(l.buf, p...); len(l.buf) >= linesSize {
		return len(p), l.write()
	}
	return len(p), nil
}

// flush writes what is there.
func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write()
}

func (l *lines) write() error {
	if len(l.buf) == 0 {
		return nil
	}
	l.timer.Stop()
	_, err := l.to.Write(l.buf)
	l.buf = l.buf[:0] // a log that cannot be written has nobody to be told
	if cap(l.buf) > 2*linesSize {
		l.buf = nil
	}
	return err
}

// urgent writes lines from Warn on at once, and with them what came before.
type urgent struct {
	slog.Handler
	out *lines
}

// Handle implements slog.Handler.
func (u urgent) Handle(ctx context.Context, r slog.Record) error {
	err := u.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelWarn {
		u.out.flush()
	}
	return err
}

// WithAttrs implements slog.Handler.
func (u urgent) WithAttrs(as []slog.Attr) slog.Handler { return urgent{u.Handler.WithAttrs(as), u.out} }

// WithGroup implements slog.Handler.
func (u urgent) WithGroup(name string) slog.Handler { return urgent{u.Handler.WithGroup(name), u.out} }
