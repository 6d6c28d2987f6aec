package message

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Fold is the comparison form of text for SEARCH and SORT: i;unicode-casemap
// (RFC 5051 §2): titlecase mapping and decomposition. Appends to b. Text that is
// not UTF-8 is appended unchanged, as step (1)(b) says.
func Fold(b []byte, s string) []byte {
	n := len(b)
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= utf8.RuneSelf {
			if !utf8.ValidString(s[i:]) {
				return append(b[:n], s...)
			}
			return foldRunes(b, s[i:])
		}
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		b = append(b, c)
	}
	return b
}

func foldRunes(b []byte, s string) []byte {
	var buf [utf8.UTFMax]byte
	for _, r := range s {
		if r < utf8.RuneSelf {
			if r >= 'a' && r <= 'z' {
				r -= 'a' - 'A'
			}
			b = append(b, byte(r))
			continue
		}
		r = unicode.ToTitle(r)
		n := utf8.EncodeRune(buf[:], r)
		if d := norm.NFKD.Properties(buf[:n]).Decomposition(); d != nil {
			b = append(b, d...)
		} else if r >= 0xac00 && r <= 0xd7a3 {
			b = norm.NFKD.Append(b, buf[:n]...) // Hangul decomposes by rule, not by table
		} else {
			b = append(b, buf[:n]...)
		}
	}
	return b
}
