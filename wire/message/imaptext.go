package message

import "errors"

// ErrCorrupt is returned for an encoded Summary that is damaged.
var ErrCorrupt = errors.New("message: stored summary is corrupt")

// imapText reads the texts that structure.go writes. Any error sticks in bad.
type imapText struct {
	b   []byte
	bad bool
}

func (t *imapText) fail() { t.bad, t.b = true, nil }

func (t *imapText) peek() byte {
	if len(t.b) == 0 {
		return 0
	}
	return t.b[0]
}

// eat takes c if it is next.
func (t *imapText) eat(c byte) bool {
	if t.peek() != c {
		return false
	}
	t.b = t.b[1:]
	return true
}

// want takes c, which must be next.
func (t *imapText) want(c byte) {
	if !t.eat(c) {
		t.fail()
	}
}

// null takes NIL if it is next.
func (t *imapText) null() bool {
	if len(t.b) < 3 || string(t.b[:3]) != "NIL" {
		return false
	}
	t.b = t.b[3:]
	return true
}

// number takes a decimal number.
func (t *imapText) number() int64 {
	var n int64
	i := 0
	for i < len(t.b) && t.b[i] >= '0' && t.b[i] <= '9' && i < 18 {
		n = n*10 + int64(t.b[i]-'0')
		i++
	}
	if i == 0 {
		t.fail()
		return 0
	}
	t.b = t.b[i:]
	return n
}

// raw takes a string; esc tells that it has backslashes to remove.
func (t *imapText) raw() (s []byte, esc bool) {
	if t.eat('{') {
		n := t.number()
		t.want('}')
		t.want('\r')
		t.want('\n')
		if n > int64(len(t.b)) {
			t.fail()
			return nil, false
		}
		s, t.b = t.b[:n], t.b[n:]
		return s, false
	}
	if !t.eat('"') {
		t.fail()
		return nil, false
	}
	for i := 0; i < len(t.b); i++ {
		switch t.b[i] {
		case '\\':
			i++
			esc = true
		case '"':
			s, t.b = t.b[:i], t.b[i+1:]
			return s, esc
		}
	}
	t.fail()
	return nil, false
}

// str takes a string.
func (t *imapText) str() string {
	s, esc := t.raw()
	if esc {
		return unquote(string(s))
	}
	return word(s)
}

// nstr takes a string or NIL, which is the empty string.
func (t *imapText) nstr() string {
	if t.null() {
		return ""
	}
	return t.str()
}

// opt takes a string or NIL.
func (t *imapText) opt() *string {
	if t.null() {
		return nil
	}
	s := t.str()
	return &s
}

// skip takes any one value: string, number, NIL or list.
func (t *imapText) skip() {
	depth := 0
	for {
		switch c := t.peek(); {
		case c == '(':
			t.b = t.b[1:]
			depth++
		case c == ')' && depth > 0:
			t.b = t.b[1:]
			depth--
		case c == '"' || c == '{':
			t.raw()
		case c >= '0' && c <= '9':
			t.number()
		case c == ' ' && depth > 0:
			t.b = t.b[1:]
			continue
		default:
			if !t.null() {
				t.fail()
			}
		}
		if depth == 0 || t.bad {
			return
		}
	}
}

// word is string(s), shared for the words most parts have.
func word(s []byte) string {
	switch string(s) {
	case "":
		return ""
	case "TEXT":
		return "TEXT"
	case "PLAIN":
		return "PLAIN"
	case "HTML":
		return "HTML"
	case "CHARSET":
		return "CHARSET"
	case "utf-8":
		return "utf-8"
	case "us-ascii":
		return "us-ascii"
	case "7BIT":
		return "7BIT"
	case "8BIT":
		return "8BIT"
	case "BASE64":
		return "BASE64"
	case "QUOTED-PRINTABLE":
		return "QUOTED-PRINTABLE"
	case "ATTACHMENT":
		return "ATTACHMENT"
	case "NAME":
		return "NAME"
	case "FILENAME":
		return "FILENAME"
	}
	return string(s)
}
