package intake

import (
	"bytes"
	"crypto/rand"
	"strings"

	"bahnpost/mail"
	"bahnpost/wire/smtp"
)

// trace is what the header says about the way a mail came.
type trace struct {
	hops      int
	delivered []mail.Address // Delivered-To, at most MaxHops
}

// readTrace counts Received fields (RFC 5321 §6.3) and collects Delivered-To.
func readTrace(head []byte) trace {
	var t trace
	for field := range fields(head) {
		switch {
		case hasName(field, "received"):
			t.hops++
		case hasName(field, "delivered-to") && len(t.delivered) < MaxHops:
			v := strings.TrimSpace(string(field[len("delivered-to:"):]))
			v = strings.TrimSuffix(strings.TrimPrefix(v, "<"), ">")
			if a, err := mail.ParseAddress(v); err == nil {
				t.delivered = append(t.delivered, a)
			}
		}
	}
	return t
}

// fields yields the lines of a header that begin a field, without their continuation lines.
func fields(head []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(head) > 0 {
			i := bytes.IndexByte(head, '\n')
			line := head
			if i >= 0 {
				line, head = head[:i], head[i+1:]
			} else {
				head = nil
			}
			if len(line) > 0 && line[0] > ' ' && !yield(line) {
				return
			}
		}
	}
}

// hasName reports whether field is called name (lower case) and has its colon at once.
func hasName(field []byte, name string) bool {
	if len(field) <= len(name) || field[len(name)] != ':' || field[0]|0x20 != name[0] {
		return false
	}
	for i := range len(name) {
		c := field[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != name[i] {
			return false
		}
	}
	return true
}

// missing gives the fields that a message must have and a submitting client
// may leave to us: Date and Message-ID (RFC 6409 §8.2, §8.3).
func missing(head []byte, env *mail.Envelope, host string) []byte {
	var date, id bool
	for field := range fields(head) {
		date = date || hasName(field, "date")
		id = id || hasName(field, "message-id")
	}
	var b []byte
	if !id {
		if host == "" {
			host = "localhost"
		}
		b = append(b, "Message-ID: <"...)
		b = append(b, strings.ToLower(rand.Text())...)
		b = append(b, '@')
		b = append(b, host...)
		b = append(b, ">\r\n"...)
	}
	if !date {
		b = append(b, "Date: "...)
		b = env.Received.AppendFormat(b, smtp.DateFormat)
		b = append(b, '\r', '\n')
	}
	return b
}

// sameAccount reports whether a Delivered-To of d means the account that r
// leads to: the same address, with or without its detail.
func sameAccount(d mail.Address, r *mail.Recipient) bool {
	if d.Domain != r.Address.Domain {
		return false
	}
	if strings.EqualFold(d.Local, r.Address.Local) {
		return true
	}
	n := len(r.Detail)
	if n == 0 || len(r.Address.Local) <= n+1 || !strings.HasSuffix(r.Address.Local, r.Detail) {
		return false
	}
	return strings.EqualFold(d.Local, r.Address.Local[:len(r.Address.Local)-n-1])
}
