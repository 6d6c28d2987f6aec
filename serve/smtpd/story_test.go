package smtpd

import (
	"errors"
	"net"
	"strings"
	"testing"

	"bahnpost/mail"
)

// stories are conversations, one for each thing that a standard or we ourselves promise.
var stories = []struct {
	name string
	cfg  Config
	talk string
}{
	{"RFC 2033 §4.2 example", Config{Role: LMTP}, `
		S: 220 mx.example.org LMTP ready
		C: EHLO foo.edu
		S: 500 5.5.1
		C: LHLO foo.edu
		S: 250-mx.example.org|250-PIPELINING|250-SIZE 157286400|250-8BITMIME|250-SMTPUTF8|250-CHUNKING|250-BINARYMIME|250-ENHANCEDSTATUSCODES|250-DSN|250-LIMITS RCPTMAX=1000|250-STARTTLS|250 HELP
		C: MAIL FROM:<chris@bar.com>
		S: 250 2.1.0
		C: RCPT TO:<alice@example.org>
		S: 250 2.1.5
		C: RCPT TO:<jones@example.org>
		S: 550 5.1.1
		C: RCPT TO:<bob@example.org>
		S: 250 2.1.5
		C: RCPT TO:<full@example.org>
		S: 452 4.2.2
		C: DATA
		S: 354
		C: Blah blah blah...
		C: .
		S: 250 2.0.0 <alice@example.org> saved
		S: 250 2.0.0 <bob@example.org> saved
		C: QUIT
		S: 221 2.0.0
		S.`},
	{"RFC 2033 §4.2 DATA without recipients is 503", Config{Role: LMTP}, `
		S: 220
		C: LHLO x
		S: 250
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<nobody@example.org>
		S: 550
		C: DATA
		S: 503 5.5.1`},
	{"RFC 2033 §4.3 BDAT LAST without recipients has no reply", Config{Role: LMTP}, `
		S: 220
		C: LHLO x
		S: 250
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<nobody@example.org>
		S: 550
		C' BDAT 3 LAST\r\nabcNOOP\r\n
		S: 250 2.0.0 ok`},
	{"RFC 5321 appendix D.1", Config{}, `
		S: 220 mx.example.org ESMTP ready
		C: EHLO bar.com
		S: 250-mx.example.org
		C: MAIL FROM:<Smith@bar.com>
		S: 250
		C: RCPT TO:<alice@example.org>
		S: 250
		C: RCPT TO:<Green@example.org>
		S: 550
		C: RCPT TO:<@hosta.int,@jkl.org:bob@example.org>
		S: 250
		C: DATA
		S: 354
		C: Blah blah blah...
		C: .
		S: 250 2.0.0 saved
		C: QUIT
		S: 221`},
	{"RFC 2920 §4 pipelining", Config{}, `
		S: 220
		C: EHLO dbc.mtview.ca.us
		S: 250-mx
		C' MAIL FROM:<mrose@dbc.mtview.ca.us>\r\nRCPT TO:<alice@example.org>\r\nRCPT TO:<nobody@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n
		S: 250 2.1.0
		S: 250 2.1.5
		S: 550 5.1.1
		S: 250 2.1.5
		S: 354
		C' Subject: x\r\n\r\nhi\r\n.\r\nQUIT\r\n
		S: 250
		S: 221
		S.`},
	{"RFC 5321 §3.3 DATA when all recipients failed", Config{}, `
		S: 220
		C: EHLO x
		S: 250
		C: DATA
		S: 503 5.5.1 send MAIL first
		C: MAIL FROM:<a@b.example>
		S: 250
		C: DATA
		S: 503 5.5.1
		C: RCPT TO:<nobody@example.org>
		S: 550
		C: DATA
		S: 554 5.5.1
		C: MAIL FROM:<a@b.example>
		S: 503 5.5.1`},
	{"RFC 5321 §4.1.4 order of commands", Config{}, `
		S: 220
		C: NOOP
		S: 250
		C: VRFY alice
		S: 252
		C: HELP
		S: 214 2.0.0 Commands: BDAT DATA EHLO EXPN HELO HELP MAIL NOOP QUIT RCPT RSET STARTTLS VRFY
		C: HELP rcpt
		S: 214 2.0.0 RCPT TO
		C: EXPN list
		S: 502 5.5.1
		C: RSET
		S: 250
		C: MAIL FROM:<>
		S: 503 5.5.1 send EHLO first
		C: AUTH PLAIN x
		S: 500 5.5.1
		C: EHLO
		S: 501 5.5.4
		C: HELO x
		S: 250 mx.example.org
		C: mail from:<a@b.example>
		S: 250
		C: RCPT TO:<alice@example.org>
		S: 250
		C: EHLO again
		S: 250-
		C: RCPT TO:<alice@example.org>
		S: 503 5.5.1
		C: RSET now
		S: 501 5.5.4
		C: FROB
		S: 500 5.5.1`},
	{"RFC 5321 §4.5.1 postmaster without domain", Config{}, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<PostMaster>
		S: 250
		C: RCPT TO:<alice>
		S: 501 5.1.3
		C: RCPT TO:<>
		S: 501 5.1.3`},
	{"relaying", Config{}, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:<alice@example.org>
		S: 250
		C: RCPT TO:<x@elsewhere.example>
		S: 550 5.7.1 <x@elsewhere.example> relaying denied
		C: RCPT TO:<x%elsewhere.example@example.org>
		S: 550 5.1.1
		C: RCPT TO:<broken@example.org>
		S: 451 4.3.0 <broken@example.org> internal error, ref`},
	{"RFC 1870 §6 SIZE", Config{MaxMessageSize: 1000}, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@b.example> SIZE=1001
		S: 552 5.3.4
		C: MAIL FROM:<a@b.example> SIZE=99999999999999999999
		S: 552 5.3.4
		C: MAIL FROM:<a@b.example> SIZE=1000
		S: 250
		C: RCPT TO:<alice@example.org>
		S: 250
		C: DATA
		S: 354
		` + many(20, "C: 00000000000000000000000000000000000000000000000000000000000%d") + `
		C: .
		S: 552 5.3.4
		C: MAIL FROM:<a@b.example>
		S: 250`},
	{"endless DATA", Config{MaxMessageSize: 1000}, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@b.example>
		S: 250
		C: RCPT TO:<alice@example.org>
		S: 250
		C: DATA
		S: 354
		` + many(200, "C: 00000000000000000000000000000000000000000000000000000000000%d") + `
		S: 552 5.3.4
		S.`},
	{"RFC 5321 §4.1.1.11 unknown parameters", Config{}, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@b.example> BY=120;R
		S: 555 5.5.4
		C: MAIL FROM:<a@b.example> SIZE=1 SIZE=2
		S: 501 5.5.4
		C: MAIL FROM:<a@b.example> BODY=9BIT
		S: 501 5.5.4
		C: MAIL FROM:<a@b.example> RET=HDRS ENVID=QQ314159+2B BODY=8BITMIME SMTPUTF8 AUTH=<>
		S: 250
		C: RCPT TO:<alice@example.org> NOTIFY=NEVER,DELAY
		S: 501 5.5.4
		C: RCPT TO:<alice@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Dana+20x@Ivory.EDU
		S: 250`},
	{"RFC 6531 §3.2 non-ASCII needs SMTPUTF8", Config{}, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:<jörg@b.example>
		S: 553 5.6.7
		C: MAIL FROM:<a@b.example>
		S: 250
		C: RCPT TO:<jörg@example.org>
		S: 553 5.6.7
		C: RSET
		S: 250
		C: MAIL FROM:<jörg@bücher.example> SMTPUTF8
		S: 250
		C: RCPT TO:<jörg@example.org>
		S: 250`},
	{"RFC 3030 §4.2 chunks", Config{}, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@b.example> BODY=BINARYMIME
		S: 250
		C: RCPT TO:<alice@example.org>
		S: 250
		C: DATA
		S: 503 5.5.1
		C' BDAT 7\r\n.\r\n.\r\nx
		S: 250 2.0.0
		C: RCPT TO:<bob@example.org>
		S: 503 5.5.1
		C' BDAT 0\r\nBDAT 3 LAST\r\na\0\nNOOP\r\n
		S: 250 2.0.0 chunk ok
		S: 250 2.0.0 saved
		S: 250 2.0.0 ok
		C' BDAT 4 LAST\r\nQUITNOOP\r\n
		S: 503 5.5.1
		S: 250`},
	{"a chunk too much, then RSET", Config{MaxMessageSize: 10}, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:<a@b.example>
		S: 250
		C: RCPT TO:<alice@example.org>
		S: 250
		C' BDAT 6\r\n123456BDAT 6\r\n123456BDAT 1 LAST\r\n1
		S: 250
		S: 552 5.3.4
		S: 503 5.5.1
		C: RSET
		S: 250
		C: MAIL FROM:<a@b.example>
		S: 250
		C: RCPT TO:<alice@example.org>
		S: 250
		C' BDAT 11 LAST\r\n12345678901
		S: 552 5.3.4
		C: BDAT 21
		S: 552 5.3.4
		S.`},
	{"BDAT that can't be read ends the session", Config{}, `
		S: 220
		C: EHLO x
		S: 250
		C' BDAT x\r\nMAIL FROM:<>\r\n
		S: 501 5.5.4
		S.`},
	{"RFC 5321 §2.3.8 bare line ends in commands", Config{}, `
		S: 220
		C' EHLO x\nMAIL FROM:<>\r\n
		S: 500 5.5.2
		S: 503 5.5.1
		C' EHLO x\rNOOP\r\n
		S: 500 5.5.2
		C' NO\0OP\r\n
		S: 500 5.5.2`},
	{"a browser", Config{}, `
		S: 220
		C' POST / HTTP/1.1\r\nHost: mx\r\n\r\nEHLO x\r\n
		S: 421 4.7.0
		S.`},
	{"too many errors", Config{MaxErrors: 3}, `
		S: 220
		C: A
		S: 500
		C: B
		S: 500
		C: C
		S: 500
		C: D
		S: 500
		S: 421 4.7.0
		S.`},
	{"harvesting", Config{MaxUnknown: 2}, `
		S: 220
		C: EHLO x
		S: 250
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<n1@example.org>
		S: 550
		C: RCPT TO:<n2@example.org>
		S: 550
		C: RCPT TO:<n3@example.org>
		S: 550
		S: 421 4.7.0
		S.`},
	{"RFC 5321 §4.5.3.1.10 too many recipients, RFC 9422 limits", Config{MaxRecipients: 2, MaxMails: 1}, `
		S: 220
		C: EHLO x
		S: 250-mx.example.org|250-PIPELINING|250-SIZE 157286400|250-8BITMIME|250-SMTPUTF8|250-CHUNKING|250-BINARYMIME|250-ENHANCEDSTATUSCODES|250-DSN|250-LIMITS RCPTMAX=2 MAILMAX=1|
		C: MAIL FROM:<>
		S: 250
		C: RCPT TO:<alice@example.org>
		S: 250
		C: RCPT TO:<bob@example.org>
		S: 250
		C: RCPT TO:<alice@example.org>
		S: 452 4.5.3
		C: RSET
		S: 250
		C: MAIL FROM:<>
		S: 421 4.5.3
		S.`},
	{"overlong line", Config{}, `
		S: 220
		C: NOOP ` + strings.Repeat("x", 4089) + `
		S: 250
		C: NOOP ` + strings.Repeat("x", 4090) + `
		S: 500 5.5.6
		C: NOOP
		S: 250`},
	{"chatter", Config{MaxChatter: 2}, `
		S: 220
		C: NOOP
		S: 250
		C: NOOP
		S: 250
		C: NOOP
		S: 421 4.7.0
		S.`},
	{"RFC 6409 submission wants a login", Config{Role: Submission}, `
		S: 220
		C: EHLO x
		S: 250-mx
		C: MAIL FROM:<alice@example.org>
		S: 530 5.7.0
		C: AUTH
		S: 501 5.5.4
		C: AUTH FROBNICATE
		S: 504 5.5.4
		C: AUTH PLAIN !!!
		S: 501 5.5.2
		C: AUTH PLAIN
		S: 334
		C: *
		S: 501 5.7.0
		C: AUTH PLAIN AGFsaWNlAHdyb25n
		S: 535 5.7.8
		C: AUTH PLAIN AGFsaWNlAHNlY3JldA==
		S: 235 2.7.0
		C: AUTH PLAIN AGFsaWNlAHNlY3JldA==
		S: 503 5.5.1
		C: MAIL FROM:<bob@example.org>
		S: 550 5.7.1
		C: MAIL FROM:<alice@example.org>
		S: 250
		C: RCPT TO:<x@elsewhere.example>
		S: 451 4.3.0 <x@elsewhere.example> no outbound yet
		C: RCPT TO:<bob@example.org>
		S: 250`},
	{"AUTH LOGIN", Config{Role: Submission}, `
		S: 220
		C: EHLO x
		S: 250-mx
		C: AUTH LOGIN
		S: 334 VXNlcm5hbWU6
		C: YWxpY2VAZXhhbXBsZS5vcmc=
		S: 334 UGFzc3dvcmQ6
		C: c2VjcmV0
		S: 235 2.7.0`},
}

func TestStories(t *testing.T) {
	t.Parallel()
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			newHouse(t, s.cfg).dial(t).talk(t, s.talk)
			c := newHouse(t, s.cfg).dial(t) // the same, octet by octet
			c.Conn = octets{c.Conn}
			c.talk(t, s.talk)
		})
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
		"to=bob@example.org size=3 fate=deferred", `msg="session ended"`, "mails=1", "end=quit", "secret detail"} {
		if !strings.Contains(log, want) {
			t.Errorf("log lacks %q:\n%s", want, log)
		}
	}
}
