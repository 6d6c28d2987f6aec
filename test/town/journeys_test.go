package town

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"net/smtp"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/mjl-/mox/imapclient"
)

// The journeys of docs/journeys, each under its name.

// TestAMailComesIn is docs/journeys/1-a-mail-comes-in.md: by SMTP (RFC 5321) into the mailbox, to the
// client that idles (RFC 2177), into the log and the figures; and what intake refuses.
func TestAMailComesIn(t *testing.T) { journey(t, aMailComesIn) }

// journey runs one on a cell of one node, and on one of two, over the one and over the other.
func journey(t *testing.T, run func(t *testing.T, here, there *Town, anna string)) {
	t.Run("one node", func(t *testing.T) {
		w, anna := serving(t)
		run(t, w, w, anna)
	})
	t.Run("two nodes", func(t *testing.T) {
		if testing.Short() {
			t.Skip("builds and runs the binary; not in -short")
		}
		t.Parallel()
		c := NewCluster(t, 2)
		anna := c.Nodes[0].Account("anna", "secret")
		for _, w := range c.Nodes {
			w.Serve()
		}
		run(t, c.Nodes[0], c.Nodes[1], anna)
	})
}

func aMailComesIn(t *testing.T, w, there *Town, anna string) {
	idler, err := DialIMAP(there.Addr("imap"), anna, "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer idler.Close()
	if _, err := idler.Do("SELECT INBOX"); err != nil {
		t.Fatal(err)
	}
	idler.l.write("i IDLE\r\n")
	expect(t, idler, "+ idling")

	c, err := smtp.Dial(w.Addr("smtp"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail("sender@elsewhere.example"); err != nil {
		t.Fatal(err)
	}
	for to, code := range map[string]string{"nobody@example.org": `550 "5.1.1 `, "x@elsewhere.example": `550 "5.7.1 `} {
		if err := c.Rcpt(to); err == nil || !strings.Contains(err.Error(), code) {
			t.Errorf("RCPT %s: %v, want %s", to, err, code)
		}
	}
	if err := c.Rcpt("Anna+tickets@EXAMPLE.org"); err != nil {
		t.Fatal(err)
	}
	data, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	data.Write([]byte("From: sender@elsewhere.example\r\nSubject: a journey\r\n\r\nIt comes in.\r\n"))
	if err := data.Close(); err != nil { // that is the 250
		t.Fatal(err)
	}
	expect(t, idler, "* 1 EXISTS")
	idler.l.write("DONE\r\n")
	if _, err := idler.answer("i"); err != nil {
		t.Fatal(err)
	}
	idler.says(t, "FETCH 1 BODY.PEEK[]", `(?s)Return-Path: <sender@elsewhere.example>\r\nDelivered-To: Anna\+tickets@example.org\r\n`+
		`Received: from .*\s+by mx.example.org with (ESMTP|UTF8SMTP) id .*\r\n\r\nIt comes in.\r\n`)
	w.Logged("msg=recipient", "from=sender@elsewhere.example", "fate=delivered", "mailbox=INBOX", "uid=1")
	w.Logged("msg=recipient", "to=nobody@example.org", "fate=refused")
	for _, re := range []string{
		`bahnpost_recipients_total\{fate="delivered",protocol="smtp"\} 1\n`,
		`bahnpost_recipients_total\{fate="refused",protocol="smtp"\} 2\n`,
		`bahnpost_messages_appended_total 1\n`,
		`bahnpost_store_commits_total [1-9]`,
		`bahnpost_command_seconds_count\{command="DATA",protocol="smtp",result="ok"\} 1\n`,
	} {
		w.figure(t, re)
	}
	for _, re := range []string{
		`bahnpost_logins_total\{protocol="imap",result="ok"\} 1\n`,
		`bahnpost_connections\{[^}]*protocol="imap"\} 1\n`,
		`bahnpost_command_seconds_count\{command="SELECT",protocol="imap",result="ok"\} 1\n`,
	} {
		there.figure(t, re)
	}
	if t.Failed() {
		t.Log(w.Log(), there.Log())
	}
}

// figure wants the metrics to match.
func (w *Town) figure(t *testing.T, re string) {
	t.Helper()
	if _, m := w.Get("/metrics"); !regexp.MustCompile(re).MatchString(m) {
		t.Errorf("metrics have no %s", re)
	}
}

// expect reads lines until one is want.
func expect(t *testing.T, c *IMAP, want string) {
	t.Helper()
	for {
		s, err := c.logical()
		if err != nil {
			t.Fatalf("waiting for %q: %v", want, err)
		}
		if s == want {
			return
		}
	}
}

// trust is a client that trusts the certificate which init made, and no other.
func (w *Town) trust() *tls.Config {
	w.t.Helper()
	pem, err := os.ReadFile(filepath.Join(w.Dir, "tls", "cert.pem"))
	if err != nil {
		w.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool, ServerName: "mx.example.org"}
}

// session logs in over TLS as a client does that checks everything: the certificate, the server's
// signature, the binding of the login to the channel (RFC 5802 §6, RFC 9266).
func (w *Town) session(mechanism, user, password string) *IMAP {
	w.t.Helper()
	nc, err := tls.Dial("tcp", w.Addr("imaps"), w.trust())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { nc.Close() })
	c, err := imapclient.New(nc, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := c.AuthenticateSCRAM(mechanism, sha256.New, user, password); err != nil {
		w.t.Fatalf("%s: %v", mechanism, err)
	}
	return &IMAP{l: &line{nc, bufio.NewReader(nc)}} // mox's client has nothing left to read
}

// TestAPersonOpensASession is docs/journeys/2-a-person-opens-a-session.md: TLS, SCRAM-SHA-256-PLUS,
// SELECT, FETCH, IDLE, LOGOUT; and the goodbye of a node that drains.
func TestAPersonOpensASession(t *testing.T) { journey(t, aPersonOpensASession) }

func aPersonOpensASession(t *testing.T, there, w *Town, anna string) {
	lmtp, err := DialLMTP(there.Addr("lmtp"))
	if err != nil {
		t.Fatal(err)
	}
	defer lmtp.Close()
	deliver := func(text string) {
		t.Helper()
		if rs, err := lmtp.Deliver("Subject: "+text+"\r\n\r\nhello\r\n", anna); err != nil || !strings.HasPrefix(rs[0], "250") {
			t.Fatal(rs, err)
		}
	}
	deliver("one")
	c := w.session("SCRAM-SHA-256-PLUS", anna, "secret")
	c.says(t, "SELECT INBOX", `\* 1 EXISTS(.|\n)*\[READ-WRITE\]`)
	if w == there { // nobody has heard of it before (RFC 3501 §2.3.2); another node knows only of what comes while somebody looks
		c.says(t, "UID FETCH 1:* (FLAGS)", `\* 1 FETCH \(UID 1 FLAGS \(\\Recent\)\)`)
	}
	c.says(t, "FETCH 1 (ENVELOPE BODY[TEXT])", `ENVELOPE \(NIL "one"(.|\n)*BODY\[TEXT\] \{7\}\nhello\r\n`)
	c.l.write("i IDLE\r\n")
	expect(t, c, "+ idling")
	deliver("two")
	expect(t, c, "* 2 EXISTS")
	c.l.write("DONE\r\n")
	if _, err := c.answer("i"); err != nil {
		t.Fatal(err)
	}
	c.says(t, "LOGOUT", `\* BYE(.|\n)* OK`)
	w.Logged("imap session", "login="+anna, "protocol=imap", "reason=logout")

	if _, metrics := w.Get("/metrics"); !strings.Contains(metrics, `bahnpost_logins_total{protocol="imap",result="ok"} 1`) {
		t.Error("the login by SCRAM is not counted")
	}
	idler := w.session("SCRAM-SHA-256", anna, "secret")
	idler.says(t, "SELECT INBOX", `\* 2 EXISTS`)
	idler.l.write("i IDLE\r\n")
	expect(t, idler, "+ idling")
	w.Signal(syscall.SIGTERM)
	expect(t, idler, "* BYE [UNAVAILABLE] server is shutting down")
	if s, err := idler.logical(); err == nil {
		t.Errorf("after BYE comes %q", s)
	}
	if err := w.Wait(); err != nil {
		t.Errorf("the node ended with %v", err)
	}
	w.Logged("imap session", "login="+anna, "shutting down")
	w.Logged("msg=stopped")
	if strings.Contains(w.Log(), "secret") {
		t.Error("the log holds a password")
	}
}

// says sends a command and wants its answer to match.
func (c *IMAP) says(t *testing.T, command, want string) {
	t.Helper()
	got, err := c.Do("%s", command)
	if err != nil || !regexp.MustCompile(want).MatchString(strings.Join(got, "\n")) {
		t.Errorf("%s: %q, %v; want %s", command, got, err, want)
	}
}
