package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"

	"bahnpost/mail"
)

// Times of the accept loop and of the end.
const (
	maxAcceptPause = time.Second     // after accept errors (no file descriptors left)
	lastWords      = 2 * time.Second // for handlers after their connection was cut
	refuseTimeout  = time.Second     // to write TooMany
	ipv6Site       = 64              // prefix length that counts as one client
	idBase         = 36              // of session ids
	idRoom         = 1 << 20         // ids a second before two starts could give the same one
)

// server is the inside of Server.
type server struct {
	cfg    Config
	nextID atomic.Uint64
	wg     sync.WaitGroup // connections, but those of Late endpoints
	late   sync.WaitGroup // connections of Late endpoints

	loops     sync.WaitGroup // accept loops, but those of Late endpoints; Add under mu, not once closing
	lateLoops sync.WaitGroup
	pausing   sync.Mutex // one Pause or Resume at a time; taken before mu

	mu      sync.Mutex
	running context.Context // Run's; nil before
	lateRun context.Context
	closing bool // Run has begun to drain
	paused  bool
	ports   []*port
	guests  []*port // of ServeConn
	conns   map[*Conn]struct{}
	perIP   map[netip.Addr]int32
	ending  bool // sessions are asked to end
	ended   bool // Late ones too

	perAccount map[mail.AccountID]int32 // sessions that count towards MaxPerAccount
}

// port is a bound endpoint with its counters.
type port struct {
	Endpoint
	ln   net.Listener // guarded by Server.mu once Run runs
	down bool         // Pause closed ln; guarded by Server.mu
	tls  *tls.Config

	open, accepted, refused, crowded, tlsFailed, proxyFailed, panics atomic.Int64
}

func (s *server) init(cfg Config) {
	s.cfg = cfg.withDefaults()
	s.conns = make(map[*Conn]struct{})
	s.perIP = make(map[netip.Addr]int32)
	s.perAccount = make(map[mail.AccountID]int32)
	// Ids of two runs of one node should differ in the log.
	s.nextID.Store(uint64(time.Now().Unix()) * idRoom)
}

func (s *server) newPort(e Endpoint) (*port, error) {
	if e.Handler == nil {
		return nil, fmt.Errorf("listen: endpoint %s %s has no handler", e.Protocol, e.Addr)
	}
	if e.TooMany == "" {
		e.TooMany = tooMany(e.Protocol)
	}
	p := &port{Endpoint: e}
	if s.cfg.TLS != nil {
		p.tls = portTLS(s.cfg.TLS, e.Protocol)
	} else if e.Implicit {
		return nil, fmt.Errorf("listen: endpoint %s %s wants TLS, but there is no certificate", e.Protocol, e.Addr)
	}
	return p, nil
}

func (s *server) run(ctx context.Context, grace time.Duration) error {
	lateCtx, lateEnd := context.WithCancel(context.WithoutCancel(ctx))
	defer lateEnd()
	s.mu.Lock()
	s.running, s.lateRun = ctx, lateCtx
	for _, p := range s.ports {
		s.begin(p)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.closing = true
	ports := s.ports
	s.mu.Unlock()
	closePorts(ports, false)
	s.loops.Wait()
	err := s.drain(grace, false)
	lateEnd()
	closePorts(ports, true)
	s.lateLoops.Wait()
	return errors.Join(err, s.drain(lastWords, true))
}

// begin accepts on a port, if Run runs. Called with mu held.
func (s *server) begin(p *port) {
	ln := p.ln
	switch {
	case s.running == nil || s.closing:
	case p.Late:
		s.lateLoops.Go(func() { s.accept(s.lateRun, p, ln) })
	case !s.paused:
		s.loops.Go(func() { s.accept(s.running, p, ln) })
	}
}

func closePorts(ports []*port, late bool) {
	for _, p := range ports {
		if p.Late == late {
			p.ln.Close()
		}
	}
}

// drain asks the sessions of all endpoints, or of the Late ones, to end, waits, and cuts those that stay.
func (s *server) drain(grace time.Duration, late bool) error {
	gone := make(chan struct{})
	s.mu.Lock()
	s.ending, s.ended = true, late
	for c := range s.conns {
		if c.port.Late == late {
			c.end(ErrDraining)
		}
	}
	s.mu.Unlock()
	go func() {
		s.joined(late).Wait()
		close(gone)
	}()
	if waitFor(gone, grace) {
		return nil
	}
	s.mu.Lock()
	left := 0
	for c := range s.conns {
		if c.port.Late == late {
			left++
			c.base.Close()
		}
	}
	s.mu.Unlock()
	if waitFor(gone, lastWords) && left == 0 {
		return nil
	}
	return fmt.Errorf("listen: %d sessions did not end within %v and were cut", left, grace)
}

// joined counts the connections of Late endpoints, or of all others.
func (s *server) joined(late bool) *sync.WaitGroup {
	if late {
		return &s.late
	}
	return &s.wg
}

func waitFor(gone <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-gone:
		return true
	case <-t.C:
		return false
	}
}

// accept is the loop of one port.
func (s *server) accept(ctx context.Context, p *port, ln net.Listener) {
	var pause time.Duration
	for {
		nc, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return
			}
			// Out of descriptors or memory, or the client gave up: never stop
			// listening, but do not spin either.
			pause = min(max(2*pause, 5*time.Millisecond), maxAcceptPause)
			s.cfg.Log.Warn("accept failed", "protocol", p.Protocol, "addr", p.Addr, "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			continue
		}
		pause = 0
		p.accepted.Add(1)
		if p.open.Add(1) > int64(s.cfg.MaxConns) {
			p.open.Add(-1)
			s.refuse(p, nc, "connections of the endpoint")
			continue
		}
		s.joined(p.Late).Add(1)
		go s.serve(p, nc)
	}
}

// tooMany is what a protocol says when there is no room (RFC 5321 §3.8 and
// RFC 3463 §3.4, RFC 9051 §7.1.5, RFC 3206 §4).
func tooMany(protocol string) string {
	switch strings.TrimSuffix(protocol, "s") {
	case "smtp", "submission", "lmtp":
		return "421 4.3.2 too many connections, try again later\r\n"
	case "imap":
		return "* BYE [UNAVAILABLE] too many connections, try again later\r\n"
	case "pop3":
		return "-ERR [SYS/TEMP] too many connections, try again later\r\n"
	}
	return ""
}

// refuse tells a client that there is no room. It does not wait for it.
func (s *server) refuse(p *port, nc net.Conn, limit string) {
	p.refused.Add(1)
	s.cfg.Log.Warn("connection refused", "protocol", p.Protocol, "remote", nc.RemoteAddr().String(), "limit", limit)
	if p.TooMany != "" && !p.Implicit {
		nc.SetWriteDeadline(time.Now().Add(refuseTimeout)) // a fresh socket's buffer takes a line at once
		nc.Write([]byte(p.TooMany))
	}
	nc.Close()
}

// serve is a connection's life. The caller has counted it in wg and open.
func (s *server) serve(p *port, nc net.Conn) {
	defer s.joined(p.Late).Done()
	var c *Conn
	defer func() { // after it is no longer counted: who sees the end of one connection may come again at once
		if c != nil {
			c.Close() // says so in TLS (RFC 8446 §6.1), if that began meanwhile
			return
		}
		nc.Close()
	}()
	defer p.open.Add(-1)
	nc, err := s.proxied(p, quick(nc))
	if err != nil {
		p.proxyFailed.Add(1)
		s.cfg.Log.Warn("no valid PROXY header", "protocol", p.Protocol, "remote", nc.RemoteAddr().String(), "err", err)
		return
	}
	c = s.newConn(p, nc)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	c.cancel = cancel
	if !s.register(c) {
		s.refuse(p, nc, "connections of the address")
		return
	}
	defer s.unregister(c)
	if p.Implicit {
		if err := c.StartTLS(ctx); err != nil {
			return // counted and logged there
		}
	}
	s.handle(ctx, c)
}

// handle runs the handler; a panic is a bug that may cost one session, not the node.
func (s *server) handle(ctx context.Context, c *Conn) {
	defer func() {
		if r := recover(); r != nil {
			c.port.panics.Add(1)
			s.cfg.Log.Error("session panicked", "session", c.ID(), "protocol", c.port.Protocol, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		}
	}()
	c.port.Handler.Serve(ctx, c)
}

// proxied reads the PROXY header where the endpoint expects one and the peer
// is trusted. A peer that is not trusted is served as itself.
func (s *server) proxied(p *port, nc net.Conn) (net.Conn, error) {
	if !p.Proxy {
		return nc, nil
	}
	peer, _ := addrOf(nc.RemoteAddr())
	trusted := false
	for _, n := range s.cfg.TrustedProxies {
		trusted = trusted || n.Contains(peer)
	}
	if !trusted {
		return nc, nil
	}
	pc := proxyproto.NewConn(nc, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(s.cfg.HandshakeTimeout))
	if pc.ProxyHeader() == nil {
		return nc, proxyproto.ErrNoProxyProtocol
	}
	return pc, nil
}

// register counts a connection; false: its address has too many, or we end.
func (s *server) register(c *Conn) bool {
	p := c.port
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.local() {
		if int(s.perIP[c.site]) >= s.cfg.MaxConnsPerIP {
			return false
		}
		s.perIP[c.site]++
	}
	s.conns[c] = struct{}{}
	if (s.ending || s.paused) && !p.Late || s.ended {
		c.end(ErrDraining)
	}
	return true
}

func (s *server) unregister(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if !c.local() {
		s.leave(c.login.Account)
		if s.perIP[c.site]--; s.perIP[c.site] <= 0 {
			delete(s.perIP, c.site)
		}
	}
}

// addrOf returns the IP of a network address; ok is false for what has none (Unix sockets, pipes).
func addrOf(a net.Addr) (netip.Addr, bool) {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().WithZone(""), true
	}
	if a != nil {
		if ap, err := netip.ParseAddrPort(a.String()); err == nil {
			return ap.Addr().Unmap().WithZone(""), true
		}
	}
	return netip.Addr{}, false
}

// siteOf is what counts as one client: an IPv4 address, or an IPv6 /64, which
// is what one customer gets at least.
func siteOf(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.Prefix(ipv6Site); err == nil {
			return p.Addr()
		}
	}
	return a
}

func idText(id uint64) string { return strconv.FormatUint(id, idBase) }
