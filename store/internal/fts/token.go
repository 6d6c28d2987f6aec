package fts

import (
	"encoding/binary"
	"math"
	"math/bits"
	"unicode"
	"unicode/utf8"
)

// How folded text is cut. The class of a rune never depends on its neighbours,
// so a needle is cut in the same places as the text around it, except at its own ends.
//
// In text a token is a run of letters, digits and marks, with single joiners
// (- . _ @ ') kept where such stand on both sides: john.doe@example.org is one
// token. Runs of Han and Kana give their bigrams instead, a single one itself.
// In fields cut into words (Field.words) everything between white space is a token.
// Tokens over maxToken octets become pieces that overlap by maxProof-1 octets; the
// first piece begins where the token does, the last ends where it ends.

type class uint8

const (
	separator class = iota
	alnum
	joiner
	cjk
)

// asciiClass is indexed by octets below 0x80.
var asciiClass = func() (t [128]class) {
	for c := range t {
		switch {
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z':
			t[c] = alnum
		case c == '-', c == '.', c == '_', c == '@', c == '\'':
			t[c] = joiner
		}
	}
	return
}()

// runeClass is for runes from 0x80 on. Ranges that are nearly all letters are taken whole: how
// a rune is classed changes the size of the index, never an answer.
func runeClass(r rune) class {
	switch {
	case r < 0xC0:
		return separator
	case r < 0x530:
		if r == 0xD7 || r == 0xF7 {
			return separator
		}
		return alnum
	case r < 0x2000:
	case r < 0x2C00:
		return separator // punctuation, symbols, arrows, boxes
	case r >= 0xAC00 && r < 0xD7B0:
		return alnum // Hangul: written with spaces
	case r >= 0x2E80 && r < 0x2FE0, r >= 0x3005 && r <= 0x3007, r >= 0x3021 && r < 0x302A, r >= 0x3031 && r < 0x3036,
		r >= 0x3040 && r < 0x3100, r >= 0x31F0 && r < 0x3200, r >= 0x3400 && r < 0x4DC0, r >= 0x4E00 && r < 0xA000,
		r >= 0xF900 && r < 0xFB00, r >= 0xFF66 && r < 0xFFA0, r >= 0x20000 && r < 0x40000:
		return cjk
	}
	if unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r) {
		return alnum
	}
	return separator
}

// classAt returns the class of the rune at the start of b and its width.
func classAt(b []byte) (class, int) {
	if c := b[0]; c < utf8.RuneSelf {
		return asciiClass[c], 1
	}
	r, n := utf8.DecodeRune(b)
	if r == utf8.RuneError && n == 1 {
		return separator, 1
	}
	return runeClass(r), n
}

// span is a token, or a run of cjk, at b[from:to].
type span struct {
	from, to int
	cjk      bool
}

// nextText finds the next span of b from i on; from == len(b) if there is none.
func nextText(b []byte, i int) span {
	for i < len(b) {
		c, n := classAt(b[i:])
		switch c {
		case alnum:
			return span{from: i, to: endText(b, i+n)}
		case cjk:
			s := span{from: i, cjk: true}
			for i += n; i < len(b); i += n {
				if c, n = classAt(b[i:]); c != cjk {
					break
				}
			}
			s.to = i
			return s
		}
		i += n
	}
	return span{from: len(b), to: len(b)}
}

// endText returns the end of a token whose last rune seen ends at i.
func endText(b []byte, i int) int {
	for i < len(b) {
		if c := b[i]; c < utf8.RuneSelf {
			switch asciiClass[c] {
			case alnum:
				i++
				continue
			case joiner:
				if i+1 < len(b) {
					if c, n := classAt(b[i+1:]); c == alnum {
						i += 1 + n
						continue
					}
				}
			}
			return i
		}
		c, n := classAt(b[i:])
		if c != alnum {
			return i
		}
		i += n
	}
	return i
}

// spaceAt reports whether b begins with white space (or a control character, which we take for it), and the rune's width.
func spaceAt(b []byte) (bool, int) {
	if c := b[0]; c < utf8.RuneSelf {
		return c <= ' ' || c == 0x7F, 1
	}
	r, n := utf8.DecodeRune(b)
	return unicode.IsSpace(r), n
}

// nextWord is nextText for fields cut into words.
func nextWord(b []byte, i int) span {
	for i < len(b) {
		space, n := spaceAt(b[i:])
		if !space {
			break
		}
		i += n
	}
	s := span{from: i}
	for i < len(b) {
		for i < len(b) && b[i] > ' ' && b[i] < 0x7F {
			i++
		}
		if i == len(b) {
			break
		}
		space, n := spaceAt(b[i:])
		if space {
			break
		}
		i += n
	}
	s.to = i
	return s
}

// pieces calls add with tok, or with its pieces if it is long.
func pieces(tok []byte, add func([]byte)) {
	for len(tok) > maxToken {
		add(tok[:maxToken])
		tok = tok[min(maxToken-maxProof+1, len(tok)-maxToken):]
	}
	add(tok)
}

// bigrams calls add with each two neighbours of a run of cjk, or with its only rune.
func bigrams(run []byte, add func([]byte)) {
	_, n := utf8.DecodeRune(run)
	if n == len(run) {
		add(run)
		return
	}
	for n < len(run) {
		_, m := utf8.DecodeRune(run[n:])
		add(run[:n+m])
		run, n = run[n:], m
	}
}

// cutter cuts text that comes in chunks.
type cutter struct {
	words bool
	carry []byte // the unfinished end of what came before
	add   func([]byte)
}

// feed takes the next chunk, whole runes of folded text.
func (c *cutter) feed(b []byte) {
	if len(c.carry) > 0 {
		c.carry = append(c.carry, b...)
		b = c.carry
	}
	c.carry = append(c.carry[:0], c.cut(b, false)...)
}

// end finishes the text.
func (c *cutter) end() {
	if len(c.carry) > 0 {
		c.cut(c.carry, true)
		c.carry = c.carry[:0]
	}
}

// cut adds the tokens of b and returns what may go on in the next chunk.
func (c *cutter) cut(b []byte, final bool) (rest []byte) {
	next := nextText
	if c.words {
		next = nextWord
	}
	for i := 0; ; {
		if !c.words {
			i = c.quick(b, i)
		}
		s := next(b, i)
		if s.from == len(b) {
			return nil
		}
		tok := b[s.from:s.to]
		i = s.to
		switch {
		case s.cjk:
			bigrams(tok, c.add)
			if !final && s.to == len(b) {
				_, n := utf8.DecodeLastRune(tok)
				return tok[len(tok)-n:]
			}
		case !final && unfinished(b[s.to:]):
			for len(tok) > longRun {
				pieces(tok[:longRun], c.add)
				tok = tok[longRun-maxToken:]
			}
			return b[len(b)-len(tok)-len(b[s.to:]):]
		default:
			if len(tok) <= maxToken {
				c.add(tok)
			} else {
				pieces(tok, c.add)
			}
		}
	}
}

// quick adds tokens of b from i on as nextText finds them, as long as there is nothing but ASCII near
// and the token is short, and returns where to go on: not inside a token.
func (c *cutter) quick(b []byte, i int) int {
	for {
		toks, n := asciiTokens(b[i:])
		at := n
		for toks != 0 {
			from := bits.TrailingZeros64(toks)
			to := from + bits.TrailingZeros64(^(toks >> from))
			if to+1 >= n { // it may go on, or end with a joiner that goes on
				at = from
				break
			}
			c.add(b[i+from : i+to])
			toks &= math.MaxUint64 << to
		}
		if at == 0 {
			return i
		}
		i += at
	}
}

// asciiTokens classes the first n octets of b, up to 64, all of them ASCII; the bits of toks are the octets
// that belong to tokens, if what follows does not matter.
func asciiTokens(b []byte) (toks uint64, n int) {
	const (
		each = 0x0101010101010101
		high = 0x80 * each
		pick = 0x0102040810204080 // gathers the lowest bit of each octet in the highest octet
	)
	var alnum, join uint64
	for ; n < 64 && n+8 <= len(b); n += 8 {
		w := binary.LittleEndian.Uint64(b[n:])
		if w&high != 0 {
			break
		}
		// Octets are below 0x80, so an addition sets the high bit of each that is not below a bound, and disturbs no neighbour.
		l := w | 0x20*each
		a := (l+(0x80-'a')*each)&^(l+(0x7F-'z')*each) | (w+(0x80-'0')*each)&^(w+(0x7F-'9')*each)
		j := (w+(0x80-'-')*each)&^(w+(0x7F-'.')*each) | ^((w ^ '_'*each) + 0x7F*each) | ^((w ^ '@'*each) + 0x7F*each) | ^((w ^ '\''*each) + 0x7F*each)
		alnum |= (a & high >> 7 * pick >> 56) << n
		join |= (j & high >> 7 * pick >> 56) << n
	}
	return alnum | join&(alnum<<1)&(alnum>>1), n
}

// unfinished reports whether a token followed by rest may go on in the next chunk.
func unfinished(rest []byte) bool {
	return len(rest) == 0 || len(rest) == 1 && rest[0] < utf8.RuneSelf && asciiClass[rest[0]] == joiner
}
