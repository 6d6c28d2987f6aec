package app

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"bahnpost/serve/listen"
)

// webPorch hands connections that listen accepted to net/http: one porch, one
// set of limits, one drain for all protocols.
type webPorch struct {
	server *http.Server
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Limits of HTTP requests.
const (
	webHeaderTimeout = 10 * time.Second
	webIdleTimeout   = 2 * time.Minute
	webMaxHeader     = 64 << 10
)

func newWebPorch(h http.Handler) *webPorch {
	p := &webPorch{conns: make(chan net.Conn), closed: make(chan struct{}), server: &http.Server{Handler: h,
		ReadHeaderTimeout: webHeaderTimeout, IdleTimeout: webIdleTimeout, MaxHeaderBytes: webMaxHeader}}
	go p.server.Serve(p)
	return p
}

// Serve implements listen.Handler: it returns when the connection was closed.
func (p *webPorch) Serve(ctx context.Context, c *listen.Conn) {
	w := &webConn{Conn: c, done: make(chan struct{})}
	select {
	case p.conns <- w:
	case <-p.closed:
		return
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		w.Close()
	}
}

// Accept implements net.Listener.
func (p *webPorch) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *webPorch) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements net.Listener.
func (p *webPorch) Addr() net.Addr { return &net.TCPAddr{} }

// webConn says when net/http is through with it.
type webConn struct {
	net.Conn
	once sync.Once
	done chan struct{}
}

func (c *webConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.done) })
	return err
}
