package imapd

import (
	"log/slog"
	"time"

	"bahnpost/store/mailstore"
)

// Config has a working zero value; defaults in brackets.
type Config struct {
	// AutoLogout ends a session that says nothing [35m]. RFC 9051 §5.4 wants 30
	// minutes at least; clients that idle renew after 29.
	AutoLogout time.Duration
	// PreAuthTimeout ends a connection that does not log in [60s].
	PreAuthTimeout time.Duration
	// CommandTimeout is the longest silence within a command: between the
	// pieces of a line or a literal [5m].
	CommandTimeout time.Duration
	// WriteTimeout is how long a client may refuse to read [2m]: it holds buffers meanwhile. A slow one has all the time it needs.
	WriteTimeout time.Duration
	// MaxMessage is APPENDLIMIT in octets [mailstore.MaxMessageSize].
	MaxMessage int64
	// MaxBad is how many malformed commands in a row end a session that has
	// not logged in [20]; after login it takes five times as many.
	MaxBad int
	// Version is told by ID after login [""].
	Version string
	// Hostname stands in the greeting [""].
	Hostname string
	// Log gets one line at the end of a session; nil discards.
	Log *slog.Logger
	// Metrics may be left empty.
	Metrics Metrics
}

// Metrics are hooks to count with; each may be nil. They are called from many goroutines.
type Metrics struct {
	Command  func(name string, took time.Duration, ok bool)
	Session  func(open int) // +1 or -1
	Pushed   func(took time.Duration)
	Panicked func()
}

const (
	defaultAutoLogout     = 35 * time.Minute
	defaultPreAuthTimeout = time.Minute
	defaultCommandTimeout = 5 * time.Minute
	defaultWriteTimeout   = 2 * time.Minute
	defaultMaxBad         = 20
	maxBadKnown           = 5 // times MaxBad, for those who logged in

	// maxDiscard bounds a non-synchronising literal that is read only to be
	// dropped (RFC 7888 §4): a refused message of the largest size still fits.
	maxDiscard = mailstore.MaxMessageSize + 1<<20
	// maxSkippedLine bounds how much of a line that is too long is skipped
	// before the connection ends.
	maxSkippedLine = 1 << 20
	// maxPipelined bounds the answers that wait while a client sends on
	// without reading: beyond, they are written at once.
	maxPipelined = 16 << 10
)

func (c Config) withDefaults() Config {
	c.AutoLogout = orDuration(c.AutoLogout, defaultAutoLogout)
	c.PreAuthTimeout = orDuration(c.PreAuthTimeout, defaultPreAuthTimeout)
	c.CommandTimeout = orDuration(c.CommandTimeout, defaultCommandTimeout)
	c.WriteTimeout = orDuration(c.WriteTimeout, defaultWriteTimeout)
	if c.MaxMessage <= 0 || c.MaxMessage > mailstore.MaxMessageSize {
		c.MaxMessage = mailstore.MaxMessageSize
	}
	if c.MaxBad <= 0 {
		c.MaxBad = defaultMaxBad
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func orDuration(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}
