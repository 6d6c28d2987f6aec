package smtpd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"

	"bahnpost/mail"
	"bahnpost/test/talk"
	"bahnpost/wire/smtp"
)

// TestTalk holds the conversations of testdata/talk, once as they stand, and
// once with everything that is sent in octets of their own.
func TestTalk(t *testing.T) {
	t.Parallel()
	testTLS(t) // outside of the bubbles
	for name, role := range map[string]Role{"mx": MX, "submission": Submission, "lmtp": LMTP} {
		for _, wrap := range []func(net.Conn) net.Conn{
			func(c net.Conn) net.Conn { return c },
			func(c net.Conn) net.Conn { return octets{c} },
		} {
			t.Run(name, func(t *testing.T) {
				talk.RunAll(t, "testdata/talk/"+name+"/*.txtar", func(t *testing.T) talk.Env { return env(t, role, wrap) })
			})
		}
	}
}

// env is a server whose limits the verb "limit NAME N" changes for the connections that follow.
func env(t *testing.T, role Role, wrap func(net.Conn) net.Conn) talk.Env {
	cfg := Config{Role: role}
	return talk.Env{
		TLS: &tls.Config{InsecureSkipVerify: true},
		Dial: func() (net.Conn, error) {
			h := newHouse(t, cfg)
			c, s := net.Pipe()
			done := make(chan struct{})
			go func() { defer close(done); h.srv.ServeConn(h.end, s) }()
			t.Cleanup(func() { c.Close(); <-done })
			return wrap(c), nil
		},
		Verbs: map[string]func([]string) error{"limit": func(args []string) error {
			n, err := strconv.Atoi(args[1])
			field := map[string]*int{"recipients": &cfg.MaxRecipients, "mails": &cfg.MaxMails, "errors": &cfg.MaxErrors,
				"unknown": &cfg.MaxUnknown, "chatter": &cfg.MaxChatter}[args[0]]
			switch {
			case args[0] == "size":
				cfg.MaxMessageSize = int64(n)
			case field == nil:
				return errors.New("no such limit")
			default:
				*field = n
			}
			return err
		}},
	}
}

// octets writes one octet at a time.
type octets struct{ net.Conn }

func (o octets) Write(p []byte) (int, error) {
	for i := range p {
		if n, err := o.Conn.Write(p[i : i+1]); err != nil {
			return i + n, err
		}
	}
	return len(p), nil
}

// One transaction after the other, all sent at once, is answered in order.
func TestPipelineOfEverything(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Role: LMTP})
	c := h.dial(t)
	go c.Write([]byte(strings.ReplaceAll(`LHLO x
MAIL FROM:<a@b.example>
RCPT TO:<alice@example.org>
RCPT TO:<nobody@example.org>
RCPT TO:<bob@example.org>
BDAT 6
one.
BDAT 5 LAST
.two
RSET
MAIL FROM:<>
RCPT TO:<both@example.org>
BDAT 0 LAST
MAIL FROM:<c@d.example>
RCPT TO:<bob@example.org>
DATA
..
..QUIT
.
NOOP
QUIT
`, "\n", "\r\n")))
	c.talk(t, `
		S: 220
		S: 250
		S: 250 2.1.0
		S: 250 2.1.5
		S: 550 5.1.1
		S: 250 2.1.5
		S: 250 2.0.0 chunk
		S: 250 2.0.0 <alice@example.org> saved
		S: 250 2.0.0 <bob@example.org> saved
		S: 500 5.5.2
		S: 250 2.0.0 forgotten
		S: 250 2.1.0
		S: 250 2.1.5
		S: 250 2.0.0 <both@example.org> saved
		S: 250 2.1.0
		S: 250 2.1.5
		S: 354
		S: 250 2.0.0 <bob@example.org> saved
		S: 250 2.0.0 ok
		S: 221
		S.`)
	h.in.mu.Lock()
	defer h.in.mu.Unlock()
	want := []string{"one.\r\n.two\r", "", ".\r\n.QUIT\r\n"}
	for i, w := range want {
		if got := h.in.got[i].body; got != w {
			t.Errorf("body %d: %q, want %q", i, got, w)
		}
	}
	if to := strings.Join(h.in.got[1].to, " "); to != "alice@example.org bob@example.org" {
		t.Errorf("alias: %q", to)
	}
}

// What follows STARTTLS in clear is dropped, and what was said before is forgotten (RFC 3207 §4.2).
func TestStartTLS(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Role: Submission})
	c := h.dial(t)
	c.talk(t, `
		S: 220
		C: STARTTLS
		S: 503 5.5.1
		C: EHLO x
		S: 250-
		C: STARTTLS now
		S: 501
		C' STARTTLS\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nMAIL FROM:<alice@example.org>\r\n
		S: 220 2.0.0`)
	c.startTLS(t)
	c.talk(t, `
		C: MAIL FROM:<alice@example.org>
		S: 503 5.5.1 send EHLO first
		C: EHLO x`)
	if r, err := c.reply(); err != nil || strings.Contains(r, "STARTTLS") || !strings.Contains(r, "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN") {
		t.Fatal(r, err)
	}
	c.talk(t, `
		C: STARTTLS
		S: 502 5.5.1
		C: MAIL FROM:<alice@example.org>
		S: 530 5.7.0
		C: AUTH PLAIN AGFsaWNlAHNlY3JldA==
		S: 235 2.7.0
		C: MAIL FROM:<alice@example.org>
		S: 250
		C: RCPT TO:<bob@example.org>
		S: 250
		C: DATA
		S: 354
		C: .
		S: 250`)
	got := h.in.last(t)
	if got.env.Protocol != "ESMTPSA" || got.env.Login != "alice@example.org" || !strings.HasPrefix(got.env.TLS, "TLS1.3 TLS_") {
		t.Errorf("%+v", got.env)
	}
	if log := h.log.String(); !strings.Contains(log, "dropped what came in clear behind STARTTLS") || strings.Contains(log, "AGFsaWNl") {
		t.Errorf("log: %s", log)
	}
}

// Where there is only one answer for many, nothing may be lost and nothing bounced wrongly.
func TestMixedFates(t *testing.T) {
	t.Parallel()
	full := &mail.Error{Kind: mail.OverQuota, Text: "mailbox is full"}
	loop := &mail.Error{Kind: mail.Loop, Text: "loop"}
	for _, c := range []struct {
		role       Role
		alice, bob error
		want       []string
	}{
		{MX, nil, nil, []string{"250 2.0.0 saved"}},
		{MX, loop, loop, []string{"554 5.4.6"}},
		{MX, full, full, []string{"452 4.2.2"}},
		{MX, nil, full, []string{"452 4.2.2"}},
		{MX, nil, loop, []string{"451 4.3.0 not delivered to all"}},
		{MX, loop, full, []string{"452 4.2.2"}},
		{MX, errors.New("boom"), nil, []string{"451 4.3.0 internal error, ref "}},
		{LMTP, nil, loop, []string{"250 2.0.0 <alice@example.org>", "554 5.4.6 <bob@example.org>", "451 4.3.0 <both@example.org>"}},
		{LMTP, full, nil, []string{"452 4.2.2 <alice@example.org>", "250 2.0.0 <bob@example.org>", "452 4.2.2 <both@example.org>"}},
	} {
		h := newHouse(t, Config{Role: c.role})
		h.in.deny["alice"], h.in.deny["bob"] = c.alice, c.bob
		hello := "EHLO"
		if c.role == LMTP {
			hello = "LHLO"
		}
		story := "S: 220\nC: " + hello + " x\nS: 250\nC: MAIL FROM:<a@b.example>\nS: 250\nC: RCPT TO:<alice@example.org>\nS: 250\nC: RCPT TO:<bob@example.org>\nS: 250\n"
		if c.role == LMTP {
			story += "C: RCPT TO:<both@example.org>\nS: 250\n"
		}
		story += "C: DATA\nS: 354\nC: x\nC: .\n"
		for _, w := range c.want {
			story += "S: " + w + "\n"
		}
		h.dial(t).talk(t, story+"C: NOOP\nS: 250 2.0.0 ok")
	}
}

func TestBareLineEndsInData(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{`a\n.\nMAIL FROM:<evil@x>\r\n`, `a\r.\rb\r\n`, `a\n.\r\nb\r\n`, `a\r\n.\nb\r\n`, `a\r\n.\rb\r\n`} {
		h := newHouse(t, Config{})
		h.dial(t).talk(t, `
			S: 220
			C: EHLO x
			S: 250
			C: MAIL FROM:<a@b.example>
			S: 250
			C: RCPT TO:<alice@example.org>
			S: 250
			C: DATA
			S: 354
			C' `+bad+`
			C: .
			S: 550 5.6.0
			C: NOOP
			S: 250`)
		if len(h.in.got) != 0 {
			t.Errorf("%s was taken: %+v", bad, h.in.got)
		}
	}
}

// Messages under way are bounded over all sessions, and counted right.
func TestUnderWay(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{MaxUnderWay: 1})
	a, b := h.dial(t), h.dial(t)
	a.talk(t, untilData)
	before, _, _ := strings.Cut(untilData, "S: 354")
	b.talk(t, before+`
		S: 451 4.3.2
		C' BDAT 1\r\nx
		S: 451 4.3.0
		C: RSET
		S: 250`)
	a.talk(t, "C: .\nS: 250")
	b.talk(t, `
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<bob@example.org>
		S: 250
		C' BDAT 1\r\nx
		S: 250
		C: RSET
		S: 250`)
	a.talk(t, "C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<bob@example.org>\nS: 250\nC: DATA\nS: 354")
	a.Close()
	<-a.done
	if n := h.end.Handler.(*Server).underWay.Load(); n != 0 {
		t.Errorf("%d under way", n)
	}
}

// Each kind has a row, and its class of reply says whether it is worth to come again.
func TestCodes(t *testing.T) {
	t.Parallel()
	s := &session{cfg: &Config{Log: slog.New(slog.DiscardHandler)}}
	for k := mail.Internal; k <= mail.Loop; k++ {
		err := error(&mail.Error{Kind: k, Text: "x"})
		a := s.answerTo(fmt.Errorf("wrapped: %w", err))
		if a.code < 400 || a.status[0] != '0'+byte(a.code/100) || mail.Permanent(err) != (a.code >= 500) || a.text != "x" {
			t.Errorf("kind %d: %+v", k, a)
		}
	}
	if a := s.answerTo(errors.New("secret")); a.code != 451 || strings.Contains(a.text, "secret") {
		t.Errorf("%+v", a)
	}
}

func TestSenderOf(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"A@Example.ORG": "A@example.org", "a@host_name.Example": "a@host_name.example", "a@xn--bcher-kva.example": "a@bücher.example", "": ""} {
		p := smtp.Path{Mailbox: in}
		p.Local, p.Domain, _ = strings.Cut(in, "@")
		if got := senderOf(p).String(); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestLogOfFates(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{Role: LMTP})
	h.in.deny["bob"] = errors.New("secret detail")
	c := h.dial(t)
	c.talk(t, `
		S: 220
		C: LHLO x
		S: 250
		C: MAIL FROM:<a@b.example>
		S: 250
		C: RCPT TO:<alice@example.org>
		S: 250
		C: RCPT TO:<nobody@example.org>
		S: 550
		C: RCPT TO:<bob@example.org>
		S: 250
		C: DATA
		S: 354
		C: x
		C: .
		S: 250
		S: 451 4.3.0 <bob@example.org> internal error, ref
		C: QUIT
		S: 221
		S.`)
	<-c.done
	log := h.log.String()
	for _, want := range []string{"from=a@b.example to=alice@example.org size=3 fate=delivered", "to=nobody@example.org size=0 fate=refused",
		"to=bob@example.org size=3 fate=deferred", "internal error, ref ", `msg="session ended"`, "mails=1", "end=quit", "secret detail"} {
		if !strings.Contains(log, want) {
			t.Errorf("log lacks %q:\n%s", want, log)
		}
	}
}
