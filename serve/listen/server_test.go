package listen

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bahnpost/mail"
	"bahnpost/wire/sasl"
)

// echo greets, then sends back what it reads until the client or the node has enough.
func echo(ctx context.Context, c *Conn) {
	fmt.Fprintf(c, "hello %s\r\n", c.RemoteIP())
	b := make([]byte, 512)
	for {
		c.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := c.Read(b)
		if err != nil {
			if ctx.Err() != nil {
				fmt.Fprintf(c, "bye: %v\r\n", context.Cause(ctx))
			}
			return
		}
		c.Write(b[:n])
	}
}

func line(t testing.TB, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("%v after %q", err, s)
	}
	return strings.TrimRight(s, "\r\n")
}

// RFC 5321 §3.8, RFC 3463 §3.4: the refusal is temporary and says so in the protocol's words.
func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	s, addr := run(t, Config{MaxConns: 2}, Endpoint{Protocol: "smtp", Handler: handle(echo)})
	a, b := dial(t, addr), dial(t, addr)
	ar, br := bufio.NewReader(a), bufio.NewReader(b)
	line(t, ar)
	line(t, br)
	if got := readAll(t, dial(t, addr)); got != "421 4.3.2 too many connections, try again later\r\n" {
		t.Errorf("the third heard %q", got)
	}
	if st := s.Stats()[0]; st.Open != 2 || st.Accepted != 3 || st.Refused != 1 {
		t.Errorf("%+v", st)
	}
	a.Close()
	for s.Stats()[0].Open != 1 {
		runtime.Gosched()
	}
	if got := line(t, bufio.NewReader(dial(t, addr))); got != "hello 127.0.0.1" {
		t.Errorf("after one went: %q", got)
	}
}

func TestTooManyConnectionsOfOneAddress(t *testing.T) {
	t.Parallel()
	s, addr := run(t, Config{MaxConnsPerIP: 2}, Endpoint{Protocol: "imap", Handler: handle(echo), Proxy: true, TooMany: "* BYE\r\n"})
	via := func(ip string) string {
		c := dial(t, addr)
		family := "TCP4"
		if strings.Contains(ip, ":") {
			family = "TCP6"
		}
		fmt.Fprintf(c, "PROXY %s %s %s 4000 143\r\n", family, ip, ip)
		return line(t, bufio.NewReader(c))
	}
	for i, c := range []struct{ ip, want string }{
		{"192.0.2.1", "hello 192.0.2.1"}, {"192.0.2.1", "hello 192.0.2.1"}, {"192.0.2.1", "* BYE"}, {"192.0.2.2", "hello 192.0.2.2"},
		{"2001:db8::1", "hello 2001:db8::1"}, {"2001:db8::2", "hello 2001:db8::2"}, {"2001:db8::3", "* BYE"}, {"2001:db8:0:1::3", "hello 2001:db8:0:1::3"},
		{"127.0.0.1", "hello 127.0.0.1"}, {"127.0.0.1", "hello 127.0.0.1"}, {"127.0.0.1", "hello 127.0.0.1"}, // loopback is not counted
	} {
		if got := via(c.ip); got != c.want {
			t.Errorf("%d: %s heard %q, want %q", i, c.ip, got, c.want)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.perIP) != 4 {
		t.Errorf("addresses counted: %v", s.perIP)
	}
}

func TestProxyHeader(t *testing.T) {
	t.Parallel()
	e := Endpoint{Protocol: "imap", Handler: handle(echo), Proxy: true}
	s, addr := run(t, Config{}, e)
	c := dial(t, addr)
	fmt.Fprintf(c, "HELLO without header\r\n")
	if got := readAll(t, c); got != "" && !strings.HasPrefix(got, "error") {
		t.Errorf("without a header it heard %q", got)
	}
	c = dial(t, addr) // what follows the header in one packet is the client's
	fmt.Fprintf(c, "PROXY TCP4 192.0.2.1 192.0.2.9 4000 143\r\nping\r\n")
	r := bufio.NewReader(c)
	if a, b := line(t, r), line(t, r); a != "hello 192.0.2.1" || b != "ping" {
		t.Errorf("heard %q %q", a, b)
	}
	if n := s.Stats()[0].ProxyFailed; n != 1 {
		t.Errorf("%d failed", n)
	}
	// Who is not trusted is served as itself, its header is chatter.
	_, addr = run(t, Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, e)
	c = dial(t, addr)
	fmt.Fprintf(c, "PROXY TCP4 192.0.2.1 192.0.2.9 4000 143\r\n")
	r = bufio.NewReader(c)
	if a, b := line(t, r), line(t, r); a != "hello 127.0.0.1" || !strings.HasPrefix(b, "PROXY") {
		t.Errorf("heard %q %q", a, b)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	s := New(Config{})
	a, err := s.Listen(Endpoint{Protocol: "imap", Addr: "127.0.0.1:0", Handler: handle(echo)})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, 10*time.Second) }()
	c := dial(t, a.String())
	r := bufio.NewReader(c)
	line(t, r)
	cancel()
	if got := line(t, r); got != "bye: "+ErrDraining.Error() {
		t.Errorf("heard %q", got)
	}
	must(t, <-done)
	if _, err := net.Dial("tcp", a.String()); err == nil {
		t.Error("it still listens")
	}
}

func TestDrainCutsWhoStays(t *testing.T) {
	t.Parallel()
	s := New(Config{})
	stubborn := handle(func(ctx context.Context, c *Conn) {
		io.WriteString(c, "hello\r\n")
		b := make([]byte, 1)
		for {
			if _, err := c.Read(b); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
			runtime.Gosched()
		}
	})
	a, err := s.Listen(Endpoint{Protocol: "imap", Addr: "127.0.0.1:0", Handler: stubborn})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, 50*time.Millisecond) }()
	c := dial(t, a.String())
	line(t, bufio.NewReader(c))
	cancel()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "1 sessions") {
		t.Errorf("Run says %v", err)
	}
}

func TestKick(t *testing.T) {
	t.Parallel()
	s, addr := run(t, Config{}, Endpoint{Protocol: "imap", Handler: handle(func(ctx context.Context, c *Conn) {
		c.Bind(Login{Account: 7, Address: mail.Address{Local: "anna", Domain: "example.org"}})
		echo(ctx, c)
	})})
	c := dial(t, addr)
	r := bufio.NewReader(c)
	line(t, r)
	if in := s.Stats()[0].LoggedIn; in != 1 {
		t.Errorf("%d logged in", in)
	}
	if l := s.Sessions(); len(l) != 1 || l[0].Login != "anna@example.org" || l[0].Account != 7 || l[0].TLS || l[0].ID == "" || l[0].Remote != "127.0.0.1" {
		t.Errorf("sessions %+v", l)
	}
	if n := s.Kick(8) + s.Kick(0); n != 0 {
		t.Errorf("%d strangers kicked", n)
	}
	if n := s.Kick(7); n != 1 {
		t.Errorf("%d kicked", n)
	}
	if got := line(t, r); got != "bye: "+ErrKicked.Error() {
		t.Errorf("heard %q", got)
	}
}

func TestPanicCostsOneSession(t *testing.T) {
	t.Parallel()
	var log logbook
	s, addr := run(t, Config{Log: log.logger()}, Endpoint{Protocol: "imap", Handler: handle(func(ctx context.Context, c *Conn) {
		fmt.Fprint(c, "hello\r\n")
		panic("a bug")
	})})
	for range 2 {
		if got := readAll(t, dial(t, addr)); got != "hello\r\n" {
			t.Errorf("heard %q", got)
		}
	}
	for s.Stats()[0].Open != 0 {
		runtime.Gosched()
	}
	if n := s.Stats()[0].Panics; n != 2 || !strings.Contains(log.String(), "a bug") {
		t.Errorf("%d panics, log %s", n, log.String())
	}
}

// RFC 8996: nothing below TLS 1.2. RFC 7301 §3.2, RFC 9325 §3.7: who names another protocol is refused.
func TestTLS(t *testing.T) {
	t.Parallel()
	cert := certificate(t, "mx.example.org", false)
	served := make(chan *Conn, 10)
	h := handle(func(ctx context.Context, c *Conn) {
		served <- c
		if c.CanStartTLS() {
			fmt.Fprint(c, "clear\r\n")
			b := make([]byte, 1)
			c.Read(b)
			if c.StartTLS(ctx) != nil {
				return
			}
		}
		echo(ctx, c)
	})
	cfg := Config{TLS: &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }}}
	s, plainAddr := run(t, cfg, Endpoint{Protocol: "imap", Handler: h})
	_, tlsAddr := run(t, cfg, Endpoint{Protocol: "imaps", Handler: h, Implicit: true})
	client := func(c *tls.Config) *tls.Config { c.InsecureSkipVerify = true; return c }

	c := dial(t, plainAddr)
	r := bufio.NewReader(c)
	line(t, r)
	sc := <-served
	if sc.MayLogin() || sc.TLSState() != nil || sc.TLSVersion() != "" {
		t.Error("TLS before STARTTLS")
	}
	c.Write([]byte{'S'})
	x := tls.Client(c, client(&tls.Config{}))
	must(t, x.Handshake())
	if got := line(t, bufio.NewReader(x)); got != "hello 127.0.0.1" {
		t.Errorf("heard %q", got)
	}
	if !s.Sessions()[0].TLS {
		t.Error("the register does not know of TLS")
	}

	for _, k := range []struct {
		what string
		cfg  *tls.Config
		ok   bool
	}{
		{"TLS 1.3", &tls.Config{}, true},
		{"TLS 1.2", &tls.Config{MaxVersion: tls.VersionTLS12}, true},
		{"TLS 1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		{"CBC", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, false},
		{"ALPN imap", &tls.Config{NextProtos: []string{"imap"}}, true},
		{"ALPN http", &tls.Config{NextProtos: []string{"h2", "http/1.1"}}, false},
		{"ALPN smtp", &tls.Config{NextProtos: []string{"smtp"}}, false},
	} {
		x, err := tls.Dial("tcp", tlsAddr, client(k.cfg))
		if (err == nil) != k.ok {
			t.Errorf("%s: %v", k.what, err)
			continue
		}
		if err != nil {
			continue
		}
		sc := <-served
		if !sc.MayLogin() || !bytes.Equal(sc.Certificate().Raw, cert.Certificate[0]) || !strings.HasPrefix(sc.TLSVersion(), "TLS1.") || sc.CanStartTLS() {
			t.Errorf("%s: %q %v", k.what, sc.TLSVersion(), sc.MayLogin())
		}
		line(t, bufio.NewReader(x))
		x.Close()
	}
}

// The server knows its certificate also when a session was resumed and none was sent.
func TestChannelBindingOfResumedSession(t *testing.T) {
	t.Parallel()
	cert := certificate(t, "mx.example.org", false)
	served := make(chan *Conn, 1)
	_, addr := run(t, Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}, Endpoint{Protocol: "imaps", Implicit: true,
		Handler: handle(func(ctx context.Context, c *Conn) { served <- c; echo(ctx, c) })})
	cache := tls.NewLRUClientSessionCache(1)
	for i, resumed := range []bool{false, true} {
		x, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ServerName: "mx.example.org", ClientSessionCache: cache})
		must(t, err)
		line(t, bufio.NewReader(x))
		sc, st := <-served, x.ConnectionState()
		if st.DidResume != resumed {
			t.Fatalf("connection %d: resumed %v", i, st.DidResume)
		}
		for _, kind := range []string{sasl.Exporter, sasl.ServerEndPoint} {
			ours, ok1 := sasl.Binding(kind, sc.TLSState(), sc.Certificate())
			theirs, ok2 := sasl.Binding(kind, &st, st.PeerCertificates[0])
			if !ok1 || !ok2 || !bytes.Equal(ours, theirs) {
				t.Errorf("connection %d %s: %x %v, client %x %v", i, kind, ours, ok1, theirs, ok2)
			}
		}
		x.Close()
	}
}

func TestEndpointErrors(t *testing.T) {
	t.Parallel()
	s := New(Config{})
	if _, err := s.Listen(Endpoint{Protocol: "imaps", Addr: "127.0.0.1:0", Implicit: true, Handler: handle(echo)}); err == nil || !strings.Contains(err.Error(), "imaps") {
		t.Errorf("TLS without a certificate: %v", err)
	}
	if _, err := s.Listen(Endpoint{Protocol: "imap", Addr: "127.0.0.1:0"}); err == nil {
		t.Error("an endpoint without handler")
	}
	a, err := s.Listen(Endpoint{Protocol: "imap", Addr: "127.0.0.1:0", Handler: handle(echo)})
	must(t, err)
	if _, err := s.Listen(Endpoint{Protocol: "imap", Addr: a.String(), Handler: handle(echo)}); err == nil || !strings.Contains(err.Error(), a.String()) {
		t.Errorf("an address in use: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, s.Run(ctx, 0))
}

// A deadline that a session sets after it was cancelled must not put it to sleep again.
func TestEndedReadNeverWaits(t *testing.T) {
	t.Parallel()
	s := New(Config{})
	a, b := net.Pipe()
	defer b.Close()
	got := make(chan error, 1)
	go s.ServeConn(Endpoint{Protocol: "imap", Handler: handle(func(ctx context.Context, c *Conn) {
		c.Bind(Login{Account: 3})
		<-ctx.Done()
		c.SetDeadline(time.Now().Add(time.Hour))
		_, err := c.Read(make([]byte, 1))
		got <- err
	})}, a)
	for s.Kick(3) == 0 {
		runtime.Gosched()
	}
	if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read: %v", err)
	}
}

// TestIdleConnIsLean measures what the porch costs an idle connection: Conn, register, goroutine and its stack.
func TestIdleConnIsLean(t *testing.T) {
	const n = 500
	s, addr := run(t, Config{}, Endpoint{Protocol: "imap", Handler: handle(func(ctx context.Context, c *Conn) {
		var b [1]byte
		c.Write(b[:])
		c.Read(b[:])
	})})
	conns := make([]net.Conn, n)
	memory := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	for i := range conns {
		conns[i] = dial(t, addr)
	}
	for _, c := range conns {
		c.Read(make([]byte, 1))
	}
	with := memory()
	for _, c := range conns {
		c.Close()
	}
	for s.Stats()[0].Open > 0 {
		runtime.Gosched()
	}
	clear(conns)
	each := (int64(with) - int64(memory())) / n
	t.Logf("%d octets a connection, both ends", each)
	if each > 8<<10 {
		t.Errorf("%d octets a connection", each)
	}
}

// TestTooManySessionsOfOneAccount: over all ports and addresses, from login to logout; loopback is not counted.
func TestTooManySessionsOfOneAccount(t *testing.T) {
	t.Parallel()
	var log logbook
	s := New(Config{MaxPerAccount: 2, Log: log.logger()})
	anna, bert := Login{Account: 1}, Login{Account: 2}
	session := func(ip string) *Conn {
		c := conn(t, s, ip)
		s.register(c)
		return c
	}
	a, b, c := session("192.0.2.1"), session("2001:db8::1"), session("192.0.2.3")
	bind := func(c *Conn, l Login, want error) {
		t.Helper()
		if err := c.Bind(l); err != want {
			t.Errorf("login gives %v, want %v", err, want)
		}
	}
	bind(a, anna, nil)
	bind(a, anna, nil) // the same session again
	bind(b, anna, nil)
	bind(c, anna, ErrSessions)
	bind(c, bert, nil) // others are not concerned
	bind(c, anna, ErrSessions)
	if n := c.port.crowded.Load(); n != 2 || s.perAccount[2] != 1 {
		t.Errorf("%d refused; sessions: %v", n, s.perAccount)
	}
	for range 5 {
		bind(session("127.0.0.1"), anna, nil)
	}
	bind(a, Login{}, nil) // UNAUTHENTICATE
	bind(c, anna, nil)
	bind(a, anna, ErrSessions)
	s.unregister(b)
	bind(a, anna, nil)
	for _, x := range []*Conn{a, c} {
		s.unregister(x)
	}
	if len(s.perAccount) != 0 {
		t.Errorf("still counted: %v", s.perAccount)
	}
	if !strings.Contains(log.String(), `limit="sessions of the account"`) {
		t.Error(log.String())
	}
}

// heard keeps what came over a connection.
type heard struct {
	net.Conn
	b bytes.Buffer
}

func (h *heard) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	h.b.Write(p[:n])
	return n, err
}

// TestEndOfSession: who sees the end of a connection is no longer counted, and TLS that began with STARTTLS ends with a
// close_notify (RFC 8446 §6.1).
func TestEndOfSession(t *testing.T) {
	t.Parallel()
	cert := certificate(t, "mx.example.org", false)
	s, addr := run(t, Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}, Endpoint{Protocol: "imap", Handler: handle(func(ctx context.Context, c *Conn) {
		if c.StartTLS(ctx) == nil {
			fmt.Fprint(c, "bye\r\n")
		}
	})})
	for range 50 {
		raw := &heard{Conn: dial(t, addr)}
		c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
		if got := readAll(t, c); got != "bye\r\n" {
			t.Fatalf("heard %q", got)
		}
		if n, open := len(s.Sessions()), s.Stats()[0].Open; n != 0 || open != 0 {
			t.Fatalf("%d sessions are registered, %d open after the client saw the end", n, open)
		}
		const alert, warningLen = 21, 2 + 5 + 24 // AES-GCM adds 24 octets
		if b := raw.b.Bytes(); len(b) < warningLen || b[len(b)-warningLen] != alert {
			t.Fatalf("no alert at the end: % x", b[max(0, len(b)-64):])
		}
	}
}

// TestWriteWithin: a client that reads a little now and then is served to the end, in clear and under TLS; one that does not read
// at all is given up after the time for that.
func TestWriteWithin(t *testing.T) {
	t.Parallel()
	cert := certificate(t, "mx.example.org", false)
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const size = 300_000
				s := New(Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
				result := make(chan error, 2)
				h := handle(func(ctx context.Context, c *Conn) {
					for range 2 {
						n, err := c.WriteWithin(make([]byte, size), time.Minute)
						if err == nil && n != size {
							err = io.ErrShortWrite
						}
						result <- err
					}
				})
				ours, theirs := net.Pipe()
				go s.ServeConn(Endpoint{Protocol: "imaps", Implicit: secure, Handler: h}, theirs)
				var c net.Conn = ours
				if secure {
					x := tls.Client(ours, &tls.Config{InsecureSkipVerify: true})
					must(t, x.Handshake())
					c = x
				}
				piece := make([]byte, size/30)
				for range 30 { // twelve minutes; TLS takes a record of 16 KB at once, so every other time nothing moves
					time.Sleep(25 * time.Second)
					if _, err := io.ReadFull(c, piece); err != nil {
						t.Fatal(err)
					}
				}
				if err := <-result; err != nil {
					t.Fatalf("slow: %v", err)
				}
				begin := time.Now()
				if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) > 2*time.Minute {
					t.Errorf("deaf: %v after %v", err, time.Since(begin))
				}
				ours.Close()
			})
		})
	}
}
