package message

import (
	"strconv"
	"unicode/utf8"
)

const maxQuoted = 1000 // longer strings are literals: some clients have fixed line buffers

// appendString appends s as an IMAP string (RFC 9051 §4.3): quoted where that is
// allowed, else a literal, which may have 8-bit octets in any charset.
func appendString(b []byte, s string) []byte {
	if len(s) > maxQuoted {
		return appendLiteral(b, s)
	}
	n := len(b)
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x80 || c == '\r' || c == '\n' || c == 0 {
			return appendLiteral(b[:n], s)
		}
		if c == '"' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, c)
	}
	return append(b, '"')
}

func appendLiteral(b []byte, s string) []byte {
	b = append(b, '{')
	b = strconv.AppendInt(b, int64(len(s)), 10)
	b = append(b, '}', '\r', '\n')
	n := len(b)
	b = append(b, s...)
	for i := n; i < len(b); i++ {
		if b[i] == 0 { // no octet of a literal may be NUL
			b[i] = '?'
		}
	}
	return b
}

// appendNString is appendString with NIL for the empty string.
func appendNString(b []byte, s string) []byte {
	if s == "" {
		return append(b, "NIL"...)
	}
	return appendString(b, s)
}

func appendOptional(b []byte, s *string) []byte {
	if s == nil {
		return append(b, "NIL"...)
	}
	return appendString(b, *s)
}

// appendEnvelope appends the text of ENVELOPE (RFC 3501 §7.4.2).
func appendEnvelope(b []byte, e *Envelope) []byte {
	b = append(b, '(')
	b = appendOptional(b, e.Date)
	b = append(b, ' ')
	b = appendOptional(b, e.Subject)
	for _, l := range [...][]Address{e.From, e.Sender, e.ReplyTo, e.To, e.Cc, e.Bcc} {
		b = append(b, ' ')
		b = appendAddrs(b, l)
	}
	b = append(b, ' ')
	b = appendOptional(b, e.InReplyTo)
	b = append(b, ' ')
	b = appendOptional(b, e.MessageID)
	return append(b, ')')
}

// appendAddrs appends an address list. A NIL host marks a group's start, a NIL mailbox its end;
// so an address that lacks one of them has an empty string there.
func appendAddrs(b []byte, l []Address) []byte {
	if len(l) == 0 {
		return append(b, "NIL"...)
	}
	b = append(b, '(')
	for i := range l {
		a := &l[i]
		b = append(b, '(')
		b = appendNString(b, a.Name)
		b = append(b, ' ')
		b = appendNString(b, a.Route)
		b = append(b, ' ')
		switch {
		case a.Group:
			b = appendNString(b, a.Mailbox)
			b = append(b, " NIL"...)
		default:
			b = appendString(b, a.Mailbox)
			b = append(b, ' ')
			b = appendString(b, a.Host)
		}
		b = append(b, ')')
	}
	return append(b, ')')
}

// appendStructure appends the text of BODYSTRUCTURE (RFC 9051 §7.5.2).
func appendStructure(b []byte, p *Part) []byte {
	b = append(b, '(')
	if p.Type == "MULTIPART" {
		if len(p.Parts) == 0 { // the grammar wants one part; Dovecot too shows an empty text
			b = append(b, `("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 0 0 NIL NIL NIL NIL)`...)
		}
		for _, c := range p.Parts {
			b = appendStructure(b, c)
		}
		b = append(b, ' ')
		b = appendString(b, p.Subtype)
		b = append(b, ' ')
		b = appendParams(b, p.Params)
		return append(appendExtension(b, p), ')')
	}
	b = appendString(b, p.Type)
	b = append(b, ' ')
	b = appendString(b, p.Subtype)
	b = append(b, ' ')
	b = appendParams(b, p.Params)
	b = append(b, ' ')
	b = appendNString(b, p.ID)
	b = append(b, ' ')
	b = appendNString(b, p.Description)
	b = append(b, ' ')
	b = appendString(b, p.Encoding)
	b = append(b, ' ')
	b = strconv.AppendInt(b, p.End-p.BodyStart, 10)
	switch {
	case p.Type == "TEXT":
		b = append(b, ' ')
		b = strconv.AppendInt(b, p.Lines, 10)
	case p.Inner != nil:
		b = append(b, ' ')
		b = appendEnvelope(b, p.Envelope)
		b = append(b, ' ')
		b = appendStructure(b, p.Inner)
		b = append(b, ' ')
		b = strconv.AppendInt(b, p.Lines, 10)
	}
	b = append(b, ' ')
	b = appendNString(b, p.MD5)
	return append(appendExtension(b, p), ')')
}

// appendExtension appends disposition, language and location.
func appendExtension(b []byte, p *Part) []byte {
	if p.Disposition == "" {
		b = append(b, " NIL"...)
	} else {
		b = append(b, " ("...)
		b = appendString(b, p.Disposition)
		b = append(b, ' ')
		b = appendParams(b, p.DispParams)
		b = append(b, ')')
	}
	b = append(b, ' ')
	switch len(p.Language) {
	case 0:
		b = append(b, "NIL"...)
	case 1:
		b = appendString(b, p.Language[0])
	default:
		for i, l := range p.Language {
			b = append(b, "( "[min(i, 1)])
			b = appendString(b, l)
		}
		b = append(b, ')')
	}
	b = append(b, ' ')
	return appendNString(b, p.Location)
}

// appendParams appends a parameter list. RFC 3501 has no way to say a value's charset, so one
// that is not ASCII is written in the one form that RFC 2231 clients know: name* with UTF-8
// and percent signs, in one piece.
func appendParams(b []byte, l []Param) []byte {
	if len(l) == 0 {
		return append(b, "NIL"...)
	}
	for i := range l {
		b = append(b, "( "[min(i, 1)])
		if ascii(l[i].Value) {
			b = appendString(b, l[i].Name)
			b = append(b, ' ')
			b = appendString(b, l[i].Value)
			continue
		}
		b = appendString(b, l[i].Name+"*")
		b = append(b, ' ')
		b = appendString(b, string(appendExtValue(nil, l[i].Value)))
	}
	return append(b, ')')
}

// appendExtValue appends an RFC 2231 §4 extended value.
func appendExtValue(b []byte, v string) []byte {
	const hex = "0123456789ABCDEF"
	b = append(b, "utf-8''"...)
	for i := 0; i < len(v); i++ {
		c := v[i]
		if isToken(c) && c != '*' && c != '\'' && c != '%' {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}

func ascii(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
