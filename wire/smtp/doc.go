// Package smtp reads and writes the grammar of SMTP and LMTP: command lines,
// paths, ESMTP parameters, message data and replies (RFC 5321, 2033, 3030,
// 3461, 4954, 6152, 6531, 1870, 2034, 3463).
//
// It is not a session: package serve/smtpd decides what a command means, when
// it is allowed and what is answered. There is no clock, goroutine, logger or
// config here, and no value is safe for concurrent use.
//
// Only CR LF ends a line, in commands as in message data (RFC 5321 §2.3.8); a
// message that has a bare CR or LF is read to its true end and refused as a
// whole, so that no two systems can disagree about where a mail ends ("SMTP smuggling").
//
// Errors: a *SyntaxError carries the reply that the client should hear.
// ErrFlood and errors of the connection end the session.
package smtp

import "errors"

// Limits in octets.
const (
	MaxLine      = 4096      // command line with CRLF. RFC 5321 §4.5.3.1.4 says 512, and more for extensions; SMTPUTF8, ORCPT and AUTH= together need about 2,000
	MaxAuthLine  = 12288 + 2 // RFC 4954 §4: a base64 line during AUTH
	MaxReplyText = 450       // of one reply line, so that the line stays within the 512 of RFC 5321 §4.5.3.1.5
	MaxLocal     = 64        // RFC 5321 §4.5.3.1.1
	MaxDomain    = 255       // RFC 5321 §4.5.3.1.2
	MaxParams    = 20        // ESMTP parameters of a command; fewer are defined
	MaxEnvID     = 100       // RFC 3461 §4.4
	MaxOrcpt     = 500       // RFC 3461 §4.2
	maxSkip      = 64 << 10  // of an overlong line that is read and thrown away before we hang up
)

// What a Reader may find wrong. All but ErrFlood leave the reader at the next line.
var (
	ErrLineTooLong = errors.New("smtp: line too long")
	ErrBareCR      = errors.New("smtp: bare CR")
	ErrBareLF      = errors.New("smtp: bare LF")
	ErrTooLarge    = errors.New("smtp: message too large")
	ErrFlood       = errors.New("smtp: peer sends without end")
)

// SyntaxError is what is wrong with a command, as the reply to give.
type SyntaxError struct {
	Code   int
	Status string // enhanced status code, RFC 3463
	Text   string
}

func (e *SyntaxError) Error() string { return "smtp: " + e.Text }

func syntax(code int, status, text string) *SyntaxError { return &SyntaxError{code, status, text} }
