package pop3d

import (
	"bufio"
	"bytes"
	"errors"
)

// errEnough ends a copy early: TOP has its lines.
var errEnough = errors.New("pop3d: enough lines")

// stuffer writes a message as a multi-line response (RFC 1939 §3): lines that
// begin with a dot get another, every line ends with CRLF. A bare LF, which may
// come in by IMAP APPEND, becomes CRLF: clients disagree on whether it ends a
// line, so both a dot behind it and the end of the message would be guesses.
// A bare CR stays.
type stuffer struct {
	w     *bufio.Writer
	lines int  // lines of the body still wanted, below 0: all
	body  bool // the empty line has passed
	n     int  // octets of the current line so far
	cr    bool // the last of them was CR
}

func newStuffer(w *bufio.Writer, lines int) *stuffer { return &stuffer{w: w, lines: lines} }

// Write implements io.Writer. Lines that stay as they are go out together.
func (s *stuffer) Write(p []byte) (int, error) {
	from, at := 0, 0 // p[from:at] is to be written yet
	for at < len(p) {
		if s.n == 0 {
			if s.enough() {
				s.w.Write(p[from:at])
				return 0, errEnough
			}
			if p[at] == '.' {
				s.w.Write(p[from:at])
				s.w.WriteByte('.')
				from = at
			}
		}
		i := bytes.IndexByte(p[at:], '\n')
		if i < 0 {
			s.n += len(p) - at
			s.cr = p[len(p)-1] == '\r'
			break
		}
		crlf := s.cr // it may have ended the Write before
		if i > 0 {
			crlf = p[at+i-1] == '\r'
		}
		if s.n+i == 0 || s.n+i == 1 && crlf {
			s.body = true
		}
		at += i
		if !crlf {
			s.w.Write(p[from:at])
			s.w.WriteByte('\r')
			from = at
		}
		at++
		s.n, s.cr = 0, false
	}
	if _, err := s.w.Write(p[from:]); err != nil { // an earlier error stays with the writer
		return 0, err
	}
	return len(p), nil
}

// enough reports whether TOP has its lines, and counts the one that begins.
func (s *stuffer) enough() bool {
	if s.lines < 0 || !s.body {
		return false
	}
	if s.lines == 0 {
		return true
	}
	s.lines--
	return false
}

// end writes what ends the response: CRLF if the message did not, then the dot.
func (s *stuffer) end() {
	if s.n > 0 {
		if s.cr {
			s.w.WriteByte('\n')
		} else {
			s.w.WriteString("\r\n")
		}
	}
	s.w.WriteString(".\r\n")
}
