package listen

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"bahnpost/mail"
)

// Conn is an accepted connection. It costs little when idle: it has no read
// buffer of its own. Read and Write as net.Conn.
type Conn struct {
	net.Conn
	connState
}

// connState is some 200 octets.
type connState struct {
	base   net.Conn // below TLS; never changes
	srv    *server
	port   *port
	cancel context.CancelCauseFunc
	cert   *tls.Certificate // what the client was shown, for channel binding
	id     uint64
	since  int64  // Unix seconds
	ip     string // textual, "" if the peer has none
	addr   netip.Addr
	site   netip.Addr
	secure atomic.Bool  // TLS is on
	ended  atomic.Bool  // no Read waits any more
	stall  atomic.Int64 // time.Duration of the WriteWithin under way, else 0
	first  [1]byte      // of ReadLater
	login  Login        // guarded by srv.mu
}

func (s *server) newConn(p *port, nc net.Conn) *Conn {
	c := &Conn{Conn: nc}
	c.base, c.srv, c.port = nc, s, p
	c.id = s.nextID.Add(1)
	c.since = time.Now().Unix()
	if a, ok := addrOf(nc.RemoteAddr()); ok {
		c.addr, c.site, c.ip = a, siteOf(a), a.String()
	}
	return c
}

// ID names the session in logs; unique in the process's life.
func (c *Conn) ID() string { return idText(c.id) }

// Protocol is the endpoint's.
func (c *Conn) Protocol() string { return c.port.Protocol }

// Implicit reports whether the endpoint has TLS from the first octet.
func (c *Conn) Implicit() bool { return c.port.Implicit }

// RemoteIP is the client's address (the PROXY header's, if trusted), without
// port or zone; "" if it has none (Unix sockets).
func (c *Conn) RemoteIP() string { return c.ip }

// RemoteAddrIP is RemoteIP as a value; invalid if there is none.
func (c *Conn) RemoteAddrIP() netip.Addr { return c.addr }

// TLSState is nil without TLS.
func (c *Conn) TLSState() *tls.ConnectionState {
	t, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	st := t.ConnectionState()
	return &st
}

// TLSVersion describes TLS for logs and Received headers
// ("TLS1.3 TLS_AES_128_GCM_SHA256"), "" without TLS.
func (c *Conn) TLSVersion() string {
	st := c.TLSState()
	if st == nil {
		return ""
	}
	v := map[uint16]string{tls.VersionTLS12: "TLS1.2", tls.VersionTLS13: "TLS1.3"}[st.Version]
	return v + " " + tls.CipherSuiteName(st.CipherSuite)
}

// Certificate is the certificate that the client was shown, nil without TLS.
func (c *Conn) Certificate() *x509.Certificate {
	if c.cert == nil {
		return nil
	}
	if c.cert.Leaf != nil {
		return c.cert.Leaf
	}
	leaf, err := x509.ParseCertificate(c.cert.Certificate[0])
	if err != nil {
		return nil
	}
	return leaf
}

// CanStartTLS reports whether STARTTLS may be offered (TLS configured, not yet on).
func (c *Conn) CanStartTLS() bool { return c.port.tls != nil && !c.secure.Load() }

// StartTLS shakes hands. The caller has already thrown away what the client
// sent in clear behind STARTTLS. After an error the connection is of no use; it
// has been logged.
//
// The handshake has a goroutine of its own: it needs a deep stack, which the
// session's goroutine would then keep while it idles.
func (c *Conn) StartTLS(ctx context.Context) error {
	if !c.CanStartTLS() {
		return fmt.Errorf("listen: TLS is not available or already on")
	}
	ctx, cancel := context.WithTimeout(ctx, c.srv.cfg.HandshakeTimeout)
	defer cancel()
	t := tls.Server(&hello{c.base, c}, c.port.tls)
	done := make(chan error, 1)
	go func() { done <- t.HandshakeContext(ctx) }()
	if err := <-done; err != nil {
		c.port.tlsFailed.Add(1)
		c.srv.cfg.Log.Info("TLS handshake failed", "session", c.ID(), "protocol", c.port.Protocol, "remote", c.ip, "err", err)
		return fmt.Errorf("listen: TLS handshake: %w", err)
	}
	c.Conn = t
	c.secure.Store(true)
	return nil
}

// MayLogin reports whether credentials may cross this connection: TLS is on, or loopback with AllowPlaintext.
func (c *Conn) MayLogin() bool {
	return c.secure.Load() || c.srv.cfg.AllowPlaintext && c.local()
}

// local reports whether the peer is this machine.
func (c *Conn) local() bool { return !c.addr.IsValid() || c.addr.IsLoopback() }

// ErrSessions is what Bind says of an account that has too many sessions.
var ErrSessions = &mail.Error{Kind: mail.Limit, Text: "too many sessions of this account, end one of them"}

// Bind records in the register who logged in (and unbinds with a zero Login, which never fails: UNAUTHENTICATE).
// ErrSessions: the account has Config.MaxPerAccount sessions already; the connection is bound as before.
func (c *Conn) Bind(l Login) error {
	s := c.srv
	s.mu.Lock()
	if counts := !c.local(); counts && l.Account != c.login.Account {
		if l.Account != 0 && int(s.perAccount[l.Account]) >= s.cfg.MaxPerAccount {
			s.mu.Unlock()
			c.port.crowded.Add(1)
			s.cfg.Log.Warn("login refused", "session", c.ID(), "protocol", c.port.Protocol, "remote", c.ip, "login", l.Address.String(), "limit", "sessions of the account")
			return ErrSessions
		}
		s.leave(c.login.Account)
		if l.Account != 0 {
			s.perAccount[l.Account]++
		}
	}
	c.login = l
	s.mu.Unlock()
	return nil
}

// leave takes a counted session from its account's; mu is held.
func (s *server) leave(a mail.AccountID) {
	if n := s.perAccount[a]; n > 1 {
		s.perAccount[a] = n - 1
	} else {
		delete(s.perAccount, a)
	}
}

// end cancels the session and wakes its Read. Safe from any goroutine.
func (c *Conn) end(cause error) {
	c.cancel(cause)
	c.ended.Store(true)
	c.base.SetReadDeadline(past())
}

// WriteWithin is Write to a client that may refuse to read for at most stall. One that takes something now and then may be as
// slow as it is; crypto/tls could not go on after a deadline, so the deadline moves below it. Not for two goroutines at once.
func (c *Conn) WriteWithin(p []byte, stall time.Duration) (int, error) {
	c.stall.Store(int64(stall))
	defer c.stall.Store(0)
	if c.secure.Load() {
		return c.Conn.Write(p)
	}
	return c.push(p)
}

// push writes below TLS. What the socket takes at once needs no deadline.
func (c *Conn) push(p []byte) (n int, err error) {
	if q, ok := c.base.(quickWriter); ok {
		if n, err = q.WriteNow(p); n == len(p) || err != nil {
			return n, err
		}
	}
	stall := time.Duration(c.stall.Load())
	if stall == 0 {
		k, err := c.base.Write(p[n:])
		return n + k, err
	}
	defer c.base.SetWriteDeadline(time.Time{})
	for moved := true; moved; {
		c.base.SetWriteDeadline(time.Now().Add(stall))
		var k int
		k, err = c.base.Write(p[n:])
		n += k
		moved = k > 0 && n < len(p) && errors.Is(err, os.ErrDeadlineExceeded)
	}
	return n, err
}

// quickWriter is a connection that can write without waiting.
type quickWriter interface {
	WriteNow(p []byte) (int, error)
}

// past is a deadline that is over. Not time.Unix(0, 0): net.Pipe and synctest
// compare with a clock that may stand anywhere after 2000.
func past() time.Time { return time.Unix(1, 0) }

// SetReadDeadline is net.Conn's; once the session was cancelled it stays over.
func (c *Conn) SetReadDeadline(t time.Time) error {
	err := c.base.SetReadDeadline(t)
	if c.ended.Load() { // after setting: end sets the flag before the deadline
		return c.base.SetReadDeadline(past())
	}
	return err
}

// SetDeadline is net.Conn's, see SetReadDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.base.SetWriteDeadline(t); err != nil {
		return err
	}
	return c.SetReadDeadline(t)
}
