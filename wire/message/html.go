package message

import (
	"bytes"
	"html"
)

// stripper takes HTML in pieces and yields its text: tags, comments, scripts and style sheets go,
// block elements break the line, character references are resolved. It is linear, keeps no tree
// and is no judge of correctness.
type stripper struct {
	yield func([]byte) bool
	out   []byte
	state htmlState
	quote byte   // in an attribute value
	value bool   // behind "=" of an attribute
	hold  []byte // beginning of what can't be decided yet: tag name, reference, end of a comment
	raw   string // element whose end is awaited: its text is skipped
	eager bool   // yield small pieces
	stop  bool
}

type htmlState uint8

const (
	htmlText htmlState = iota
	htmlOpen           // after "<"
	htmlName           // in a tag's name
	htmlTag            // in a tag, behind its name
	htmlComment
	htmlRef // in a character reference
	htmlRaw // in script or style
)

const (
	maxHTMLHold = 40      // longest tag name or reference that matters
	htmlFlush   = 8 << 10 // octets yielded at a time
)

// write takes a piece; false if nobody wants more.
func (s *stripper) write(b []byte) bool {
	for len(b) > 0 && !s.stop {
		switch s.state {
		case htmlText:
			b = s.text(b)
		case htmlOpen:
			b = s.open(b)
		case htmlName:
			b = s.name(b)
		case htmlTag:
			b = s.attributes(b)
		case htmlComment:
			b = s.comment(b)
		case htmlRef:
			b = s.reference(b)
		case htmlRaw:
			b = s.skipRaw(b)
		}
		if len(s.out) >= htmlFlush || s.eager && len(s.out) >= maxWord {
			s.flush()
		}
	}
	return !s.stop
}

// flush yields whole words.
func (s *stripper) flush() {
	n := cutWord(s.out)
	if !s.stop {
		s.stop = !s.yield(s.out[:n])
	}
	s.out = s.out[:copy(s.out, s.out[n:])]
}

// close ends the text.
func (s *stripper) close() {
	switch s.state {
	case htmlOpen:
		s.out = append(s.out, '<')
	case htmlRef:
		s.out = append(s.out, s.hold...)
	}
	if n := len(s.out); n > 0 && s.out[n-1] != '\n' {
		s.out = append(s.out, '\n')
	}
	if len(s.out) > 0 && !s.stop {
		s.stop = !s.yield(s.out)
	}
	s.out = s.out[:0]
}

func (s *stripper) text(b []byte) []byte {
	i := 0
	for i < len(b) && b[i] != '<' && b[i] != '&' {
		i++
	}
	if i == len(b) {
		s.out = append(s.out, b...)
		return nil
	}
	s.out = append(s.out, b[:i]...)
	if s.state = htmlOpen; b[i] == '&' {
		s.state, s.hold = htmlRef, append(s.hold[:0], '&')
	}
	return b[i+1:]
}

func (s *stripper) open(b []byte) []byte {
	c := b[0]
	switch {
	case c|0x20 >= 'a' && c|0x20 <= 'z' || c == '/' || c == '!' || c == '?':
		s.state, s.hold = htmlName, s.hold[:0]
	default:
		s.out = append(s.out, '<')
		s.state = htmlText
	}
	return b
}

func (s *stripper) name(b []byte) []byte {
	for i, c := range b {
		if c == '>' || c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '/' && len(s.hold) > 0 {
			s.state, s.quote, s.value = htmlTag, 0, false
			return b[i:]
		}
		if len(s.hold) < maxHTMLHold {
			if c >= 'A' && c <= 'Z' {
				c |= 0x20
			}
			s.hold = append(s.hold, c)
		}
		if len(s.hold) == 3 && string(s.hold) == "!--" {
			s.state, s.hold = htmlComment, s.hold[:0]
			return b[i+1:]
		}
	}
	return nil
}

func (s *stripper) attributes(b []byte) []byte {
	if s.quote != 0 {
		i := bytes.IndexByte(b, s.quote)
		if i < 0 {
			return nil
		}
		s.quote = 0
		return b[i+1:]
	}
	for i, c := range b {
		switch c {
		case '>':
			s.tag()
			return b[i+1:]
		case '=':
			s.value = true
		case '"', '\'':
			if s.value {
				s.value, s.quote = false, c
				return b[i+1:]
			}
		case ' ', '\t', '\r', '\n':
		default:
			s.value = false
		}
	}
	return nil
}

// tag acts on the end of a tag, whose name is in hold.
func (s *stripper) tag() {
	s.state = htmlText
	switch string(s.hold) {
	case "script", "style":
		s.raw, s.state = string(s.hold), htmlRaw
	case "a", "/a", "b", "/b", "i", "/i", "u", "/u", "em", "/em", "strong", "/strong", "span", "/span", "font", "/font",
		"sub", "/sub", "sup", "/sup", "small", "/small", "big", "/big", "tt", "/tt", "code", "/code", "wbr", "o:p", "/o:p",
		"s", "/s", "mark", "/mark", "abbr", "/abbr", "ins", "/ins", "del", "/del":
		// inside of words
	default:
		if n := len(s.out); n == 0 || s.out[n-1] != '\n' {
			s.out = append(s.out, '\n')
		}
	}
	s.hold = s.hold[:0]
}

func (s *stripper) comment(b []byte) []byte {
	for i, c := range b { // hold counts the dashes at the end
		switch {
		case c == '-':
			if len(s.hold) < 2 {
				s.hold = append(s.hold, c)
			}
		case c == '>' && len(s.hold) == 2:
			s.state, s.hold = htmlText, s.hold[:0]
			return b[i+1:]
		default:
			s.hold = s.hold[:0]
			if j := bytes.IndexByte(b[i:], '-'); j < 0 {
				return nil
			} else if j > 0 {
				return b[i+j:]
			}
		}
	}
	return nil
}

func (s *stripper) reference(b []byte) []byte {
	for i, c := range b {
		switch {
		case c == ';':
			s.hold = append(s.hold, c)
			s.resolve()
			return b[i+1:]
		case c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '#' && len(s.hold) == 1:
			if s.hold = append(s.hold, c); len(s.hold) <= maxHTMLHold {
				continue
			}
			i++
			fallthrough
		default:
			s.resolve()
			return b[i:]
		}
	}
	return nil
}

func (s *stripper) resolve() {
	s.state = htmlText
	switch string(s.hold) {
	case "&nbsp;":
		s.out = append(s.out, ' ')
	case "&amp;":
		s.out = append(s.out, '&')
	case "&lt;":
		s.out = append(s.out, '<')
	case "&gt;":
		s.out = append(s.out, '>')
	case "&shy;", "&zwnj;":
	default:
		if len(s.hold) < 3 {
			s.out = append(s.out, s.hold...)
			return
		}
		s.out = append(s.out, html.UnescapeString(string(s.hold))...)
	}
}

// skipRaw skips up to the end tag of a script or style element.
func (s *stripper) skipRaw(b []byte) []byte {
	if len(s.hold) == 0 {
		i := bytes.IndexByte(b, '<')
		if i < 0 {
			return nil
		}
		b = b[i+1:]
		s.hold = append(s.hold, '<')
	}
	for i, c := range b {
		n := len(s.hold)
		if n < 2+len(s.raw) {
			if n == 1 && c == '/' || n > 1 && c|0x20 == s.raw[n-2] {
				s.hold = append(s.hold, c)
				continue
			}
			s.hold = s.hold[:0]
			return b[i:]
		}
		if c == '>' {
			s.state, s.hold = htmlText, s.hold[:0]
			s.out = append(s.out, '\n')
			return b[i+1:]
		}
	}
	return nil
}
