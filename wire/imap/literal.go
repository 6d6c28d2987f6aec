package imap

import (
	"bytes"
	"io"
)

// ParseAnnounced looks whether line ends with the announcement of a literal:
// "{12}", "{12+}", "~{12}" (RFC 9051 §4.3, RFC 7888, RFC 3516 §4.4).
func ParseAnnounced(line []byte) (Announced, bool) {
	if len(line) < 3 || line[len(line)-1] != '}' {
		return Announced{}, false
	}
	i := bytes.LastIndexByte(line, '{')
	if i < 0 || len(line)-i > 22 {
		return Announced{}, false
	}
	a := Announced{Set: true, Literal8: i > 0 && line[i-1] == '~'}
	num := line[i+1 : len(line)-1]
	if n := len(num); n > 0 && num[n-1] == '+' {
		a.NonSync = true
		num = num[:n-1]
	}
	if len(num) == 0 || len(num) > 18 {
		return Announced{}, false
	}
	for _, c := range num {
		if c < '0' || c > '9' {
			return Announced{}, false
		}
		a.Size = a.Size*10 + int64(c-'0')
	}
	return a, true
}

// announced reads the announcement at the position, which must end the line.
func (d *Decoder) announced() (Announced, bool) {
	a, ok := ParseAnnounced(d.line[d.pos:])
	if !ok || d.line[d.pos] != '{' || bytes.IndexByte(d.line[d.pos+1:], '{') >= 0 {
		d.Fail("literal must be announced as {octets} at the end of a line")
		return a, false
	}
	return a, true
}

// literal reads a literal into memory.
func (d *Decoder) literal(eight bool) []byte {
	a, ok := d.announced()
	if !ok {
		return nil
	}
	if a.Size > MaxLiteral || d.total+a.Size > MaxLiteralTotal {
		d.FailErr(&SyntaxError{Text: "literal is too long here", TooBig: true})
		return nil
	}
	d.total += a.Size
	r, err := d.src.Literal(a.Size, !a.NonSync)
	if err != nil {
		d.FailErr(err)
		return nil
	}
	d.line, d.pos, d.mid = nil, 0, true // the announcement is used up, also if reading fails
	b := make([]byte, a.Size)
	if _, err := io.ReadFull(r, b); err != nil {
		d.FailErr(err)
		return nil
	}
	d.nextLine()
	if !eight && bytes.IndexByte(b, 0) >= 0 {
		d.Fail("literal has a NUL octet")
		return nil
	}
	return b
}

func (d *Decoder) nextLine() {
	line, err := d.src.Line()
	if err != nil {
		d.line, d.pos = nil, 0
		d.FailErr(err)
		return
	}
	d.line, d.pos, d.mid = line, 0, false
}

// Stream begins a literal (or, with eight set, a literal8 too) that the caller
// reads itself: a message. accept may refuse the announced size before the
// client is asked to go on. When the reader is used up, EndStream goes on with
// the line. A quoted string is not allowed here (RFC 9051 §6.3.12).
func (d *Decoder) Stream(eight bool, accept func(Announced) error) (r io.Reader, a Announced) {
	if d.err != nil {
		return nil, a
	}
	if eight && d.Take('~') {
		a.Literal8 = true
	}
	if d.Peek() != '{' {
		d.wanted("a literal")
		return nil, a
	}
	got, ok := d.announced()
	if !ok {
		return nil, a
	}
	got.Literal8 = a.Literal8
	if err := accept(got); err != nil {
		d.FailErr(err)
		return nil, got
	}
	r, err := d.src.Literal(got.Size, !got.NonSync)
	if err != nil {
		d.FailErr(err)
		return nil, got
	}
	d.line, d.pos, d.mid = nil, 0, true
	return r, got
}

// EndStream goes on with the line after the literal of Stream.
func (d *Decoder) EndStream() {
	if d.err == nil {
		d.nextLine()
	}
}
