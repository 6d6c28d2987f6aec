package town

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// Wire is a node's way to its database, which a test can cut.
type Wire struct {
	Addr string // where it begins
	to   string // path of the server's socket
	t    testing.TB

	mu    sync.Mutex
	ln    net.Listener // nil: cut
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

// newWire leads from a port of its own to the PostgreSQL that the DSN of package storetest names.
func newWire(t testing.TB, dsn string) *Wire {
	t.Helper()
	host, _, _ := strings.Cut(strings.TrimPrefix(dsn, "host="), " ")
	w := &Wire{to: host + "/.s.PGSQL.5432", t: t, conns: map[net.Conn]struct{}{}}
	w.Mend()
	t.Cleanup(func() { w.Cut(); w.wg.Wait() })
	return w
}

// Mend makes the wire whole.
func (w *Wire) Mend() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	addr := w.Addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.ln, w.Addr = ln, ln.Addr().String()
	w.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			w.wg.Go(func() { w.carry(ln, c) })
		}
	})
}

// Cut ends all connections and refuses new ones.
func (w *Wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ln == nil {
		return
	}
	w.ln.Close()
	w.ln = nil
	for c := range w.conns {
		c.Close()
	}
}

func (w *Wire) carry(ln net.Listener, c net.Conn) {
	defer c.Close()
	s, err := net.Dial("unix", w.to)
	if err != nil {
		return
	}
	defer s.Close()
	w.mu.Lock()
	if w.ln != ln { // cut meanwhile
		w.mu.Unlock()
		return
	}
	w.conns[c], w.conns[s] = struct{}{}, struct{}{}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.conns, c)
		delete(w.conns, s)
		w.mu.Unlock()
	}()
	done := make(chan struct{})
	go func() {
		io.Copy(s, c)
		s.Close()
		close(done)
	}()
	io.Copy(c, s)
	c.Close()
	<-done
}
