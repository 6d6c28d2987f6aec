package smtpd_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

// tool finds a real client, or skips.
func tool(t *testing.T, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return p
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

const clientBody = "Subject: from a real client\r\nFrom: u0@example.org\r\nTo: u2@example.org\r\nDate: Tue, 24 Nov 2026 06:00:00 +0000\r\nMessage-ID: <real@x>\r\n\r\n.dots\r\n..more\r\nGr=C3=BC=C3=9Fe\r\n"

// arrived checks the last mail of u2.
func (n *node) arrived(t *testing.T, count int, with string) {
	t.Helper()
	got := n.inbox(t, "u2@example.org", "INBOX")
	if len(got) != count {
		t.Fatalf("%d messages, want %d", len(got), count)
	}
	if last := got[count-1]; !strings.HasSuffix(last, clientBody) || !strings.Contains(last, " with "+with+" id ") {
		t.Errorf("last is %q", last)
	}
}

func withPassword(t *testing.T) *node {
	n := open(t, 4, nil)
	if err := n.dir.SetPassword(t.Context(), n.account(t, "u0@example.org"), "pass word"); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPython(t *testing.T) {
	t.Parallel()
	python := tool(t, "python3")
	n := withPassword(t)
	script := `
import smtplib, ssl, sys
lmtp, smtp, sub, body = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4].encode()
port = lambda a: int(a.rsplit(':', 1)[1])
c = smtplib.LMTP('127.0.0.1', port(lmtp)); c.sendmail('x@elsewhere.example', ['u2@example.org', 'u1@example.org'], body); c.quit()
c = smtplib.SMTP('127.0.0.1', port(smtp)); c.sendmail('x@elsewhere.example', ['u2@example.org'], body)
try:
    c.sendmail('x@elsewhere.example', ['u2@elsewhere.example'], body); sys.exit('relayed')
except smtplib.SMTPRecipientsRefused as e:
    assert list(e.recipients.values())[0][0] == 550, e
c.quit()
c = smtplib.SMTP('127.0.0.1', port(sub))
ctx = ssl.create_default_context(); ctx.check_hostname = False; ctx.verify_mode = ssl.CERT_NONE
c.starttls(context=ctx)
try:
    c.login('u0@example.org', 'wrong'); sys.exit('wrong password')
except smtplib.SMTPAuthenticationError as e:
    assert e.smtp_code == 535, e
c.quit()
for mech in ('auth_plain', 'auth_login'):
    c = smtplib.SMTP('127.0.0.1', port(sub)); c.starttls(context=ctx); c.ehlo()
    c.user, c.password = 'u0@example.org', 'pass word'
    c.auth(mech[5:].upper(), getattr(c, mech))
    c.sendmail('u0@example.org', ['u2@example.org'], body); c.quit()
`
	run(t, python, "-c", script, n.addr["lmtp"], n.addr["smtp"], n.addr["submission"], clientBody)
	n.arrived(t, 4, "ESMTPSA")
}

func TestSwaks(t *testing.T) {
	t.Parallel()
	swaks := tool(t, "swaks")
	n := withPassword(t)
	file := filepath.Join(t.TempDir(), "m.eml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(clientBody, "\r\n", "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	base := []string{"--from", "u0@example.org", "--to", "u2@example.org", "--helo", "client.example", "--data", "@" + file}
	run(t, swaks, append(base, "--protocol", "LMTP", "--server", n.addr["lmtp"])...)
	run(t, swaks, append(base, "--server", n.addr["smtp"], "--pipeline")...)
	run(t, swaks, append(base, "--server", n.addr["submission"], "--tls", "--auth", "PLAIN", "--auth-user", "u0@example.org", "--auth-password", "pass word")...)
	if got := n.inbox(t, "u2@example.org", "INBOX"); len(got) != 3 || !strings.Contains(got[2], "with ESMTPSA id ") || !strings.Contains(got[0], "\r\n.dots\r\n..more\r\n") {
		t.Errorf("%q", got)
	}
}

func TestCurl(t *testing.T) {
	t.Parallel()
	curl := tool(t, "curl")
	n := withPassword(t)
	file := filepath.Join(t.TempDir(), "m.eml")
	if err := os.WriteFile(file, []byte(clientBody), 0o600); err != nil {
		t.Fatal(err)
	}
	base := []string{"-sS", "--mail-from", "u0@example.org", "--mail-rcpt", "u2@example.org", "-T", file}
	run(t, curl, append(base, "smtp://"+n.addr["smtp"]+"/client.example")...)
	n.arrived(t, 1, "ESMTP")
	run(t, curl, append(base, "smtp://"+n.addr["submission"], "--ssl-reqd", "-k", "-u", "u0@example.org:pass word")...)
	n.arrived(t, 2, "ESMTPSA")
}

// RFC 5802, RFC 7677 over RFC 4954, with another implementation's client.
func TestSCRAM(t *testing.T) {
	t.Parallel()
	n := withPassword(t)
	for password, want := range map[string]string{"pass word": "235 2.7.0", "other": "535 5.7.8"} {
		nc, err := net.Dial("tcp", n.addr["submission"])
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		c := talker{t, bufio.NewReader(nc), nc}
		c.read("220")
		c.say("EHLO client")
		c.read("250")
		c.say("STARTTLS")
		c.read("220")
		tc := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
		c = talker{t, bufio.NewReader(tc), tc}
		c.say("EHLO client")
		c.read("250")
		client, err := scram.SHA256.NewClient("u0@example.org", password, "")
		if err != nil {
			t.Fatal(err)
		}
		conv := client.NewConversation()
		first, _ := conv.Step("")
		c.say("AUTH SCRAM-SHA-256 " + base64.StdEncoding.EncodeToString([]byte(first)))
		for {
			line := c.read("")
			if !strings.HasPrefix(line, "334 ") {
				if !strings.HasPrefix(line, want) {
					t.Errorf("%s: %s", password, line)
				}
				break
			}
			b, err := base64.StdEncoding.DecodeString(line[4:])
			if err != nil {
				t.Fatal(err)
			}
			next, err := conv.Step(string(b))
			if err != nil {
				next = ""
			}
			c.say(base64.StdEncoding.EncodeToString([]byte(next)))
		}
	}
}

type talker struct {
	t *testing.T
	r *bufio.Reader
	w net.Conn
}

func (c talker) say(s string) {
	c.t.Helper()
	if _, err := fmt.Fprint(c.w, s, "\r\n"); err != nil {
		c.t.Fatal(err)
	}
}

func (c talker) read(code string) string {
	c.t.Helper()
	for {
		s, err := c.r.ReadString('\n')
		if err != nil || !strings.HasPrefix(s, code) {
			c.t.Fatalf("want %s, got %q %v", code, s, err)
		}
		if s[3] == ' ' {
			return strings.TrimSpace(s)
		}
	}
}
