package smtp

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Body is the value of MAIL's BODY parameter.
type Body uint8

// Body types (RFC 6152, RFC 3030 §3).
const (
	Body7Bit Body = iota
	Body8BitMIME
	BodyBinaryMIME
)

// Mail is a MAIL command.
type Mail struct {
	From     Path
	Size     int64 // RFC 1870; -1 if not given
	Body     Body
	SMTPUTF8 bool
	Ret      string // RFC 3461 §4.3: "", "FULL", "HDRS"
	EnvID    string // RFC 3461 §4.4, decoded
	Auth     string // RFC 4954 §5, decoded: "<>" or a mailbox; "" if not given
}

// Rcpt is a RCPT command.
type Rcpt struct {
	To     Path
	Notify string // RFC 3461 §4.1: "", "NEVER" or list of SUCCESS, FAILURE, DELAY, in upper case
	Orcpt  string // RFC 3461 §4.2: addr-type;decoded-address
}

// ParseMail reads what follows "MAIL" (RFC 5321 §4.1.1.2). Unknown parameters
// are refused with 555 (§4.1.1.11), so nothing that was asked for is silently not done.
func ParseMail(args string) (Mail, error) {
	m := Mail{Size: -1}
	rest, ok := afterKeyword(args, "FROM:")
	if !ok {
		return m, syntax(501, "5.5.4", "syntax: MAIL FROM:<address> [parameters]")
	}
	path, rest, ok := parsePath(rest)
	if !ok || path.Domain == "" && path.Mailbox != "" {
		return m, syntax(501, "5.1.7", "bad sender address syntax")
	}
	m.From = path
	err := eachParam(rest, m.param)
	if err == nil && !m.SMTPUTF8 && !path.IsASCII() { // RFC 6531 §3.2
		err = syntax(553, "5.6.7", "a non-ASCII address needs the SMTPUTF8 parameter")
	}
	return m, err
}

// ParseRcpt reads what follows "RCPT" (RFC 5321 §4.1.1.3); utf8 is whether MAIL said SMTPUTF8.
func ParseRcpt(args string, utf8 bool) (Rcpt, error) {
	var r Rcpt
	rest, ok := afterKeyword(args, "TO:")
	if !ok {
		return r, syntax(501, "5.5.4", "syntax: RCPT TO:<address> [parameters]")
	}
	path, rest, ok := parsePath(rest)
	if !ok || path.Mailbox == "" {
		return r, syntax(501, "5.1.3", "bad recipient address syntax")
	}
	if !utf8 && !path.IsASCII() {
		return r, syntax(553, "5.6.7", "a non-ASCII address needs the SMTPUTF8 parameter of MAIL")
	}
	r.To = path
	return r, eachParam(rest, r.param)
}

// afterKeyword strips kw, and blanks behind it: many clients write "FROM: <a@b>".
func afterKeyword(s, kw string) (string, bool) {
	if len(s) < len(kw) || !strings.EqualFold(s[:len(kw)], kw) {
		return "", false
	}
	return strings.TrimLeft(s[len(kw):], " \t"), true
}

// eachParam calls f for each esmtp-param; a second one of a name is an error.
func eachParam(s string, f func(key, value string, has bool) error) error {
	if s != "" && s[0] != ' ' && s[0] != '\t' {
		return syntax(501, "5.5.4", "garbage after the address")
	}
	var seen [MaxParams]string
	n := 0
	for word := range strings.FieldsSeq(s) {
		key, value, has := strings.Cut(word, "=")
		key = strings.ToUpper(key)
		if !isKeyword(key) || has && value == "" {
			return syntax(501, "5.5.4", "bad parameter syntax")
		}
		if n == MaxParams {
			return syntax(501, "5.5.4", "too many parameters")
		}
		for _, k := range seen[:n] {
			if k == key {
				return syntax(501, "5.5.4", "parameter "+key+" is given twice")
			}
		}
		seen[n] = key
		n++
		if err := f(key, value, has); err != nil {
			return err
		}
	}
	return nil
}

func isKeyword(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !('A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' && i > 0) {
			return false
		}
	}
	return s != ""
}

func badValue(key string) error { return syntax(501, "5.5.4", "bad value of parameter "+key) }

func unknown(key string) error {
	return syntax(555, "5.5.4", "parameter "+key+" is not supported")
}

func (m *Mail) param(key, value string, has bool) (err error) {
	ok := has
	switch key {
	case "SIZE": // RFC 1870 §4: 1*20DIGIT
		m.Size, ok = parseSize(value)
	case "BODY":
		switch strings.ToUpper(value) {
		case "7BIT":
			m.Body = Body7Bit
		case "8BITMIME":
			m.Body = Body8BitMIME
		case "BINARYMIME":
			m.Body = BodyBinaryMIME
		default:
			ok = false
		}
	case "SMTPUTF8": // RFC 6531 §3.4: no value
		m.SMTPUTF8, ok = true, !has
	case "RET":
		m.Ret = strings.ToUpper(value)
		ok = m.Ret == "FULL" || m.Ret == "HDRS"
	case "ENVID":
		if m.EnvID, ok = decodeXtext(value); ok {
			ok = len(value) <= MaxEnvID && isPrintable(m.EnvID)
		}
	case "AUTH":
		m.Auth, ok = decodeXtext(value)
	default:
		return unknown(key)
	}
	if !ok {
		return badValue(key)
	}
	return nil
}

func parseSize(s string) (int64, bool) {
	if s == "" || len(s) > 20 {
		return 0, false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil { // 20 digits: more than anybody takes
		n = 1<<63 - 1
	}
	return n, true
}

func (r *Rcpt) param(key, value string, has bool) error {
	ok := has
	switch key {
	case "NOTIFY":
		r.Notify = strings.ToUpper(value)
		ok = ok && isNotify(r.Notify)
	case "ORCPT":
		r.Orcpt, ok = parseOrcpt(value)
	default:
		return unknown(key)
	}
	if !ok {
		return badValue(key)
	}
	return nil
}

// isNotify: NEVER alone, or some of the others, each once (RFC 3461 §4.1).
func isNotify(s string) bool {
	if s == "NEVER" {
		return true
	}
	var success, failure, delay int
	for w := range strings.SplitSeq(s, ",") {
		switch w {
		case "SUCCESS":
			success++
		case "FAILURE":
			failure++
		case "DELAY":
			delay++
		default:
			return false
		}
	}
	return success < 2 && failure < 2 && delay < 2
}

// parseOrcpt decodes the address of addr-type;xtext. The type utf-8 has its own
// encoding, which is kept as it is (RFC 6533 §3).
func parseOrcpt(s string) (string, bool) {
	typ, enc, ok := strings.Cut(s, ";")
	if !ok || len(s) > MaxOrcpt || !isKeyword(strings.ToUpper(typ)) || enc == "" {
		return "", false
	}
	if strings.EqualFold(typ, "utf-8") {
		return s, utf8.ValidString(s)
	}
	addr, ok := decodeXtext(enc)
	return typ + ";" + addr, ok && isPrintable(addr)
}

// decodeXtext undoes xtext (RFC 3461 §4): "+" and two upper-case hexadecimal digits.
func decodeXtext(s string) (string, bool) {
	if strings.IndexByte(s, '+') < 0 {
		return s, isXchars(s)
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return "", false
			}
			b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		case c <= ' ' || c == '=' || c >= 0x7f:
			return "", false
		default:
			b = append(b, c)
		}
	}
	return string(b), true
}

func isXchars(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == '=' || c >= 0x7f {
			return false
		}
	}
	return true
}

// AppendXtext encodes s as xtext (RFC 3461 §4).
func AppendXtext(dst []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == '=' || c == '+' || c >= 0x7f {
			dst = append(dst, '+', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c - 'A' + 10
}

func isPrintable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// ParseBDAT reads what follows "BDAT": chunk-size [ SP "LAST" ] (RFC 3030 §2).
func ParseBDAT(args string) (size int64, last bool, err error) {
	num, word, more := strings.Cut(args, " ")
	size, ok := parseSize(num)
	if !ok || more && !strings.EqualFold(strings.TrimSpace(word), "LAST") {
		return 0, false, syntax(501, "5.5.4", "syntax: BDAT size [LAST]")
	}
	return size, more, nil
}
