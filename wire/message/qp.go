package message

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
)

// qpStep decodes RFC 2045 §6.7 line by line: white space at a line's end goes (rule 3), "="
// at the end joins lines (rule 5), a "=" that no two hex digits follow stays (the note under
// rule 5). A long line is decoded in pieces.
type qpStep struct{ held []byte }

const qpHeld = 4 << 10 // a run of white space held back at most; RFC 2045 lines have 76 octets

func (s *qpStep) step(dst, src []byte, last bool) []byte {
	if len(s.held) > 0 {
		src = append(s.held, src...)
		s.held = src[:0]
	}
	keep := len(src)
	if !last {
		keep = qpKeep(src)
	}
	dst = qpDecode(dst, src[:keep], last)
	s.held = append(s.held[:0], src[keep:]...)
	return dst
}

// qpKeep is how much of src can be decoded before more has come: behind its last line all but what may belong
// to the line's end, which is white space, "=" and what follows it.
func qpKeep(src []byte) int {
	line := bytes.LastIndexByte(src, '\n') + 1
	keep := len(src)
	for keep > line && len(src)-keep < qpHeld && (src[keep-1] == ' ' || src[keep-1] == '\t' || src[keep-1] == '\r') {
		keep--
	}
	for j := 1; j <= 2 && keep-j >= line; j++ {
		if src[keep-j] == '=' {
			return keep - j
		}
	}
	return keep
}

// qpDecode decodes whole lines and what stands behind them; last: the end of that is a line's end. The result is no longer than src.
func qpDecode(dst, src []byte, last bool) []byte {
	const (
		each = 0x0101010101010101
		high = 0x80 * each
	)
	dst = slices.Grow(dst, len(src)+8)
	out := dst[len(dst) : len(dst)+len(src)+8]
	n := 0     // octets in out
	solid := 0 // up to here they stay: line ends, and what was encoded
	for i := 0; i < len(src); {
		for i+8 <= len(src) {
			w := binary.LittleEndian.Uint64(src[i:])
			binary.LittleEndian.PutUint64(out[n:], w)
			eq, nl := w^'='*each, w^'\n'*each
			if stop := ((eq-each)&^eq | (nl-each)&^nl) & high; stop != 0 {
				k := bits.TrailingZeros64(stop) / 8
				i, n = i+k, n+k
				break
			}
			i, n = i+8, n+8
		}
		if i == len(src) {
			break
		}
		switch c := src[i]; c {
		case '\n':
			n = qpLineEnd(out, n, solid)
			solid = n
			i++
		case '=':
			if i+2 < len(src) {
				if hi, lo := unhex(src[i+1]), unhex(src[i+2]); hi|lo < 16 {
					out[n] = hi<<4 | lo
					n++
					solid = n
					i += 3
					continue
				}
			}
			if k := qpSoft(src[i+1:], last); k >= 0 {
				i += 1 + k
				solid = n
				continue
			}
			fallthrough
		default:
			out[n] = c
			n++
			i++
		}
	}
	if last {
		n = qpTrim(out, n, solid)
	}
	return dst[:len(dst)+n]
}

// qpLineEnd puts the end of a line, of which CR may be there, behind out[:n] without the white space from solid on.
func qpLineEnd(out []byte, n, solid int) int {
	cr := n > solid && out[n-1] == '\r'
	if cr {
		n--
	}
	n = qpTrim(out, n, solid)
	if cr {
		out[n] = '\r'
		n++
	}
	out[n] = '\n'
	return n + 1
}

// qpTrim is n without the white space that out[solid:n] ends with.
func qpTrim(out []byte, n, solid int) int {
	for n > solid && (out[n-1] == ' ' || out[n-1] == '\t') {
		n--
	}
	return n
}

// qpSoft is how much of s a soft line break takes behind its "=", -1 if it is none; last: the end of s is a line's end.
func qpSoft(s []byte, last bool) int {
	i := 0
	for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
		i++
	}
	switch rest := s[i:]; {
	case len(rest) == 0 && last:
		return i
	case len(rest) > 0 && rest[0] == '\n':
		return i + 1
	case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
		return i + 2
	}
	return -1
}

// uuStep decodes uuencoded lines between "begin" and "end".
type uuStep struct {
	held  []byte
	state uint8 // 0 before begin, 1 inside, 2 after end
}

const uuLine = 256 // a line has at most 61 octets; longer ones are skipped in pieces

func (s *uuStep) step(dst, src []byte, last bool) []byte {
	if len(s.held) > 0 {
		src = append(s.held, src...)
	}
	for len(src) > 0 {
		i := bytes.IndexByte(src, '\n')
		if i < 0 {
			if !last && len(src) < uuLine {
				break
			}
			i = len(src) - 1
		}
		line := bytes.TrimRight(src[:i+1], "\r\n")
		src = src[i+1:]
		switch {
		case s.state == 0 && bytes.HasPrefix(line, []byte("begin ")):
			s.state = 1
		case s.state == 1 && bytes.Equal(line, []byte("end")):
			s.state = 2
		case s.state == 1:
			dst = uuDecode(dst, line)
		}
	}
	s.held = append(s.held[:0], src...)
	return dst
}

func uuDecode(dst, line []byte) []byte {
	if len(line) == 0 {
		return dst
	}
	n := int(line[0]-' ') & 63
	line = line[1:]
	for n > 0 && len(line) > 0 {
		var q [4]byte
		for i := range q {
			if i < len(line) {
				q[i] = (line[i] - ' ') & 63
			}
		}
		out := [3]byte{q[0]<<2 | q[1]>>4, q[1]<<4 | q[2]>>2, q[2]<<6 | q[3]}
		k := min(n, 3)
		dst = append(dst, out[:k]...)
		n -= k
		line = line[min(4, len(line)):]
	}
	return dst
}
