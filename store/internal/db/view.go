package db

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ncruces/go-sqlite3"
)

const (
	// burstPatience is how long a View waits for one of the Readers before it
	// opens a spare connection: long enough that load alone queues, short
	// enough that a View inside a View only stumbles.
	burstPatience = 50 * time.Millisecond
	burstMax      = 16 // spare connections at once: about 2 MB of memory each
)

// pool hands out reading connections, the one used last first.
type pool struct {
	open   func(context.Context) (*Conn, error)
	tokens chan struct{} // one per reader: holding one allows a connection
	opened atomic.Int64
	burst  atomic.Int64
	waits  atomic.Int64 // Views that found no reader free
	waited atomic.Int64 // nanoseconds, of them

	mu     sync.Mutex
	idle   []*Conn
	closed bool
	users  sync.WaitGroup // running Views; Add under mu
}

func (p *pool) init(cfg Config, open func(context.Context) (*Conn, error)) {
	p.open = open
	p.tokens = make(chan struct{}, cfg.Readers)
}

// view is DB.View.
func (s *core) view(ctx context.Context, fn func(*Conn) error) error {
	if s.gate == nil {
		return s.look(ctx, fn)
	}
	return s.gate.retry(ctx, func() (final bool, err error) {
		if down, _ := s.gate.state(); down != nil {
			return false, down
		}
		err = s.look(ctx, func(c *Conn) error {
			defer func() { final = c.pg.heard }() // fn has seen something, and is not run again
			return fn(c)
		})
		return final, err
	})
}

// look runs fn with a reading connection.
func (s *core) look(ctx context.Context, fn func(*Conn) error) error {
	p := &s.pool
	if err := p.enter(); err != nil {
		return err
	}
	defer p.users.Done()
	spare, err := p.admit(ctx)
	if err != nil {
		return err
	}
	if spare {
		defer p.burst.Add(-1)
	} else {
		defer func() { <-p.tokens }()
	}
	c, err := p.take(ctx)
	if err != nil {
		return fmt.Errorf("db: open reader: %w", err)
	}
	ok := false
	defer func() { p.give(c, ok && !spare) }() // after a panic the connection is not used again
	err = snapshot(ctx, c, fn)
	ok = true
	return err
}

func (p *pool) enter() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	p.users.Add(1)
	return nil
}

// admit waits for a token, and after burstPatience goes without if it may.
func (p *pool) admit(ctx context.Context) (spare bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	select {
	case p.tokens <- struct{}{}:
		return false, nil
	default:
	}
	p.waits.Add(1)
	defer func(begin time.Time) { p.waited.Add(int64(time.Since(begin))) }(time.Now())
	t := time.NewTimer(burstPatience)
	defer t.Stop()
	for {
		select {
		case p.tokens <- struct{}{}:
			return false, nil
		case <-ctx.Done():
			return false, ctx.Err()
		case <-t.C:
			if p.burst.Add(1) <= burstMax {
				return true, nil
			}
			p.burst.Add(-1)
			t.Reset(burstPatience)
		}
	}
}

func (p *pool) take(ctx context.Context) (*Conn, error) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	c, err := p.open(ctx)
	if err == nil {
		p.opened.Add(1)
	}
	return c, err
}

func (p *pool) give(c *Conn, keep bool) {
	if keep && c.fit() {
		p.mu.Lock()
		p.idle = append(p.idle, c)
		p.mu.Unlock()
		return
	}
	p.opened.Add(-1)
	c.close()
}

// snapshot runs fn between BEGIN and COMMIT.
func snapshot(ctx context.Context, c *Conn, fn func(*Conn) error) (err error) {
	if c.pg != nil {
		return c.pg.snapshot(ctx, c, fn)
	}
	if ctx.Done() != nil {
		old := c.h.SetInterrupt(ctx)
		defer c.h.SetInterrupt(old)
	}
	if _, err = c.Exec("BEGIN"); err == nil {
		err = fn(c)
		c.settle()
		if ctx.Done() != nil {
			c.h.SetInterrupt(context.Background()) // the end must run even when ctx is over
		}
		_, end := c.Exec("COMMIT")
		if err == nil {
			err = end
		}
	}
	if err != nil && ctx.Err() != nil && errors.Is(err, sqlite3.INTERRUPT) {
		err = fmt.Errorf("db: view: %w", ctx.Err())
	}
	return err
}

// close waits for running Views and closes the readers.
func (p *pool) close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.users.Wait()
	var errs []error
	for _, c := range p.idle {
		errs = append(errs, c.close())
	}
	p.idle = nil
	p.opened.Store(0)
	return errors.Join(errs...)
}
