package imapd

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
)

// node is a parsed piece of a response: an atom, a string (quoted or literal), NIL or a list.
type node struct {
	kind byte // 'a', 's', 'n', '('
	text string
	list []node
}

func (n node) String() string {
	switch n.kind {
	case '(':
		parts := make([]string, len(n.list))
		for i, c := range n.list {
			parts[i] = c.String()
		}
		return "(" + strings.Join(parts, " ") + ")"
	case 'n':
		return "NIL"
	}
	return n.text
}

func (n node) num() int64 {
	v, err := strconv.ParseInt(n.text, 10, 64)
	if n.kind != 'a' || err != nil {
		return -1
	}
	return v
}

// strict is an IMAP client that reads responses by the grammar, literals included, and fails on anything else.
type strict struct {
	t testing.TB
	r *bufio.Reader
	w io.Writer
	n int
}

// response is one untagged response, split at its spaces.
type response []node

// do sends a command and returns the untagged responses; the tagged one must be OK.
func (c *strict) do(format string, args ...any) []response {
	c.t.Helper()
	rs, status := c.try(format, args...)
	if !strings.HasPrefix(status, "OK") {
		c.t.Fatalf("%.200s: %s", fmt.Sprintf(format, args...), status)
	}
	return rs
}

// try is do for commands that may be refused; it returns what stands behind the tag.
func (c *strict) try(format string, args ...any) ([]response, string) {
	c.t.Helper()
	c.n++
	tag := "t" + strconv.Itoa(c.n)
	if _, err := io.WriteString(c.w, tag+" "+fmt.Sprintf(format, args...)+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
	return c.until(tag)
}

func (c *strict) until(tag string) (rs []response, status string) {
	c.t.Helper()
	for {
		first := c.token()
		switch first.text {
		case "*":
			rs = append(rs, c.line())
		case tag:
			rest, err := c.r.ReadString('\n')
			if err != nil {
				c.t.Fatal(err)
			}
			return rs, strings.TrimSpace(rest)
		default:
			c.t.Fatalf("line begins with %q", first.text)
		}
	}
}

// line reads the rest of an untagged response. Text responses are one atom.
func (c *strict) line() (r response) {
	c.t.Helper()
	for {
		switch b := c.octet(); b {
		case ' ':
		case '\r':
			if c.octet() != '\n' {
				c.t.Fatalf("bare CR after %v", r)
			}
			return r
		case '(': // thread-list: 1*thread-list without spaces
			c.r.UnreadByte()
		default:
			c.t.Fatalf("%q after %v", b, r)
		}
		if len(r) == 1 && (r[0].text == "OK" || r[0].text == "NO" || r[0].text == "BAD" || r[0].text == "BYE") {
			l, err := c.r.ReadString('\r')
			if err != nil {
				c.t.Fatal(err)
			}
			c.r.UnreadByte()
			r = append(r, node{kind: 'a', text: strings.TrimSuffix(l, "\r")})
			continue
		}
		r = append(r, c.token())
	}
}

func (c *strict) octet() byte {
	c.t.Helper()
	b, err := c.r.ReadByte()
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// token reads one value.
func (c *strict) token() node {
	c.t.Helper()
	switch b := c.octet(); b {
	case '(':
		return c.list()
	case '"':
		return c.quoted()
	case '~':
		if c.octet() != '{' {
			c.t.Fatal("~ without literal")
		}
		return c.literal()
	case '{':
		return c.literal()
	default:
		c.r.UnreadByte()
		return c.atom()
	}
}

func (c *strict) list() node {
	c.t.Helper()
	n := node{kind: '('}
	if c.octet() == ')' {
		return n
	}
	c.r.UnreadByte()
	for {
		n.list = append(n.list, c.token())
		switch b := c.octet(); b {
		case ')':
			return n
		case ' ':
		case '(': // body-type-mpart: 1*body without spaces
			c.r.UnreadByte()
		default:
			c.t.Fatalf("%q in list %v", b, n)
		}
	}
}

func (c *strict) quoted() node {
	c.t.Helper()
	var b strings.Builder
	for {
		switch o := c.octet(); {
		case o == '"':
			return node{kind: 's', text: b.String()}
		case o == '\\':
			if o = c.octet(); o != '"' && o != '\\' {
				c.t.Fatalf("\\%c in a quoted string", o)
			}
			b.WriteByte(o)
		case o == '\r' || o == '\n' || o == 0 || o >= 0x80:
			c.t.Fatalf("octet %#x in a quoted string after %q", o, b.String())
		default:
			b.WriteByte(o)
		}
	}
}

func (c *strict) literal() node {
	c.t.Helper()
	l, err := c.r.ReadString('}')
	n, err2 := strconv.Atoi(strings.TrimSuffix(l, "}"))
	if err != nil || err2 != nil || c.octet() != '\r' || c.octet() != '\n' {
		c.t.Fatalf("bad literal {%s", l)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		c.t.Fatal(err)
	}
	return node{kind: 's', text: string(b)}
}

// atom reads up to a space, a closing parenthesis or the line's end; brackets keep what is in them together.
func (c *strict) atom() node {
	c.t.Helper()
	var b strings.Builder
	depth := 0
	for {
		o := c.octet()
		if depth == 0 && (o == ' ' || o == ')' || o == '(' || o == '\r') {
			c.r.UnreadByte()
			break
		}
		switch o {
		case '[':
			depth++
		case ']':
			depth--
		case '\r', '\n':
			c.t.Fatalf("line ends within %q", b.String())
		}
		b.WriteByte(o)
	}
	if b.Len() == 0 {
		c.t.Fatal("empty atom")
	}
	if b.String() == "NIL" {
		return node{kind: 'n'}
	}
	return node{kind: 'a', text: b.String()}
}
