package message

import "bytes"

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
	for len(src) > 0 {
		i := bytes.IndexByte(src, '\n')
		if i >= 0 {
			dst = qpLine(dst, src[:i+1])
			src = src[i+1:]
			continue
		}
		if last {
			return qpLine(dst, src)
		}
		keep := len(src) // what may belong to the line end: white space, "=" and what follows it
		for keep > 0 && len(src)-keep < qpHeld && (src[keep-1] == ' ' || src[keep-1] == '\t' || src[keep-1] == '\r') {
			keep--
		}
		for j := 1; j <= 2 && j <= keep; j++ {
			if src[keep-j] == '=' {
				keep -= j
				break
			}
		}
		dst = qpText(dst, src[:keep])
		s.held = append(s.held[:0], src[keep:]...)
		return dst
	}
	return dst
}

// qpLine decodes the end of a line, line end included.
func qpLine(dst, line []byte) []byte {
	n := len(line)
	eol := line[n:]
	if n > 0 && line[n-1] == '\n' {
		n--
		if n > 0 && line[n-1] == '\r' {
			n--
		}
		eol = line[n:]
	}
	for n > 0 && (line[n-1] == ' ' || line[n-1] == '\t') {
		n--
	}
	if n > 0 && line[n-1] == '=' {
		return qpText(dst, line[:n-1])
	}
	return append(qpText(dst, line[:n]), eol...)
}

// qpText decodes octets without line ends.
func qpText(dst, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, '=')
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		s = s[i:]
		if len(s) >= 3 {
			if hi, lo := unhex(s[1]), unhex(s[2]); hi|lo < 16 {
				dst = append(dst, hi<<4|lo)
				s = s[3:]
				continue
			}
		}
		dst = append(dst, '=')
		s = s[1:]
	}
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
