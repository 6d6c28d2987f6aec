package message

import "strings"

// ParseAddressList parses an address header value leniently (RFC 5322 §3.4 with the
// obsolete syntax of §4.4): it returns at most MaxAddresses entries and never fails.
// "user@host (Full Name)" takes its name from the comment; an address without domain has an
// empty Host.
func ParseAddressList(raw string) []Address { return appendAddresses(nil, raw) }

func appendAddresses(l []Address, raw string) []Address {
	p := addrParser{s: unfold(raw), out: l}
	p.reset()
	for p.i < len(p.s) && len(p.out) < MaxAddresses {
		p.step()
	}
	p.flush()
	p.endGroup()
	return p.out
}

// addrParser walks once over a field. Words are kept as spans of s and only
// put together when the address ends.
type addrParser struct {
	s     string
	i     int
	out   []Address
	group bool // inside a group
	after bool // behind a <...>, up to the next comma: what comes without @ is junk

	start, end int // span of the words since the last separator; start < 0: none
	at         int // last @ in it, -1
	local      int // where the local part before it begins
	gap        int // last word that has white space before it, and no dot or @ on either side, -1
	before     int // end of the word before gap
	name       int // end of what stands before local, -1 if nothing does
	comment    string
	stray      bool // there is a quote that nothing closes: quotes are letters
}

func (p *addrParser) reset() {
	p.start, p.end, p.at, p.gap, p.name, p.comment = -1, -1, -1, -1, -1, ""
}

// step takes one token.
func (p *addrParser) step() {
	switch c := p.s[p.i]; c {
	case ' ', '\t':
		p.i++
	case '(':
		text, rest := comment(p.s[p.i:])
		p.comment = text
		p.i = len(p.s) - len(rest)
	case ',':
		p.flush()
		p.after = false
		p.i++
	case ';':
		p.flush()
		p.endGroup()
		p.after = false
		p.i++
	case ':':
		if !p.group && p.at < 0 && p.start >= 0 {
			if name := p.phrase(p.start, p.end); name != "" {
				p.out = append(p.out, Address{Mailbox: name, Group: true})
				p.group = true
			}
			p.reset()
			p.i++
			return
		}
		p.word(p.i + 1)
	case '<':
		p.angle()
	case '@':
		p.atSign()
	default:
		p.word(p.wordEnd(p.i))
	}
}

// atSign ends the local part, before which "Some Name", and even another address, may stand without
// brackets and comma.
func (p *addrParser) atSign() {
	switch {
	case p.start < 0:
		p.start, p.local = p.i, p.i
	case p.at < 0 && p.gap < 0:
		p.local = p.start
	case p.at < 0:
		p.local, p.name = p.gap, p.before
	case p.gap >= 0:
		local, comment := p.gap, p.comment
		p.flush()
		p.start, p.local, p.comment = local, local, comment
	}
	p.at, p.gap = p.i, -1
	p.word(p.i + 1)
}

// word adds the octets up to end to the span.
func (p *addrParser) word(end int) {
	if p.start < 0 {
		p.start = p.i
	} else if p.i > p.end && !joins(p.s[p.i]) && !joins(p.s[p.end-1]) {
		p.gap, p.before = p.i, p.end
	}
	p.i, p.end = end, end
}

// joins reports whether white space beside c is only folding (RFC 5322 §4.4).
func joins(c byte) bool { return c == '.' || c == '@' }

// wordEnd is the end of the quoted-string, domain-literal or run of other octets at i.
func (p *addrParser) wordEnd(i int) int {
	s := p.s
	switch s[i] {
	case '"':
		if !p.stray {
			if n := quotedLen(s[i:]); n > 0 {
				return i + n
			}
			p.stray = true
		}
		return i + 1
	case '[':
		if j := strings.IndexAny(s[i+1:], "[],<"); j >= 0 && s[i+1+j] == ']' {
			return i + j + 2
		}
		return i + 1
	}
	for i++; i < len(s); i++ {
		switch s[i] {
		case ' ', '\t', '(', ',', ';', ':', '<', '@', '"', '[':
			return i
		}
	}
	return i
}

// quotedLen is the length of the quoted-string that s begins with, 0 if nothing closes it.
func quotedLen(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// flush ends an address without angle brackets.
func (p *addrParser) flush() {
	defer p.reset()
	if p.start < 0 || p.after && p.at < 0 || len(p.out) >= MaxAddresses {
		return
	}
	a := Address{Name: strings.TrimSpace(unquote(p.comment))}
	switch {
	case p.at >= 0:
		end := p.end
		if p.gap >= 0 { // what follows the domain is no part of it
			end = p.before
		}
		a.Mailbox, a.Host = p.joined(p.local, p.at), p.joined(p.at+1, end)
		if p.name >= 0 {
			a.Name = p.phrase(p.start, p.name)
		}
	case p.gap >= 0: // several words are nobody's mailbox
		a.Name = p.phrase(p.start, p.end)
	default:
		a.Mailbox = p.phrase(p.start, p.end)
	}
	if a == (Address{}) {
		return
	}
	p.out = append(p.out, a)
}

func (p *addrParser) endGroup() {
	if p.group {
		p.out = append(p.out, Address{Group: true})
		p.group = false
	}
}

// angle reads "<" [route ":"] addr-spec ">" behind the phrase.
func (p *addrParser) angle() {
	var a Address
	if p.at >= 0 && p.s[p.start] != '"' && strings.IndexByte(p.s[p.start:p.end], ' ') < 0 {
		a.Name = p.s[p.start:p.end] // a@b <a@b>
	} else if p.start >= 0 {
		a.Name = p.phrase(p.start, p.end)
	}
	p.i++
	p.i += len(p.s[p.i:]) - len(skipCFWS(p.s[p.i:]))
	if p.i < len(p.s) && p.s[p.i] == '@' {
		if j := strings.IndexAny(p.s[p.i:], ":><\""); j >= 0 && p.s[p.i+j] == ':' {
			a.Route = p.joined(p.i, p.i+j)
			p.i += j + 1
		}
	}
	start, at, end := p.i, -1, -1
	for end < 0 {
		if p.i >= len(p.s) {
			end = p.i
			break
		}
		switch p.s[p.i] {
		case '>':
			end = p.i
			p.i++
		case ',', ';', '<':
			end = p.i
		case '@':
			at = p.i
			p.i++
		case '(':
			_, rest := comment(p.s[p.i:])
			p.i = len(p.s) - len(rest)
		case '"':
			p.i = p.wordEnd(p.i)
		default:
			p.i++
		}
	}
	if at >= 0 {
		a.Mailbox, a.Host = p.joined(start, at), p.joined(at+1, end)
	} else {
		a.Mailbox = p.joined(start, end)
	}
	p.reset()
	p.after = true
	if a.Mailbox == "" && a.Host == "" && a.Name == "" { // "<>"
		return
	}
	p.out = append(p.out, a)
}

// phrase is the words of s[from:to], unquoted, without comments, one space where white space was.
func (p *addrParser) phrase(from, to int) string { return words(p.s[from:to], " ") }

// joined is phrase without the white space (RFC 5322 §4.4 lets it stand around dots and @).
func (p *addrParser) joined(from, to int) string { return words(p.s[from:to], "") }

func words(s, sep string) string {
	s = strings.Trim(s, " \t")
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		switch s[i] {
		case '"', '(', '\\', '\t':
			plain = false
		case ' ':
			plain = sep == " " && s[i+1] != ' '
		}
	}
	if plain {
		return s
	}
	if s[0] == '"' {
		if n := quotedLen(s); n == len(s) {
			return unquote(s[1 : n-1])
		}
	}
	b := make([]byte, 0, len(s))
	gap := false
	for s != "" {
		switch s[0] {
		case ' ', '\t', '(':
			s = skipCFWS(s)
			gap = true
			continue
		}
		if gap && len(b) > 0 {
			b = append(b, sep...)
		}
		gap = false
		if s[0] == '"' {
			var v string
			v, s = quoted(s)
			b = append(b, v...)
			continue
		}
		n := 1
		for n < len(s) && s[n] != ' ' && s[n] != '\t' && s[n] != '(' && s[n] != '"' {
			n++
		}
		b = append(b, unquote(s[:n])...)
		s = s[n:]
	}
	return string(b)
}
