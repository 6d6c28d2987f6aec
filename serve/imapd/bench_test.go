package imapd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bahnpost/serve/listen"
	"bahnpost/store/mailstore"
)

// client is a lean IMAP client over TCP.
type client struct {
	t testing.TB
	c net.Conn
	r *bufio.Reader
	n int
}

// tcp makes the town listen on loopback.
func (w *town) tcp() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go w.porch.ServeConn(listen.Endpoint{Protocol: "imap", Handler: w.server}, c)
		}
	}()
	w.t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

func dialClient(t testing.TB, addr string) *client {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	k := &client{t: t, c: c, r: bufio.NewReaderSize(c, 256<<10)}
	if _, err := k.r.ReadSlice('\n'); err != nil {
		t.Fatal(err)
	}
	return k
}

// do sends a command and reads to its end; it returns the octets read.
func (k *client) do(format string, args ...any) (n int64) {
	k.n++
	tag := fmt.Sprintf("t%d ", k.n)
	fmt.Fprintf(k.c, tag+format+"\r\n", args...)
	return k.until(tag)
}

func (k *client) until(tag string) (n int64) {
	for {
		l, err := k.r.ReadSlice('\n')
		n += int64(len(l))
		if err == bufio.ErrBufferFull { // SEARCH and SORT answer in one line
			continue
		}
		if err != nil {
			k.t.Fatal(err)
		}
		if l[0] == tag[0] && bytes.HasPrefix(l, []byte(tag)) {
			if !bytes.HasPrefix(l[len(tag):], []byte("OK")) {
				k.t.Fatalf("%s", l)
			}
			return n
		}
		if i := bytes.LastIndexByte(l, '{'); i > 0 && l[len(l)-3] == '}' {
			var size int64
			fmt.Sscan(string(l[i+1:len(l)-3]), &size)
			m, err := io.CopyN(io.Discard, k.r, size)
			if n += m; err != nil {
				k.t.Fatal(err)
			}
		}
	}
}

// fill puts n small messages into alice's INBOX.
func (w *town) fill(n int) {
	for i := 0; i < n; {
		var bodies []*mailstore.Body
		for ; len(bodies) < 1000 && i < n; i++ {
			bw := w.mails.NewBody(context.Background())
			fmt.Fprintf(bw, "From: Sender %d <sender%d@example.org>\r\nTo: alice@example.org\r\nSubject: message %d tag-%d\r\nDate: Mon, 7 Feb 1994 21:52:25 -0800\r\nMessage-ID: <%d@example.org>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s", i, i%1000, i, i%100, i, strings.Repeat("some text in a line\r\n", 40))
			b, err := bw.Finish()
			if err != nil {
				w.t.Fatal(err)
			}
			bodies = append(bodies, b)
		}
		err := w.mails.Update(context.Background(), mailstore.Ticket{Account: 1, Epoch: 1}, func(tx *mailstore.Tx) error {
			mb, err := tx.MailboxByName("INBOX")
			for _, b := range bodies {
				if err == nil {
					_, err = tx.Append(mb.ID, mailstore.NewMessage{Body: b, Internal: time.Unix(1e9, 0)})
				}
			}
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, b := range bodies {
			b.Release()
		}
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measure runs fn b.N times and reports wall and CPU time (client included) per run.
func measureRuns(b *testing.B, fn func()) {
	fn()
	runtime.GC()
	b.ResetTimer()
	c := cpu()
	for b.Loop() {
		fn()
	}
	b.ReportMetric(float64(cpu()-c)/1e6/float64(b.N), "cpu-ms/op")
}

// BenchmarkBig measures work on a mailbox of 100,000 messages.
func BenchmarkBig(b *testing.B) {
	w := newTown(b, Config{})
	w.fill(100000)
	addr := w.tcp()
	k := dialClient(b, addr)
	k.do("LOGIN alice secret")
	b.Run("select", func(b *testing.B) { measureRuns(b, func() { k.do("SELECT INBOX") }) })
	k.do("SELECT INBOX")
	b.Run("flags", func(b *testing.B) { measureRuns(b, func() { k.do("UID FETCH 1:* (FLAGS)") }) })
	b.Run("envelope", func(b *testing.B) {
		measureRuns(b, func() { k.do("UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)") })
	})
	b.Run("bodies", func(b *testing.B) { measureRuns(b, func() { k.do("UID FETCH 1:20000 (BODY.PEEK[])") }) })
	b.Run("one", func(b *testing.B) { measureRuns(b, func() { k.do("UID FETCH 50000 (FLAGS)") }) })
	b.Run("noop", func(b *testing.B) { measureRuns(b, func() { k.do("NOOP") }) })
	i := 0
	b.Run("store", func(b *testing.B) {
		measureRuns(b, func() { i++; k.do("UID STORE %d %cFLAGS.SILENT (\\Flagged)", 50000+i%7, "+-"[i%2]) })
	})
	b.Run("storeall", func(b *testing.B) {
		measureRuns(b, func() { i++; k.do("UID STORE 1:* %cFLAGS.SILENT (\\Seen)", "+-"[i%2]) })
	})
}

// BenchmarkBody streams one message of 10 MB.
func BenchmarkBody(b *testing.B) {
	w := newTown(b, Config{})
	big := []byte("Subject: big\r\n\r\n" + strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/0123456789ab\r\n", 10<<20/78))
	if err := w.append(1, "INBOX", mailstore.NewMessage{}, big); err != nil {
		b.Fatal(err)
	}
	k := dialClient(b, w.tcp())
	k.do("LOGIN alice secret")
	k.do("SELECT INBOX")
	b.SetBytes(int64(len(big)))
	measureRuns(b, func() { k.do("FETCH 1 BODY.PEEK[]") })
}

// BenchmarkLogin measures login, SELECT, IDLE, DONE, LOGOUT.
func BenchmarkLogin(b *testing.B) {
	w := newTown(b, Config{})
	w.fill(100)
	addr := w.tcp()
	measureRuns(b, func() {
		k := dialClient(b, addr)
		k.do("LOGIN alice secret")
		k.do("SELECT INBOX")
		fmt.Fprintf(k.c, "i IDLE\r\n")
		k.r.ReadSlice('\n')
		fmt.Fprintf(k.c, "DONE\r\n")
		k.until("i ")
		k.do("LOGOUT")
		k.c.Close()
	})
}

// BenchmarkAppend measures APPEND of 10 KB.
func BenchmarkAppend(b *testing.B) {
	w := newTown(b, Config{})
	k := dialClient(b, w.tcp())
	k.do("LOGIN alice secret")
	msg := "Subject: x\r\n\r\n" + strings.Repeat("some text in a line\r\n", 500)
	measureRuns(b, func() { k.do("APPEND INBOX {%d+}\r\n%s", len(msg), msg) })
}

// BenchmarkPush measures delivery to an idling client: from before the commit to the EXISTS.
func BenchmarkPush(b *testing.B) {
	w := newTown(b, Config{})
	k := dialClient(b, w.tcp())
	k.do("LOGIN alice secret")
	k.do("SELECT INBOX")
	fmt.Fprintf(k.c, "i IDLE\r\n")
	k.r.ReadSlice('\n')
	var after time.Duration
	for b.Loop() {
		if err := w.append(1, "INBOX", mailstore.NewMessage{}, []byte("Subject: x\r\n\r\n")); err != nil {
			b.Fatal(err)
		}
		committed := time.Now()
		for range 2 { // EXISTS and RECENT
			if _, err := k.r.ReadSlice('\n'); err != nil {
				b.Fatal(err)
			}
		}
		after += time.Since(committed)
	}
	b.ReportMetric(float64(after.Microseconds())/float64(b.N), "µs-after-commit")
}

// BenchmarkIdle reports what an idling session costs in memory (heap and
// stacks of server and client end, without the kernel's), and push latency.
func BenchmarkIdle(b *testing.B) {
	b.Run("plain", func(b *testing.B) { benchIdle(b, nil) })
	b.Run("tls", func(b *testing.B) { benchIdle(b, &tls.Config{InsecureSkipVerify: true}) })
}

func benchIdle(b *testing.B, secure *tls.Config) {
	const sessions = 2000
	w := newTown(b, Config{})
	w.fill(100)
	addr := w.tcp()
	warm := dialClient(b, addr)
	warm.do("LOGIN alice secret")
	warm.do("SELECT INBOX")
	before := memory()
	c0 := cpu()
	conns := make([]net.Conn, sessions)
	buf := make([]byte, 64<<10)
	for i := range conns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		if secure != nil {
			io.WriteString(c, "x STARTTLS\r\n")
			for n := 0; !bytes.Contains(buf[:n], []byte("x OK")); {
				m, err := c.Read(buf[n:])
				if err != nil {
					b.Fatal(err)
				}
				n += m
			}
			c = tls.Client(c, secure)
		}
		conns[i] = c
		for k, cmd := range []string{"", "a LOGIN alice secret\r\n", "b SELECT INBOX\r\n", "c IDLE\r\n"} {
			if k == 0 && secure != nil {
				continue // greeted already
			}
			io.WriteString(c, cmd)
			for n := 0; ; {
				m, err := c.Read(buf[n:])
				if err != nil {
					b.Fatal(err)
				}
				n += m
				last := buf[bytes.LastIndexByte(buf[:n-1], '\n')+1 : n]
				if buf[n-1] == '\n' && (cmd == "" || last[0] == cmd[0] || last[0] == '+') {
					break
				}
			}
		}
	}
	per := float64(cpu()-c0) / 1e6 / sessions
	after := memory()
	b.ResetTimer()
	for b.Loop() {
		if err := w.append(1, "INBOX", mailstore.NewMessage{}, []byte("Subject: x\r\n\r\n")); err != nil {
			b.Fatal(err)
		}
		for _, c := range conns {
			if _, err := c.Read(buf); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(after-before)/1024/sessions, "KB/session")
	b.ReportMetric(per, "cpu-ms/session")
	for _, c := range conns {
		c.Close()
	}
}

func memory() uint64 {
	for range 6 { // each collection halves a stack
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// BenchmarkStore measures STORE of one flag by 8 clients, each in a mailbox of its own.
func BenchmarkStore(b *testing.B) {
	const clients = 8
	w := newTown(b, Config{})
	addr := w.tcp()
	ks := make([]*client, clients)
	for i := range ks {
		ks[i] = dialClient(b, addr)
		ks[i].do("LOGIN alice secret")
		ks[i].do("CREATE m%d", i)
		for range 20 {
			ks[i].do("APPEND m%d {14+}\r\nSubject: x\r\n\r\n", i)
		}
		ks[i].do("SELECT m%d", i)
	}
	b.ResetTimer()
	c := cpu()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for _, k := range ks {
		wg.Go(func() {
			for i := left.Add(-1); i >= 0; i = left.Add(-1) {
				k.do("UID STORE %d %cFLAGS (\\Flagged)", i%20+1, "+-"[i/20%2])
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(cpu()-c)/1e6/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

// BenchmarkList measures LIST of 20,000 mailboxes, and of one of them.
func BenchmarkList(b *testing.B) {
	w := newTown(b, Config{})
	for i := 0; i < 20000; i += 500 {
		err := w.mails.Update(context.Background(), mailstore.Ticket{Account: 1, Epoch: 1}, func(tx *mailstore.Tx) error {
			for k := range 500 {
				if _, err := tx.CreateMailbox(mailstore.MailboxSpec{Name: fmt.Sprintf("a%d/b%d/c%d", (i+k)%10, (i+k)/10%100, i+k)}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	k := dialClient(b, w.tcp())
	k.do("LOGIN alice secret")
	b.Run("all", func(b *testing.B) { measureRuns(b, func() { k.do(`LIST "" *`) }) })
	b.Run("one", func(b *testing.B) { measureRuns(b, func() { k.do(`LIST "" a1/b1/c11`) }) })
	b.Run("status", func(b *testing.B) {
		measureRuns(b, func() { k.do(`LIST "" * RETURN (STATUS (MESSAGES UNSEEN UIDNEXT UIDVALIDITY))`) })
	})
}
