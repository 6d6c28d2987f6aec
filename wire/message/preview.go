package message

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// preview makes the preview (RFC 8970) of the captured beginnings: of text/plain, and if that
// has none, of text/html. Nothing is left out but white space.
func (p *Parser) preview() string {
	for _, c := range [...]struct {
		part *Part
		raw  []byte
	}{{p.plainP, p.plain}, {p.markupP, p.markup}} {
		if c.part == nil {
			continue
		}
		if s := previewOf(c.part, c.raw); s != "" {
			return s
		}
	}
	return ""
}

func previewOf(part *Part, raw []byte) string {
	if n := part.End - part.BodyStart; int64(len(raw)) > n {
		raw = raw[:n]
	}
	var out preview
	out.b = out.buf[:0]
	c := textChunks{buf: make([]byte, 8<<10)}
	c.textOf(part, bytes.NewReader(raw), out.add)
	return string(bytes.TrimRight(out.b, " "))
}

// preview collects the first PreviewRunes runes, white space collapsed.
type preview struct {
	buf [4 * PreviewRunes]byte
	b   []byte
	n   int
}

// add takes UTF-8 text, false when it has enough.
func (p *preview) add(text []byte) bool {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		text = text[n:]
		if r == '\ufeff' || r == '\u200b' || r == '\u200c' || r == '\u034f' || r == '\u00ad' { // padding of newsletters
			continue
		}
		if unicode.IsSpace(r) || r < ' ' || r == 0x7f {
			if p.n == 0 || p.b[len(p.b)-1] == ' ' {
				continue
			}
			r = ' '
		}
		p.b = utf8.AppendRune(p.b, r)
		if p.n++; p.n >= PreviewRunes {
			return false
		}
	}
	return true
}
