package listen

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bahnpost/home"
	"bahnpost/mail"
	"bahnpost/wire/sasl"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// people is a Directory in memory.
type people struct {
	mu       sync.Mutex
	password map[string]string // by login
	ids      map[string]mail.AccountID
	disabled map[string]bool
	epoch    home.Epoch
	err      error
	hashing  time.Duration
	verified atomic.Int64
	atOnce   atomic.Int64
	most     atomic.Int64
	enter    func() // called in Verify
}

func newPeople(names ...string) *people {
	p := &people{password: map[string]string{}, ids: map[string]mail.AccountID{}, disabled: map[string]bool{}, epoch: 1}
	for i, n := range names {
		p.password[n], p.ids[n] = "pw-"+n, mail.AccountID(i+1)
	}
	return p
}

func (p *people) set(name, password string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.password[name] = password
}

func (p *people) Verify(ctx context.Context, login, password string) (mail.AccountID, mail.Address, error) {
	p.verified.Add(1)
	n := p.atOnce.Add(1)
	defer p.atOnce.Add(-1)
	for m := p.most.Load(); n > m && !p.most.CompareAndSwap(m, n); m = p.most.Load() {
	}
	p.mu.Lock()
	want, ok := p.password[login]
	err, disabled := p.err, p.disabled[login]
	p.mu.Unlock()
	if p.hashing > 0 {
		time.Sleep(p.hashing) // in a bubble only
	}
	if p.enter != nil {
		p.enter()
	}
	switch {
	case err != nil:
		return 0, mail.Address{}, err
	case !ok || want != password:
		return 0, mail.Address{}, errAuthFailed
	case disabled:
		return 0, mail.Address{}, &mail.Error{Kind: mail.Disabled, Text: "account is disabled"}
	}
	return p.ids[login], mail.Address{Local: login, Domain: "example.org"}, nil
}

func (p *people) SCRAM(ctx context.Context, login string) (SCRAMKeys, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pw, ok := p.password[login]
	if !ok {
		return SCRAMKeys{}, false, p.err
	}
	k, err := sasl.DeriveKeys(pw, []byte("salt-salt-salt-s"), 4096)
	if err == nil && p.disabled[login] {
		err = &mail.Error{Kind: mail.Disabled, Text: "account is disabled"}
	}
	return SCRAMKeys{Account: p.ids[login], Address: mail.Address{Local: login, Domain: "example.org"}, Salt: k.Salt, Iterations: k.Iterations,
		StoredKey: k.StoredKey, ServerKey: k.ServerKey}, true, err
}

func (p *people) Placement(_ context.Context, a mail.AccountID) (home.Placement, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a == 0 {
		return home.Placement{}, &mail.Error{Kind: mail.NoSuchAccount, Text: "no such account"}
	}
	return home.Placement{Account: a, Home: home.Local, Epoch: p.epoch}, nil
}

// from is a connection whose client has the address ip.
type from struct {
	net.Conn
	ip string
}

func (f from) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(f.ip), 4000))
}

// conn is a bare Conn from ip, without a session.
func conn(t testing.TB, s *Server, ip string) *Conn {
	t.Helper()
	p, err := s.newPort(Endpoint{Protocol: "imap", Handler: handle(func(context.Context, *Conn) {})})
	must(t, err)
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	c := s.newConn(p, from{a, ip})
	c.cancel = func(error) {}
	return c
}

// handle is a Handler made of a function.
type handle func(ctx context.Context, c *Conn)

func (h handle) Serve(ctx context.Context, c *Conn) { h(ctx, c) }

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

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func certificate(t testing.TB, name string, ed bool) tls.Certificate {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	if ed {
		pub, priv, err := ed25519.GenerateKey(rand.Reader)
		must(t, err)
		der, err := x509.CreateCertificate(rand.Reader, c, c, pub, priv)
		must(t, err)
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}
	}
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, c, c, &priv.PublicKey, priv)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}
}

// run starts a server with one endpoint and returns its address.
func run(t testing.TB, cfg Config, e Endpoint) (*Server, string) {
	t.Helper()
	s := New(cfg)
	e.Addr = "127.0.0.1:0"
	a, err := s.Listen(e)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, time.Minute) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, a.String()
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	must(t, err)
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	t.Cleanup(func() { c.Close() })
	return c
}

func readAll(t testing.TB, c net.Conn) string {
	t.Helper()
	b, err := io.ReadAll(c)
	if err != nil && len(b) == 0 {
		return "error: " + err.Error()
	}
	return string(b)
}
