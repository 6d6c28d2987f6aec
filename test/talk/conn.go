package talk

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing/synctest"
	"time"
)

// patience is how long, in the free time of the bubble, an answer may take:
// longer than any delay the server chooses, shorter than its timeouts.
const patience = 5 * time.Second

// Conn is one connection of a conversation. Login functions use it.
type Conn struct {
	nc       net.Conn
	literals bool
	real     bool          // the server is a foreign process
	noRecent bool          // what it says of \Recent is not listened to
	done     chan struct{} // reading has ended

	mu  sync.Mutex
	buf []byte
	err error
}

func newConn(nc net.Conn, literals bool) *Conn {
	c := &Conn{nc: nc, literals: literals, done: make(chan struct{})}
	go c.read(nc)
	return c
}

// read collects what the server says, so that it never blocks on us.
func (c *Conn) read(nc net.Conn) {
	defer close(c.done)
	b := make([]byte, 64<<10)
	for {
		n, err := nc.Read(b)
		c.mu.Lock()
		c.buf = append(c.buf, b[:n]...)
		if err != nil {
			c.err = err
		}
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Send writes octets.
func (c *Conn) Send(text string) error {
	c.nc.SetWriteDeadline(time.Now().Add(time.Minute))
	_, err := io.WriteString(c.nc, text)
	return err
}

// Line returns the server's next line with its literals; io.EOF if it hung up.
func (c *Conn) Line() (string, error) {
	limit := patience
	if c.real {
		limit = realPatience
	}
	for end := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		if !c.real {
			synctest.Wait()
		}
		if l, ok := c.take(); ok {
			return l, nil
		}
		c.mu.Lock()
		err, rest := c.err, string(c.buf)
		c.mu.Unlock()
		if err != nil && rest != "" {
			return "", fmt.Errorf("connection ended within a line: %q", rest)
		}
		if err != nil {
			return "", io.EOF
		}
		if time.Now().After(end) {
			return "", fmt.Errorf("silence (buffered %q)", rest)
		}
	}
}

// Expect reads lines until one begins with prefix, and returns it.
func (c *Conn) Expect(prefix string) (string, error) {
	for {
		l, err := c.Line()
		if err != nil {
			return "", fmt.Errorf("waiting for %q: %w", prefix, err)
		}
		if strings.HasPrefix(l, prefix) {
			return l, nil
		}
	}
}

// quiet returns what was said unasked, "" for nothing.
func (c *Conn) quiet() string {
	settle(c.real)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skipRecent()
	return string(c.buf)
}

// take cuts one line, with the literals in it, from the buffer.
func (c *Conn) take() (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skipRecent()
	end := 0
	for {
		i := bytes.IndexByte(c.buf[end:], '\n')
		if i < 0 {
			return "", false
		}
		line := c.buf[end : end+i+1]
		end += i + 1
		n, ok := literalSize(line)
		if !ok || !c.literals {
			break
		}
		if len(c.buf) < end+n {
			return "", false
		}
		end += n
	}
	l := string(c.buf[:end])
	c.buf = append([]byte{}, c.buf[end:]...)
	return strings.TrimSuffix(strings.TrimSuffix(l, "\n"), "\r"), true
}

// literalSize reads "{n}" at the end of a line.
func literalSize(line []byte) (int, bool) {
	l := bytes.TrimRight(line, "\r\n")
	i := bytes.LastIndexByte(l, '{')
	if i < 0 || l[len(l)-1] != '}' {
		return 0, false
	}
	n, err := strconv.Atoi(string(l[i+1 : len(l)-1]))
	return n, err == nil && n >= 0
}

// startTLS puts TLS on top. The server has said all it says in clear.
func (c *Conn) startTLS(cfg *tls.Config) (*Conn, error) {
	c.nc.SetReadDeadline(time.Unix(1, 0))
	<-c.done
	if err := c.nc.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	t := tls.Client(c.nc, cfg)
	if err := t.Handshake(); err != nil {
		return nil, err
	}
	return newConn(t, c.literals), nil
}
