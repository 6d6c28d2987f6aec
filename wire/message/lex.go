package message

import "strings"

// maxComment bounds how deep comments nest (RFC 5322 §3.2.2).
const maxComment = 50

// skipCFWS skips white space, line ends and comments.
func skipCFWS(s string) string {
	for s != "" {
		switch s[0] {
		case ' ', '\t', '\r', '\n':
			s = s[1:]
		case '(':
			_, s = comment(s)
		default:
			return s
		}
	}
	return s
}

// comment splits a comment, s begins with "(", from s. The text is what is between the outer
// parentheses. A comment that does not end takes the rest of the field.
func comment(s string) (text, rest string) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			if depth < maxComment {
				depth++
			}
		case ')':
			if depth--; depth == 0 {
				return s[1:i], s[i+1:]
			}
		}
	}
	return s[1:], ""
}

// token splits an RFC 2045 §5.1 token from s; octets above 127 are let pass in names only by callers.
func token(s string) (t, rest string) {
	i := 0
	for i < len(s) && isToken(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

func isToken(c byte) bool {
	if c <= ' ' || c >= 127 {
		return false
	}
	switch c {
	case '(', ')', '<', '>', '@', ',', ';', ':', '\\', '"', '/', '[', ']', '?', '=':
		return false
	}
	return true
}

// quoted splits a quoted-string, s begins with a quote, from s and unquotes it. One that does
// not end takes the rest.
func quoted(s string) (v, rest string) {
	plain := true
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
			plain = false
		case '"':
			if plain {
				return s[1:i], s[i+1:]
			}
			return unquote(s[1:i]), s[i+1:]
		}
	}
	if plain {
		return s[1:], ""
	}
	return unquote(s[1:]), ""
}

// unquote removes backslashes of quoted pairs.
func unquote(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// upper is strings.ToUpper for ASCII, without allocation for common words.
func upper(s string) string {
	switch s {
	case "text", "TEXT":
		return "TEXT"
	case "plain":
		return "PLAIN"
	case "html":
		return "HTML"
	case "multipart":
		return "MULTIPART"
	case "mixed":
		return "MIXED"
	case "alternative":
		return "ALTERNATIVE"
	case "related":
		return "RELATED"
	case "charset":
		return "CHARSET"
	case "boundary":
		return "BOUNDARY"
	case "name":
		return "NAME"
	case "filename":
		return "FILENAME"
	case "base64":
		return "BASE64"
	case "quoted-printable":
		return "QUOTED-PRINTABLE"
	case "7bit":
		return "7BIT"
	case "8bit":
		return "8BIT"
	case "attachment":
		return "ATTACHMENT"
	case "inline":
		return "INLINE"
	case "application":
		return "APPLICATION"
	case "image":
		return "IMAGE"
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= 'a' && c <= 'z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if c := b[i]; c >= 'a' && c <= 'z' {
					b[i] = c - 'a' + 'A'
				}
			}
			return string(b)
		}
	}
	return s
}
