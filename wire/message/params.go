package message

import (
	"sort"
	"strings"
	"unicode/utf8"
)

const (
	maxParams    = 200 // of one field; more are ignored
	maxLanguages = 100
	maxToken     = 127 // octets of a type, subtype or encoding name (RFC 6838 §4.2)
)

// defaultParams is what RFC 2045 §5.2 assumes.
func defaultParams() []Param { return []Param{{"CHARSET", "us-ascii"}} }

// parseContentType reads a Content-Type value (RFC 2045 §5.1). Absent or unusable ones are
// text/plain in us-ascii (§5.2); any text without charset is us-ascii too (RFC 8621 §4.1.4).
func parseContentType(f rawField) (typ, subtype string, params []Param) {
	s := skipCFWS(f.v)
	typ, s = token(s)
	s = skipCFWS(s)
	if typ != "" && s != "" && s[0] == '/' {
		subtype, s = token(skipCFWS(s[1:]))
	}
	if typ == "" || subtype == "" || len(typ) > maxToken || len(subtype) > maxToken {
		return "TEXT", "PLAIN", defaultParams()
	}
	typ, subtype = upper(typ), upper(subtype)
	params = parseParams(s)
	if typ == "TEXT" && param(params, "CHARSET") == "" {
		if params == nil {
			return typ, subtype, defaultParams()
		}
		for i := range params {
			if params[i].Name == "CHARSET" {
				params[i].Value = "us-ascii"
				return typ, subtype, params
			}
		}
		params = append(params, Param{"CHARSET", "us-ascii"})
	}
	return typ, subtype, params
}

// parseDisposition reads a Content-Disposition value (RFC 2183 §2).
func parseDisposition(f rawField) (string, []Param) {
	if !f.ok {
		return "", nil
	}
	t, s := token(skipCFWS(f.v))
	if len(t) > maxToken {
		return "", nil
	}
	if s = skipCFWS(s); s != "" && s[0] == '=' { // no type, parameters only
		t, s = "", f.v
	}
	params := parseParams(s)
	if t == "" && params != nil {
		t = "ATTACHMENT" // RFC 2183 §2.8: what is not known is attachment
	}
	return upper(t), params
}

// parseEncoding reads a Content-Transfer-Encoding value (RFC 2045 §6.1).
func parseEncoding(f rawField) string {
	s := skipCFWS(f.v)
	if s != "" && s[0] == '"' {
		s, _ = quoted(s)
	}
	t, _ := token(s)
	if t == "" || len(t) > maxToken {
		return "7BIT"
	}
	return upper(t)
}

// parseLanguage reads a Content-Language value (RFC 3282 §2).
func parseLanguage(f rawField) []string {
	var l []string
	s := f.v
	for s != "" && len(l) < maxLanguages {
		s = skipCFWS(s)
		t, rest := token(s)
		if t != "" && len(t) <= maxToken {
			l = append(l, t)
		}
		if i := strings.IndexByte(rest, ','); i >= 0 {
			s = rest[i+1:]
		} else {
			break
		}
	}
	return l
}

// param returns the value of the parameter with an upper case name, "" if none.
func param(params []Param, name string) string {
	for i := range params {
		if params[i].Name == name {
			return params[i].Value
		}
	}
	return ""
}

// segment is one RFC 2231 piece of a parameter: name*n or name*n*.
type segment struct {
	base    string
	n       int
	encoded bool
	v       string
}

// parseParams reads "; name=value" pairs leniently: semicolons may be missing or doubled, values may
// have spaces. The first of several of one name wins, but an RFC 2231 form wins over the plain one.
func parseParams(s string) []Param {
	var params []Param
	var segs []segment
	for n := 0; n < maxParams; n++ {
		var name, v string
		var ok bool
		if name, v, s, ok = nextParam(s); !ok {
			break
		}
		star := strings.IndexByte(name, '*')
		if star == 0 {
			continue
		}
		if star < 0 {
			if param(params, name) == "" {
				params = append(params, Param{name, cleanParam(v)})
			}
			continue
		}
		if seg, ok := parseSegment(name, star, v); ok {
			if len(segs) == 0 || !sameBase(segs, seg.base) {
				params = place(params, seg.base)
			}
			segs = append(segs, seg)
		}
	}
	if segs != nil {
		params = joinSegments(params, segs)
	}
	return params
}

func sameBase(segs []segment, base string) bool {
	for i := range segs {
		if segs[i].base == base {
			return true
		}
	}
	return false
}

// place keeps the position of the first piece of a split parameter.
func place(params []Param, name string) []Param {
	for i := range params {
		if params[i].Name == name {
			return params
		}
	}
	return append(params, Param{name, ""})
}

// nextParam returns the next name=value of s.
func nextParam(s string) (name, v, rest string, ok bool) {
	for {
		s = skipCFWS(s)
		for s != "" && s[0] == ';' {
			s = skipCFWS(s[1:])
		}
		if s == "" {
			return "", "", "", false
		}
		t, r := token(s)
		r2 := skipCFWS(r)
		if t == "" || r2 == "" || r2[0] != '=' {
			s = r
			if t == "" {
				s = skipToParam(s)
			}
			continue
		}
		r2 = skipCFWS(r2[1:])
		if r2 != "" && r2[0] == '"' && quotedLen(r2) > 0 {
			v, rest = quoted(r2)
		} else if r2 != "" && r2[0] == '"' { // not closed: it ends with its line
			v = r2[1:]
			if i := strings.IndexAny(v, ";\r\n"); i >= 0 {
				v, rest = v[:i], v[i:]
			}
		} else {
			v, rest = bareValue(r2)
		}
		return upper(t), v, rest, true
	}
}

// skipToParam passes over what can't begin a parameter.
func skipToParam(s string) string {
	if s[0] == '"' {
		_, s = quoted(s)
		return s
	}
	return s[1:]
}

// bareValue reads an unquoted value: up to a semicolon, or to white space after which another
// parameter or a comment begins. So "a b.txt", which wants quotes, is taken as meant.
func bareValue(s string) (v, rest string) {
	end := len(s)
	if i := strings.IndexByte(s, ';'); i >= 0 {
		end = i
	}
	for i := 0; i < end; i++ {
		if c := s[i]; c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			continue
		}
		j := i
		for j < end && (s[j] == ' ' || s[j] == '\t' || s[j] == '\r' || s[j] == '\n') {
			j++
		}
		if j == end || s[j] == '(' {
			return s[:i], s[j:]
		}
		if t, r := token(s[j:end]); t != "" {
			if r = strings.TrimLeft(r, " \t\r\n"); r != "" && r[0] == '=' {
				return s[:i], s[j:]
			}
			j += len(t) - 1
		}
		i = j
	}
	return s[:end], s[end:]
}

// parseSegment splits name*n* (RFC 2231 §3, §4).
func parseSegment(name string, star int, v string) (segment, bool) {
	seg := segment{base: name[:star], v: v}
	rest := name[star+1:]
	if strings.HasSuffix(rest, "*") {
		seg.encoded = true
		rest = rest[:len(rest)-1]
	}
	if rest == "" {
		seg.encoded = true
		seg.n = -1 // name*=: the whole value, before numbered ones
		return seg, true
	}
	if len(rest) > 4 {
		return seg, false
	}
	for i := 0; i < len(rest); i++ {
		if rest[i] < '0' || rest[i] > '9' {
			return seg, false
		}
		seg.n = seg.n*10 + int(rest[i]-'0')
	}
	return seg, true
}

// joinSegments puts RFC 2231 pieces together, in the order of their numbers.
func joinSegments(params []Param, segs []segment) []Param {
	sort.SliceStable(segs, func(i, j int) bool {
		if segs[i].base != segs[j].base {
			return segs[i].base < segs[j].base
		}
		return segs[i].n < segs[j].n
	})
	for len(segs) > 0 {
		k := 1
		for k < len(segs) && segs[k].base == segs[0].base {
			k++
		}
		v := joinValue(segs[:k])
		for i := range params {
			if params[i].Name == segs[0].base {
				params[i].Value = v
			}
		}
		segs = segs[k:]
	}
	return params
}

// joinValue decodes the pieces of one parameter: the first names charset and language.
func joinValue(segs []segment) string {
	var b []byte
	charset, encoded := "", false
	for i, seg := range segs {
		if i > 0 && seg.n == segs[i-1].n || i > 0 && segs[0].n < 0 {
			continue
		}
		v := seg.v
		if !seg.encoded {
			b = append(b, v...)
			continue
		}
		if i == 0 {
			if c, r, ok := strings.Cut(v, "'"); ok {
				if _, r, ok = strings.Cut(r, "'"); ok {
					charset, v = c, r
				}
			}
		}
		encoded = true
		b = appendPercent(b, v)
	}
	if encoded && charset != "" {
		b = toUTF8(charset, b)
	}
	return cleanParam(string(b))
}

func appendPercent(b []byte, v string) []byte {
	for i := 0; i < len(v); i++ {
		if v[i] == '%' && i+2 < len(v) {
			hi, lo := unhex(v[i+1]), unhex(v[i+2])
			if hi|lo < 16 {
				b = append(b, hi<<4|lo)
				i += 2
				continue
			}
		}
		b = append(b, v[i])
	}
	return b
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 0xff
}

// cleanParam makes UTF-8 of a value and takes out what an IMAP string can't hold. Blanks in a quoted
// value stay: a boundary may end in them, whatever RFC 2046 §5.1.1 says.
func cleanParam(v string) string {
	v = unfoldOnly(v)
	if !utf8.ValidString(v) {
		v = string(toUTF8("", []byte(v)))
	}
	return v
}
