package imap

import (
	"io"
	"strconv"
	"strings"
	"time"
)

// AppendOptions stand before each message of APPEND and REPLACE (RFC 9051 §6.3.12).
type AppendOptions struct {
	Flags []string
	Date  time.Time // zero if not given
}

// AppendOptions reads [flag-list SP] [date-time SP].
func (d *Decoder) AppendOptions() (o AppendOptions) {
	if d.Peek() == '(' {
		o.Flags = d.FlagList()
		d.SP()
	}
	if d.Peek() == '"' {
		o.Date = d.DateTime()
		d.SP()
	}
	return o
}

// AppendData reads the message of APPEND: a literal, a literal8, "UTF8
// (~{n}…)" (RFC 6855 §4) or "CATENATE (…)" (RFC 4469 §3). Texts are streamed to
// text, URLs handed to url; accept may refuse an announced size before the
// client is asked to go on. An error of these functions sticks like one of syntax.
func (d *Decoder) AppendData(accept func(Announced) error, text func(io.Reader) error, url func(string) error) {
	stream := func(eight bool) {
		r, _ := d.Stream(eight, accept)
		if d.err == nil {
			d.FailErr(text(r))
			d.EndStream()
		}
	}
	switch {
	case d.Is("UTF8"):
		d.SP()
		d.Open()
		stream(true)
		d.Close()
	case d.Is("CATENATE"):
		d.SP()
		d.List(false, func() {
			switch {
			case d.Is("TEXT"):
				d.SP()
				stream(true)
			case d.Is("URL"):
				d.SP()
				if u := d.AString(); d.err == nil {
					d.FailErr(url(u))
				}
			default:
				d.wanted("TEXT or URL")
			}
		})
	default:
		stream(true)
	}
}

// MessageURL is a relative IMAP URL of a message or a part of one (RFC 5092 §7, RFC 2192).
type MessageURL struct {
	Mailbox     string // UTF-8; "" if relative to the selected mailbox
	UIDValidity uint32 // 0: not given
	UID         uint32
	Section     Section
	Partial     bool
	Offset      int64
	Count       int64 // 0: to the end
}

// ParseMessageURL reads "/Drafts;UIDVALIDITY=385759045/;UID=20/;SECTION=1.2/;PARTIAL=0.1024".
// Absolute URLs and those that name no message are refused (RFC 4469 §3).
func ParseMessageURL(s string) (u MessageURL, ok bool) {
	if len(s) > MaxLine || strings.Contains(s, "://") || strings.HasPrefix(s, "//") {
		return u, false
	}
	path, rest, found := cutFold(s, ";UID=")
	if !found {
		return u, false
	}
	if path != "" {
		if !u.mailbox(path) {
			return u, false
		}
	}
	uid, rest, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(uid, 10, 32)
	if err != nil || n == 0 {
		return u, false
	}
	u.UID = uint32(n)
	for rest != "" {
		var part string
		if part, rest, _ = strings.Cut(rest, "/"); part == "" {
			continue
		}
		if !u.extra(part) {
			return u, false
		}
	}
	return u, true
}

// mailbox reads "/name;UIDVALIDITY=n/".
func (u *MessageURL) mailbox(path string) bool {
	name := strings.TrimSuffix(path, "/")
	if !strings.HasPrefix(path, "/") && name == "" {
		return false
	}
	name = strings.TrimPrefix(name, "/")
	if before, validity, found := cutFold(name, ";UIDVALIDITY="); found {
		n, err := strconv.ParseUint(validity, 10, 32)
		if err != nil || n == 0 {
			return false
		}
		name, u.UIDValidity = before, uint32(n)
	}
	if name == "" {
		return true
	}
	dec, ok := percent(name)
	if !ok {
		return false
	}
	u.Mailbox = FoldInbox(dec)
	return true
}

// extra reads ";SECTION=1.2" or ";PARTIAL=0.1024".
func (u *MessageURL) extra(part string) bool {
	if _, sec, found := cutFold(part, ";SECTION="); found {
		dec, ok := percent(sec)
		if !ok {
			return false
		}
		d := &Decoder{line: []byte("[" + dec + "]")}
		u.Section = d.section()
		return d.err == nil && d.AtEnd()
	}
	if _, p, found := cutFold(part, ";PARTIAL="); found {
		off, count, _ := strings.Cut(p, ".")
		var err error
		u.Partial = true
		if u.Offset, err = strconv.ParseInt(off, 10, 63); err != nil || u.Offset < 0 {
			return false
		}
		if count != "" {
			if u.Count, err = strconv.ParseInt(count, 10, 63); err != nil || u.Count <= 0 {
				return false
			}
		}
		return true
	}
	return false
}

// cutFold is strings.Cut with sep (upper case ASCII) in any case.
func cutFold(s, sep string) (before, after string, found bool) {
	for i := 0; i+len(sep) <= len(s); i++ {
		if s[i] == sep[0] && strings.EqualFold(s[i:i+len(sep)], sep) {
			return s[:i], s[i+len(sep):], true
		}
	}
	return s, "", false
}

// percent decodes %xx (RFC 3986 §2.1).
func percent(s string) (string, bool) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil || n == 0 {
			return "", false
		}
		b = append(b, byte(n))
		i += 2
	}
	return string(b), true
}
