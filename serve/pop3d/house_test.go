package pop3d

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"bahnpost/mail"
	"bahnpost/serve/listen"
	"bahnpost/store"
	"bahnpost/store/blob"
	"bahnpost/store/directory"
	"bahnpost/store/mailstore"
)

// house is a node with POP3 only, on real stores.
type house struct {
	t       testing.TB
	dir     *directory.Directory
	mail    *mailstore.Store
	gate    *listen.Gate
	server  *listen.Server
	log     *logbook
	pop     *Server
	pop3    string // address, once opened
	pop3s   string
	account map[string]mail.AccountID
}

// logbook collects log lines.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// accounts adapts the directory, as app does.
type accounts struct{ *directory.Directory }

func (a accounts) SCRAM(ctx context.Context, login string) (listen.SCRAMKeys, bool, error) {
	k, ok, err := a.Directory.SCRAM(ctx, login)
	return listen.SCRAMKeys(k), ok, err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newHouse opens a house with loopback sockets.
func newHouse(t testing.TB, cfg Config) *house {
	t.Helper()
	h := newQuietHouse(t, cfg)
	h.pop3 = h.listen("pop3", h.pop, false)
	h.pop3s = h.listen("pop3s", h.pop, true)
	h.run()
	return h
}

// newQuietHouse makes a house without sockets, which may stand in a bubble,
// with the accounts anna and bert, password "pw-anna" …
func newQuietHouse(t testing.TB, cfg Config) *house {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	st, err := store.Open(ctx, store.Config{Dir: t.TempDir(), DB: store.DBConfig{NoSync: true}, Blob: blob.DirConfig{NoSync: true}})
	must(t, err)
	h := &house{t: t, log: new(logbook), account: make(map[string]mail.AccountID)}
	log := slog.New(slog.NewTextHandler(h.log, nil))
	h.mail, err = mailstore.New(ctx, st.DB, st.Bodies, mailstore.Config{})
	must(t, err)
	h.dir, err = directory.New(ctx, st.DB, directory.Config{Argon2: directory.Argon2{MemoryKB: 64, Time: 1, Lanes: 1}, ScramIterations: 4096})
	must(t, err)
	must(t, h.dir.AddDomain(ctx, "example.org"))
	for _, n := range []string{"anna", "bert"} {
		a, err := h.dir.AddAccount(ctx, directory.Account{Address: mail.Address{Local: n, Domain: "example.org"}}, "pw-"+n)
		must(t, err)
		must(t, h.mail.CreateAccount(ctx, a.ID, 1, mailstore.Quota{}))
		h.account[n] = a.ID
	}
	h.gate = listen.NewGate(accounts{h.dir}, listen.GateConfig{Log: log})
	h.dir.OnChange(h.gate.Forget)
	cfg.Log, cfg.Hostname = log, "mx.example.org"
	cfg.AccountUIDLFormat = func(ctx context.Context, id mail.AccountID) (string, error) {
		a, err := h.dir.Account(ctx, id)
		return a.UIDLFormat, err
	}
	h.pop = New(h.mail, h.gate, cfg)
	h.server = listen.New(listen.Config{TLS: &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}, AllowPlaintext: true, Log: log})
	t.Cleanup(func() { cancel(); must(t, st.Close()) })
	return h
}

// run serves until the test ends.
func (h *house) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.server.Run(ctx, time.Minute) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
		for _, s := range h.server.Stats() {
			if s.Panics > 0 {
				h.t.Errorf("%d sessions panicked: %s", s.Panics, h.log)
			}
		}
	})
}

func (h *house) listen(protocol string, handler listen.Handler, implicit bool) string {
	h.t.Helper()
	a, err := h.server.Listen(listen.Endpoint{Protocol: protocol, Addr: "127.0.0.1:0", Implicit: implicit, Handler: handler})
	must(h.t, err)
	return a.String()
}

var certificate = sync.OnceValues(func() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
})

func selfSigned(t testing.TB) tls.Certificate {
	t.Helper()
	c, err := certificate()
	must(t, err)
	return c
}

// deliver stores a message in an account's INBOX.
func (h *house) deliver(name, text string, more func(*mailstore.ImportedMessage)) mailstore.Appended {
	h.t.Helper()
	ctx, id := context.Background(), h.account[name]
	w := h.mail.NewBody(ctx)
	_, err := io.WriteString(w, text)
	must(h.t, err)
	body, err := w.Finish()
	must(h.t, err)
	defer body.Release()
	box, err := h.mail.MailboxByName(ctx, id, "INBOX")
	must(h.t, err)
	var out mailstore.Appended
	must(h.t, h.mail.Update(ctx, mailstore.Ticket{Account: id, Epoch: 1}, func(tx *mailstore.Tx) (err error) {
		m := mailstore.ImportedMessage{NewMessage: mailstore.NewMessage{Body: body}}
		if more == nil {
			out, err = tx.Append(box.ID, m.NewMessage)
			return err
		}
		more(&m)
		out, err = tx.Import(box.ID, m)
		return err
	}))
	return out
}

func (h *house) expunge(name string, uid mailstore.UID) {
	h.t.Helper()
	ctx, id := context.Background(), h.account[name]
	box, err := h.mail.MailboxByName(ctx, id, "INBOX")
	must(h.t, err)
	must(h.t, h.mail.Update(ctx, mailstore.Ticket{Account: id, Epoch: 1}, func(tx *mailstore.Tx) error {
		_, err := tx.Expunge(box.ID, mailstore.Range(uid, uid), false)
		return err
	}))
}

func (h *house) inbox(name string) mailstore.Mailbox {
	h.t.Helper()
	m, err := h.mail.MailboxByName(context.Background(), h.account[name], "INBOX")
	must(h.t, err)
	return m
}

// client is a line client.
type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func (h *house) dial() *client {
	h.t.Helper()
	c, err := net.Dial("tcp", h.pop3)
	must(h.t, err)
	h.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	return &client{h.t, c, bufio.NewReader(c)}
}

// enter dials and logs in.
func (h *house) enter(name string) *client {
	h.t.Helper()
	c := h.dial()
	c.want("+OK")
	c.do("USER "+name, "+OK")
	c.do("PASS pw-"+name, "+OK")
	return c
}

func (c *client) line() string {
	c.t.Helper()
	s, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatalf("read: %v after %q", err, s)
	}
	if !strings.HasSuffix(s, "\r\n") {
		c.t.Errorf("line %q does not end with CRLF", s)
	}
	return strings.TrimSuffix(s, "\r\n")
}

func (c *client) want(prefix string) string {
	c.t.Helper()
	l := c.line()
	if !strings.HasPrefix(l, prefix) {
		c.t.Fatalf("got %q, want %q", l, prefix)
	}
	return l
}

func (c *client) send(format string, args ...any) {
	c.t.Helper()
	_, err := fmt.Fprintf(c, format, args...)
	must(c.t, err)
}

func (c *client) do(line, prefix string) string {
	c.t.Helper()
	c.send("%s\r\n", line)
	return c.want(prefix)
}

// multi reads a multi-line response, unstuffed.
func (c *client) multi() string {
	c.t.Helper()
	var b strings.Builder
	for {
		l := c.line()
		if l == "." {
			return b.String()
		}
		b.WriteString(strings.TrimPrefix(l, "."))
		b.WriteString("\r\n")
	}
}

func (c *client) closed() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err == nil {
		rest, _ := c.r.ReadString('\n')
		c.t.Errorf("connection is open and says %q", string(b)+rest)
	}
}
