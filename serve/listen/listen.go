// Package listen is the porch of every protocol: accept loops with limits, TLS
// (implicit and STARTTLS, certificates re-read on demand), PROXY protocol, the
// shared login dialogue (Gate), the register of sessions, and drain.
//
// It speaks no mail protocol itself: protocols implement Handler, and the words
// in which a connection over the limit is refused come with the Endpoint. It
// knows no account store: Gate asks a Directory, an interface that app fills.
//
// Nothing here survives a crash or needs to: the register, the counters and
// the cache of verified logins begin empty.
//
// Server and Gate are safe for concurrent use. A Conn belongs to its handler's
// goroutine, except that the register may cancel it at any time. Lock order:
// none nests; Server.mu, Gate's cache and throttle locks are leaves, never
// held over I/O, hashing or a call of Directory.
package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"bahnpost/home"
	"bahnpost/mail"
)

// Handler serves one connection until it ends. ctx is cancelled with cause
// ErrDraining when the node wants to stop: say goodbye in the protocol's words.
// A Read that waits at that moment fails with os.ErrDeadlineExceeded, and so
// does each later one, whatever deadline is set: a session needs no goroutine
// to watch ctx. The connection is closed when Serve returns.
type Handler interface {
	Serve(ctx context.Context, c *Conn)
}

// ErrDraining is the cause of a session's cancellation at shutdown; ErrKicked when its account was disabled, removed or moved.
var (
	ErrDraining = &mail.Error{Kind: mail.Unavailable, Text: "server is shutting down"}
	ErrKicked   = &mail.Error{Kind: mail.Unavailable, Text: "session was ended by the administrator"}
)

// Endpoint is one listening address of one protocol.
type Endpoint struct {
	Protocol string // imap imaps pop3 pop3s smtp submission submissions lmtp http https: in logs and metrics
	Addr     string // host:port
	Implicit bool   // TLS from the first octet
	Proxy    bool   // expect PROXY protocol from trusted networks
	Handler  Handler
	Late     bool // accepts during the drain, until the sessions of all other endpoints have ended: for health checks

	// TooMany is the line, CRLF included, that says in the protocol's words
	// that there are too many connections [those of the protocol, if it is one
	// of ours]. With Implicit the connection is closed without a word.
	TooMany string
}

// Config has a working zero value; defaults in brackets.
type Config struct {
	// TLS is the base of each endpoint's configuration; nil: no TLS offered.
	// NextProtos, MinVersion (at least 1.2) and the cipher list are set here.
	// Give certificates by GetCertificate if they may change.
	TLS              *tls.Config
	MaxConns         int            // [20000] per endpoint
	MaxConnsPerIP    int            // [1000] per IPv4 address or IPv6 /64, over all endpoints; loopback is not counted
	MaxPerAccount    int            // [100] sessions logged in to one account, over all endpoints; those from loopback are not counted
	AllowPlaintext   bool           // plaintext login allowed on loopback connections without TLS
	HandshakeTimeout time.Duration  // [30s] for a TLS handshake, and for a PROXY header
	TrustedProxies   []netip.Prefix // who may send PROXY headers [loopback]
	Log              *slog.Logger   // [discards]
}

// Defaults of Config.
const (
	DefaultMaxConns         = 20000
	DefaultMaxConnsPerIP    = 1000
	DefaultMaxPerAccount    = 100
	DefaultHandshakeTimeout = 30 * time.Second
)

func (c Config) withDefaults() Config {
	if c.MaxConns <= 0 {
		c.MaxConns = DefaultMaxConns
	}
	if c.MaxConnsPerIP <= 0 {
		c.MaxConnsPerIP = DefaultMaxConnsPerIP
	}
	if c.MaxPerAccount <= 0 {
		c.MaxPerAccount = DefaultMaxPerAccount
	}
	if c.HandshakeTimeout <= 0 {
		c.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if c.TrustedProxies == nil {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Server runs endpoints.
type Server struct{ server }

// New returns a Server; nothing listens yet.
func New(cfg Config) *Server {
	s := new(Server)
	s.init(cfg)
	return s
}

// Listen binds an endpoint now (errors name the address) and serves it when Run runs; also when it runs already.
func (s *Server) Listen(e Endpoint) (net.Addr, error) {
	ln, err := Bind(e.Addr)
	if err != nil {
		return nil, err // net.OpError names the address
	}
	if err := s.ListenOn(e, ln); err != nil {
		ln.Close()
		return nil, err
	}
	return ln.Addr(), nil
}

// Bind listens on host:port, in the family of the address only ("0.0.0.0" is IPv4, "::" IPv6): Go's "tcp" takes both for
// either, and the second of the two would find its port taken by the first.
func Bind(addr string) (net.Listener, error) {
	network := "tcp"
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		network = "tcp6"
		if ap.Addr().Unmap().Is4() {
			network = "tcp4"
		}
	}
	lc := listenConfig(keepAlive())
	return lc.Listen(context.Background(), network, addr)
}

// keepAlive finds clients that vanished while nobody spoke, in about a quarter
// of an hour. Go's default asks every 15 s: thousands of idle sessions would
// make hundreds of packets a second, and each wakes a telephone's radio.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 10 * time.Minute, Interval: time.Minute, Count: 4}
}

// ListenOn is Listen on a listener that exists already: socket activation,
// Unix sockets, tests. Run closes it.
func (s *Server) ListenOn(e Endpoint, ln net.Listener) error {
	p, err := s.newPort(e)
	if err != nil {
		return err
	}
	p.ln = ln
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return ErrDraining
	}
	if s.paused && !p.Late {
		ln.Close()
		p.down = true // until Resume
	}
	s.ports = append(s.ports, p)
	s.begin(p)
	return nil
}

// Run accepts until ctx ends, then stops accepting, cancels the sessions with
// ErrDraining and waits for them at most grace. Sessions that are still there
// then lose their connections; the error says how many. Call it once.
func (s *Server) Run(ctx context.Context, grace time.Duration) error { return s.run(ctx, grace) }

// Close gives back the addresses of a Server that never ran; Run does so itself.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, p := range s.ports {
		errs = append(errs, p.ln.Close())
	}
	return errors.Join(errs...)
}

// ServeConn serves a connection that somebody else accepted, as if e had
// accepted it, and returns when it has ended. It needs no Run. Once Run drains
// it closes nc and returns ErrDraining.
func (s *Server) ServeConn(e Endpoint, nc net.Conn) error {
	p, err := s.newPort(e)
	if err != nil {
		nc.Close()
		return err
	}
	s.mu.Lock()
	if s.ending { // drain may wait already: nobody may join
		s.mu.Unlock()
		nc.Close()
		return ErrDraining
	}
	s.guests = append(s.guests, p)
	s.joined(e.Late).Add(1)
	s.mu.Unlock()
	p.accepted.Add(1)
	p.open.Add(1)
	s.serve(p, nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.guests {
		if s.guests[i] == p {
			s.guests = append(s.guests[:i], s.guests[i+1:]...)
			break
		}
	}
	return nil
}

// Kick ends all sessions of an account with ErrKicked and returns how many there were.
func (s *Server) Kick(a mail.AccountID) int {
	n := 0
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.login.Account == a && a != 0 {
			c.end(ErrKicked)
			n++
		}
	}
	return n
}

// Sessions lists the live sessions, in no order.
func (s *Server) Sessions() []SessionInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]SessionInfo, 0, len(s.conns))
	for c := range s.conns {
		out = append(out, SessionInfo{ID: c.ID(), Protocol: c.Protocol(), Remote: c.ip, Login: c.login.Address.String(),
			Account: c.login.Account, Since: time.Unix(c.since, 0), TLS: c.secure.Load()})
	}
	return out
}

// SessionInfo describes a live session.
type SessionInfo struct {
	ID       string         `json:"id"`
	Protocol string         `json:"protocol"`
	Remote   string         `json:"remote"`
	Login    string         `json:"login"`
	Account  mail.AccountID `json:"account"`
	Since    time.Time      `json:"since"`
	TLS      bool           `json:"tls"`
}

// Login is a verified identity and where it lives.
type Login struct {
	Account mail.AccountID
	Epoch   home.Epoch
	Address mail.Address
}

// Directory is what the Gate needs to know of accounts.
type Directory interface {
	// Verify checks a password (slow hash); login is an address or, in a one-domain system, a local part.
	// Wrong or unknown: kind AuthFailed (same text, similar time). Disabled: kind Disabled. What else comes
	// with an error is ignored.
	Verify(ctx context.Context, login, password string) (mail.AccountID, mail.Address, error)
	// SCRAM returns stored SCRAM-SHA-256 keys; ok false if the account has none (unknown accounts get stable fakes by the caller).
	// Disabled: the keys and kind Disabled, which is told only after the proof.
	SCRAM(ctx context.Context, login string) (_ SCRAMKeys, ok bool, err error)
	Placement(ctx context.Context, a mail.AccountID) (home.Placement, error)
}

// SCRAMKeys are RFC 5803 stored credentials.
type SCRAMKeys struct {
	Account              mail.AccountID
	Address              mail.Address
	Salt                 []byte
	Iterations           int
	StoredKey, ServerKey []byte
}
