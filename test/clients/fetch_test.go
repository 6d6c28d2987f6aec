package clients

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fetchmail by POP3 and by IMAP: what it hands to its delivery agent is what was stored.
func TestFetchmail(t *testing.T) {
	t.Parallel()
	for _, proto := range []string{"pop3", "imap"} {
		t.Run(proto, func(t *testing.T) {
			s := open(t, "fetchmail")
			s.deliver("fetchmail-1", "fetchmail-2")
			rc := s.file("fetchmailrc", 0o600, `
poll 127.0.0.1 protocol `+proto+` port %PORT{`+proto+`} auth password
  user "anna@example.org" password "`+password+`" options no rewrite fetchall sslproto ''
  mda "cat >>%DIR/got; printf '\n--end--\n' >>%DIR/got"
`)
			s.run("", "fetchmail", "-f", rc, "--pidfile", filepath.Join(s.dir, "pid"), "--nosyslog", "--nodetach")
			b, err := os.ReadFile(filepath.Join(s.dir, "got"))
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(b), strings.ReplaceAll(body, "\r\n", "\n")); n != 2 {
				t.Errorf("fetched %d exact bodies of 2:\n%s", n, b)
			}
			s.count("INBOX", 0)
		})
	}
}

// getmail by POP3 into a maildir, deleting; UIDL keeps what was seen.
func TestGetmail(t *testing.T) {
	t.Parallel()
	s := open(t, "getmail")
	s.deliver("getmail-1")
	s.run("", "mkdir", "-p", "gm/new", "gm/cur", "gm/tmp", "state")
	s.file("getmailrc", 0o600, `
[retriever]
type = SimplePOP3Retriever
server = 127.0.0.1
port = %PORT{pop3}
username = anna@example.org
password = `+password+`
[destination]
type = MDA_external
path = /bin/sh
arguments = ("-c", "cat >%DIR/gm/new/1")
allow_root_commands = true
unixfrom = false
[options]
read_all = false
delete = false
delivered_to = false
received = false
`)
	get := func(args ...string) {
		t.Helper()
		s.run("", "getmail", append([]string{"--getmaildir", s.dir}, args...)...)
	}
	get()
	get() // the same UIDL: not fetched again
	_, content := s.one("gm")
	s.exact("getmail", content, "\n")
	s.count("INBOX", 1)
	get("--delete", "--all")
	s.count("INBOX", 0)
}

// curl: SMTP, IMAP, POP3 and their TLS variants.
func TestCurl(t *testing.T) {
	t.Parallel()
	s := open(t, "curl")
	user := s.anna + ":" + password
	msg := s.file("m.eml", 0o600, mailText("curl-1"))
	s.run("", "curl", "-sS", "--ssl-reqd", "-k", "-u", s.bert+":"+password, "--mail-from", s.bert, "--mail-rcpt", s.anna, "-T", msg, "smtp://"+s.Addr("submission"))
	s.count("INBOX", 1)
	imap := "imap://" + s.Addr("imap")
	if out := s.run("", "curl", "-sS", "-u", user, imap, "-X", `LIST "" *`); !strings.Contains(out, "INBOX") || !strings.Contains(out, `\Sent`) {
		t.Errorf("LIST: %s", out)
	}
	s.exact("curl imap", s.run("", "curl", "-sS", "-u", user, imap+"/INBOX;MAILINDEX=1"), "\r\n")
	s.exact("curl imaps", s.run("", "curl", "-sSk", "-u", user, "imaps://"+s.Addr("imaps")+"/INBOX;MAILINDEX=1"), "\r\n")
	s.exact("curl pop3", s.run("", "curl", "-sS", "-u", user, "pop3://"+s.Addr("pop3")+"/1"), "\r\n")
	s.exact("curl pop3s", s.run("", "curl", "-sSk", "-u", user, "pop3s://"+s.Addr("pop3s")+"/1"), "\r\n")
	s.run("", "curl", "-sS", "-u", user, imap+"/INBOX", "-X", `STORE 1 +FLAGS (\Flagged)`)
	s.holds("INBOX", "FETCH 1 FLAGS", `\Flagged`)
	s.run("", "curl", "-sS", "-u", user, imap+"/INBOX", "-X", `MOVE 1 Trash`)
	s.count("INBOX", 0)
	s.stored("Trash", 1)
	s.run("", "curl", "-sS", "-u", user, "-T", msg, imap+"/Archive")
	s.stored("Archive", 1)
	if out := s.run("", "curl", "-sS", "http://"+s.Addr("http")+"/metrics"); !strings.Contains(out, "bahnpost_recipients_total") {
		t.Errorf("metrics: %.500s", out)
	}
}
