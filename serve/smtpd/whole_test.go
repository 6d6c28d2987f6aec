package smtpd_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bahnpost/flow/intake"
	"bahnpost/home"
	"bahnpost/home/cell"
	"bahnpost/mail"
	"bahnpost/serve/listen"
	"bahnpost/serve/smtpd"
	"bahnpost/store"
	"bahnpost/store/directory"
	"bahnpost/store/mailstore"
)

// node is the whole way of a mail: session, intake, door, store.
type node struct {
	dir   *directory.Directory
	mails *mailstore.Store
	addr  map[string]string // by protocol
}

type resolver struct{ d *directory.Directory }

func (r resolver) Resolve(ctx context.Context, a mail.Address) ([]mail.Recipient, error) {
	res, err := r.d.Resolve(ctx, a)
	return res.Recipients, err
}

type doors struct{ r *home.Router }

func (d doors) Door(ctx context.Context, a mail.AccountID) (intake.Door, int64, error) {
	door, epoch, err := d.r.Door(ctx, a)
	return doorway{door}, int64(epoch), err
}

type doorway struct{ home.Door }

func (d doorway) Deliver(ctx context.Context, env *mail.Envelope, b intake.Body, epoch int64) []mail.Receipt {
	return d.Door.Deliver(ctx, env, b, home.Epoch(epoch))
}

// keys gives the gate its own type of SCRAM keys.
type keys struct{ *directory.Directory }

func (k keys) SCRAM(ctx context.Context, login string) (listen.SCRAMKeys, bool, error) {
	s, ok, err := k.Directory.SCRAM(ctx, login)
	return listen.SCRAMKeys{Account: s.Account, Address: s.Address, Salt: s.Salt, Iterations: s.Iterations, StoredKey: s.StoredKey, ServerKey: s.ServerKey}, ok, err
}

// open builds a node with accounts u0…uN-1@example.org.
func open(t testing.TB, accounts int, logTo io.Writer) *node {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cfg := store.Config{Dir: filepath.Join(t.TempDir(), "store")}
	if _, ok := t.(*testing.T); ok { // only benchmarks need the disk's own pace
		cfg.DB.NoSync, cfg.Blob.NoSync = true, true
	}
	st, err := store.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{addr: map[string]string{}}
	if n.dir, err = directory.New(ctx, st.DB, directory.Config{}); err != nil {
		t.Fatal(err)
	}
	if n.mails, err = mailstore.New(ctx, st.DB, st.Bodies, mailstore.Config{}); err != nil {
		t.Fatal(err)
	}
	if err := n.dir.AddDomain(ctx, "example.org"); err != nil {
		t.Fatal(err)
	}
	for i := range accounts {
		a, err := n.dir.AddAccount(ctx, directory.Account{Address: mail.Address{Local: fmt.Sprintf("u%d", i), Domain: "example.org"}}, "")
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 { // the others are made by their first mail
			if err := n.mails.CreateAccount(ctx, a.ID, 0, mailstore.Quota{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	local := cell.New(n.mails, n.dir, cell.Config{Hostname: "mx.example.org"})
	router := home.NewRouter(n.dir, map[home.ID]home.Door{home.Local: local})
	in := intake.New(intake.Config{Hostname: "mx.example.org"}, resolver{n.dir}, local, doors{router})
	log := slog.New(slog.DiscardHandler)
	if logTo != nil {
		log = slog.New(slog.NewTextHandler(logTo, nil))
	}
	srv := listen.New(listen.Config{AllowPlaintext: true, Log: log, TLS: smtpd.TestTLS(t)})
	for name, role := range map[string]smtpd.Role{"lmtp": smtpd.LMTP, "smtp": smtpd.MX, "submission": smtpd.Submission} {
		h := smtpd.New(smtpd.Config{Role: role, Hostname: "mx.example.org", Log: log}, in, listen.NewGate(keys{n.dir}, listen.GateConfig{}))
		a, err := srv.Listen(listen.Endpoint{Protocol: name, Addr: "127.0.0.1:0", Handler: h})
		if err != nil {
			t.Fatal(err)
		}
		n.addr[name] = a.String()
	}
	ended := make(chan struct{}, 2)
	go func() { srv.Run(ctx, time.Second); ended <- struct{}{} }()
	go func() { n.mails.Run(ctx); ended <- struct{}{} }()
	t.Cleanup(func() {
		cancel()
		<-ended
		<-ended
		st.Close()
	})
	return n
}

// lmtp is a client that pipelines.
type lmtp struct {
	net.Conn
	r *bufio.Reader
	w *bufio.Writer
}

func (n *node) lmtp(t testing.TB) *lmtp {
	t.Helper()
	c, err := net.Dial("tcp", n.addr["lmtp"])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	l := &lmtp{c, bufio.NewReader(c), bufio.NewWriterSize(c, 128<<10)}
	l.expect("220", 1)
	fmt.Fprint(l.w, "LHLO client\r\n")
	l.w.Flush()
	if err := l.expect("250", 1); err != nil {
		t.Fatal(err)
	}
	return l
}

// expect reads n replies with the code.
func (l *lmtp) expect(code string, n int) error {
	for range n {
		for {
			s, err := l.r.ReadSlice('\n')
			if err != nil {
				return err
			}
			if !bytes.HasPrefix(s, []byte(code)) {
				return fmt.Errorf("want %s, got %q", code, s)
			}
			if s[3] == ' ' {
				break
			}
		}
	}
	return nil
}

// send delivers body (dot-stuffed already) to recipients.
func (l *lmtp) send(body []byte, to ...string) error {
	fmt.Fprint(l.w, "MAIL FROM:<sender@elsewhere.example>\r\n")
	for _, a := range to {
		fmt.Fprintf(l.w, "RCPT TO:<%s>\r\n", a)
	}
	fmt.Fprint(l.w, "DATA\r\n")
	if err := l.w.Flush(); err != nil {
		return err
	}
	if err := l.expect("250", 1+len(to)); err != nil {
		return err
	}
	if err := l.expect("354", 1); err != nil {
		return err
	}
	l.w.Write(body)
	fmt.Fprint(l.w, ".\r\n")
	if err := l.w.Flush(); err != nil {
		return err
	}
	return l.expect("250", len(to))
}

// inbox reads all messages of an account's mailbox.
func (n *node) inbox(t testing.TB, address, mailbox string) []string {
	t.Helper()
	ctx := t.Context()
	a, err := mail.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	acc, err := n.dir.AccountByAddress(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	m, err := n.mails.MailboxByName(ctx, acc.ID, mailbox)
	if err != nil {
		t.Fatal(err)
	}
	box, err := n.mails.OpenBox(ctx, acc.ID, m.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	if err := box.Load(ctx); err != nil {
		t.Fatal(err)
	}
	var out []string
	for uid := mailstore.UID(1); uid < m.UIDNext; uid++ {
		row, ok := box.Row(uid)
		if !ok {
			continue
		}
		r, err := n.mails.OpenMessage(ctx, acc.ID, row.Message)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := r.CopyRange(&b, 0, r.Size()); err != nil {
			t.Fatal(err)
		}
		r.Close()
		out = append(out, b.String())
	}
	return out
}

func TestWholeWay(t *testing.T) {
	t.Parallel()
	n := open(t, 4, nil)
	l := n.lmtp(t)
	body := "Subject: hello\r\nMessage-ID: <1@x>\r\n\r\n..a dot\r\nend\r\n"
	if err := l.send([]byte(body), "u0@example.org", "u1@example.org", "U1+work@EXAMPLE.org"); err != nil {
		t.Fatal(err)
	}
	got := n.inbox(t, "u0@example.org", "INBOX")
	if len(got) != 1 {
		t.Fatalf("%d messages", len(got))
	}
	want := "Return-Path: <sender@elsewhere.example>\r\nDelivered-To: u0@example.org\r\nReceived: from client ([127.0.0.1])\r\n\tby mx.example.org with LMTP id "
	if !strings.HasPrefix(got[0], want) {
		t.Errorf("prefix: %q", got[0])
	}
	if !strings.Contains(got[0], "\r\n\tfor <u0@example.org>;\r\n\t") || !strings.HasSuffix(got[0], "\r\n"+strings.Replace(body, "..", ".", 1)) {
		t.Errorf("message: %q", got[0])
	}
	if got := n.inbox(t, "u1@example.org", "INBOX"); len(got) != 1 {
		t.Errorf("one mailbox named twice got %d copies", len(got))
	}
	// A loop: the mail comes back to who had it.
	if err := l.send([]byte(strings.ReplaceAll(got[0], "\r\n.", "\r\n..")), "u0@example.org"); err == nil || !strings.Contains(err.Error(), "554 5.4.6") {
		t.Errorf("loop: %v", err)
	}
}

func TestDetailFolder(t *testing.T) {
	t.Parallel()
	n := open(t, 1, nil)
	acc, err := n.dir.AccountByAddress(t.Context(), mail.Address{Local: "u0", Domain: "example.org"})
	if err != nil {
		t.Fatal(err)
	}
	err = n.mails.Update(t.Context(), mailstore.Ticket{Account: acc.ID}, func(tx *mailstore.Tx) error {
		_, err := tx.CreateMailbox(mailstore.MailboxSpec{Name: "Work"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	l := n.lmtp(t)
	if err := l.send([]byte("Subject: a\r\n\r\nx\r\n"), "u0+work@example.org", "u0+other@example.org", "u0@example.org"); err != nil {
		t.Fatal(err)
	}
	if got := n.inbox(t, "u0@example.org", "Work"); len(got) != 1 {
		t.Errorf("Work: %d", len(got))
	}
	if got := n.inbox(t, "u0@example.org", "INBOX"); len(got) != 1 {
		t.Errorf("INBOX: %d", len(got))
	}
}

// account gives the id of an address.
func (n *node) account(t testing.TB, address string) mail.AccountID {
	t.Helper()
	a, err := mail.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	acc, err := n.dir.AccountByAddress(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return acc.ID
}

// Over quota is said at RCPT, and after DATA for the recipient it concerns (RFC 2033 §4.2's example).
func TestOverQuota(t *testing.T) {
	t.Parallel()
	n := open(t, 4, nil)
	set := func(address string, q mailstore.Quota) {
		t.Helper()
		id := n.account(t, address)
		if err := n.mails.CreateAccount(t.Context(), id, 0, q); err != nil {
			t.Fatal(err)
		}
		if err := n.mails.SetQuota(t.Context(), id, q); err != nil {
			t.Fatal(err)
		}
	}
	set("u0@example.org", mailstore.Quota{Bytes: 600})
	l := n.lmtp(t)
	long := []byte("Subject: x\r\n\r\n" + strings.Repeat("long text\r\n", 100))
	err := l.send(long, "u0@example.org", "u1@example.org")
	if err == nil || !strings.Contains(err.Error(), "452 4.2.2 <u0@example.org>") {
		t.Errorf("after DATA: %v", err)
	}
	if err := l.expect("250", 1); err != nil {
		t.Errorf("the other: %v", err)
	}
	if a, b := len(n.inbox(t, "u0@example.org", "INBOX")), len(n.inbox(t, "u1@example.org", "INBOX")); a != 0 || b != 1 {
		t.Errorf("copies: %d %d", a, b)
	}
	set("u0@example.org", mailstore.Quota{Messages: 1})
	if err := l.send(long, "u0@example.org"); err != nil {
		t.Error(err)
	}
	if err := l.send(long, "u0@example.org"); err == nil || !strings.Contains(err.Error(), "452 4.2.2") {
		t.Errorf("at RCPT: %v", err)
	}
}

// An alias of several accounts is delivered to all of them, or the client comes again.
func TestAlias(t *testing.T) {
	t.Parallel()
	n := open(t, 4, nil)
	u := func(i int) mail.Address { return mail.Address{Local: fmt.Sprintf("u%d", i), Domain: "example.org"} }
	if err := n.dir.AddAlias(t.Context(), "team@example.org", []mail.Address{u(0), u(2)}); err != nil {
		t.Fatal(err)
	}
	id := n.account(t, "u2@example.org")
	if err := n.mails.SetQuota(t.Context(), id, mailstore.Quota{Bytes: 100}); err != nil {
		t.Fatal(err)
	}
	l := n.lmtp(t)
	body := []byte("Subject: x\r\n\r\nThis is more than one hundred octets, with its header and its trace it is far more, surely.\r\n")
	if err := l.send(body, "team@example.org"); err == nil || !strings.Contains(err.Error(), "452 4.2.2") {
		t.Fatal(err)
	}
	if err := n.mails.SetQuota(t.Context(), id, mailstore.Quota{}); err != nil {
		t.Fatal(err)
	}
	if err := l.send(body, "Team@example.org", "u0@example.org"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		want := []int{1, 0, 1}[i]
		if i == 1 {
			continue // never got mail: its account is not made yet
		}
		if got := n.inbox(t, u(i).String(), "INBOX"); len(got) != want {
			t.Errorf("u%d has %d copies, want %d", i, len(got), want)
		}
	}
	// Postmaster is always somebody, here nobody has the role, so it is refused.
	if err := l.send(body, "postmaster"); err == nil || !strings.Contains(err.Error(), "550 5.1.1") {
		t.Error(err)
	}
	l = n.lmtp(t)
	if err := n.dir.AddAlias(t.Context(), "postmaster@example.org", []mail.Address{u(3)}); err != nil {
		t.Fatal(err)
	}
	if err := l.send(body, "Postmaster", "postmaster@example.org"); err != nil {
		t.Error(err)
	}
	if got := n.inbox(t, "u3@example.org", "INBOX"); len(got) != 1 {
		t.Errorf("postmaster has %d", len(got))
	}
}

// Every message of the corpus beside the repository comes out as it went in.
func TestCorpus(t *testing.T) {
	t.Parallel()
	root := ""
	for dir, err := os.Getwd(); err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if c := filepath.Join(dir, "shared", "corpus"); isDir(c) {
			root = c
			break
		}
	}
	if root == "" {
		t.Skip("no shared/corpus above the working directory: nothing to send")
	}
	n := open(t, 2, nil)
	l := n.lmtp(t)
	var want []string
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || len(want) >= 5000 {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) > 4<<20 || len(b) == 0 {
			return err
		}
		// A client sends lines that end in CRLF, whatever its file has.
		text := strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(string(b), "\r\n", "\n"), "\r", "\n"), "\n", "\r\n")
		if !strings.HasSuffix(text, "\r\n") {
			text += "\r\n"
		}
		stuffed := strings.TrimPrefix(strings.ReplaceAll("\r\n"+text, "\r\n.", "\r\n.."), "\r\n")
		if err := l.send([]byte(stuffed), "u0@example.org"); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		want = append(want, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got := n.inbox(t, "u0@example.org", "INBOX")
	if len(got) != len(want) {
		t.Fatalf("%d went in, %d came out", len(want), len(got))
	}
	for i := range got {
		_, body, ok := strings.Cut(got[i], "+0000\r\n")
		if !ok || body != want[i] {
			t.Errorf("message %d differs", i)
		}
	}
	t.Logf("%d messages", len(want))
}

func isDir(p string) bool {
	st, err := os.Stat(p)
	return err == nil && st.IsDir()
}

// corpus is like the benches' one in sizes: median 10 KB, mean 59 KB.
func corpus(n int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	sizes := []int{2, 4, 6, 8, 10, 12, 25, 60, 150, 313}
	words := strings.Fields("the quick brown fox jumps over a lazy dog und die Bahnpost fährt durch das ganze Land mit Briefen Paketen meeting report invoice Rechnung")
	out := make([][]byte, n)
	for i := range out {
		size := sizes[i%len(sizes)] << 10
		var b bytes.Buffer
		fmt.Fprintf(&b, "From: Anna <a%d@elsewhere.example>\r\nTo: u@example.org\r\nSubject: mail %d\r\nDate: Tue, 24 Nov 2026 06:00:00 +0000\r\nMessage-ID: <%d.%d@elsewhere.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", i%50, i, i, r.Uint64())
		for col, end := 0, b.Len()+min(size, 6<<10); b.Len() < end; {
			w := words[r.IntN(len(words))]
			b.WriteString(w)
			if col += len(w) + 1; col > 70 {
				b.WriteString("\r\n")
				col = 0
			} else {
				b.WriteByte(' ')
			}
		}
		b.WriteString("\r\n--bb\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n")
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
		for b.Len() < size {
			var line [78]byte
			for k := range 76 {
				line[k] = alphabet[r.IntN(64)]
			}
			line[76], line[77] = '\r', '\n'
			b.Write(line[:])
		}
		b.WriteString("--bb--\r\n")
		out[i] = b.Bytes()
	}
	return out
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLMTP measures the whole way, client included (it costs some 40 µs a message).
func BenchmarkLMTP(b *testing.B) {
	msgs := corpus(200)
	small := [][]byte{msgs[4]}
	for _, c := range []struct {
		conns, rcpts int
		msgs         [][]byte
	}{{1, 1, msgs}, {8, 1, msgs}, {32, 1, msgs}, {64, 1, msgs}, {8, 10, small}, {32, 10, small}} {
		b.Run(fmt.Sprintf("conns=%d/rcpts=%d", c.conns, c.rcpts), func(b *testing.B) {
			n := open(b, 200, io.Discard)
			var next atomic.Int64
			errs := make(chan error, c.conns)
			conns := make([]*lmtp, c.conns)
			for i := range conns {
				conns[i] = n.lmtp(b)
			}
			b.ResetTimer()
			start, used := time.Now(), cpu()
			for i := range conns {
				go func() {
					for {
						k := int(next.Add(1)) - 1
						if k >= b.N {
							errs <- nil
							return
						}
						to := make([]string, c.rcpts)
						for j := range to {
							to[j] = fmt.Sprintf("u%d@example.org", (k*c.rcpts+j)%200)
						}
						if err := conns[i].send(c.msgs[k%len(c.msgs)], to...); err != nil {
							errs <- err
							return
						}
					}
				}()
			}
			for range conns {
				if err := <-errs; err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			all := float64(b.N * c.rcpts)
			b.ReportMetric(all/time.Since(start).Seconds(), "rcpts/s")
			b.ReportMetric(float64((cpu()-used).Microseconds())/all, "cpu-µs/rcpt")
			b.ReportMetric(0, "ns/op")
		})
	}
}
