package smtpd

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"bahnpost/mail"
	"bahnpost/obs"
	"bahnpost/serve/listen"
	"bahnpost/wire/smtp"
)

// Role says to whom a Server speaks.
type Role uint8

// Roles.
const (
	MX         Role = iota // SMTP from the world, for our domains
	Submission             // SMTP from our users, who authenticate (RFC 6409)
	LMTP                   // from a trusted neighbour (RFC 2033)
)

// Config has a working zero value; defaults in brackets.
type Config struct {
	Role           Role
	Hostname       string        // [localhost]
	MaxMessageSize int64         // octets [150 MiB]
	MaxRecipients  int           // RCPT commands in one mail [1000]; RFC 5321 §4.5.3.1.8 wants at least 100
	MaxMails       int           // MAIL commands in one session [10000; LMTP: no limit]
	MaxErrors      int           // refused or malformed commands before we hang up [20; LMTP 1000]
	MaxUnknown     int           // unknown recipients in one session of MX before we hang up [200]: address harvesting
	MaxChatter     int           // commands other than RCPT, DATA and BDAT between two accepted mails [1000; LMTP 100000]
	MaxBarren      time.Duration // how long a session goes on without a mail that is taken [30m; LMTP: for ever]: NOOP now and then does not keep it
	MaxUnderWay    int           // messages whose octets are coming, over all sessions [1000]: each holds a buffer here and up to a megabyte in the store
	CommandTimeout time.Duration // for a whole command line [5m], RFC 5321 §4.5.3.2.7
	DataTimeout    time.Duration // without an octet of message data [3m], RFC 5321 §4.5.3.2.5
	WriteTimeout   time.Duration // without progress of a reply [1m]
	MinRate        int64         // octets/s of message data, looked at after five minutes of one message [64]
	GreetPause     time.Duration // how long MX listens for early talkers before its banner [5ms; < 0: not at all]
	Log            *slog.Logger
	Metrics        *obs.Metrics // nil: none
}

// Defaults of Config, and fixed limits.
const (
	DefaultMaxMessageSize = 150 << 20
	DefaultMaxRecipients  = 1000
	DefaultMaxMails       = 10000
	DefaultMaxErrors      = 20
	DefaultMaxUnknown     = 200
	DefaultMaxChatter     = 1000
	DefaultMaxBarren      = 30 * time.Minute
	DefaultMaxUnderWay    = 1000
	DefaultMinRate        = 64
	DefaultGreetPause     = 5 * time.Millisecond
	BufferSize            = 64 << 10        // of a connection while a message flows: few reads, and it fits the cache
	idleSize              = 1 << 10         // of a connection otherwise: room for a pipelined MAIL, a dozen RCPT and DATA
	keepOut               = 4 << 10         // a reply buffer that grew larger is not kept
	rateGrace             = 5 * time.Minute // before MinRate counts
	lingerTime            = 500 * time.Millisecond
	lingerMax             = 1 << 20 // octets taken after our last words
)

func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	dur := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	if c.Hostname == "" {
		c.Hostname = "localhost"
	}
	if c.MaxMessageSize <= 0 {
		c.MaxMessageSize = DefaultMaxMessageSize
	}
	if c.MinRate <= 0 {
		c.MinRate = DefaultMinRate
	}
	if c.GreetPause == 0 {
		c.GreetPause = DefaultGreetPause
	}
	if c.Role != MX {
		c.GreetPause = -1
	}
	if c.Role == LMTP {
		def(&c.MaxErrors, 1000)
		def(&c.MaxChatter, 100000)
	} else {
		dur(&c.MaxBarren, DefaultMaxBarren)
		def(&c.MaxMails, DefaultMaxMails)
	}
	def(&c.MaxRecipients, DefaultMaxRecipients)
	def(&c.MaxErrors, DefaultMaxErrors)
	def(&c.MaxUnknown, DefaultMaxUnknown)
	def(&c.MaxUnderWay, DefaultMaxUnderWay)
	def(&c.MaxChatter, DefaultMaxChatter)
	dur(&c.CommandTimeout, 5*time.Minute)
	dur(&c.DataTimeout, 3*time.Minute)
	dur(&c.WriteTimeout, time.Minute)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// TooMany is what to say to a connection over the endpoint's limit (RFC 5321 §3.8), for listen.Endpoint.
const TooMany = "421 4.3.2 too many connections, try again later\r\n"

// Intake takes mail in; flow/intake is one.
type Intake interface {
	// Sender checks that login may send as from (submission).
	Sender(ctx context.Context, from mail.ReversePath, login mail.AccountID) error
	// Recipient resolves one recipient; size is what MAIL announced, 0 if nothing.
	Recipient(ctx context.Context, env *mail.Envelope, size int64, to mail.Recipient) ([]mail.Recipient, error)
	// Open begins a message. env does not change until Deliver or Abort.
	Open(ctx context.Context, env *mail.Envelope) Incoming
}

// Incoming is a message under way: its octets are written, then Deliver or
// Abort ends it. Deliver gets one group for each accepted RCPT, as Recipient
// returned them, and gives the receipts in the same order; its error is the answer for all.
type Incoming = interface {
	io.Writer
	Deliver(ctx context.Context, rcpts [][]mail.Recipient) ([][]mail.Receipt, error)
	Abort()
}

// Gate verifies logins; *listen.Gate is one.
type Gate interface {
	Mechanisms(c *listen.Conn) []string
	Begin(ctx context.Context, c *listen.Conn, mechanism string) (*listen.Exchange, error)
}

// Server serves connections in one role.
type Server struct {
	cfg      Config
	intake   Intake
	gate     Gate // nil: nobody logs in
	commands map[string]command
	bufs     sync.Pool // *[]byte of BufferSize
	underWay atomic.Int64
}

// New returns a Server. gate may be nil unless the role is Submission.
func New(cfg Config, intake Intake, gate Gate) *Server {
	s := &Server{cfg: cfg.withDefaults(), intake: intake, gate: gate, commands: commandsOf(cfg.Role)}
	s.bufs.New = func() any { b := make([]byte, BufferSize); return &b }
	return s
}

var _ listen.Handler = (*Server)(nil)

// Serve implements listen.Handler.
func (s *Server) Serve(ctx context.Context, c *listen.Conn) {
	x := &session{srv: s, cfg: &s.cfg, conn: c, ctx: ctx, work: context.WithoutCancel(ctx), start: time.Now(), id: c.ID()}
	x.fruit = x.start
	x.in = smtp.NewReader(x, x.small[:])
	x.run()
}
