package smtp

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestParseMail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args string
		want Mail
		code int
	}{
		{"FROM:<>", Mail{Size: -1}, 0},
		{"from: <a@b.example>", Mail{Size: -1, From: Path{"a@b.example", "a", "b.example"}}, 0},
		{"FROM:<@one.example,@two.example:joe@three.example>", Mail{Size: -1, From: Path{"joe@three.example", "joe", "three.example"}}, 0}, // RFC 5321 appendix C
		{`FROM:<"John \"Q\" Public"@b.example> SIZE=12`, Mail{Size: 12, From: Path{`"John \"Q\" Public"@b.example`, `John "Q" Public`, "b.example"}}, 0},
		{`FROM:<"<>@ ,"@b.example>`, Mail{Size: -1, From: Path{`"<>@ ,"@b.example`, `<>@ ,`, "b.example"}}, 0},
		{"FROM:<a@[192.0.2.1]> BODY=8bitmime", Mail{Size: -1, Body: Body8BitMIME, From: Path{"a@[192.0.2.1]", "a", "[192.0.2.1]"}}, 0},
		{"FROM:<a@[IPv6:2001:db8::1]>", Mail{Size: -1, From: Path{"a@[IPv6:2001:db8::1]", "a", "[IPv6:2001:db8::1]"}}, 0},
		{"FROM:<a+b=c/d@x-y.example>", Mail{Size: -1, From: Path{"a+b=c/d@x-y.example", "a+b=c/d", "x-y.example"}}, 0},
		{"FROM:<pelé@bücher.example> SMTPUTF8", Mail{Size: -1, SMTPUTF8: true, From: Path{"pelé@bücher.example", "pelé", "bücher.example"}}, 0},
		{"FROM:<a@b.example> RET=FULL ENVID=a+2Bb", Mail{Size: -1, Ret: "FULL", EnvID: "a+b", From: Path{"a@b.example", "a", "b.example"}}, 0},
		{"FROM:<a@b.example> AUTH=e+3Dmc2@example.com", Mail{Size: -1, Auth: "e=mc2@example.com", From: Path{"a@b.example", "a", "b.example"}}, 0}, // RFC 4954 §5.1
		{"FROM:<pelé@b.example>", Mail{}, 553},
		{"FROM:a@b.example", Mail{}, 501},
		{"FROM:<a@b.example", Mail{}, 501},
		{"FROM:<a@b.example>x", Mail{}, 501},
		{"FROM:<a@b.example>SIZE=1", Mail{}, 501},
		{"FROM:<postmaster>", Mail{}, 501},
		{"FROM:<a@b@c>", Mail{}, 501},
		{"FROM:<.a@b>", Mail{}, 501},
		{"FROM:<a..b@c>", Mail{}, 501},
		{"FROM:<a b@c>", Mail{}, 501},
		{`FROM:<"a@c>`, Mail{}, 501},
		{`FROM:<""@c>`, Mail{}, 501},
		{"FROM:<a@-c>", Mail{}, 501},
		{"FROM:<a@c..d>", Mail{}, 501},
		{"FROM:<a@>", Mail{}, 501},
		{"FROM:<@x:>", Mail{}, 501},
		{"FROM:<a@[x>", Mail{}, 501},
		{"FROM:<" + strings.Repeat("a", 65) + "@b>", Mail{}, 501},
		{"TO:<a@b>", Mail{}, 501},
		{"", Mail{}, 501},
		{"FROM:<a@b> SIZE=", Mail{}, 501},
		{"FROM:<a@b> SIZE=1x", Mail{}, 501},
		{"FROM:<a@b> SMTPUTF8=1", Mail{}, 501},
		{"FROM:<a@b> RET=SOME", Mail{}, 501},
		{"FROM:<a@b> ENVID=a+b", Mail{}, 501},
		{"FROM:<a@b> ENVID=" + strings.Repeat("x", 101), Mail{}, 501},
		{"FROM:<a@b> -X=1", Mail{}, 501},
		{"FROM:<a@b> MT-PRIORITY=3", Mail{}, 555},
		{"FROM:<a@b> HOLDFOR=3", Mail{}, 555},
	} {
		got, err := ParseMail(c.args)
		check(t, c.args, err, c.code)
		if c.code == 0 && got != c.want {
			t.Errorf("%q: got %+v, want %+v", c.args, got, c.want)
		}
	}
}

func check(t *testing.T, what string, err error, code int) {
	t.Helper()
	e, _ := errors.AsType[*SyntaxError](err)
	if (e == nil) != (code == 0) || e != nil && e.Code != code {
		t.Errorf("%q: error %v, want code %d", what, err, code)
	}
}

func TestParseRcpt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args string
		utf8 bool
		want Rcpt
		code int
	}{
		{"TO:<a@b>", false, Rcpt{To: Path{"a@b", "a", "b"}}, 0},
		{"TO:<Postmaster>", false, Rcpt{To: Path{"Postmaster", "Postmaster", ""}}, 0},
		{"to:<a@b> notify=delay,FAILURE orcpt=RFC822;a+2Bc@d", false, Rcpt{Path{"a@b", "a", "b"}, "DELAY,FAILURE", "RFC822;a+c@d"}, 0},
		{"TO:<é@b> ORCPT=utf-8;\\x{E9}@b", true, Rcpt{To: Path{"é@b", "é", "b"}, Orcpt: "utf-8;\\x{E9}@b"}, 0},
		{"TO:<é@b>", false, Rcpt{}, 553},
		{"TO:<>", false, Rcpt{}, 501},
		{"TO:<alice>", false, Rcpt{}, 501},
		{"TO:<a@b> NOTIFY=NEVER,DELAY", false, Rcpt{}, 501},
		{"TO:<a@b> NOTIFY=DELAY,DELAY", false, Rcpt{}, 501},
		{"TO:<a@b> NOTIFY=", false, Rcpt{}, 501},
		{"TO:<a@b> ORCPT=rfc822", false, Rcpt{}, 501},
		{"TO:<a@b> ORCPT=rfc822;a+0Ab", false, Rcpt{}, 501},
		{"TO:<a@b> SIZE=1", false, Rcpt{}, 555},
		{"FROM:<a@b>", false, Rcpt{}, 501},
	} {
		got, err := ParseRcpt(c.args, c.utf8)
		check(t, c.args, err, c.code)
		if c.code == 0 && got != c.want {
			t.Errorf("%q: got %+v, want %+v", c.args, got, c.want)
		}
	}
}

func TestCommand(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][2]string{
		"mail FROM:<a@b> ":  {"MAIL", "FROM:<a@b>"},
		"QUIT":              {"QUIT", ""},
		"ehlo   x":          {"EHLO", "x"},
		"":                  {"", ""},
		"starttls":          {"STARTTLS", ""},
		"averyverylongverb": {"AVERYVERYLON", ""},
	} {
		if v, a, err := Command([]byte(line)); v != want[0] || a != want[1] || err != nil {
			t.Errorf("%q: %q %q %v", line, v, a, err)
		}
	}
	for _, bad := range []string{"NO\x00OP", "NOOP \xff", "NOOP \x1b[0m"} {
		_, _, err := Command([]byte(bad))
		check(t, bad, err, 500)
	}
}

func TestParseBDAT(t *testing.T) {
	t.Parallel()
	if n, last, err := ParseBDAT("86 last"); n != 86 || !last || err != nil {
		t.Error(n, last, err)
	}
	if n, last, err := ParseBDAT("0"); n != 0 || last || err != nil {
		t.Error(n, last, err)
	}
	for _, bad := range []string{"", "LAST", "-1", "1 2", "1x", "999999999999999999999", "1 LAST x"} {
		_, _, err := ParseBDAT(bad)
		check(t, bad, err, 501)
	}
}

// RFC 2034 §3: the enhanced code is on each line of a reply. RFC 5321 §4.2.1, §4.5.3.1.5.
func TestReply(t *testing.T) {
	t.Parallel()
	got := string(AppendReply(nil, 250, "2.0.0", "a\nb\r\x00é"))
	if want := "250-2.0.0 a\r\n250 2.0.0 b????\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := AppendReply(nil, 250, "", strings.Repeat("x", 1000)); len(got) > 512 {
		t.Errorf("reply line of %d octets", len(got))
	}
}

// RFC 5321 §4.4, RFC 8314 §4.3.
func TestTrace(t *testing.T) {
	t.Parallel()
	at := time.Date(1997, 11, 21, 11, 1, 22, 0, time.FixedZone("", -8*3600))
	for _, c := range []struct {
		tr   Trace
		want string
	}{
		{Trace{Helo: "foo.com", IP: "192.0.2.1", By: "bar.com", With: "ESMTPS", Cipher: "TLS_AES_128_GCM_SHA256", ID: "XYZ", For: "jones@xyz.com", At: at},
			"Received: from foo.com ([192.0.2.1])\r\n\tby bar.com with ESMTPS id XYZ\r\n\tfor <jones@xyz.com>\r\n\ttls TLS_AES_128_GCM_SHA256;\r\n\tFri, 21 Nov 1997 11:01:22 -0800\r\n"},
		{Trace{Helo: "x) by evil (", IP: "2001:db8::1%eth0", By: "b", With: "SMTP", At: at},
			"Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n\tby b with SMTP;\r\n\tFri, 21 Nov 1997 11:01:22 -0800\r\n"},
		{Trace{Helo: "", By: "b", With: "LMTP", At: at}, "Received: from unknown\r\n\tby b with LMTP;\r\n\tFri, 21 Nov 1997 11:01:22 -0800\r\n"},
	} {
		if got := string(c.tr.AppendTo(nil)); got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
}

// RFC 3848 §3, RFC 6531 §4.3.
func TestWith(t *testing.T) {
	t.Parallel()
	for want, a := range map[string][5]bool{
		"SMTP": {false, false, false, false, false}, "ESMTP": {false, true, false, false, false}, "ESMTPSA": {false, true, false, true, true},
		"LMTP": {true, true, false, false, false}, "LMTPS": {true, true, false, true, false}, "UTF8SMTPA": {false, true, true, false, true}, "UTF8LMTP": {true, true, true, false, false},
	} {
		if got := With(a[0], a[1], a[2], a[3], a[4]); got != want {
			t.Errorf("%v: %s, want %s", a, got, want)
		}
	}
}

func FuzzCommand(f *testing.F) {
	for _, s := range []string{"MAIL FROM:<a@b> SIZE=1", `RCPT TO:<"x y"@[1.2.3.4]> NOTIFY=NEVER`, "RCPT TO:<@a,@b:c@d> ORCPT=rfc822;a+2Bb", "BDAT 1 LAST", "MAIL FROM:<é@b> SMTPUTF8"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		verb, args, err := Command(line)
		if err != nil {
			return
		}
		switch verb {
		case "MAIL":
			if m, err := ParseMail(args); err == nil {
				again(t, m.From)
			}
		case "RCPT":
			if r, err := ParseRcpt(args, true); err == nil {
				again(t, r.To)
			}
		case "BDAT":
			if n, _, err := ParseBDAT(args); err == nil && n < 0 {
				t.Fatal(n)
			}
		}
		ParseMail(args)
		ParseRcpt(args, false)
	})
}

// again: a mailbox that was read is read alike when printed.
func again(t *testing.T, p Path) {
	q, rest, ok := parsePath("<" + p.Mailbox + ">")
	if !ok || rest != "" || p != q {
		t.Fatalf("%+v read again gives %+v %q %v", p, q, rest, ok)
	}
	if x, ok := decodeXtext(string(AppendXtext(nil, p.Mailbox))); !ok || x != p.Mailbox {
		t.Fatalf("xtext of %q gives %q", p.Mailbox, x)
	}
}

func BenchmarkParseRcpt(b *testing.B) {
	b.ReportAllocs()
	line := []byte("RCPT TO:<someone@example.org>")
	for b.Loop() {
		_, args, _ := Command(line)
		if _, err := ParseRcpt(args, false); err != nil {
			b.Fatal(err)
		}
	}
}
