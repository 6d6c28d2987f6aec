// Package sasl is the server's half of four SASL mechanisms (RFC 4422): PLAIN
// (RFC 4616), LOGIN (draft-murchison-sasl-login), SCRAM-SHA-256 and
// SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677) with the channel bindings
// tls-server-end-point (RFC 5929 §4) and tls-exporter (RFC 9266).
//
// It knows bytes and proofs. It looks up nobody, throttles nothing and does no
// base64: serve/listen's Gate does the first two, the protocol the last, and
// the protocol also understands "*" (abort). Values are for one exchange and
// one goroutine. Every error is ErrMalformed or ErrRefused, wrapped with a
// text that holds nothing the client sent.
package sasl

import (
	"errors"

	"github.com/xdg-go/stringprep"
)

// Mechanism names (RFC 4422 §3.1).
const (
	Plain           = "PLAIN"
	Login           = "LOGIN"
	ScramSHA256     = "SCRAM-SHA-256"
	ScramSHA256Plus = "SCRAM-SHA-256-PLUS"
)

// MaxMessage bounds one client message in octets: four times what a name and a
// password of MaxField need with a channel binding.
const MaxMessage = 8192

// MaxField bounds a name or a password, in octets. RFC 4616 §2 asks that at
// least 255 are taken; long pass phrases and tokens are longer.
const MaxField = 1024

// ErrMalformed says that a message breaks the mechanism's grammar; ErrRefused
// that it is well-formed and wrong: proof, nonce or channel binding.
var (
	ErrMalformed = errors.New("sasl: malformed message")
	ErrRefused   = errors.New("sasl: refused")
)

// Prepare is SASLprep (RFC 4013) where it succeeds, and s itself where it does
// not: a password made on a system that never prepared strings may hold code
// points that SASLprep forbids or does not know, and must go on working.
func Prepare(s string) string {
	ascii := true
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] >= 0x7f {
			ascii = false
			break
		}
	}
	if ascii {
		return s
	}
	if p, err := stringprep.SASLprep.Prepare(s); err == nil {
		return p
	}
	return s
}
