package pop3d

import (
	"context"
	"log/slog"
	"time"

	"bahnpost/mail"
)

// Config has a working zero value; defaults in brackets.
type Config struct {
	// IdleTimeout ends a session that says nothing, without deleting [10m: the
	// least that RFC 1939 §3 allows].
	IdleTimeout time.Duration
	// LoginTimeout ends a connection that does not log in [3m]. RFC 1939 §3 says
	// 10 minutes here too; strangers get less, because connections are finite.
	LoginTimeout time.Duration
	// WriteTimeout is how long a client may refuse to read [2m]: it holds buffers meanwhile. A slow one has all the time it needs.
	WriteTimeout time.Duration
	// UIDLFormat is the template of unique ids of accounts that have none of
	// their own [DefaultUIDLFormat], see ParseUIDL.
	UIDLFormat string
	// AccountUIDLFormat returns the account's own template, "" if it has none; nil: no account has.
	AccountUIDLFormat func(ctx context.Context, a mail.AccountID) (string, error)
	// MarkSeen makes QUIT set \Seen on the messages that were retrieved, so that
	// IMAP clients show them as read [off].
	MarkSeen bool
	// MaxMessages bounds what a session shows, the oldest first; what is beyond
	// appears when those are deleted [1,000,000: 24 MB in a session].
	MaxMessages int
	// MaxBad is how many bad commands in a row end the session [20];
	// MaxFailures how many failed logins [5].
	MaxBad, MaxFailures int
	// Hostname stands in the greeting [""].
	Hostname string
	// Log gets one line at the end of a session; nil discards.
	Log *slog.Logger
	// Metrics may be left empty.
	Metrics Metrics
}

// Metrics are hooks to count with; each may be nil. They are called from many goroutines.
type Metrics struct {
	Command func(name string, took time.Duration, ok bool)
	Session func(open int) // +1 or -1
}

// DefaultUIDLFormat is what Cyrus uses: it cannot repeat within an account.
const DefaultUIDLFormat = "%v.%u"

const (
	defaultIdleTimeout  = 10 * time.Minute
	defaultLoginTimeout = 3 * time.Minute
	defaultWriteTimeout = 2 * time.Minute
	defaultMaxMessages  = 1_000_000
	defaultMaxBad       = 20
	defaultMaxFailures  = 5

	// maxLine is RFC 5034 §4's bound of a SASL response, with its CRLF; a
	// command needs 255 octets (RFC 2449 §4).
	maxLine = 12288 + 2
	// maxSkipped bounds how much of a line that is too long is skipped.
	maxSkipped = 1 << 20
)

func (c Config) withDefaults() Config {
	dur := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	num := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	dur(&c.IdleTimeout, defaultIdleTimeout)
	dur(&c.LoginTimeout, defaultLoginTimeout)
	dur(&c.WriteTimeout, defaultWriteTimeout)
	num(&c.MaxMessages, defaultMaxMessages)
	num(&c.MaxBad, defaultMaxBad)
	num(&c.MaxFailures, defaultMaxFailures)
	if c.UIDLFormat == "" {
		c.UIDLFormat = DefaultUIDLFormat
	}
	if c.AccountUIDLFormat == nil {
		c.AccountUIDLFormat = func(context.Context, mail.AccountID) (string, error) { return "", nil }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}
