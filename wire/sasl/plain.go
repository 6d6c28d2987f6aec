package sasl

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Credentials are what PLAIN and LOGIN transport.
type Credentials struct {
	AuthzID  string // whom to act as; "" is the login itself
	Login    string
	Password string
}

// ParsePlain reads the single message of PLAIN (RFC 4616 §2):
//
//	message = [authzid] NUL authcid NUL passwd
func ParsePlain(m []byte) (Credentials, error) {
	if len(m) > MaxMessage {
		return Credentials{}, malformed("message is too long")
	}
	authz, rest, ok1 := bytes.Cut(m, []byte{0})
	login, password, ok2 := bytes.Cut(rest, []byte{0})
	if !ok1 || !ok2 || bytes.IndexByte(password, 0) >= 0 {
		return Credentials{}, malformed("PLAIN needs exactly two NULs")
	}
	c := Credentials{string(authz), string(login), string(password)}
	return c, c.check()
}

// check is common to PLAIN and LOGIN.
func (c *Credentials) check() error {
	switch {
	case c.Login == "" || c.Password == "":
		return malformed("name or password is empty")
	case len(c.Login) > MaxField || len(c.Password) > MaxField || len(c.AuthzID) > MaxField:
		return malformed("name or password is too long")
	case !utf8.ValidString(c.Login) || !utf8.ValidString(c.AuthzID):
		return malformed("name is not UTF-8")
	}
	return nil // a password that is not UTF-8 may match an old hash of the same octets
}

// Prompts of LOGIN. Outlook and others match them; they are what everybody sends.
const (
	PromptUser = "Username:"
	PromptPass = "Password:"
)

// LoginServer is the conversation of LOGIN: two prompts, two answers. The zero
// value is ready.
type LoginServer struct {
	c     Credentials
	asked uint8 // prompts sent
}

// Next takes the client's message (nil: none yet) and returns the next prompt,
// or done. An initial response is the user name.
func (l *LoginServer) Next(m []byte) (prompt string, done bool, err error) {
	if len(m) > MaxMessage {
		return "", false, malformed("message is too long")
	}
	switch {
	case m == nil && l.asked == 0:
		l.asked = 1
		return PromptUser, false, nil
	case l.asked <= 1:
		l.asked = 2
		// Some clients send the name NUL ended, as C strings go.
		l.c.Login = string(bytes.TrimSuffix(m, []byte{0}))
		return PromptPass, false, nil
	case l.asked == 2:
		l.asked = 3
		l.c.Password = string(bytes.TrimSuffix(m, []byte{0}))
		return "", true, l.c.check()
	}
	return "", false, malformed("LOGIN is over")
}

// Credentials is valid after done.
func (l *LoginServer) Credentials() Credentials { return l.c }

func malformed(text string) error { return fmt.Errorf("%w: %s", ErrMalformed, text) }
func refused(text string) error   { return fmt.Errorf("%w: %s", ErrRefused, text) }
