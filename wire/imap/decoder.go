package imap

import (
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// SyntaxError is why a command is malformed. Text may be shown to the client.
type SyntaxError struct {
	Text string
	// TooBig is set if a literal was over its limit (RFC 7888 §4: NO [TOOBIG]).
	TooBig bool
}

func (e *SyntaxError) Error() string { return e.Text }

// Source is where a Decoder gets its octets.
type Source interface {
	// Line returns the next line without its CRLF; valid until the next call of the Source.
	Line() ([]byte, error)
	// Literal begins a literal of n octets that follows the line just read.
	// wait: the client waits for a continuation request. The reader must be
	// read to its end before the next Line; n has been checked against no limit.
	Literal(n int64, wait bool) (io.Reader, error)
}

// Decoder reads one command. The first error sticks, later calls return zero values.
type Decoder struct {
	src   Source
	line  []byte
	pos   int
	err   error
	total int64 // of literals held in memory
	mid   bool  // a literal was begun and the line after it not read yet

	// UTF8 says that UTF8=ACCEPT or IMAP4rev2 is enabled: mailbox names are
	// UTF-8, not modified UTF-7 (RFC 6855 §3, RFC 9051 §5.1).
	UTF8 bool
}

// Announced is a literal that the line ends with.
type Announced struct {
	Size    int64
	NonSync bool
	Literal8,
	Set bool
}

// Reset makes d read the line from the beginning and what follows from src.
func (d *Decoder) Reset(src Source, line []byte) {
	*d = Decoder{src: src, line: line, UTF8: d.UTF8}
}

// Err returns the first error: a *SyntaxError, or what the Source said.
func (d *Decoder) Err() error { return d.err }

// Fail sets the error if none is set: for rules that the grammar can't see.
func (d *Decoder) Fail(format string, args ...any) {
	if d.err == nil {
		d.err = &SyntaxError{Text: fmt.Sprintf(format, args...)}
	}
}

// FailErr is Fail with an error of the caller.
func (d *Decoder) FailErr(err error) {
	if d.err == nil && err != nil {
		d.err = err
	}
}

// Unfinished reports whether a literal was begun whose end was not reached, or
// the line after it not read: what whoever skips a failed command must know.
func (d *Decoder) Unfinished() bool { return d.mid }

// Rest returns what of the current line was not read yet.
func (d *Decoder) Rest() []byte { return d.line[d.pos:] }

// AtEnd reports whether the line is used up (or an error stopped the reading).
func (d *Decoder) AtEnd() bool { return d.err != nil || d.pos >= len(d.line) }

// Peek returns the next octet, 0 at the end of the line or after an error.
func (d *Decoder) Peek() byte {
	if d.err != nil || d.pos >= len(d.line) {
		return 0
	}
	return d.line[d.pos]
}

// Take consumes c if it is next.
func (d *Decoder) Take(c byte) bool {
	if d.Peek() != c || d.pos >= len(d.line) {
		return false
	}
	d.pos++
	return true
}

// Expect consumes c or fails.
func (d *Decoder) Expect(c byte) {
	if d.err == nil && !d.Take(c) {
		d.wanted("'" + string(rune(c)) + "'")
	}
}

func (d *Decoder) wanted(what string) {
	if d.pos >= len(d.line) {
		d.Fail("expected %s, got the end of the line", what)
		return
	}
	d.Fail("expected %s at octet %d, got %s", what, d.pos+1, show(d.line[d.pos]))
}

// show prints an octet for a human.
func show(c byte) string {
	if c > ' ' && c < 0x7f {
		return "'" + string(rune(c)) + "'"
	}
	if c == ' ' {
		return "a space"
	}
	return "octet 0x" + strconv.FormatUint(uint64(c), 16)
}

// SP consumes a space. More of them are forgiven, though RFC 9051 §9 does not
// permit them: Dovecot and Cyrus forgive, so there are clients that send some.
func (d *Decoder) SP() {
	if d.err == nil && !d.TakeSP() {
		d.wanted("a space")
	}
}

// TakeSP consumes the spaces that are next; false: there is none.
func (d *Decoder) TakeSP() bool {
	some := false
	for d.Take(' ') {
		some = true
	}
	return some
}

// End fails unless the command ends here. Trailing spaces are forgiven: some
// clients leave one.
func (d *Decoder) End() {
	for d.Take(' ') {
	}
	if d.err == nil && d.pos < len(d.line) {
		d.wanted("the end of the command")
	}
}

// word consumes the longest run of octets that ok accepts.
func (d *Decoder) word(what string, limit int, ok *[256]bool) []byte {
	if d.err != nil {
		return nil
	}
	i := d.pos
	for i < len(d.line) && ok[d.line[i]] {
		i++
	}
	w := d.line[d.pos:i]
	if len(w) == 0 {
		d.wanted(what)
		return nil
	}
	if len(w) > limit {
		d.Fail("%s is longer than %d octets", what, limit)
		return nil
	}
	d.pos = i
	return w
}

// Atom reads an atom (RFC 9051 §9). The slice is valid until the next line.
func (d *Decoder) Atom() []byte { return d.word("an atom", MaxAtom, &atomChar) }

// Keyword reads an atom in upper case: names of commands, items, options.
func (d *Decoder) Keyword() string { return upperString(d.Atom()) }

// Tag reads a command's tag.
func (d *Decoder) Tag() []byte { return d.word("a tag", MaxTag, &tagChar) }

// AppendTag appends the tag that line begins with, nothing if it begins with none.
func AppendTag(b, line []byte) []byte {
	i := 0
	for i < len(line) && i < MaxTag && tagChar[line[i]] {
		i++
	}
	if i == len(line) || line[i] != ' ' {
		return b
	}
	return append(b, line[:i]...)
}

// Is consumes the keyword kw (upper case) if it is next and ends there.
func (d *Decoder) Is(kw string) bool {
	r := d.Rest()
	if d.err != nil || len(r) < len(kw) || !equalFold(r[:len(kw)], kw) {
		return false
	}
	if len(r) > len(kw) && atomChar[r[len(kw)]] {
		return false
	}
	d.pos += len(kw)
	return true
}

// Base64OrEqual reads the initial response of AUTHENTICATE (RFC 4959 §3).
func (d *Decoder) Base64OrEqual() []byte { return d.word("base64", MaxLine, &base64Char) }

// Number64 reads a number of at most 63 bits (RFC 9051 number64).
func (d *Decoder) Number64() int64 {
	if d.err != nil {
		return 0
	}
	start, n := d.pos, int64(0)
	for d.pos < len(d.line) {
		c := d.line[d.pos]
		if c < '0' || c > '9' {
			break
		}
		if n > (1<<63-1-9)/10 {
			d.Fail("number is too large")
			return 0
		}
		n = n*10 + int64(c-'0')
		d.pos++
	}
	if start == d.pos {
		d.wanted("a number")
	}
	return n
}

// Number reads a number of at most 32 bits.
func (d *Decoder) Number() uint32 {
	n := d.Number64()
	if n > 1<<32-1 {
		d.Fail("number is larger than 4294967295")
		return 0
	}
	return uint32(n)
}

// NzNumber reads a number that is not zero.
func (d *Decoder) NzNumber() uint32 {
	n := d.Number()
	if n == 0 {
		d.Fail("number must not be zero")
	}
	return n
}

// Open and Close read the parentheses of a list.
func (d *Decoder) Open() { d.Expect('(') }

// Close reads ')'.
func (d *Decoder) Close() { d.Expect(')') }

// List reads "(" item *(SP item) ")"; the empty list only if empty is allowed.
func (d *Decoder) List(empty bool, item func()) {
	d.Open()
	if empty && d.Take(')') {
		return
	}
	for n := 0; d.err == nil; n++ {
		if n >= MaxItems {
			d.Fail("list has more than %d members", MaxItems)
			return
		}
		item()
		if d.err != nil || d.Take(')') {
			return
		}
		d.SP()
	}
}

// AString reads an astring (RFC 9051 §9).
func (d *Decoder) AString() string {
	switch d.Peek() {
	case '"', '{':
		return d.String()
	}
	return string(d.word("a string", MaxLine, &astringChar))
}

// String reads a quoted string or a literal.
func (d *Decoder) String() string {
	switch {
	case d.err != nil:
		return ""
	case d.Peek() == '"':
		return d.quoted()
	case d.Peek() == '{':
		return string(d.literal(false))
	}
	d.wanted("a quoted string or a literal")
	return ""
}

// NString reads a string or NIL (ok false).
func (d *Decoder) NString() (s string, ok bool) {
	if d.Is("NIL") {
		return "", false
	}
	s = d.String()
	return s, d.err == nil
}

// Bytes8 reads a string, a literal8 or NIL (nil): METADATA values (RFC 5464 §5).
func (d *Decoder) Bytes8() []byte {
	switch {
	case d.Is("NIL"):
		return nil
	case d.Peek() == '~':
		d.pos++
		return d.literal(true)
	case d.Peek() == '{':
		return d.literal(false)
	}
	return append([]byte{}, d.String()...)
}

// quoted reads a quoted string. UTF-8 in it is taken always (RFC 9051 §4.3,
// RFC 6855 §3): a client that sends it without ENABLE harms nobody.
func (d *Decoder) quoted() string {
	start := d.pos + 1
	esc := false
	for i := start; i < len(d.line); i++ {
		switch c := d.line[i]; {
		case c == '"':
			d.pos = i + 1
			s := d.line[start:i]
			if !utf8.Valid(s) {
				d.Fail("quoted string is not valid UTF-8")
				return ""
			}
			if esc {
				return unescape(s)
			}
			return string(s)
		case c == '\\':
			i++
			if i >= len(d.line) || d.line[i] != '"' && d.line[i] != '\\' {
				d.Fail("only \\\" and \\\\ may be escaped in a quoted string")
				return ""
			}
			esc = true
		case c == 0 || c == '\r' || c == '\n':
			d.Fail("quoted string has a NUL, CR or LF")
			return ""
		}
	}
	d.Fail("quoted string is not closed")
	return ""
}

func unescape(s []byte) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}
