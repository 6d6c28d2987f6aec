// Package obs is how operators see the house: structured logs (log/slog),
// Prometheus metrics on a registry of our own, and the short references that
// tie what a client heard to what the log says.
//
// Safe for concurrent use. Nothing here ever receives a password or a body.
package obs

import (
	"crypto/rand"
	"io"
	"log/slog"
)

// NewLog returns a logger that writes lines of text or JSON to w at level and
// above, whole lines in each write. level may be changed while running. Lines
// below Warn come a moment later; flush writes those that wait: to be called
// before the process ends.
func NewLog(w io.Writer, json bool, level *slog.LevelVar) (log *slog.Logger, flush func()) {
	out := &lines{to: w}
	o := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewTextHandler(out, o)
	if json {
		h = slog.NewJSONHandler(out, o)
	}
	return slog.New(urgent{h, out}), out.flush
}

// refAlphabet leaves out letters that are misread over the telephone.
const refAlphabet = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"

// Ref returns a new reference like "7F3KQ2": what a client is told about an
// internal error, and what the log line that explains it carries.
func Ref() string {
	var b [6]byte
	rand.Read(b[:])
	for i, c := range b {
		b[i] = refAlphabet[c%32]
	}
	return string(b[:])
}
