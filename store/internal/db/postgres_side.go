package db

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// side is a connection for what must not wait behind mail: pings, hints, leases, beats.
type side struct {
	g   *gate
	one chan struct{} // holds the right to use h
	h   *pgconn.PgConn

	stale atomic.Bool // h may lead to a server that hangs
}

// sidePatience bounds a statement on the side.
const sidePatience = 5 * time.Second

// lock takes the connection for oneself.
func (s *side) lock(ctx context.Context) error {
	select {
	case s.one <- struct{}{}:
		if s.stale.Swap(false) && s.h != nil {
			s.h.Conn().Close()
			s.h.Close(ctx)
			s.h = nil
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// do runs one statement, on a new connection if the last one was lost, and returns its rows as text.
func (s *side) do(ctx context.Context, sql string, args ...string) (rows [][][]byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, sidePatience)
	defer cancel()
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer func() { <-s.one }()
	params := make([][]byte, len(args))
	for i := range args {
		params[i] = []byte(args[i])
	}
	for try := 0; ; try++ {
		fresh := s.h == nil || s.h.IsClosed()
		if fresh {
			if s.h, err = s.g.connect(ctx); err != nil {
				return nil, err
			}
		}
		r := s.h.ExecParams(ctx, sql, params, nil, nil, nil).Read()
		if r.Err == nil || fresh || !s.h.IsClosed() || ctx.Err() != nil {
			return r.Rows, r.Err
		}
	}
}

// script runs statements without parameters.
func (s *side) script(ctx context.Context, sql string) error {
	ctx, cancel := context.WithTimeout(ctx, sidePatience)
	defer cancel()
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer func() { <-s.one }()
	if s.h == nil || s.h.IsClosed() {
		var err error
		if s.h, err = s.g.connect(ctx); err != nil {
			return err
		}
	}
	return s.h.Exec(ctx, sql).Close()
}

// ping asks whether the server lives.
func (s *side) ping(ctx context.Context) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer func() { <-s.one }()
	if s.h != nil && !s.h.IsClosed() {
		if err := s.h.Exec(ctx, "SELECT 1").Close(); err == nil {
			return nil
		}
		s.h.Close(ctx)
	}
	var err error
	s.h, err = s.g.connect(ctx)
	return err
}

func (s *side) close() {
	if s.lock(context.Background()) == nil && s.h != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.h.Close(ctx)
	}
}
