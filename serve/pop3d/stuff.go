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

// Write implements io.Writer.
func (s *stuffer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if s.n == 0 {
			if s.lines >= 0 && s.body {
				if s.lines == 0 {
					return 0, errEnough
				}
				s.lines--
			}
			if p[0] == '.' {
				s.w.WriteByte('.')
			}
		}
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			s.n += len(p)
			s.cr = p[len(p)-1] == '\r'
			_, err := s.w.Write(p)
			return n, err
		}
		if err := s.line(p[:i+1]); err != nil {
			return 0, err
		}
		p = p[i+1:]
	}
	return n, nil
}

// line writes the end of a line, LF included; it may have begun in the Write before.
func (s *stuffer) line(p []byte) error {
	text := len(p) - 1
	crlf := s.cr
	if text > 0 {
		crlf = p[text-1] == '\r'
	}
	if s.n+text == 0 || s.n+text == 1 && crlf {
		s.body = true
	}
	s.n, s.cr = 0, false
	if crlf {
		_, err := s.w.Write(p)
		return err
	}
	s.w.Write(p[:text])
	_, err := s.w.WriteString("\r\n")
	return err
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
