package clients

import (
	"strings"
	"testing"
)

// swaks: plain SMTP in, LMTP, submission with STARTTLS and each mechanism, refusals.
func TestSwaks(t *testing.T) {
	t.Parallel()
	s := open(t, "swaks")
	msg := s.file("m.eml", 0o600, strings.TrimSuffix(mailText("swaks-1"), "\r\n")) // swaks ends the last line itself
	base := []string{"--server", "127.0.0.1", "--from", s.bert, "--to", s.anna, "--data", "@" + msg, "--silent", "2"}
	run := func(args ...string) { t.Helper(); s.run("", "swaks", append(base, args...)...) }
	run("--port", port(s, "smtp"), "--from", "x@elsewhere.example")
	run("--port", port(s, "smtp"), "--from", "x@elsewhere.example", "--tls")
	run("--port", port(s, "lmtp"), "--protocol", "LMTP")
	for _, mech := range []string{"PLAIN", "LOGIN"} {
		run("--port", port(s, "submission"), "--tls", "--auth", mech, "--auth-user", s.bert, "--auth-password", password)
	}
	run("--port", port(s, "submissions"), "--tls-on-connect", "--auth", "PLAIN", "--auth-user", s.bert, "--auth-password", password)
	s.count("INBOX", 6)
	s.stored("INBOX", 1)

	refused := func(want string, args ...string) {
		t.Helper()
		out, err := s.try("", "swaks", append(append([]string{}, base[:2]...), append(args, "--from", s.bert, "--port", port(s, "smtp"))...)...)
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("swaks %v: %v, without %q:\n%s", args, err, want, out)
		}
	}
	refused("550 5.1.1", "--to", "nobody@example.org")
	refused("550 5.7.1", "--to", "x@elsewhere.example")
}

func port(s *scene, proto string) string {
	_, p, _ := strings.Cut(s.Addr(proto), ":")
	return p
}

// msmtp submits with STARTTLS and with implicit TLS.
func TestMsmtp(t *testing.T) {
	t.Parallel()
	s := open(t, "msmtp")
	rc := s.file("msmtprc", 0o600, `
defaults
host 127.0.0.1
auth plain
user bert@example.org
password `+password+`
from bert@example.org
tls on
tls_certcheck off
account starttls
port %PORT{submission}
tls_starttls on
account implicit
port %PORT{submissions}
tls_starttls off
`)
	for _, account := range []string{"starttls", "implicit"} {
		s.run(strings.ReplaceAll(mailText("msmtp-"+account), "\r\n", "\n"), "msmtp", "-C", rc, "-a", account, s.anna)
	}
	s.count("INBOX", 2)
	s.stored("INBOX", 1)
	s.stored("INBOX", 2)
}

// neomutt sends by SMTP, then reads, flags, moves and deletes by IMAP.
func TestNeomutt(t *testing.T) {
	t.Parallel()
	s := open(t, "neomutt", "script")
	rc := s.file("muttrc", 0o600, `
set imap_user = "anna@example.org"
set imap_pass = "`+password+`"
set smtp_url = "smtp://anna%%40example.org@127.0.0.1:%PORT{submission}"
set smtp_pass = "`+password+`"
set from = "anna@example.org"
set ssl_starttls = no
set ssl_force_tls = no
set folder = "imap://127.0.0.1:%PORT{imap}/"
set spoolfile = "+INBOX"
set record = ""
set confirmappend = no
set delete = yes
set quit = yes
set wait_key = no
set move = no
set mail_check = 1
`)
	rcText := strings.ReplaceAll(s.read(rc), "%%40", "%40")
	rc = s.file("muttrc", 0o600, rcText)
	s.run("Hello from neomutt.\n", "neomutt", "-F", rc, "-s", "neomutt-0", s.anna)
	s.count("INBOX", 1)
	s.holds("INBOX", "FETCH 1 (ENVELOPE BODY.PEEK[TEXT])", "neomutt-0", "Hello from neomutt.")
	s.deliver("neomutt-1", "neomutt-2")
	keys := `push "<tag-pattern>~s neomutt-1<enter><tag-prefix><flag-message><untag-pattern>~A<enter>` +
		`<limit>~s neomutt-2<enter><first-entry><save-message>=Archive<enter><limit>~A<enter>` +
		`<limit>~s neomutt-0<enter><first-entry><delete-message><limit>~A<enter><sync-mailbox><quit>"`
	cmds := s.file("keys", 0o600, keys+"\n")
	s.run("", "script", "-qec", "neomutt -F "+rc+" -e 'source "+cmds+"' -f 'imap://127.0.0.1:"+port(s, "imap")+"/INBOX'", "/dev/null")
	s.count("INBOX", 1)
	s.holds("INBOX", "FETCH 1 (FLAGS ENVELOPE)", "neomutt-1", `\Flagged`)
	s.count("Archive", 1)
	s.stored("Archive", 1)
}
