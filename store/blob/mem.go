package blob

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"strconv"
	"sync"
	"time"
)

// Mem keeps bodies in memory: for tests. The zero value is ready.
type Mem struct {
	mu     sync.Mutex
	last   uint64
	bodies map[Ref]memBody
	closed bool
}

type memBody struct {
	data []byte
	time time.Time
}

var _ Store = (*Mem)(nil)

// Put is Store.Put.
func (m *Mem) Put(ctx context.Context, data []byte) (Ref, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return "", ErrClosed
	}
	if m.bodies == nil {
		m.bodies = make(map[Ref]memBody)
	}
	m.last++
	ref := Ref("m" + strconv.FormatUint(m.last, refBase))
	m.bodies[ref] = memBody{bytes.Clone(data), time.Now()}
	return ref, nil
}

// Stage is Store.Stage.
func (m *Mem) Stage(ctx context.Context, data []byte) (Ref, error) { return m.Put(ctx, data) }

// Lost is Store.Lost.
func (m *Mem) Lost(Ref) bool { return false }

// Flush is Store.Flush.
func (m *Mem) Flush() error { return nil }

// Create is Store.Create.
func (m *Mem) Create(ctx context.Context) (Writer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	return &memWriter{m: m}, ctx.Err()
}

type memWriter struct {
	m     *Mem
	buf   bytes.Buffer
	ended bool
}

func (w *memWriter) Write(p []byte) (int, error) {
	if w.ended {
		return 0, fs.ErrClosed
	}
	return w.buf.Write(p)
}

func (w *memWriter) Commit() (Ref, error) {
	if w.ended {
		return "", fs.ErrClosed
	}
	w.ended = true
	return w.m.Put(context.Background(), w.buf.Bytes())
}

func (w *memWriter) Abort() { w.ended = true }

// Open is Store.Open.
func (m *Mem) Open(ctx context.Context, ref Ref) (Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.bodies[ref]
	if !ok {
		return nil, fmt.Errorf("blob: open %s: %w", ref, fs.ErrNotExist)
	}
	return memReader(b.data), nil
}

// Delete is Store.Delete.
func (m *Mem) Delete(ctx context.Context, refs ...Ref) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range refs {
		delete(m.bodies, r)
	}
	return ctx.Err()
}

// Len is the number of bodies.
func (m *Mem) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.bodies)
}

// Close is Store.Close.
func (m *Mem) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}
