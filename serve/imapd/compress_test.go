package imapd

import (
	"bufio"
	"compress/flate"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bahnpost/wire/imap"
)

// zconn is a client that compresses; what it reads it inflates with the standard library, as zlib would.
type zconn struct {
	t  *testing.T
	nc net.Conn
	r  *bufio.Reader
	w  io.Writer
}

// dialZ logs in and turns compression on.
func (w *town) dialZ(t *testing.T) *zconn {
	nc, err := w.dial(false)
	if err != nil {
		t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(3 * time.Hour))
	z := &zconn{t: t, nc: nc, r: bufio.NewReader(pump(nc)), w: nc}
	z.expect("* OK")
	z.send("a LOGIN alice secret\r\n")
	z.expect("a OK")
	z.send("b COMPRESS DEFLATE\r\n")
	z.expect("b OK")
	z.r = bufio.NewReader(flate.NewReader(z.r))
	return z
}

// pump reads ahead, as a socket does: pipes have no buffer.
func pump(nc net.Conn) io.Reader {
	p := &pumped{chunks: make(chan []byte, 1<<16)}
	go func() {
		defer close(p.chunks)
		for {
			b := make([]byte, 4096)
			n, err := nc.Read(b)
			if p.chunks <- b[:n]; err != nil {
				return
			}
		}
	}()
	return p
}

type pumped struct {
	chunks chan []byte
	rest   []byte
}

func (p *pumped) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		var ok bool
		if p.rest, ok = <-p.chunks; !ok {
			return 0, io.EOF
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (z *zconn) send(text string) {
	z.t.Helper()
	if _, err := io.WriteString(z.w, text); err != nil {
		z.t.Fatal(err)
	}
}

// expect reads up to the line that begins with prefix.
func (z *zconn) expect(prefix string) string {
	z.t.Helper()
	for {
		l, err := z.r.ReadString('\n')
		if err != nil {
			z.t.Fatalf("waiting for %q: %v", prefix, err)
		}
		if strings.HasPrefix(l, prefix) {
			return l
		}
	}
}

// flushed writes each text as a deflate stream flushed with Z_SYNC_FLUSH, in chunks of n octets.
type flushed struct {
	f *flate.Writer
	b strings.Builder
	z *zconn
	n int
}

func newFlushed(z *zconn, n int) *flushed {
	x := &flushed{z: z, n: n}
	x.f, _ = flate.NewWriter(&x.b, 6)
	return x
}

func (x *flushed) Write(p []byte) (int, error) {
	x.f.Write(p)
	x.f.Flush()
	s := x.b.String()
	x.b.Reset()
	for len(s) > 0 {
		k := min(x.n, len(s))
		if _, err := io.WriteString(x.z.nc, s[:k]); err != nil {
			return 0, err
		}
		s = s[k:]
	}
	return len(p), nil
}

// RFC 4978 §3: the talk goes on compressed both ways, octet by octet or in large pieces, with literals and while idling.
func TestCompressedTalk(t *testing.T) {
	t.Parallel()
	for _, chunk := range []int{1, 7, 1 << 20} {
		t.Run(fmt.Sprint(chunk), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, Config{})
				z := w.dialZ(t)
				z.w = newFlushed(z, chunk)
				z.send("c COMPRESS DEFLATE\r\n")
				z.expect("c NO [COMPRESSIONACTIVE]")
				z.send("d CAPABILITY\r\n")
				if l := z.expect("* CAPABILITY"); strings.Contains(l, "COMPRESS=DEFLATE") {
					t.Error("COMPRESS is announced although it is on")
				}
				body := "Subject: big\r\n\r\n" + strings.Repeat("All work and no play makes Jack a dull boy.\r\n", 3000)
				z.send(fmt.Sprintf("e APPEND INBOX {%d+}\r\n%s\r\n", len(body), body))
				z.expect("e OK")
				z.send("f SELECT INBOX\r\n")
				z.expect("f OK")
				z.send("g FETCH 1 BODY[]\r\n")
				z.expect("* 1 FETCH")
				got := make([]byte, len(body))
				if _, err := io.ReadFull(z.r, got); err != nil || string(got) != body {
					t.Fatalf("body differs, %v", err)
				}
				z.expect("g OK")
				time.Sleep(25 * time.Minute) // longer than a command may take, shorter than autologout
				z.send("gg NOOP\r\n")
				z.expect("gg OK")
				z.send("h IDLE\r\n")
				z.expect("+ ")
				time.Sleep(29 * time.Minute)
				if err := w.deliver("alice", "INBOX", []byte("Subject: x\r\n\r\n")); err != nil {
					t.Fatal(err)
				}
				z.expect("* 2 EXISTS")
				z.send("DONE\r\ni NOOP\r\nj NOOP\r\n") // pipelined
				z.expect("h OK")
				z.expect("j OK")
				io.WriteString(z.w, "k LOGOUT\r\n") // the server hangs up before it has read the last octets of the flush
				z.expect("k OK")
				z.nc.Close()
			})
		})
	}
}

// A stream that is no deflate ends the session, and nothing waits for it.
func TestCompressGarbage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		z := newTown(t, Config{}).dialZ(t)
		io.WriteString(z.nc, "\xff\xff\xff\xff NOOP\r\n") // fails when the server has had enough
		if _, err := io.ReadAll(z.r); err != io.ErrUnexpectedEOF && err != nil {
			t.Fatalf("%v", err)
		}
		z.nc.Close()
	})
}

// What waits in memory for a silent client that compresses is its small window and a little of ours.
func TestCompressRestsSmall(t *testing.T) {
	t.Parallel()
	var sink strings.Builder
	d := imap.NewDeflater(&sink)
	d.Write([]byte(strings.Repeat("x", 100000)))
	d.Rest()
	if n := d.Held(); n > 1<<10 {
		t.Errorf("deflater holds %d octets at rest", n)
	}
}
