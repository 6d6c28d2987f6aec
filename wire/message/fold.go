package message

import (
	"encoding/binary"
	"sync"
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
	if f, ok := foldRunes(b[:n+i], s[i:]); ok {
		return f
	}
	return append(b[:n], s...)
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

// foldRunes appends s folded; false if s is not UTF-8.
func foldRunes(b []byte, s string) ([]byte, bool) {
	table := foldTable()
	for len(s) > 0 {
		if s[0] < utf8.RuneSelf {
			n := 1
			for n < len(s) && s[n] < utf8.RuneSelf {
				n++
			}
			b = append(b, s[:n]...)
			foldASCII(b[len(b)-n:])
			s = s[n:]
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			return nil, false
		case r < tableEnd:
			if f := table.of(r); f != "" {
				b = append(b, f...)
			} else {
				b = append(b, s[:n]...)
			}
		case r >= 0x3400 && r < 0xA000: // Han: neither case nor decomposition
			b = append(b, s[:n]...)
		default:
			b = foldRune(b, r)
		}
		s = s[n:]
	}
	return b, true
}

// foldRune appends one rune folded.
func foldRune(b []byte, r rune) []byte {
	var buf [utf8.UTFMax]byte
	n := utf8.EncodeRune(buf[:], unicode.ToTitle(r))
	if d := norm.NFKD.Properties(buf[:n]).Decomposition(); d != nil {
		return append(b, d...)
	}
	if r >= 0xac00 && r <= 0xd7a3 {
		return norm.NFKD.Append(b, buf[:n]...) // Hangul decomposes by rule, not by table
	}
	return append(b, buf[:n]...)
}

// tableEnd is the rune behind those of foldTable: Latin, Greek, Cyrillic, punctuation, Kana.
const tableEnd = 0x3100

// foldedRunes has what foldRune says of the runes below tableEnd.
type foldedRunes struct {
	from [tableEnd + 1]uint16 // of a rune in text; as much as of the next: it is its own
	text string
}

func (t *foldedRunes) of(r rune) string { return t.text[t.from[r]:t.from[r+1]] }

// foldTable is made when it is first wanted: 30 KB, a millisecond.
var foldTable = sync.OnceValue(func() *foldedRunes {
	t := new(foldedRunes)
	var text, f []byte
	for r := rune(0); r < tableEnd; r++ {
		if f = foldRune(f[:0], r); string(f) != string(r) {
			text = append(text, f...)
		}
		t.from[r+1] = uint16(len(text))
	}
	t.text = string(text)
	return t
})
