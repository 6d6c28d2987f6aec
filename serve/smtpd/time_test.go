package smtpd

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// In a bubble time is free, so every timeout can be waited for.

// pipe connects in memory.
func (h *house) pipe(t *testing.T) *client {
	c, s := net.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); h.srv.ServeConn(h.end, s) }()
	t.Cleanup(func() { c.Close(); <-done })
	return &client{Conn: patient{c}, r: bufio.NewReader(c), done: done}
}

// patient has no deadlines: the tests wait for hours.
type patient struct{ net.Conn }

func (patient) SetReadDeadline(time.Time) error { return nil }

// bubble runs f in a bubble of synctest; the certificate is made outside.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Parallel()
	testTLS(t)
	synctest.Test(t, f)
}

func TestCommandTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newHouse(t, Config{}).pipe(t)
		start := time.Now()
		c.talk(t, `
			S: 220
			C: EHLO x
			S: 250
			S: 421 4.4.2
			S.`)
		if d := time.Since(start); d < 5*time.Minute || d > 6*time.Minute {
			t.Errorf("after %v", d)
		}
	})
}

// A line that comes slowly has no more time than one that doesn't come (slow-loris).
func TestSlowLine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newHouse(t, Config{}).pipe(t)
		start := time.Now()
		c.talk(t, "S: 220")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for range 100 {
				if _, err := c.Conn.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(time.Minute)
			}
		}()
		c.talk(t, "S: 421 4.4.2\nS.")
		if d := time.Since(start); d < 5*time.Minute || d > 6*time.Minute {
			t.Errorf("after %v", d)
		}
		<-ended
	})
}

const untilData = `
	S: 220
	C: EHLO x
	S: 250
	C: MAIL FROM:<a@b.example>
	S: 250
	C: RCPT TO:<alice@example.org>
	S: 250
	C: DATA
	S: 354`

func TestDataIdle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHouse(t, Config{})
		c := h.pipe(t)
		c.talk(t, untilData)
		start := time.Now()
		for range 3 { // slow but steady: each gap is shorter than the timeout
			time.Sleep(170 * time.Second)
			c.Write([]byte(strings.Repeat(strings.Repeat("x", 98)+"\r\n", 200)))
		}
		c.talk(t, "S: 421 4.4.2\nS.")
		if d := time.Since(start); d < 11*time.Minute || d > 12*time.Minute {
			t.Errorf("after %v", d)
		}
		if len(h.in.got) != 0 {
			t.Error("half a mail was delivered")
		}
	})
}

func TestDataTooSlow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newHouse(t, Config{}).pipe(t)
		c.talk(t, untilData)
		start := time.Now()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				if _, err := c.Conn.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		c.talk(t, "S: 421 4.4.2 too slow\nS.")
		if d := time.Since(start); d < 5*time.Minute || d > 6*time.Minute {
			t.Errorf("after %v", d)
		}
		<-ended
	})
}

// Chunks don't help: the rate is that of the message.
func TestSlowChunks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newHouse(t, Config{}).pipe(t)
		c.talk(t, strings.Split(untilData, "C: DATA")[0])
		start := time.Now()
		for range 3 {
			c.talk(t, "C' BDAT 1\\r\\nx\nS: 250")
			time.Sleep(2 * time.Minute)
		}
		c.talk(t, "C: BDAT 1\nS: 421 4.4.2 too slow\nS.")
		if d := time.Since(start); d > 7*time.Minute {
			t.Errorf("after %v", d)
		}
	})
}

func TestDeafClient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newHouse(t, Config{}).pipe(t)
		start := time.Now()
		c.talk(t, "S: 220\nC: NOOP")
		<-c.done // it never reads
		if d := time.Since(start); d > 2*time.Minute {
			t.Errorf("after %v", d)
		}
	})
}

func TestEarlyTalker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newHouse(t, Config{GreetPause: time.Second}).pipe(t)
		go c.Conn.Write([]byte("EHLO x\r\n"))
		c.talk(t, "S: 554 5.5.0")

		c = newHouse(t, Config{GreetPause: time.Second}).pipe(t)
		c.talk(t, "S: 220\nC: EHLO x\nS: 250")
	})
}

func TestDrain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{GreetPause: -1})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	h.end.Addr = "127.0.0.1:0"
	addr, err := h.srv.Listen(h.end)
	if err != nil {
		t.Fatal(err)
	}
	go func() { ended <- h.srv.Run(ctx, 10*time.Second) }()
	var cs []*client
	for range 2 {
		nc, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		cs = append(cs, &client{Conn: nc, r: bufio.NewReader(nc)})
	}
	cs[0].talk(t, "S: 220\nC: EHLO x\nS: 250")
	cs[1].talk(t, untilData)
	cancel()
	for _, c := range cs {
		c.talk(t, "S: 421 4.3.2 mx.example.org server is shutting down\nS.")
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(h.in.got) != 0 {
		t.Error("half a mail was delivered")
	}
}

// FuzzSession throws octets at a session; whatever they are, it ends without a panic.
func FuzzSession(f *testing.F) {
	files, _ := filepath.Glob("testdata/talk/*/*.txtar")
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		var b strings.Builder
		for line := range strings.SplitSeq(string(text), "\n") {
			if v, ok := strings.CutPrefix(line, "C> "); ok {
				b.WriteString(v + "\r\n")
			} else if v, ok := strings.CutPrefix(line, "C>q "); ok {
				v, _ = strconv.Unquote(v)
				b.WriteString(v)
			}
		}
		f.Add([]byte(b.String()), uint8(strings.Index("msl", filepath.Base(filepath.Dir(name))[:1])))
	}
	for _, e := range []string{"a\n.\nMAIL FROM:<x>\r\n.\r\n", "a\r\n.\rb\r\n.\r\n"} {
		f.Add([]byte("EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n"+e+"QUIT\r\n"), uint8(0))
	}
	f.Fuzz(func(t *testing.T, in []byte, role uint8) {
		h := newHouse(t, Config{Role: Role(role % 3), MaxMessageSize: 1 << 16})
		c, s := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); h.srv.ServeConn(h.end, s) }()
		go func() {
			c.Write(in)
			c.Write([]byte("\r\n.\r\nRSET\r\nQUIT\r\n"))
			c.Close() // a pipe: the session has read all
		}()
		io.Copy(io.Discard, c)
		c.Close()
		<-done
		if log := h.log.String(); strings.Contains(log, "panic") {
			t.Fatal(log)
		}
	})
}

// TestBarren: NOOP for ever, or recipients without a message, do not keep a session; mails do.
func TestBarren(t *testing.T) {
	for name, said := range map[string]string{"NOOP": "NOOP", "RCPT": "RCPT TO:<alice@example.org>"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newHouse(t, Config{}).pipe(t)
				c.talk(t, strings.Split(untilData, "C: DATA")[0])
				start := time.Now()
				for time.Since(start) < 30*time.Minute {
					c.talk(t, "C: "+said+"\nS: 250")
					time.Sleep(4 * time.Minute)
				}
				c.talk(t, "C: "+said+"\nS: 421 4.4.2 no mail\nS.")
			})
		})
	}
	t.Run("mail", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			c := newHouse(t, Config{}).pipe(t)
			c.talk(t, "S: 220\nC: EHLO x\nS: 250")
			for range 20 {
				c.talk(t, "C: MAIL FROM:<a@b.example>\nS: 250\nC: RCPT TO:<alice@example.org>\nS: 250\nC: DATA\nS: 354\nC: x: y\nC: .\nS: 250")
				time.Sleep(4 * time.Minute)
			}
			c.talk(t, "C: QUIT\nS: 221\nS.")
		})
	})
	t.Run("LMTP", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			c := newHouse(t, Config{Role: LMTP}).pipe(t)
			c.talk(t, "S: 220")
			for range 60 {
				c.talk(t, "C: NOOP\nS: 250")
				time.Sleep(4 * time.Minute)
			}
		})
	})
}
