package town

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// ioTimeout bounds every exchange of the clients here.
const ioTimeout = 2 * time.Minute

// line is a connection that speaks lines.
type line struct {
	net.Conn
	r *bufio.Reader
}

func dial(addr string) (*line, error) {
	c, err := net.DialTimeout("tcp", addr, ioTimeout)
	if err != nil {
		return nil, err
	}
	return &line{c, bufio.NewReader(c)}, nil
}

func (l *line) read() (string, error) {
	l.SetReadDeadline(time.Now().Add(ioTimeout))
	s, err := l.r.ReadString('\n')
	return strings.TrimRight(s, "\r\n"), err
}

func (l *line) write(format string, args ...any) error {
	l.SetWriteDeadline(time.Now().Add(ioTimeout))
	_, err := fmt.Fprintf(l, format, args...)
	return err
}

// LMTP is a small LMTP client (RFC 2033).
type LMTP struct{ l *line }

// DialLMTP connects and says LHLO.
func DialLMTP(addr string) (*LMTP, error) {
	l, err := dial(addr)
	if err != nil {
		return nil, err
	}
	c := &LMTP{l}
	if _, err := c.reply(); err != nil {
		return nil, err
	}
	return c, c.want("250", "LHLO client.example\r\n")
}

// reply reads one reply, all its lines, and returns the last.
func (c *LMTP) reply() (string, error) {
	for {
		s, err := c.l.read()
		if err != nil || len(s) < 4 || s[3] != '-' {
			return s, err
		}
	}
}

func (c *LMTP) want(code, format string, args ...any) error {
	if err := c.l.write(format, args...); err != nil {
		return err
	}
	s, err := c.reply()
	if err == nil && !strings.HasPrefix(s, code) {
		err = fmt.Errorf("%q", s)
	}
	return err
}

// Deliver sends one message (CRLF lines, no leading dots) and returns the reply of each recipient.
func (c *LMTP) Deliver(message string, to ...string) ([]string, error) {
	if err := c.want("250", "MAIL FROM:<sender@elsewhere.example>\r\n"); err != nil {
		return nil, err
	}
	for _, t := range to {
		if err := c.want("250", "RCPT TO:<%s>\r\n", t); err != nil {
			return nil, err
		}
	}
	if err := c.want("354", "DATA\r\n"); err != nil {
		return nil, err
	}
	if err := c.l.write("%s\r\n.\r\n", strings.TrimSuffix(message, "\r\n")); err != nil {
		return nil, err
	}
	var rs []string
	for range to {
		s, err := c.reply()
		if err != nil {
			return rs, err
		}
		rs = append(rs, s)
	}
	return rs, nil
}

// Close closes the connection without QUIT.
func (c *LMTP) Close() { c.l.Close() }

// IMAP is a small IMAP client for invariants, not for conformance.
type IMAP struct {
	l *line
	n int
}

// DialIMAP connects and logs in.
func DialIMAP(addr, user, password string) (*IMAP, error) {
	l, err := dial(addr)
	if err != nil {
		return nil, err
	}
	c := &IMAP{l: l}
	if _, err := c.l.read(); err != nil {
		return nil, err
	}
	_, err = c.Do("LOGIN %s %s", user, password)
	return c, err
}

// Do sends a command and returns its untagged lines, literals inlined; a NO or BAD is an error.
func (c *IMAP) Do(format string, args ...any) ([]string, error) {
	c.n++
	tag := "t" + strconv.Itoa(c.n)
	if err := c.l.write(tag+" "+format+"\r\n", args...); err != nil {
		return nil, err
	}
	return c.answer(tag)
}

func (c *IMAP) answer(tag string) (lines []string, err error) {
	for {
		s, err := c.logical()
		if err != nil {
			return lines, err
		}
		rest, mine := strings.CutPrefix(s, tag+" ")
		switch {
		case mine && strings.HasPrefix(rest, "OK"):
			return append(lines, s), nil
		case mine:
			return lines, fmt.Errorf("%s", rest)
		}
		lines = append(lines, s)
	}
}

// logical reads a line with its literals.
func (c *IMAP) logical() (string, error) {
	var b strings.Builder
	for {
		s, err := c.l.read()
		if err != nil {
			return "", err
		}
		b.WriteString(s)
		i := strings.LastIndexByte(s, '{')
		if i < 0 || !strings.HasSuffix(s, "}") {
			return b.String(), nil
		}
		n, err := strconv.Atoi(s[i+1 : len(s)-1])
		if err != nil {
			return b.String(), nil
		}
		b.WriteString("\n")
		if _, err := io.CopyN(&b, c.l.r, int64(n)); err != nil {
			return "", err
		}
	}
}

// Append stores a message with a non-synchronising literal.
func (c *IMAP) Append(mailbox, message string) (string, error) {
	lines, err := c.Do("APPEND %s {%d+}\r\n%s", mailbox, len(message), message)
	if err != nil {
		return "", err
	}
	return lines[len(lines)-1], nil
}

// Close closes the connection without LOGOUT.
func (c *IMAP) Close() { c.l.Close() }
