package message

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// DecodeHeader decodes encoded-words (RFC 2047, RFC 2231 language) and 8-bit text of an
// unfolded value to UTF-8; unknown charsets stay as they are. Result is NFC. White space
// between adjacent encoded-words goes (RFC 2047 §6.2); characters split between encoded-words
// of one charset are put together, against §5, as real mailers do that. Raw 8-bit text is UTF-8
// if valid (RFC 6532 §3.2), else windows-1252.
func DecodeHeader(raw string) string {
	i := strings.Index(raw, "=?")
	if i < 0 {
		if ascii(raw) {
			return raw
		}
		return norm.NFC.String(rawText(raw))
	}
	d := wordDecoder{out: make([]byte, 0, len(raw))}
	for i >= 0 {
		w, ok := d.next(raw[i:])
		if !ok {
			d.text(raw[:i+2])
			raw = raw[i+2:]
		} else {
			d.text(raw[:i])
			d.add(w)
			raw = raw[i+w.size:]
		}
		i = strings.Index(raw, "=?")
	}
	d.text(raw)
	d.flush()
	return norm.NFC.String(string(d.out))
}

// rawText makes UTF-8 of a header's 8-bit text.
func rawText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string(toUTF8("", []byte(s)))
}

// encodedWord is "=?charset?enc?text?=".
type encodedWord struct {
	charset string
	enc     byte
	text    string
	size    int // octets of the whole word
}

// wordDecoder joins adjacent encoded-words.
type wordDecoder struct {
	out     []byte
	pending []byte // decoded octets of words in charset, not yet converted
	charset string
	blank   string // white space after the last encoded-word
	in      bool   // the last thing was an encoded-word
	noEnd   bool   // there is no "?=" ahead
}

// next parses an encoded-word at the beginning of s.
func (d *wordDecoder) next(s string) (w encodedWord, ok bool) {
	if d.noEnd {
		return w, false
	}
	rest := s[2:]
	i := strings.IndexByte(rest[:min(len(rest), maxCharset+maxToken)], '?')
	if i <= 0 || i+2 >= len(rest) || rest[i+2] != '?' {
		return w, false
	}
	w.charset, w.enc = rest[:i], rest[i+1]|0x20
	if w.enc != 'q' && w.enc != 'b' || strings.IndexByte(w.charset, ' ') >= 0 {
		return w, false
	}
	if j := strings.IndexByte(w.charset, '*'); j >= 0 {
		w.charset = w.charset[:j] // RFC 2231 §5
	}
	text := rest[i+3:]
	j := strings.Index(text, "?=")
	if j < 0 {
		d.noEnd = true
		return w, false
	}
	w.text = text[:j]
	w.size = 2 + i + 3 + j + 2
	return w, true
}

// text takes octets outside of encoded-words.
func (d *wordDecoder) text(s string) {
	if s == "" {
		return
	}
	if d.in && strings.Trim(s, " \t\r\n") == "" { // counts only if no encoded-word follows
		d.blank = s
		return
	}
	d.flush()
	d.in = false
	d.out = append(d.out, rawText(s)...)
}

func (d *wordDecoder) add(w encodedWord) {
	d.blank = ""
	if len(d.pending) > 0 && !strings.EqualFold(d.charset, w.charset) {
		d.convert()
	}
	d.charset, d.in = w.charset, true
	if k, _ := charset(w.charset); k == charsetUnknown {
		d.convert()
		d.out = append(d.out, "=?"+rawText(w.charset)+"?"+string(w.enc)+"?"+rawText(w.text)+"?="...)
		return
	}
	if w.enc == 'b' {
		var s base64Step
		d.pending = s.step(d.pending, []byte(w.text), true)
		return
	}
	for i := 0; i < len(w.text); i++ {
		c := w.text[i]
		if c == '_' {
			c = ' '
		} else if c == '=' && i+2 < len(w.text) {
			if hi, lo := unhex(w.text[i+1]), unhex(w.text[i+2]); hi|lo < 16 {
				c = hi<<4 | lo
				i += 2
			}
		}
		d.pending = append(d.pending, c)
	}
}

// convert writes what the words of one charset say. Line ends and NUL have no place in a value.
func (d *wordDecoder) convert() {
	if len(d.pending) == 0 {
		return
	}
	n := len(d.out)
	d.out = append(d.out, toUTF8(d.charset, d.pending)...)
	for i := n; i < len(d.out); i++ {
		if c := d.out[i]; c == '\r' || c == '\n' || c == 0 {
			d.out[i] = ' '
		}
	}
	d.pending = d.pending[:0]
}

// flush ends a run of encoded-words.
func (d *wordDecoder) flush() {
	d.convert()
	if d.blank != "" {
		d.out = append(d.out, d.blank...)
		d.blank = ""
	}
}
