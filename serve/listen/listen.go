// Package listen is the porch of every protocol: accept loops with limits, TLS
// (implicit and STARTTLS, certificates re-read on demand), PROXY protocol, the
// shared login dialogue (Gate), the register of sessions, and drain.
//
// It speaks no mail protocol itself. Safe for concurrent use.
package listen

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"bahnpost/home"
	"bahnpost/mail"
)

// Handler serves one connection until it ends. ctx is cancelled with cause
// ErrDraining when the node wants to stop: say goodbye in the protocol's words.
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
}

// Config has a working zero value; defaults in brackets.
type Config struct {
	TLS              *tls.Config   // nil: no TLS offered
	MaxConns         int           // [20000] per endpoint
	MaxConnsPerIP    int           // [1000]; loopback is not counted
	AllowPlaintext   bool          // plaintext login allowed on loopback connections without TLS
	HandshakeTimeout time.Duration // [30s]
	Log              *slog.Logger
}

// Server runs endpoints.
type Server struct{ server }

// New returns a Server; nothing listens yet.
func New(cfg Config) *Server { panic("contract") }

// Listen binds an endpoint now (errors name the address) and serves it when Run runs.
func (s *Server) Listen(e Endpoint) (net.Addr, error) { panic("contract") }

// Run accepts until ctx ends, then stops accepting, cancels the sessions with ErrDraining and waits for them at most grace.
func (s *Server) Run(ctx context.Context, grace time.Duration) error { panic("contract") }

// Kick ends all sessions of an account with ErrKicked.
func (s *Server) Kick(a mail.AccountID) int { panic("contract") }

// Sessions lists the live sessions.
func (s *Server) Sessions() []SessionInfo { panic("contract") }

// SessionInfo describes a live session.
type SessionInfo struct {
	ID, Protocol, Remote, Login string
	Account                     mail.AccountID
	Since                       time.Time
	TLS                         bool
}

// Conn is an accepted connection. It costs little when idle: it has no read
// buffer of its own. Read and Write as net.Conn.
type Conn struct {
	net.Conn
	connState
}

// ID names the session in logs; unique in the process's life.
func (c *Conn) ID() string { panic("contract") }

// Protocol is the endpoint's.
func (c *Conn) Protocol() string { panic("contract") }

// RemoteIP is the client's address (the PROXY header's, if trusted), without port or zone.
func (c *Conn) RemoteIP() string { panic("contract") }

// TLSState is nil without TLS.
func (c *Conn) TLSState() *tls.ConnectionState { panic("contract") }

// CanStartTLS reports whether STARTTLS may be offered (TLS configured, not yet on).
func (c *Conn) CanStartTLS() bool { panic("contract") }

// StartTLS shakes hands. The caller has already thrown away what the client sent in clear behind STARTTLS.
func (c *Conn) StartTLS(ctx context.Context) error { panic("contract") }

// MayLogin reports whether credentials may cross this connection: TLS is on, or loopback with AllowPlaintext.
func (c *Conn) MayLogin() bool { panic("contract") }

// Bind records in the register who logged in (and unbinds with a zero Login: UNAUTHENTICATE).
func (c *Conn) Bind(l Login) { panic("contract") }

// Login is a verified identity and where it lives.
type Login struct {
	Account mail.AccountID
	Epoch   home.Epoch
	Address mail.Address
}

// Directory is what the Gate needs to know of accounts.
type Directory interface {
	// Verify checks a password (slow hash); login is an address or, in a one-domain system, a local part.
	// Wrong or unknown: kind AuthFailed (same text, similar time). Disabled: kind Disabled.
	Verify(ctx context.Context, login, password string) (mail.AccountID, mail.Address, error)
	// SCRAM returns stored SCRAM-SHA-256 keys; ok false if the account has none (unknown accounts get stable fakes by the caller).
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

// GateConfig has a working zero value; defaults in brackets.
type GateConfig struct {
	CacheFor                          time.Duration // verified logins remembered [5m]
	CacheSize                         int           // [50000]
	HashConcurrency                   int           // slow hashes at once [2 × GOMAXPROCS]; others wait up to HashWait
	HashWait                          time.Duration // [10s]; then kind Unavailable
	FailuresPerAccount, FailuresPerIP int           // within Window before answers become AuthThrottled [10, 100]; loopback IPs are not throttled by IP
	Window                            time.Duration // [5m]
	Log                               *slog.Logger
}

// Gate is the login dialogue shared by all protocols: cache, throttle, bounded hashing, SASL.
type Gate struct{ gate }

// NewGate returns a Gate over d.
func NewGate(d Directory, cfg GateConfig) *Gate { panic("contract") }

// Password verifies LOGIN / USER+PASS. Errors: AuthFailed, AuthThrottled, Disabled, Unavailable, or internal.
func (g *Gate) Password(ctx context.Context, c *Conn, login, password string) (Login, error) {
	panic("contract")
}

// Mechanisms lists the SASL mechanisms for this connection, strongest first; empty if MayLogin is false
// (SCRAM-SHA-256-PLUS only over TLS).
func (g *Gate) Mechanisms(c *Conn) []string { panic("contract") }

// Begin starts a SASL exchange. Unknown mechanism: kind BadInput.
func (g *Gate) Begin(ctx context.Context, c *Conn, mechanism string) (*Exchange, error) {
	panic("contract")
}

// Exchange is a SASL conversation (RFC 4422), octets without base64.
type Exchange struct{ exchange }

// Next takes the client's response (nil: no initial response) and returns the next challenge, or done.
// When done, challenge may still hold additional data for the client (SCRAM's server-final): protocols that
// cannot carry data with success send it as a challenge and expect an empty response.
func (x *Exchange) Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error) {
	panic("contract")
}

// Login is valid after done.
func (x *Exchange) Login() Login { panic("contract") }

// Forget drops cached logins of an account after a password change.
func (g *Gate) Forget(a mail.AccountID) { panic("contract") }
