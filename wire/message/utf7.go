package message

import (
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/transform"
)

// utf7 decodes UTF-7 (RFC 2152): "+" begins modified base64 of UTF-16, "-" or any other octet
// ends it, "+-" is "+".
type utf7 struct {
	in    bool
	first bool // nothing yet after "+"
	bits  uint32
	n     uint
	high  rune // a high surrogate waits for its low one
}

// Reset implements transform.Transformer.
func (t *utf7) Reset() { *t = utf7{} }

// Transform implements transform.Transformer.
func (t *utf7) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if nDst+2*utf8.UTFMax > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		c := src[nSrc]
		nSrc++
		if !t.in {
			switch {
			case c == '+':
				*t = utf7{in: true, first: true}
			case c >= utf8.RuneSelf:
				nDst += utf8.EncodeRune(dst[nDst:], utf8.RuneError)
			default:
				dst[nDst] = c
				nDst++
			}
			continue
		}
		if v := base64Table[c]; v < 64 {
			t.first = false
			t.bits, t.n = t.bits<<6|uint32(v), t.n+6
			if t.n >= 16 {
				t.n -= 16
				nDst += t.unit(dst[nDst:], rune(t.bits>>t.n&0xffff))
				t.bits &= 1<<t.n - 1
			}
			continue
		}
		if t.high != 0 {
			nDst += utf8.EncodeRune(dst[nDst:], utf8.RuneError)
			t.high = 0
		}
		t.in = false
		switch {
		case c == '-' && t.first:
			dst[nDst] = '+'
			nDst++
		case c != '-':
			nSrc--
			if t.first { // a plain "+"
				dst[nDst] = '+'
				nDst++
			}
		}
	}
	return nDst, nSrc, nil
}

// unit writes one UTF-16 code unit.
func (t *utf7) unit(dst []byte, u rune) (n int) {
	switch {
	case t.high != 0 && u >= 0xdc00 && u < 0xe000:
		n = utf8.EncodeRune(dst, utf16.DecodeRune(t.high, u))
		t.high = 0
		return n
	case t.high != 0:
		n = utf8.EncodeRune(dst, utf8.RuneError)
		t.high = 0
	}
	if u >= 0xd800 && u < 0xdc00 {
		t.high = u
		return n
	}
	return n + utf8.EncodeRune(dst[n:], u)
}

// iso2022kr makes EUC-KR of ISO-2022-KR (RFC 1557): SO and SI switch, the designator goes.
type iso2022kr struct{ shift bool }

// Reset implements transform.Transformer.
func (t *iso2022kr) Reset() { t.shift = false }

// Transform implements transform.Transformer.
func (t *iso2022kr) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	const designator = "\x1b$)C"
	for nSrc < len(src) {
		c := src[nSrc]
		if c == 0x1b {
			if len(src)-nSrc < len(designator) && !atEOF {
				return nDst, nSrc, transform.ErrShortSrc
			}
			if len(src)-nSrc >= len(designator) && string(src[nSrc:nSrc+len(designator)]) == designator {
				nSrc += len(designator)
				continue
			}
		}
		if nDst == len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nSrc++
		switch {
		case c == 0x0e:
			t.shift = true
			continue
		case c == 0x0f:
			t.shift = false
			continue
		case c == '\n':
			t.shift = false
		case t.shift && c > ' ' && c < 0x7f:
			c |= 0x80
		}
		dst[nDst] = c
		nDst++
	}
	return nDst, nSrc, nil
}
