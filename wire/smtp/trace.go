package smtp

import (
	"net/netip"
	"strings"
	"time"
)

// Trace is what a Received field says (RFC 5321 §4.4).
type Trace struct {
	Helo   string    // what the client called itself, unchecked
	IP     string    // client's address; "" if there is none (a local socket)
	By     string    // our host name
	With   string    // RFC 3848 keyword
	Cipher string    // TLS cipher name (RFC 8314 §4.3); "" without TLS
	ID     string    // our name for this mail; "" to leave it out
	For    string    // the only recipient of this copy, as the client wrote it; "" to leave it out
	At     time.Time // in the zone it is to be shown in
}

// AppendTo formats t as a folded Received field with CRLF. Whatever of the
// client's words is not a domain or address literal does not get in.
func (t *Trace) AppendTo(dst []byte) []byte {
	dst = append(dst, "Received: from "...)
	lit := literal(t.IP)
	helo := t.Helo
	if len(helo) == 0 || domain(helo) != len(helo) || !isASCII(helo) && !strings.HasPrefix(t.With, "UTF8") {
		if helo = lit; helo == "" {
			helo = "unknown"
		}
	}
	dst = append(dst, helo...)
	if lit != "" {
		dst = append(dst, " ("...)
		dst = append(dst, lit...)
		dst = append(dst, ')')
	}
	dst = append(dst, "\r\n\tby "...)
	dst = append(dst, t.By...)
	dst = append(dst, " with "...)
	dst = append(dst, t.With...)
	if t.ID != "" {
		dst = append(dst, " id "...)
		dst = append(dst, t.ID...)
	}
	if t.For != "" {
		dst = append(dst, "\r\n\tfor <"...)
		dst = append(dst, t.For...)
		dst = append(dst, '>')
	}
	if t.Cipher != "" {
		dst = append(dst, "\r\n\ttls "...)
		dst = append(dst, t.Cipher...)
	}
	dst = append(dst, ";\r\n\t"...)
	dst = t.At.AppendFormat(dst, DateFormat)
	return append(dst, '\r', '\n')
}

// DateFormat is the layout of date-time without obsolete forms (RFC 5322 §3.3).
const DateFormat = "Mon, 2 Jan 2006 15:04:05 -0700"

// literal writes an IP address as address-literal (RFC 5321 §4.1.3).
func literal(ip string) string {
	a, err := netip.ParseAddr(ip)
	switch {
	case err != nil:
		return ""
	case a.Is4() || a.Is4In6():
		return "[" + a.Unmap().String() + "]"
	}
	return "[IPv6:" + a.WithZone("").String() + "]"
}

// With gives the "with" keyword (RFC 3848, RFC 6531 §4.3). Plain SMTP (after
// HELO) has no variants.
func With(lmtp, extended, utf8, tls, auth bool) string {
	if !lmtp && !extended {
		return "SMTP"
	}
	s := "ESMTP"
	switch {
	case utf8 && lmtp:
		s = "UTF8LMTP"
	case utf8:
		s = "UTF8SMTP"
	case lmtp:
		s = "LMTP"
	}
	if tls {
		s += "S"
	}
	if auth {
		s += "A"
	}
	return s
}
