package smtpd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"bahnpost/home"
	"bahnpost/mail"
	"bahnpost/serve/listen"
)

// fakeIntake is the neighbour behind the session: it knows a few addresses and keeps what it gets.
type fakeIntake struct {
	mu   sync.Mutex
	got  []taken
	deny map[string]error // by local part, at Deliver
}

type taken struct {
	env  mail.Envelope
	to   []string
	body string
}

func (f *fakeIntake) Sender(_ context.Context, from mail.ReversePath, login mail.AccountID) error {
	if from.Local == "alice" || from.IsZero() {
		return nil
	}
	return &mail.Error{Kind: mail.Policy, Text: "this sender address is not yours"}
}

func (f *fakeIntake) Recipient(_ context.Context, env *mail.Envelope, size int64, to mail.Recipient) ([]mail.Recipient, error) {
	if d := to.Address.Domain; d != "example.org" && d != "" {
		if env.Login != "" {
			return nil, &mail.Error{Kind: mail.Unavailable, Text: "no outbound yet"}
		}
		return nil, &mail.Error{Kind: mail.Policy, Text: "relaying denied"}
	}
	base, detail, _ := strings.Cut(to.Address.Local, "+")
	to.Detail = detail
	switch strings.ToLower(base) {
	case "alice", "bob", "postmaster", "a b", "jörg":
		to.Account = 1
		return []mail.Recipient{to}, nil
	case "full":
		return nil, &mail.Error{Kind: mail.OverQuota, Text: "mailbox is full"}
	case "broken":
		return nil, errors.New("sql: the database caught fire")
	case "both":
		a, b := to, to
		a.Address.Local, b.Address.Local, a.Account, b.Account = "alice", "bob", 1, 2
		return []mail.Recipient{a, b}, nil
	}
	return nil, &mail.Error{Kind: mail.NoSuchAccount, Text: "no such user here"}
}

func (f *fakeIntake) Open(_ context.Context, env *mail.Envelope) Incoming {
	return &fakeIncoming{f: f, env: env}
}

type fakeIncoming struct {
	f    *fakeIntake
	env  *mail.Envelope
	body bytes.Buffer
	done bool
}

func (w *fakeIncoming) Write(p []byte) (int, error) { return w.body.Write(p) }
func (w *fakeIncoming) Abort()                      { w.done = true }
func (w *fakeIncoming) Deliver(_ context.Context, rcpts [][]mail.Recipient) ([][]mail.Receipt, error) {
	if w.done {
		panic("Deliver after Abort")
	}
	w.done = true
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	t := taken{env: *w.env, body: w.body.String()}
	out := make([][]mail.Receipt, len(rcpts))
	for i, g := range rcpts {
		for _, r := range g {
			out[i] = append(out[i], mail.Receipt{To: r.Address, Err: w.f.deny[r.Address.Local], Mailbox: "INBOX", UID: 1})
			t.to = append(t.to, r.Address.String())
		}
	}
	w.f.got = append(w.f.got, t)
	return out, nil
}

func (f *fakeIntake) last(t testing.TB) taken {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.got) == 0 {
		t.Fatal("no mail arrived")
	}
	return f.got[len(f.got)-1]
}

// fakeDirectory lets alice in.
type fakeDirectory struct{}

func (fakeDirectory) Verify(_ context.Context, login, password string) (mail.AccountID, mail.Address, error) {
	if (login == "alice" || login == "alice@example.org") && password == "secret" {
		return 1, mail.Address{Local: "alice", Domain: "example.org"}, nil
	}
	return 0, mail.Address{}, &mail.Error{Kind: mail.AuthFailed, Text: "wrong name or password"}
}

func (fakeDirectory) SCRAM(context.Context, string) (listen.SCRAMKeys, bool, error) {
	return listen.SCRAMKeys{}, false, nil
}

func (fakeDirectory) Placement(_ context.Context, a mail.AccountID) (home.Placement, error) {
	return home.Placement{Account: a, Home: home.Local}, nil
}

// lineLog is a log in memory.
type lineLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lineLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lineLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// house is a server with its neighbours.
type house struct {
	in  *fakeIntake
	log *lineLog
	srv *listen.Server
	end listen.Endpoint
}

func newHouse(t testing.TB, cfg Config) *house {
	h := &house{in: &fakeIntake{deny: map[string]error{}}, log: &lineLog{}}
	cfg.Hostname = "mx.example.org"
	cfg.Log = slog.New(slog.NewTextHandler(h.log, nil))
	if cfg.GreetPause == 0 {
		cfg.GreetPause = -1
	}
	h.srv = listen.New(listen.Config{TLS: testTLS(t), AllowPlaintext: true, Log: cfg.Log})
	gate := listen.NewGate(fakeDirectory{}, listen.GateConfig{Log: cfg.Log})
	name := map[Role]string{MX: "smtp", Submission: "submission", LMTP: "lmtp"}[cfg.Role]
	h.end = listen.Endpoint{Protocol: name, Handler: New(cfg, h.in, gate)}
	return h
}

// dial connects over loopback TCP.
func (h *house) dial(t testing.TB) *client {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); h.srv.ServeConn(h.end, s) }()
	t.Cleanup(func() { c.Close(); <-done })
	return &client{Conn: c, r: bufio.NewReader(c), done: done}
}

type client struct {
	net.Conn
	r    *bufio.Reader
	done chan struct{}
}

// reply reads one reply, multi-line ones joined by "|".
func (c *client) reply() (string, error) {
	c.SetReadDeadline(time.Now().Add(2 * time.Minute))
	var lines []string
	for {
		l, err := c.r.ReadString('\n')
		if err != nil {
			return strings.Join(lines, "|"), err
		}
		l = strings.TrimSuffix(l, "\r\n")
		lines = append(lines, l)
		if len(l) < 4 || l[3] != '-' {
			return strings.Join(lines, "|"), nil
		}
	}
}

// talk runs a story: lines "C: x" are sent with CRLF (Go escapes are undone in
// "C' x", sent as it is), "S: x" is the start of the next reply, "S." the end of the connection.
func (c *client) talk(t testing.TB, story string) {
	t.Helper()
	for n, line := range strings.Split(story, "\n") {
		line = strings.TrimLeft(line, "\t ")
		var err error
		switch {
		case line == "" || line[0] == '#':
			continue
		case strings.HasPrefix(line, "C: "):
			_, err = c.Write([]byte(line[3:] + "\r\n"))
		case line == "C:":
			_, err = c.Write([]byte("\r\n"))
		case strings.HasPrefix(line, "C' "):
			_, err = c.Write([]byte(strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\0`, "\x00", `\s`, " ").Replace(line[3:])))
		case strings.HasPrefix(line, "S: "):
			var got string
			got, err = c.reply()
			if err == nil && !strings.HasPrefix(got, line[3:]) {
				t.Fatalf("line %d: want %q\n got %q", n+1, line[3:], got)
			}
		case line == "S.":
			if got, e := c.reply(); e == nil {
				t.Fatalf("line %d: connection goes on with %q", n+1, got)
			}
		default:
			t.Fatalf("line %d: bad story line %q", n+1, line)
		}
		if err != nil {
			t.Fatalf("line %d %q: %v", n+1, line, err)
		}
	}
}

// startTLS continues in TLS.
func (c *client) startTLS(t testing.TB) {
	t.Helper()
	tc := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.Conn, c.r = tc, bufio.NewReader(tc)
}

var testCert = sync.OnceValues(func() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"mx.example.org"}}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
})

func testTLS(t testing.TB) *tls.Config {
	cert, err := testCert()
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}
