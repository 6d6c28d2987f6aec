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
		if s := p.pv.previewOf(c.part, c.raw); s != "" {
			return s
		}
	}
	return ""
}

// previewBlock is how much is decoded at a time until there are PreviewRunes.
const previewBlock = 2 << 10

// previewer has what previewOf reuses from message to message.
type previewer struct {
	dec  stepper
	text []byte
	html stripper
	out  []byte
	n    int // runes in out
}

func (p *previewer) reset() { p.out, p.n = p.out[:0], 0 }

// previewOf makes the preview of raw, the beginning of part's encoded octets.
func (p *previewer) previewOf(part *Part, raw []byte) string {
	if n := part.End - part.BodyStart; int64(len(raw)) > n {
		raw = raw[:n]
	}
	p.reset()
	p.dec.start(part.Encoding)
	name := param(part.Params, "CHARSET")
	kind, _ := charset(name)
	sink := p.add
	if part.Subtype == "HTML" {
		p.html = stripper{yield: p.add, eager: true, out: p.html.out[:0], hold: p.html.hold[:0]}
		sink = p.html.write
	}
	text := p.text[:0]
	for more := true; more && len(raw) > 0; {
		n := len(raw)
		whole := kind == charsetUTF8 || kind == charsetGuess
		if whole { // others have states and characters across blocks
			n = min(n, previewBlock)
		}
		text = p.dec.step(text, raw[:n], n == len(raw))
		raw = raw[n:]
		if !whole {
			text = toUTF8(name, text)
		}
		k := len(text)
		if len(raw) > 0 {
			k = cutRune(text)
		}
		b := text[:k]
		if !utf8.Valid(b) {
			if b = bytes.ToValidUTF8(b, []byte("\ufffd")); kind == charsetGuess {
				b = toUTF8("", text[:k])
			}
		}
		more = sink(b)
		text = append(text[:0], text[k:]...)
	}
	if part.Subtype == "HTML" {
		p.html.close()
	}
	p.text = text[:0]
	return string(bytes.TrimRight(p.out, " "))
}

// add takes UTF-8 text, false when it has enough.
func (p *previewer) add(text []byte) bool {
	for len(text) > 0 {
		if c := text[0]; c > ' ' && c < 0x7f {
			p.out = append(p.out, c)
			text = text[1:]
			if p.n++; p.n >= PreviewRunes {
				return false
			}
			continue
		}
		r, n := utf8.DecodeRune(text)
		text = text[n:]
		if r == '\ufeff' || r == '\u200b' || r == '\u200c' || r == '\u034f' || r == '\u00ad' { // padding of newsletters
			continue
		}
		if unicode.IsSpace(r) || r < ' ' || r == 0x7f {
			if p.n == 0 || p.out[len(p.out)-1] == ' ' {
				continue
			}
			r = ' '
		}
		p.out = utf8.AppendRune(p.out, r)
		if p.n++; p.n >= PreviewRunes {
			return false
		}
	}
	return true
}
