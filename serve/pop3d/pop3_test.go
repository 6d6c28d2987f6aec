package pop3d

import (
	"bufio"
	"bytes"
	"context"

	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/mail"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"bahnpost/serve/listen"

	"github.com/xdg-go/scram"
)

// SCRAM against a foreign client, plain and bound to the TLS channel in both ways (RFC 5802, RFC 5929 §4, RFC 9266).
func TestScramWithForeignClient(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	conn := func() (*client, *tls.ConnectionState) {
		c, err := tls.Dial("tcp", h.pop3s, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"pop3"}})
		must(t, err)
		t.Cleanup(func() { c.Close() })
		st := c.ConnectionState()
		if st.NegotiatedProtocol != "pop3" {
			t.Errorf("ALPN gave %q", st.NegotiatedProtocol)
		}
		k := &client{t, c, bufio.NewReader(c)}
		k.want("+OK")
		return k, &st
	}
	for _, kind := range []string{"none", string(scram.ChannelBindingTLSExporter), string(scram.ChannelBindingTLSServerEndpoint)} {
		for _, password := range []string{"pw-anna", "wrong"} {
			c, st := conn()
			x, err := scram.SHA256.NewClient("anna@example.org", password, "")
			must(t, err)
			conv, mechanism := x.NewConversation(), "SCRAM-SHA-256"
			if kind != "none" {
				var cb scram.ChannelBinding
				if kind == string(scram.ChannelBindingTLSExporter) {
					cb, err = scram.NewTLSExporterBinding(st)
				} else {
					cb, err = scram.NewTLSServerEndpointBinding(st)
				}
				must(t, err)
				conv, mechanism = x.NewConversationWithChannelBinding(cb), "SCRAM-SHA-256-PLUS"
			}
			ok := scramTalk(t, c, conv, mechanism)
			if ok != (password == "pw-anna") {
				t.Errorf("%s with %q: %v", kind, password, ok)
			}
			if ok && !conv.Valid() {
				t.Errorf("%s: the server's signature is not valid", kind)
			}
		}
	}
}

func scramTalk(t *testing.T, c *client, conv *scram.ClientConversation, mechanism string) bool {
	first, err := conv.Step("")
	must(t, err)
	c.send("AUTH %s %s\r\n", mechanism, base64.StdEncoding.EncodeToString([]byte(first)))
	for {
		l := c.line()
		switch {
		case strings.HasPrefix(l, "+OK"):
			return true
		case strings.HasPrefix(l, "-ERR [AUTH]"):
			return false
		case !strings.HasPrefix(l, "+ "):
			t.Fatalf("server says %q", l)
		}
		b, err := base64.StdEncoding.DecodeString(l[2:])
		must(t, err)
		next, err := conv.Step(string(b))
		must(t, err)
		c.send("%s\r\n", base64.StdEncoding.EncodeToString([]byte(next)))
	}
}

// A client that is in the wrong place by its own word is refused (ALPACA); one that says nothing is welcome.
func TestALPN(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	for _, c := range []struct {
		offer []string
		ok    bool
	}{{nil, true}, {[]string{"pop3"}, true}, {[]string{"imap", "pop3"}, true}, {[]string{"imap"}, false}, {[]string{"h2", "http/1.1"}, false}} {
		k, err := tls.Dial("tcp", h.pop3s, &tls.Config{InsecureSkipVerify: true, NextProtos: c.offer})
		if (err == nil) != c.ok {
			t.Errorf("ALPN %v: %v", c.offer, err)
		}
		if err == nil {
			k.Close()
		}
	}
}

func TestStuffing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in    string
		lines int
		want  string
	}{
		{"", -1, ".\r\n"},
		{".", -1, "..\r\n.\r\n"},
		{"a\r\n", -1, "a\r\n.\r\n"},
		{"a", -1, "a\r\n.\r\n"},
		{"a\r", -1, "a\r\n.\r\n"},
		{".\r\n..\r\n.a", -1, "..\r\n...\r\n..a\r\n.\r\n"},
		{"a\n.\nb\n", -1, "a\r\n..\r\nb\r\n.\r\n"},
		{"a\r.b\r\n", -1, "a\r.b\r\n.\r\n"},
		{"\r\r\n", -1, "\r\r\n.\r\n"},
		{"h\r\n\r\n1\r\n2\r\n", 0, "h\r\n\r\n.\r\n"},
		{"h\r\n\r\n1\r\n2\r\n", 1, "h\r\n\r\n1\r\n.\r\n"},
		{"h\n\n1\n2\n", 1, "h\r\n\r\n1\r\n.\r\n"},
		{"h\r\n\r\n\r\n\r\n3\r\n", 2, "h\r\n\r\n\r\n\r\n.\r\n"},
		{"h\r\n", 3, "h\r\n.\r\n"},
		{"\r\n1\r\n2\r\n", 1, "\r\n1\r\n.\r\n"},
	} {
		for _, step := range []int{1, 2, 3, 100} {
			var b bytes.Buffer
			w := bufio.NewWriter(&b)
			s := newStuffer(w, c.lines)
			for in := c.in; in != ""; {
				n := min(step, len(in))
				if _, err := s.Write([]byte(in[:n])); err != nil {
					if err != errEnough {
						t.Fatal(err)
					}
					break
				}
				in = in[n:]
			}
			s.end()
			w.Flush()
			if b.String() != c.want {
				t.Errorf("%q lines %d step %d: %q, want %q", c.in, c.lines, step, b.String(), c.want)
			}
		}
	}
}

func TestUIDLFormat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ template, want string }{
		{"%v.%u", "1700000000.42"},
		{"%08Xu%08Xv", "0000002a6553f100"},
		{"UID%u-%v", "UID42-1700000000"},
		{"%%%m", "%7"},
		{"%3u", "042"},
		{"x%u%%y", "x42%y"},
		{"%v", errUIDLUnique.Error()},
		{"", errUIDLUnique.Error()},
		{"%u x", errUIDLChars.Error()},
		{"%u%", errUIDLSyntax.Error()},
		{"%q%u", errUIDLSyntax.Error()},
		{"%99u", errUIDLSyntax.Error()},
		{"%u" + strings.Repeat("x", 61), errUIDLLong.Error()},
		{"%u\x7f", errUIDLChars.Error()},
	} {
		f, err := ParseUIDL(c.template)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = string(f.Append(nil, 1700000000, 42, 7))
		}
		if got != c.want {
			t.Errorf("%q gives %q, want %q", c.template, got, c.want)
		}
	}
	if got := cleanUIDL("has space"); len(got) != 40 || got != cleanUIDL("has space") || got == cleanUIDL("has  space") {
		t.Errorf("a stored id with a space became %q", got)
	}
	if cleanUIDL("") != "" || cleanUIDL("ok.1") != "ok.1" {
		t.Error("a good stored id was changed")
	}
}

func TestMarkSeen(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{MarkSeen: true})
	h.deliver("anna", "Subject: 1\r\n\r\n1\r\n", nil)
	h.deliver("anna", "Subject: 2\r\n\r\n2\r\n", nil)
	c := h.enter("anna")
	c.do("RETR 2", "+OK")
	c.multi()
	c.do("QUIT", "+OK")
	if m := h.inbox("anna"); m.Unseen != 1 || m.Messages != 2 {
		t.Errorf("inbox has %d messages, %d unseen", m.Messages, m.Unseen)
	}
}

func TestMaxMessages(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{MaxMessages: 2})
	for i := range 3 {
		h.deliver("anna", fmt.Sprintf("Subject: %d\r\n\r\n", i), nil)
	}
	c := h.enter("anna")
	c.do("STAT", "+OK 2 28")
	c.do("DELE 1", "+OK")
	c.do("QUIT", "+OK")
	c = h.enter("anna")
	c.do("STAT", "+OK 2 28")
	c.do("RETR 2", "+OK")
	if got := c.multi(); !strings.Contains(got, "Subject: 2") {
		t.Errorf("message 2 is %q", got)
	}
}

func TestLineLimits(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{MaxBad: 3})
	c := h.dial()
	c.want("+OK")
	c.do("NOOP "+strings.Repeat("x", 20000), "-ERR line is too long")
	c.do("USER "+strings.Repeat("x", 5000), "+OK")
	c.do("PASS x", "-ERR [AUTH]")
	c.do("AUTH PLAIN", "+ ")
	c.do(strings.Repeat("x", 13000), "-ERR line is too long")
	c.do("X", "-ERR unknown")
	c.do("Y", "-ERR unknown")
	c.want("-ERR too many bad commands")
	c.closed()

	c = h.dial()
	c.want("+OK")
	go c.Write(bytes.Repeat([]byte{'x'}, maxSkipped+100000))
	c.want("-ERR line is too long")
}

// The throttle answers temporarily, and not with [AUTH], which would make the client ask its user.
func TestThrottle(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{MaxFailures: 100})
	c := h.dial()
	c.want("+OK")
	for i := range 10 {
		c.do("USER bert", "+OK")
		c.do(fmt.Sprintf("PASS wrong%d", i), "-ERR [AUTH]")
	}
	c.do("USER bert", "+OK")
	c.do("PASS pw-bert", "-ERR [SYS/TEMP] too many failed logins")
	c.do("USER anna", "+OK")
	c.do("PASS pw-anna", "+OK")
	for _, secret := range []string{"wrong", "pw-anna", "pw-bert"} {
		if strings.Contains(h.log.String(), secret) {
			t.Errorf("the log has %q:\n%s", secret, h.log)
		}
	}
	if !strings.Contains(h.log.String(), "login failed") {
		t.Error("the log does not have the failures")
	}
}

// One line a session, and it tells what happened.
func TestSessionLog(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.deliver("anna", "Subject: 1\r\n\r\n1\r\n", nil)
	c := h.enter("anna")
	c.do("RETR 1", "+OK")
	c.multi()
	c.do("DELE 1", "+OK")
	c.do("QUIT", "+OK")
	c.closed()
	got := h.logged("end=quit")
	for _, want := range []string{"pop3 session", "login=anna@example.org", "messages=1", "retrieved=1", "deleted=1", "end=quit", "remote=127.0.0.1"} {
		if !strings.Contains(got, want) {
			t.Errorf("log lacks %q: %s", want, got)
		}
	}
}

// A client that goes away in the middle of a message is no error of ours.
func TestClientGoesAwayInMessage(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.deliver("anna", "Subject: 1\r\n\r\n"+strings.Repeat("0123456789\r\n", 1<<20), nil)
	c := h.enter("anna")
	c.do("RETR 1", "+OK")
	c.Close()
	if got := h.logged("end="); strings.Contains(got, "level=ERROR") || !strings.Contains(got, "connection broke") {
		t.Errorf("log: %s", got)
	}
}

// Every message of random lines comes out as it went in.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	r := rand.New(rand.NewPCG(1, 2))
	var want []string
	for range 20 {
		var b strings.Builder
		b.WriteString("Subject: x\r\n\r\n")
		for range r.IntN(3000) {
			b.WriteString([]string{"\r\n", ".", "..\r\n", ".x", "a line\r\n", strings.Repeat("y", r.IntN(300)), "\x00\xff"}[r.IntN(7)])
		}
		b.WriteString("\r\n")
		want = append(want, b.String())
		h.deliver("anna", b.String(), nil)
	}
	c := h.enter("anna")
	for i, w := range want {
		c.do(fmt.Sprintf("RETR %d", i+1), fmt.Sprintf("+OK %d octets", len(w)))
		if got := c.multi(); got != w {
			t.Errorf("message %d differs: %d octets, want %d", i+1, len(got), len(w))
		}
	}
}

// What another session expunged answers -ERR once the store's reaper has been there.
func TestRetrAfterReaper(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{MaxBad: 1 << 30})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.mail.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for range 3 {
		h.deliver("anna", "Subject: 1\r\n\r\n1\r\n", nil)
	}
	c := h.enter("anna")
	h.expunge("anna", 2)
	for end := time.Now().Add(15 * time.Second); ; {
		c.send("RETR 2\r\n")
		if l := c.line(); strings.HasPrefix(l, "-ERR message was removed by another session") {
			break
		} else if !strings.HasPrefix(l, "+OK") || time.Now().After(end) {
			t.Fatalf("RETR 2 says %q", l)
		}
		c.multi()
	}
	c.do("RETR 3", "+OK")
	c.multi()
	c.do("LIST 2", "+OK 2 17")
	c.do("DELE 2", "+OK")
	c.do("QUIT", "+OK")
}

// An account that moved away meanwhile is fenced: QUIT says that nothing was deleted, temporarily.
func TestQuitAfterMove(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.deliver("anna", "Subject: 1\r\n\r\n1\r\n", nil)
	c := h.enter("anna")
	c.do("DELE 1", "+OK")
	must(t, h.mail.SetEpoch(t.Context(), h.account["anna"], 2))
	c.do("QUIT", "-ERR [SYS/TEMP]")
	c.closed()
	if m := h.inbox("anna"); m.Messages != 1 {
		t.Errorf("inbox has %d messages", m.Messages)
	}
}

// Draining says so in POP3's words, and deletes nothing.
func TestDrain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.deliver("anna", "Subject: 1\r\n\r\n1\r\n", nil)
	c := h.enter("anna")
	c.do("DELE 1", "+OK")
	if n := h.server.Kick(h.account["anna"]); n != 1 {
		t.Errorf("%d sessions kicked", n)
	}
	c.want("-ERR [SYS/TEMP]")
	c.closed()
	if m := h.inbox("anna"); m.Messages != 1 {
		t.Errorf("inbox has %d messages", m.Messages)
	}
}

// Real clients. They skip if they are not installed.
func TestPoplib(t *testing.T) {
	t.Parallel()
	python := installed(t, "python3")
	h := newHouse(t, Config{})
	text := "From: a@example.net\r\nSubject: x\r\n\r\n.dot\r\n..\r\n.\r\nend\r\n"
	h.deliver("anna", text, nil)
	h.deliver("anna", text, nil)
	host, port, _ := net.SplitHostPort(h.pop3)
	_, ports, _ := net.SplitHostPort(h.pop3s)
	out, err := exec.Command(python, "-c", `
import poplib, ssl, sys
ctx = ssl._create_unverified_context()
host, port, ports = sys.argv[1:4]
c = poplib.POP3(host, int(port))
assert "STLS" in c.capa()
c.stls(ctx)
c.utf8()
c.user("anna@example.org"); c.pass_("pw-anna")
n, size = c.stat()
assert n == 2, n
resp, lines, octets = c.list()
assert len(lines) == 2
ids = c.uidl()[1]
assert len(set(ids)) == 2, ids
for i in (1, 2):
    resp, lines, octets = c.retr(i)
    text = b"\r\n".join(lines) + b"\r\n"
    assert len(text) == size // 2, (len(text), size)
    assert b"\r\n.dot\r\n..\r\n.\r\nend\r\n" in text, text
assert c.top(1, 1)[1][-1] == b".dot"
c.dele(1)
c.quit()
c = poplib.POP3_SSL(host, int(ports), context=ctx)
c.user("anna"); c.pass_("pw-anna")
assert c.stat()[0] == 1
c.quit()
print("ok")
`, host, port, ports).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "ok" {
		t.Errorf("poplib: %v\n%s", err, out)
	}
}

func TestCurl(t *testing.T) {
	t.Parallel()
	curl := installed(t, "curl")
	h := newHouse(t, Config{})
	text := "From: a@example.net\r\nSubject: x\r\n\r\n.dot\r\n..\r\n.\r\nend\r\n"
	h.deliver("anna", text, nil)
	for _, args := range [][]string{
		{"pop3://" + h.pop3 + "/1"},
		{"--ssl-reqd", "-k", "pop3://" + h.pop3 + "/1"},
		{"-k", "pop3s://" + h.pop3s + "/1"},
		{"-k", "--login-options", "AUTH=PLAIN", "--sasl-ir", "pop3s://" + h.pop3s + "/1"},
	} {
		out, err := exec.Command(curl, append([]string{"-sS", "-u", "anna:pw-anna", "-m", "20"}, args...)...).CombinedOutput()
		if err != nil || string(out) != text {
			t.Errorf("curl %v: %v\n%q", args, err, out)
		}
	}
}

func TestFetchmail(t *testing.T) {
	t.Parallel()
	fetchmail := installed(t, "fetchmail")
	h := newHouse(t, Config{})
	text := "From: a@example.net\r\nSubject: fetched\r\n\r\n.dot\r\nend\r\n"
	h.deliver("anna", text, nil)
	host, port, _ := net.SplitHostPort(h.pop3)
	dir := t.TempDir()
	cmd := exec.Command(fetchmail, "-f", "-", "--nodetach", "--nosyslog", "--pidfile", dir+"/pid", "-i", dir+"/ids")
	cmd.Env = []string{"HOME=" + dir, "FETCHMAILHOME=" + dir, "PATH=/usr/bin:/bin", "LANG=C"}
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`poll %s protocol pop3 service %s user "anna" password "pw-anna" sslproto "" nokeep no rewrite mda "cat > %s/got"`+"\n", host, port, dir))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("fetchmail: %v\n%s", err, out)
	}
	got, err := exec.Command("cat", dir+"/got").Output()
	must(t, err)
	m, err := mail.ReadMessage(bytes.NewReader(got))
	must(t, err)
	if m.Header.Get("Subject") != "fetched" || !bytes.Contains(got, []byte("\n.dot")) {
		t.Errorf("fetchmail got %q", got)
	}
	if m := h.inbox("anna"); m.Messages != 0 {
		t.Errorf("inbox has %d messages", m.Messages)
	}
}

// logged waits until the log has text and returns it all.
func (h *house) logged(text string) string {
	h.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); runtime.Gosched() {
		if got := h.log.String(); strings.Contains(got, text) {
			return got
		}
	}
	h.t.Fatalf("the log never says %q: %s", text, h.log)
	return ""
}

func installed(t *testing.T, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return p
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSession is login, STAT, UIDL, LIST, 3 RETR, QUIT on 50 messages of
// 10 KB. cpu-µs/op holds the client's work too, which is in this process.
func BenchmarkSession(b *testing.B) {
	h := newHouse(b, Config{})
	text := "From: a@example.net\r\nSubject: x\r\n\r\n" + strings.Repeat("A line of some seventy octets, as they come in mail, more or less ...\r\n", 140)
	for range 50 {
		h.deliver("anna", text, nil)
	}
	begin := cpu()
	for b.Loop() {
		c, err := net.Dial("tcp", h.pop3)
		must(b, err)
		k := &client{b, c, bufio.NewReaderSize(c, 32<<10)}
		k.want("+OK")
		for _, l := range []string{"USER anna", "PASS pw-anna", "STAT"} {
			k.do(l, "+OK")
		}
		for _, l := range []string{"UIDL", "LIST", "RETR 1", "RETR 25", "RETR 50"} {
			k.do(l, "+OK")
			k.skip()
		}
		k.do("QUIT", "+OK")
		c.Close()
	}
	b.ReportMetric(float64((cpu()-begin).Microseconds())/float64(b.N), "cpu-µs/op")
}

// skip reads a multi-line response without keeping it.
func (c *client) skip() {
	for {
		l, err := c.r.ReadSlice('\n')
		if err != nil {
			c.t.Fatal(err)
		}
		if string(l) == ".\r\n" {
			return
		}
	}
}

// BenchmarkLogin is login and logout with a remembered password.
func BenchmarkLogin(b *testing.B) {
	h := newHouse(b, Config{})
	begin := cpu()
	for b.Loop() {
		c, err := net.Dial("tcp", h.pop3)
		must(b, err)
		k := &client{b, c, bufio.NewReaderSize(c, 4<<10)}
		k.want("+OK")
		for _, l := range []string{"USER anna", "PASS pw-anna", "QUIT"} {
			k.do(l, "+OK")
		}
		c.Close()
	}
	b.ReportMetric(float64((cpu()-begin).Microseconds())/float64(b.N), "cpu-µs/op")
}

func BenchmarkRetrLarge(b *testing.B) {
	h := newHouse(b, Config{})
	text := "Subject: x\r\n\r\n" + strings.Repeat("A line of some seventy octets, as they come in mail, more or less ...\r\n", 300000)
	h.deliver("anna", text, nil)
	c := h.dial()
	c.SetDeadline(time.Time{})
	c.r = bufio.NewReaderSize(c.Conn, 64<<10)
	c.want("+OK")
	c.do("USER anna", "+OK")
	c.do("PASS pw-anna", "+OK")
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		c.do("RETR 1", "+OK")
		c.skip()
	}
}

func BenchmarkStuffer(b *testing.B) {
	text := []byte(strings.Repeat("A line of some seventy octets, as they come in mail, more or less ...\r\n", 900))
	w := bufio.NewWriterSize(discard{}, outputSize)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		s := newStuffer(w, -1)
		s.Write(text)
		s.end()
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// The first command of a stranger may be anything.
func FuzzSession(f *testing.F) {
	for _, s := range []string{"USER anna\r\nPASS pw-anna\r\nSTAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nTOP 1 1\r\nDELE 1\r\nRSET\r\nQUIT\r\n",
		"AUTH PLAIN AGFubmEAcHctYW5uYQ==\r\nLIST 1\r\nNOOP\r\n", "AUTH LOGIN\r\nYW5uYQ==\r\n*\r\n", "CAPA\r\nLANG *\r\nUTF8\r\n\r\n \r\n\x00",
		"AUTH SCRAM-SHA-256 biwsbj1hbm5hLHI9YWJj\r\n*\r\nSTLS\r\n", "GET / HTTP/1.1\r\n\r\n"} {
		f.Add([]byte(s))
	}
	h := newHouse(f, Config{})
	h.deliver("anna", "Subject: 1\r\n\r\n1\r\n", nil)
	pop := New(h.mail, h.gate, Config{})
	f.Fuzz(func(t *testing.T, in []byte) {
		c := &script{Reader: bytes.NewReader(in)}
		must(t, h.server.ServeConn(endpoint(pop), c))
		out := c.out.String()
		for _, l := range strings.Split(out, "\n") {
			if strings.HasPrefix(l, "-ERR") && len(l) > 512 {
				t.Errorf("an answer of %d octets (RFC 2449 §4)", len(l))
			}
		}
		for _, s := range h.server.Stats() {
			if s.Panics > 0 {
				t.Fatal(h.log.String())
			}
		}
	})
}

func endpoint(h listen.Handler) listen.Endpoint { return listen.Endpoint{Protocol: "pop3", Handler: h} }

// script is a connection whose client has said all it will say.
type script struct {
	*bytes.Reader
	net.Conn
	out bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)       { return s.Reader.Read(p) }
func (s *script) Write(p []byte) (int, error)      { return s.out.Write(p) }
func (s *script) Close() error                     { return nil }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (s *script) LocalAddr() net.Addr              { return s.RemoteAddr() }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// TestStrangersDoNotStay: commands now and then do not keep the connection of somebody who never logs in.
func TestStrangersDoNotStay(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{LoginTimeout: 300 * time.Millisecond})
	c, err := net.Dial("tcp", h.pop3)
	must(t, err)
	defer c.Close()
	gone := make(chan struct{})
	go func() {
		io.Copy(io.Discard, c)
		close(gone)
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Minute); ; {
		select {
		case <-gone:
			return
		case <-tick.C:
			io.WriteString(c, "CAPA\r\n")
		case <-end:
			t.Fatal("the stranger is still there")
		}
	}
}
