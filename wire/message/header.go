package message

import (
	"bytes"
	"strings"
)

// header holds the raw values of the fields that a Summary is made of, still
// folded; absent ones are invalid (ok false).
type header struct {
	contentType, encoding, id, description, md5, disposition, language, location rawField

	date, subject, inReplyTo, messageID, references rawField
	from, sender, replyTo, to, cc, bcc              addrField
}

// rawField is a field's value as it came; the first occurrence of a field counts (RFC 5322 §3.6).
type rawField struct {
	v  string
	ok bool
}

func (f *rawField) set(v string) {
	if !f.ok {
		f.v, f.ok = v, true
	}
}

// text returns the unfolded value, nil if the field is absent.
func (f *rawField) text() *string {
	if !f.ok {
		return nil
	}
	s := unfold(f.v)
	return &s
}

// addrField collects the addresses of all occurrences (RFC 5322 §4.5 lets old messages repeat them).
type addrField struct {
	v    string
	more []string
	ok   bool
}

func (f *addrField) set(v string) {
	if !f.ok {
		f.v, f.ok = v, true
	} else if len(f.more) < MaxAddresses {
		f.more = append(f.more, v)
	}
}

func (f *addrField) list() []Address {
	if !f.ok {
		return nil
	}
	l := appendAddresses(nil, f.v)
	for _, v := range f.more {
		l = appendAddresses(l, v)
	}
	return l
}

// scan sorts the fields of a header. Lines that are no field (a leading mbox "From " line, junk) are skipped.
func (h *header) scan(s string, envelope bool) {
	eol := byte('\n')
	if strings.IndexByte(s, '\n') < 0 {
		eol = '\r'
	}
	for len(s) > 0 {
		n := fieldEnd(s, eol)
		line := s[:n]
		s = s[n:]
		i := strings.IndexByte(line, ':')
		if i <= 0 || i > maxFieldName {
			continue
		}
		name := strings.TrimRight(line[:i], " \t")
		v := line[i+1:]
		h.field(name, v[:min(len(v), MaxHeaderField)], envelope)
	}
}

const maxFieldName = 998 // a line's length, RFC 5322 §2.1.1

// fieldEnd is the length of the field s begins with, continuation lines included.
func fieldEnd(s string, eol byte) int {
	n := 0
	for {
		i := strings.IndexByte(s[n:], eol)
		if i < 0 {
			return len(s)
		}
		n += i + 1
		if n >= len(s) || s[n] != ' ' && s[n] != '\t' {
			return n
		}
	}
}

// field keeps one field if it is of interest.
func (h *header) field(name, v string, envelope bool) {
	if len(name) > 7 && (name[0]|0x20 == 'c') && strings.EqualFold(name[:8], "content-") {
		h.content(name[8:], v)
		return
	}
	if !envelope || len(name) > 11 {
		return
	}
	var a *addrField
	var r *rawField
	switch len(name) {
	case 2:
		a = pick(name, "to", &h.to, pick(name, "cc", &h.cc, nil))
	case 3:
		a = pick(name, "bcc", &h.bcc, nil)
	case 4:
		a = pick(name, "from", &h.from, nil)
		r = pick(name, "date", &h.date, nil)
	case 6:
		a = pick(name, "sender", &h.sender, nil)
	case 7:
		r = pick(name, "subject", &h.subject, nil)
	case 8:
		a = pick(name, "reply-to", &h.replyTo, nil)
	case 10:
		r = pick(name, "message-id", &h.messageID, pick(name, "references", &h.references, nil))
	case 11:
		r = pick(name, "in-reply-to", &h.inReplyTo, nil)
	}
	if a != nil {
		a.set(v)
	}
	if r != nil {
		r.set(v)
	}
}

// content keeps a Content- field (RFC 2045 §3, RFC 2183, 1864, 3282, 2557).
func (h *header) content(name, v string) {
	var r *rawField
	switch len(name) {
	case 2:
		r = pick(name, "id", &h.id, nil)
	case 3:
		r = pick(name, "md5", &h.md5, nil)
	case 4:
		r = pick(name, "type", &h.contentType, nil)
	case 8:
		r = pick(name, "language", &h.language, pick(name, "location", &h.location, nil))
	case 11:
		r = pick(name, "description", &h.description, pick(name, "disposition", &h.disposition, nil))
	case 17:
		r = pick(name, "transfer-encoding", &h.encoding, nil)
	}
	if r != nil {
		r.set(v)
	}
}

func pick[T any](name, want string, yes, no *T) *T {
	if strings.EqualFold(name, want) {
		return yes
	}
	return no
}

// unfold undoes folding (RFC 5322 §2.2.3), trims, and takes out what an IMAP
// string can't hold: NUL becomes '?', a stray CR or LF a space.
func unfold(v string) string { return unfoldOnly(strings.Trim(v, " \t\r\n")) }

func unfoldOnly(v string) string {
	for i := 0; i < len(v); i++ {
		if c := v[i]; c == '\r' || c == '\n' || c == 0 {
			return unfoldSlow(v, i)
		}
	}
	return v
}

func unfoldSlow(v string, i int) string {
	b := make([]byte, i, len(v))
	copy(b, v)
	return string(appendUnfolded(b, v[i:]))
}

func appendUnfolded[T string | []byte](b []byte, v T) []byte {
	for i := 0; i < len(v); i++ {
		switch c := v[i]; c {
		case 0:
			b = append(b, '?')
		case '\r', '\n':
			if c == '\r' && i+1 < len(v) && v[i+1] == '\n' {
				i++
			}
			if i+1 < len(v) && v[i+1] != ' ' && v[i+1] != '\t' {
				b = append(b, ' ')
			}
		default:
			b = append(b, c)
		}
	}
	return b
}

// readHeader fills part from the header octets read; for the root of a message its envelope too.
func (p *Parser) readHeader(part *Part, digest bool) {
	var h header
	raw := p.hdr
	if p.looked > headersBudget {
		raw = raw[:min(len(raw), headerRest)]
	}
	p.looked += len(raw)
	h.scan(string(raw), p.inner)
	part.Type, part.Subtype, part.Params = parseContentType(h.contentType)
	if digest && !h.contentType.ok { // RFC 2046 §5.1.5
		part.Type, part.Subtype, part.Params = "MESSAGE", "RFC822", nil
	}
	part.Encoding = parseEncoding(h.encoding)
	part.ID = unfold(h.id.v)
	part.Description = unfold(h.description.v)
	part.MD5 = unfold(h.md5.v)
	part.Disposition, part.DispParams = parseDisposition(h.disposition)
	part.Language = parseLanguage(h.language)
	part.Location = unfold(h.location.v)
	if !p.inner {
		return
	}
	env := &p.env
	if len(p.stack) > 0 {
		env = p.stack[len(p.stack)-1].part.Envelope
	} else {
		p.refs = unfold(h.references.v)
	}
	*env = h.envelope()
}

// Fields iterates over the header fields of raw header bytes (up to the empty
// line): name as written, raw value with folding, and the whole field's octets.
// Lines that are no field are passed over.
func Fields(header []byte, yield func(name string, value, whole []byte) bool) {
	eachField(header, func(name, value, whole []byte) bool { return yield(string(name), value, whole) })
}

func eachField(header []byte, yield func(name, value, whole []byte) bool) {
	eol := byte('\n')
	if bytes.IndexByte(header, '\n') < 0 {
		eol = '\r'
	}
	for len(header) > 0 {
		if header[0] == eol || header[0] == '\r' && len(header) > 1 && header[1] == '\n' {
			return
		}
		n := 0
		for n < len(header) && (n == 0 || header[n] == ' ' || header[n] == '\t') {
			if i := bytes.IndexByte(header[n:], eol); i >= 0 {
				n += i + 1
			} else {
				n = len(header)
			}
		}
		whole := header[:n]
		header = header[n:]
		i := bytes.IndexByte(whole[:min(len(whole), maxFieldName+1)], ':')
		if i <= 0 {
			continue
		}
		name := bytes.TrimRight(whole[:i], " \t")
		if len(name) == 0 || bytes.HasPrefix(name, []byte("From ")) || bytes.ContainsAny(name, "\r\n") {
			continue
		}
		if !yield(name, whole[i+1:], whole) {
			return
		}
	}
}

// envelope makes RFC 3501 §7.4.2 envelope fields: absent or empty Sender and Reply-To are From.
func (h *header) envelope() Envelope {
	e := Envelope{
		Date: h.date.text(), Subject: h.subject.text(), InReplyTo: h.inReplyTo.text(), MessageID: h.messageID.text(),
		From: h.from.list(), Sender: h.sender.list(), ReplyTo: h.replyTo.list(),
		To: h.to.list(), Cc: h.cc.list(), Bcc: h.bcc.list(),
	}
	if len(e.Sender) == 0 {
		e.Sender = e.From
	}
	if len(e.ReplyTo) == 0 {
		e.ReplyTo = e.From
	}
	return e
}

// Find returns the part that an IMAP section part specifier (1-based numbers, RFC 9051 §6.4.5) names, nil if there is none.
// For a message/rfc822 part numbers go on inside it. An empty path is the root.
// Part 1 of a message that is not multipart is its body: the root itself.
func (p *Part) Find(path []int) *Part {
	root := true // p is the root of a message
	for i, n := range path {
		if i > 0 && p.Inner != nil {
			p, root = p.Inner, true
		} else if i > 0 {
			root = false
		}
		switch {
		case p.Type == "MULTIPART":
			if n < 1 || n > len(p.Parts) {
				return nil
			}
			p = p.Parts[n-1]
		case !root || n != 1:
			return nil
		}
	}
	return p
}
