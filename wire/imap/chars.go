package imap

// Character classes of RFC 9051 §9, as tables.
var (
	atomChar    = class(func(c byte) bool { return c > ' ' && c < 0x7f && !in(c, `(){%*"\]`) })
	astringChar = class(func(c byte) bool { return c > ' ' && c < 0x7f && !in(c, `(){%*"\`) })
	tagChar     = class(func(c byte) bool { return c > ' ' && c < 0x7f && !in(c, `(){%*"\+`) })
	// listChar are the octets of an unquoted LIST pattern. UTF-8 is let through for kindness.
	listChar   = class(func(c byte) bool { return c > ' ' && c != 0x7f && !in(c, `(){"\`) })
	base64Char = class(func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '='
	})
)

func class(ok func(byte) bool) (t [256]bool) {
	for i := range t {
		t[i] = ok(byte(i))
	}
	return t
}

func in(c byte, set string) bool {
	for i := 0; i < len(set); i++ {
		if set[i] == c {
			return true
		}
	}
	return false
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - 32
	}
	return c
}

// upperString returns b in ASCII upper case.
func upperString(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	var buf [32]byte
	u := append(buf[:0], b...)
	for i, c := range u {
		u[i] = upper(c)
	}
	return string(u)
}

// equalFold compares with an upper-case ASCII word.
func equalFold(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i := 0; i < len(b); i++ {
		if upper(b[i]) != word[i] {
			return false
		}
	}
	return true
}
