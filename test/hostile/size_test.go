package hostile

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bahnpost/test/town"
)

// maxMessage is the default limit (mail.max_message).
const maxMessage = 150 << 20

// giant is a message of just under 150 MiB: a text part and a base64 part of about 108 MB decoded.
type giant struct {
	raw    []byte
	sum    [sha256.Size]byte
	part   [sha256.Size]byte // of the decoded second part
	partN  int
	headAt int // where the base64 begins
}

var makeGiant = sync.OnceValue(func() *giant {
	const size = maxMessage - 1000
	var b bytes.Buffer
	b.Grow(maxMessage)
	b.WriteString("From: a@b.example\r\nSubject: giant\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=xyz\r\n\r\n" +
		"--xyz\r\nContent-Type: text/plain\r\n\r\nHello\r\n--xyz\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	g := &giant{headAt: b.Len()}
	part := sha256.New()
	r := rand.NewChaCha8([32]byte{1})
	var raw [57]byte
	var line [78]byte
	copy(line[76:], "\r\n")
	for b.Len() < size-200 {
		r.Read(raw[:])
		part.Write(raw[:])
		g.partN += len(raw)
		base64.StdEncoding.Encode(line[:], raw[:])
		copy(line[76:], "\r\n")
		b.Write(line[:])
	}
	b.WriteString("--xyz--\r\n")
	g.raw = b.Bytes()
	g.sum = sha256.Sum256(g.raw)
	part.Sum(g.part[:0])
	return g
})

// bounded runs fn and fails if the node's memory grew by more than bound meanwhile.
func bounded(t *testing.T, w *town.Town, what string, bound int, fn func()) {
	t.Helper()
	idle := peakFrom(t, w)
	begin := time.Now()
	fn()
	grown := peak(t, w) - idle
	t.Logf("%s: %v, memory +%.1f MB over %.1f MB", what, time.Since(begin).Round(time.Millisecond), float64(grown)/1024, float64(idle)/1024)
	if grown > bound {
		t.Errorf("%s: memory grew by %d KB (bound %d)", what, grown, bound)
	}
}

// calm is how much one transfer may add, in KB (house law 7: memory follows the work in hand, not the size of messages).
const calm = 30 << 10

// TestGiantMessages: 150 MiB come in by each way and go out by each way, byte-exact, in bounded memory.
func TestGiantMessages(t *testing.T) {
	w := start(t, 1)
	g := makeGiant()
	c := imap(t, w, "u0")
	c.ok(t, "NOOP")
	for _, way := range []struct {
		name string
		send func()
	}{
		{"LMTP DATA", func() { g.data(t, w, "lmtp", "LHLO") }},
		{"SMTP DATA", func() { g.data(t, w, "smtp", "EHLO") }},
		{"LMTP BDAT", func() { g.bdat(t, w, "u0") }},
		{"IMAP APPEND", func() { g.append(t, w, "u0", "INBOX") }},
	} {
		bounded(t, w, way.name, calm, way.send)
	}
	c.ok(t, "SELECT INBOX")
	for i := 1; i <= 4; i++ {
		bounded(t, w, fmt.Sprintf("FETCH %d BODY[]", i), calm, func() { g.fetched(t, c, i) })
	}
	bounded(t, w, "partial FETCH", calm, func() { g.ranges(t, c) })
	bounded(t, w, "FETCH BINARY", calm, func() { g.binary(t, c) })
	bounded(t, w, "FETCH BINARY.SIZE and structure", calm, func() {
		if out := c.ok(t, "FETCH 4 (BINARY.SIZE[2] BODYSTRUCTURE ENVELOPE)"); !strings.Contains(out, fmt.Sprintf("BINARY.SIZE[2] %d", g.partN)) {
			t.Errorf("BINARY.SIZE: %.200s", out)
		}
	})
	bounded(t, w, "SEARCH TEXT", 2*calm, func() { c.ok(t, "SEARCH BODY zyzzyva") })
	bounded(t, w, "POP3 RETR", calm, func() { g.retr(t, w) })
	quiet(t, w)
	w.Kill()
	clean(t, w)
}

// TestEightGiants: eight of them at once, in and out.
func TestEightGiants(t *testing.T) {
	w := start(t, 8)
	g := makeGiant()
	all := func(n int, fn func(i int)) func() {
		return func() {
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() { fn(i) })
			}
			wg.Wait()
		}
	}
	n := pick(4, 8)
	bounded(t, w, fmt.Sprintf("%d APPEND at once", n), 3*calm, all(n, func(i int) { g.append(t, w, fmt.Sprintf("u%d", i), "INBOX") }))
	bounded(t, w, fmt.Sprintf("%d BDAT at once", n), 3*calm, all(n, func(i int) { g.bdat(t, w, fmt.Sprintf("u%d", i)) }))
	bounded(t, w, fmt.Sprintf("%d FETCH at once", n), 3*calm, all(n, func(i int) {
		c := imap(t, w, fmt.Sprintf("u%d", i))
		c.ok(t, "SELECT INBOX")
		g.fetched(t, c, 1)
	}))
	quiet(t, w)
}

// TestTooLarge: one octet over the limit is refused with the right code, everywhere, and the session goes on where it can.
func TestTooLarge(t *testing.T) {
	w := start(t, 1)
	c := imap(t, w, "u0")
	c.refused(t, "TOOBIG", "APPEND INBOX {%d}", maxMessage+1)
	c.ok(t, "NOOP")
	// MAIL SIZE: RFC 1870 §6.2; what really comes is larger than announced: RFC 3030 §3, RFC 5321 §4.5.3.1.9.
	for _, p := range []struct{ port, hello string }{{"lmtp", "LHLO"}, {"smtp", "EHLO"}} {
		s := dial(t, w.Addr(p.port))
		s.must(t, "220", "")
		s.must(t, "250", "%s client.example", p.hello)
		s.must(t, "552 5.3.4", "MAIL FROM:<a@b.example> SIZE=%d", maxMessage+1)
		s.must(t, "250", "MAIL FROM:<a@b.example>")
		s.must(t, "250", "RCPT TO:<u0@example.org>")
		s.must(t, "354", "DATA")
		s.flood(t, maxMessage+2000)
		s.must(t, "552 5.3.4", ".")
		s.must(t, "250", "NOOP")
		s.begin(t, "u0")
		s.say("BDAT %d LAST\r\n", maxMessage+1) // RFC 3030 §2: the chunk is taken, then refused
		s.Write(make([]byte, maxMessage+1))
		r, err := s.reply()
		if err != nil || !strings.HasPrefix(r, "552 5.3.4") {
			t.Errorf("%s BDAT: %q %v", p.port, r, err)
		}
	}
	quiet(t, w)
}

// flood writes n octets of lines.
func (w *wire) flood(t testing.TB, n int) {
	t.Helper()
	line := []byte(strings.Repeat("x", 76) + "\r\n")
	chunk := bytes.Repeat(line, 1000)
	w.SetDeadline(time.Now().Add(patience))
	w.say("Subject: flood\r\n\r\n")
	for sent := 0; sent < n; sent += len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
}

func (g *giant) data(t *testing.T, w *town.Town, port, hello string) {
	c := dial(t, w.Addr(port))
	c.must(t, "220", "")
	c.must(t, "250", "%s client.example", hello)
	c.begin(t, "u0")
	c.must(t, "354", "DATA")
	c.Write(g.raw) // no line begins with a dot
	c.must(t, "250", ".")
	c.Close()
}

func (g *giant) bdat(t *testing.T, w *town.Town, user string) {
	c := lmtp(t, w)
	c.begin(t, user)
	const chunk = 1 << 20
	for off := 0; off < len(g.raw); off += chunk {
		p, last := g.raw[off:min(off+chunk, len(g.raw))], ""
		if off+chunk >= len(g.raw) {
			last = " LAST"
		}
		c.say("BDAT %d%s\r\n", len(p), last)
		c.Write(p)
		c.must(t, "250", "")
	}
	c.Close()
}

func (g *giant) append(t *testing.T, w *town.Town, user, mailbox string) {
	c := imap(t, w, user)
	c.say("a APPEND %s {%d}\r\n", mailbox, len(g.raw))
	c.want(t, "+")
	c.Write(g.raw)
	c.say("\r\n")
	if s := c.want(t, "a "); !strings.HasPrefix(s, "a OK") {
		t.Error(s)
	}
	c.Close()
}

// streamed runs a FETCH of one literal into h and returns its length.
func (w *wire) streamed(t *testing.T, h hash.Hash, format string, args ...any) int64 {
	t.Helper()
	w.SetDeadline(time.Now().Add(patience))
	w.n++
	tag := "s" + strconv.Itoa(w.n)
	w.say(tag+" "+format+"\r\n", args...)
	s := w.want(t, "* ")
	n, ok := literal(strings.Replace(s, "~{", "{", 1))
	if !ok {
		t.Fatalf("no literal: %q", s)
	}
	if _, err := io.CopyN(h, w.r, n); err != nil {
		t.Fatal(err)
	}
	if s := w.want(t, tag+" "); !strings.HasPrefix(s, tag+" OK") {
		t.Fatal(s)
	}
	return n
}

// fetched compares message i, without the trace header that delivery put before it.
func (g *giant) fetched(t *testing.T, c *wire, i int) {
	t.Helper()
	size := int64(0)
	fmt.Sscanf(strings.SplitN(c.ok(t, "FETCH %d RFC822.SIZE", i), "RFC822.SIZE ", 2)[1], "%d", &size)
	trace := size - int64(len(g.raw))
	h := sha256.New()
	if n := c.streamed(t, h, "FETCH %d BODY.PEEK[]<%d.%d>", i, trace, len(g.raw)); n != int64(len(g.raw)) || [32]byte(h.Sum(nil)) != g.sum {
		t.Errorf("message %d differs: %d octets of %d", i, n, len(g.raw))
	}
}

func (g *giant) ranges(t *testing.T, c *wire) {
	for range 50 {
		off, n := rand.IntN(len(g.raw)), rand.IntN(200_000)
		h := sha256.New()
		c.streamed(t, h, "FETCH 4 BODY.PEEK[]<%d.%d>", off, n+1)
		if want := sha256.Sum256(g.raw[off:min(off+n+1, len(g.raw))]); [32]byte(h.Sum(nil)) != want {
			t.Errorf("range %d.%d differs", off, n+1)
		}
	}
	h := sha256.New()
	n := c.streamed(t, h, "FETCH 4 BODY.PEEK[2]")
	if want := sha256.Sum256(g.raw[g.headAt : g.headAt+int(n)]); [32]byte(h.Sum(nil)) != want {
		t.Error("BODY[2] differs")
	}
}

func (g *giant) binary(t *testing.T, c *wire) {
	h := sha256.New()
	if n := c.streamed(t, h, "FETCH 4 BINARY.PEEK[2]"); n != int64(g.partN) || [32]byte(h.Sum(nil)) != g.part {
		t.Errorf("BINARY[2] differs: %d octets of %d", n, g.partN)
	}
	h.Reset()
	c.streamed(t, h, "FETCH 1 BINARY.PEEK[2]<%d.%d>", 0, g.partN)
	if [32]byte(h.Sum(nil)) != g.part {
		t.Error("partial BINARY[2] differs")
	}
}

func (g *giant) retr(t *testing.T, w *town.Town) {
	c := dial(t, w.Addr("pop3"))
	c.must(t, "+OK", "")
	c.must(t, "+OK", "USER u0@example.org")
	c.must(t, "+OK", "PASS secret")
	c.must(t, "+OK", "RETR 4")
	h := sha256.New()
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			t.Fatal(err)
		}
		if string(line) == ".\r\n" {
			break
		}
		h.Write(bytes.TrimPrefix(line, []byte(".")))
	}
	if [32]byte(h.Sum(nil)) != g.sum {
		t.Error("RETR differs")
	}
	c.must(t, "+OK", "QUIT")
}
