package smtp

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// Command splits a line into its verb, in upper case, and the rest without
// leading and trailing white space (RFC 5321 §4.1.1, §2.4). A verb longer than 12
// octets is cut: there is none. Octets that are not UTF-8, and control characters, are errors.
func Command(line []byte) (verb, args string, err error) {
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return "", "", syntax(500, "5.5.2", "control character in command")
		}
	}
	if !utf8.Valid(line) {
		return "", "", syntax(500, "5.5.2", "command is not UTF-8")
	}
	line = bytes.TrimRight(line, " \t")
	v := line
	if i := bytes.IndexByte(line, ' '); i >= 0 {
		v = line[:i]
		args = string(bytes.TrimLeft(line[i:], " \t"))
	}
	if len(v) > 12 {
		v = v[:12]
	}
	return verbOf(v), args, nil
}

// verbOf gives the common verbs without allocation.
func verbOf(v []byte) string {
	var up [12]byte
	for i, c := range v {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		up[i] = c
	}
	switch u := up[:len(v)]; string(u) {
	case "MAIL":
		return "MAIL"
	case "RCPT":
		return "RCPT"
	case "DATA":
		return "DATA"
	case "BDAT":
		return "BDAT"
	case "RSET":
		return "RSET"
	case "NOOP":
		return "NOOP"
	default:
		return string(u)
	}
}

// Path is what stands between angle brackets: a mailbox, nothing (the null
// reverse path), or Postmaster without domain (RFC 5321 §4.1.1.3, §4.5.1).
type Path struct {
	Mailbox string // as written, source route removed; "" for <>
	Local   string // local part, quoting undone
	Domain  string // as written, address literals with their brackets; "" for <> and <Postmaster>
}

// parsePath reads a path at the start of s and returns what follows it.
// RFC 5321 §4.1.2; source routes are accepted and ignored (appendix C); RFC
// 6531 §3.3 adds UTF-8 to atoms, quoted strings and labels.
func parsePath(s string) (p Path, rest string, ok bool) {
	if s == "" || s[0] != '<' {
		return Path{}, "", false
	}
	s = s[1:]
	if strings.HasPrefix(s, ">") {
		return Path{}, s[1:], true
	}
	if s != "" && s[0] == '@' {
		if s, ok = skipRoute(s); !ok {
			return Path{}, "", false
		}
	}
	local, n := localPart(s)
	if n <= 0 {
		return Path{}, "", false
	}
	p.Local = local
	after := s[n:]
	if strings.HasPrefix(after, ">") {
		if !strings.EqualFold(local, "postmaster") {
			return Path{}, "", false
		}
		p.Mailbox = s[:n]
		return p, after[1:], true
	}
	if after == "" || after[0] != '@' {
		return Path{}, "", false
	}
	m := domain(after[1:])
	if m <= 0 || len(after) < 2+m || after[1+m] != '>' {
		return Path{}, "", false
	}
	p.Domain = after[1 : 1+m]
	p.Mailbox = s[:n+1+m]
	return p, after[2+m:], true
}

// skipRoute skips "@a,@b:".
func skipRoute(s string) (string, bool) {
	for {
		if s == "" || s[0] != '@' {
			return "", false
		}
		n := domain(s[1:])
		if n <= 0 || len(s) < n+2 {
			return "", false
		}
		c := s[1+n]
		s = s[2+n:]
		switch c {
		case ':':
			return s, true
		case ',':
		default:
			return "", false
		}
	}
}

// localPart measures a Dot-string or Quoted-string at the start of s, and undoes the quoting.
func localPart(s string) (local string, n int) {
	if s != "" && s[0] == '"' {
		return quotedString(s)
	}
	for n < len(s) && (isAtext(s[n]) || s[n] == '.') {
		n++
	}
	l := s[:n]
	if n == 0 || n > MaxLocal || l[0] == '.' || l[n-1] == '.' || strings.Contains(l, "..") {
		return "", 0
	}
	return l, n
}

func quotedString(s string) (text string, n int) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			if b.Len() == 0 || b.Len() > MaxLocal {
				return "", 0
			}
			return b.String(), i + 1
		case c == '\\':
			i++
			if i >= len(s) || s[i] < ' ' || s[i] > '~' {
				return "", 0
			}
			b.WriteByte(s[i])
		case c < ' ' || c == 0x7f:
			return "", 0
		default:
			b.WriteByte(c)
		}
	}
	return "", 0
}

// domain measures a Domain or address-literal at the start of s. Underscores
// are let through: there are such hosts, and refusing them helps nobody.
func domain(s string) int {
	if s != "" && s[0] == '[' {
		i := strings.IndexByte(s, ']')
		if i < 2 || i > MaxDomain || strings.ContainsAny(s[1:i], "<> \t\\[") {
			return 0
		}
		return i + 1
	}
	n := 0
	for n < len(s) && (isLetDig(s[n]) || s[n] == '-' || s[n] == '.' || s[n] == '_') {
		n++
	}
	d := s[:n]
	if n == 0 || n > MaxDomain || d[0] == '.' || d[0] == '-' || d[n-1] == '-' || strings.Contains(d, "..") {
		return 0
	}
	return n
}

func isLetDig(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c >= 0x80
}

func isAtext(c byte) bool {
	return isLetDig(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// IsASCII reports whether p needs no SMTPUTF8 (RFC 6531 §3.2).
func (p Path) IsASCII() bool { return isASCII(p.Mailbox) }

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
