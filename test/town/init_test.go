package town

import (
	"net/smtp"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestInit: what "bahnpost init --loopback" promises: the administrator's password is printed once and opens
// IMAP, POP3 and SMTP AUTH in clear on loopback, with the full address and with its local part.
func TestInit(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	w := &Town{Dir: filepath.Join(shortDir(t), "node"), Admin: "you@example.org", offset: takeOffset(t), t: t}
	args := []string{"init", w.Dir, "--domain", "example.org", "--hostname", "mx.example.org", "--loopback", "--port-offset", strconv.Itoa(w.offset), "--admin", w.Admin}
	m := regexp.MustCompile(`administrator: you@example.org\npassword: +(\S{20})\n`).FindStringSubmatch(w.Run(args...))
	if m == nil {
		t.Fatal("init prints no password")
	}
	if out, err := w.Try("", args...); err == nil || strings.Contains(out, "password:") {
		t.Errorf("a second init: %v, %s", err, out)
	}
	conf, err := os.ReadFile(filepath.Join(w.Dir, "bahnpost.toml"))
	if err != nil || !strings.Contains(string(conf), "\n# Recipients of one mail.\n#max_recipients = 1000\n") {
		t.Errorf("bahnpost.toml does not show its keys: %v", err)
	}
	w.Serve()
	for _, user := range []string{"you@example.org", "YOU@Example.ORG", "you"} {
		c, err := DialIMAP(w.Addr("imap"), user, m[1])
		if err != nil {
			t.Fatalf("IMAP as %s: %v", user, err)
		}
		c.Close()
		p, err := dial(w.Addr("pop3"))
		if err != nil {
			t.Fatal(err)
		}
		p.write("USER %s\r\nPASS %s\r\nQUIT\r\n", user, m[1])
		for range 4 {
			if s, err := p.read(); err != nil || !strings.HasPrefix(s, "+OK") {
				t.Errorf("POP3 as %s: %q %v", user, s, err)
			}
		}
		p.Close()
		if err := w.submit(user, m[1]); err != nil {
			t.Errorf("submission as %s: %v", user, err)
		}
	}
	c, err := DialIMAP(w.Addr("imap"), "you", m[1])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.says(t, "STATUS INBOX (MESSAGES)", `MESSAGES 3`) // postmaster's mail reaches the administrator
}

// submit sends the administrator's mail to postmaster, without TLS.
func (w *Town) submit(user, password string) error {
	c, err := smtp.Dial(w.Addr("submission"))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Auth(smtp.PlainAuth("", user, password, "127.0.0.1")); err != nil {
		return err
	}
	if err := c.Mail(w.Admin); err != nil {
		return err
	}
	if err := c.Rcpt("postmaster@example.org"); err != nil {
		return err
	}
	d, err := c.Data()
	if err != nil {
		return err
	}
	d.Write([]byte("Subject: x\r\n\r\nx\r\n"))
	return d.Close()
}
