package message

import (
	"encoding/binary"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Fold is the comparison form of text for SEARCH and SORT: i;unicode-casemap
// (RFC 5051 §2): titlecase mapping and decomposition. Appends to b. Text that is
// not UTF-8 is appended unchanged, as step (1)(b) says.
func Fold(b []byte, s string) []byte {
	n := len(b)
	b = append(b, s...)
	i := foldASCII(b[n:])
	if i == len(s) {
		return b
	}
	if !utf8.ValidString(s[i:]) {
		return append(b[:n], s...)
	}
	return foldRunes(b[:n+i], s[i:])
}

// foldASCII folds b in place, eight octets at a time, up to the first that is not ASCII.
func foldASCII(b []byte) (n int) {
	const each = 0x0101010101010101
	for ; n+8 <= len(b); n += 8 {
		w := binary.LittleEndian.Uint64(b[n:])
		if w&(0x80*each) != 0 {
			break
		}
		lower := ((w + (0x80-'a')*each) &^ (w + (0x7F-'z')*each)) & (0x80 * each) // the high bit of each octet from a to z
		binary.LittleEndian.PutUint64(b[n:], w-lower>>2)
	}
	for ; n < len(b) && b[n] < utf8.RuneSelf; n++ {
		if b[n]-'a' < 26 {
			b[n] -= 'a' - 'A'
		}
	}
	return n
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
