package message

import (
	"reflect"
	"strings"
	"testing"
)

// addr writes addresses as route|name|mailbox|host, groups as {name and }.
func addrs(l []Address) string {
	var b strings.Builder
	for i, a := range l {
		if i > 0 {
			b.WriteString("; ")
		}
		switch {
		case a.Group && a.Mailbox != "":
			b.WriteString("{" + a.Mailbox)
		case a.Group:
			b.WriteString("}")
		default:
			if a.Route != "" {
				b.WriteString(a.Route + "|")
			}
			b.WriteString(a.Name + "|" + a.Mailbox + "|" + a.Host)
		}
	}
	return b.String()
}

func TestParseAddressList(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ why, in, want string }{
		{"RFC 5322 A.1.1", "John Doe <jdoe@machine.example>", "John Doe|jdoe|machine.example"},
		{"RFC 5322 A.1.2", `"Joe Q. Public" <john.q.public@example.com>`, "Joe Q. Public|john.q.public|example.com"},
		{"RFC 5322 A.1.2", `Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>`, "Mary Smith|mary|x.test; |jdoe|example.org; Who?|one|y.test"},
		{"RFC 5322 A.1.2", `<boss@nil.test>, "Giant; \"Big\" Box" <sysservices@example.net>`, `|boss|nil.test; Giant; "Big" Box|sysservices|example.net`},
		{"RFC 5322 A.1.3", "A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;", "{A Group; Ed Jones|c|a.test; |joe|where.test; John|jdoe|one.test; }"},
		{"RFC 5322 A.1.3", "Undisclosed recipients:;", "{Undisclosed recipients; }"},
		{"RFC 5322 A.5", `Pete(A nice \) chap) <pete(his account)@silly.test(his host)>`, "Pete|pete|silly.test"},
		{"RFC 5322 A.5", "A Group(Some people)\r\n     :Chris Jones <c@(Chris's host.)public.example>,\r\n         joe@example.org,\r\n  John <jdoe@one.test> (my dear friend); (the end of the group)", "{A Group; Chris Jones|c|public.example; |joe|example.org; John|jdoe|one.test; }"},
		{"RFC 5322 A.5", "(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;", "{Hidden recipients; }"},
		{"RFC 5322 A.6.1 obsolete", "Joe Q. Public <john.q.public@example.com>", "Joe Q. Public|john.q.public|example.com"},
		{"RFC 5322 A.6.1 obsolete", `Mary Smith <@node.test:mary@example.net>, , jdoe@test   . example`, "@node.test|Mary Smith|mary|example.net; |jdoe|test.example"},
		{"RFC 5322 A.6.3 obsolete", `John Doe <jdoe@machine(comment).  example>`, "John Doe|jdoe|machine.example"},
		{"RFC 5322 §4.4 route list", "<@a.test,@b.test:c@d.test>", "@a.test,@b.test||c|d.test"},
		{"RFC 5322 §3.4.1 domain-literal", "a@[192.0.2.1]", "|a|[192.0.2.1]"},
		{"RFC 5321 §4.1.3 IPv6 literal", "<a@[IPv6:2001:db8::1]>", "|a|[IPv6:2001:db8::1]"},
		{"RFC 5322 §3.2.4 local part", `"john doe"@example.com`, "|john doe|example.com"},
		{"RFC 5322 §3.2.4 at and comma quoted", `"a@b, c" <x@y>`, "a@b, c|x|y"},
		{"RFC 822 name in comment", "mrc@CAC.Washington.EDU (Mark Crispin)", "Mark Crispin|mrc|CAC.Washington.EDU"},
		{"encoded-word stays", "=?utf-8?q?J=C3=BC?= <a@b>", "=?utf-8?q?J=C3=BC?=|a|b"},
		{"two encoded-words", "=?utf-8?q?J?= =?utf-8?q?C?= <a@b>", "=?utf-8?q?J?= =?utf-8?q?C?=|a|b"},
		{"no domain", "root", "|root|"},
		{"no domain in brackets", "System <root>", "System|root|"},
		{"name without address", "Some Name <>", "Some Name||"},
		{"nothing", "", ""},
		{"empty path", "<>", ""},
		{"commas only", ",,, ,", ""},
		{"bracket not closed", "A <a@b", "A|a|b"},
		{"bracket not closed, more", "A <a@b, C <c@d>", "A|a|b; C|c|d"},
		{"quote not closed", `"A <a@b>`, `A|a|b`},
		{"address behind an address", "tim@a.test concierge@b.test", "|tim|a.test; |concierge|b.test"},
		{"name without brackets", "Big Bug bb@bug.test", "Big Bug|bb|bug.test"},
		{"words behind the domain", "a@b.test junk", "|a|b.test"},
		{"words only", "Someone Else, x", "Someone Else||; |x|"},
		{"group not closed", "g: a@b", "{g; |a|b; }"},
		{"semicolon as separator", "a@b; c@d", "|a|b; |c|d"},
		{"address as name", "a@b <a@b>", "a@b|a|b"},
		{"quoted address as name", `"a@b" <a@b>`, "a@b|a|b"},
		{"junk behind the bracket", "A <a@b> junk, c@d", "A|a|b; |c|d"},
		{"no comma", "A <a@b> <c@d>", "A|a|b; |c|d"},
		{"RFC 6532 §3.2 8-bit", "Jürgen <jürgen@exämple.com>", "Jürgen|jürgen|exämple.com"},
		{"several at", "a@b@c", "|a@b|c"},
	} {
		if got := addrs(ParseAddressList(c.in)); got != c.want {
			t.Errorf("%s: %q\n got %s\nwant %s", c.why, c.in, got, c.want)
		}
	}
}

func TestEnvelope(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ why, in, want string }{
		{"RFC 9051 §8", "Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: Terry Gray <gray@cac.washington.edu>\r\nSubject: IMAP4rev2 WG mtg summary and minutes\r\nTo: imap@cac.washington.edu\r\ncc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\nMessage-Id: <B27397-0100000@cac.washington.edu>\r\n\r\n",
			`("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev2 WG mtg summary and minutes" (("Terry Gray" NIL "gray" "cac.washington.edu")) (("Terry Gray" NIL "gray" "cac.washington.edu")) (("Terry Gray" NIL "gray" "cac.washington.edu")) ((NIL NIL "imap" "cac.washington.edu")) ((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL "<B27397-0100000@cac.washington.edu>")`},
		{"absent", "\r\n", `(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"empty is not absent", "Subject:\r\nDate: \r\nIn-Reply-To:\r\nMessage-ID:\r\nTo:\r\nSender: \r\nFrom: a@b\r\n\r\n", `("" "" ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) NIL NIL NIL "" "")`},
		{"groups", "To: g: a@b;, u:;\r\n\r\n", `(NIL NIL NIL NIL NIL ((NIL NIL "g" NIL)(NIL NIL "a" "b")(NIL NIL NIL NIL)(NIL NIL "u" NIL)(NIL NIL NIL NIL)) NIL NIL NIL NIL)`},
		{"sender and reply-to", "From: a@b\r\nSender: s@b\r\nReply-To: r@b\r\n\r\n", `(NIL NIL ((NIL NIL "a" "b")) ((NIL NIL "s" "b")) ((NIL NIL "r" "b")) NIL NIL NIL NIL NIL)`},
		{"8-bit is a literal", "Subject: \xe4\r\n\r\n", "(NIL {1}\r\n\xe4 NIL NIL NIL NIL NIL NIL NIL NIL)"},
		{"quote and backslash", "Subject: a\"b\\c\r\n\r\n", `(NIL "a\"b\\c" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"NUL", "Subject: a\x00b\r\n\r\n", `(NIL "a?b" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"folded", "Subject: a\r\n b\r\n\tc\r\n\r\n", "(NIL \"a b\tc\" NIL NIL NIL NIL NIL NIL NIL NIL)"},
		{"RFC 5322 §4.5 repeated To, first Subject", "To: a@b\r\nSubject: 1\r\nTo: c@d\r\nSubject: 2\r\n\r\n", `(NIL "1" NIL NIL NIL ((NIL NIL "a" "b")(NIL NIL "c" "d")) NIL NIL NIL NIL)`},
		{"RFC 5322 §4.5 blanks before the colon", "Subject \t: x\r\n\r\n", `(NIL "x" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"mbox line and junk", "From a@b Mon Jan 1 00:00:00 2001\r\njunk\r\nSubject: x\r\n\r\n", `(NIL "x" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"address without domain has no NIL host", "From: root\r\n\r\n", `(NIL NIL ((NIL NIL "root" "")) ((NIL NIL "root" "")) ((NIL NIL "root" "")) NIL NIL NIL NIL NIL)`},
		{"bare LF", "Subject: x\n\nbody", `(NIL "x" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"bare CR", "Subject: x\rTo: a@b\r\rbody\r", `(NIL "x" NIL NIL NIL ((NIL NIL "a" "b")) NIL NIL NIL NIL)`},
	} {
		if got := string(Stored(parseBytes([]byte(c.in)).Encode(nil)).Envelope()); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.why, got, c.want)
		}
	}
}

func TestLongStringsAreLiterals(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxQuoted+1)
	if got := string(appendString(nil, long)); got != "{1001}\r\n"+long {
		t.Errorf("got %.20s", got)
	}
}

func TestParams(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why, in string
		want    []Param
	}{
		{"RFC 2045 §5.1", `; charset=us-ascii (Plain text)`, []Param{{"CHARSET", "us-ascii"}}},
		{"RFC 2045 §5.1 quoted", `; charset="us-ascii"`, []Param{{"CHARSET", "us-ascii"}}},
		{"RFC 2045 §5.1 quoted pair", `; name="a\"b\\c"`, []Param{{"NAME", `a"b\c`}}},
		{"RFC 2231 §3", ";access-type=URL;\r\n URL*0=\"ftp://\";\r\n URL*1=\"cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar\"", []Param{{"ACCESS-TYPE", "URL"}, {"URL", "ftp://cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar"}}},
		{"RFC 2231 §4", ";title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A", []Param{{"TITLE", "This is ***fun***"}}},
		{"RFC 2231 §4.1", ";title*0*=us-ascii'en'This%20is%20even%20more%20;\r\n title*1*=%2A%2A%2Afun%2A%2A%2A%20;\r\n title*2=\"isn't it!\"", []Param{{"TITLE", "This is even more ***fun*** isn't it!"}}},
		{"RFC 2231 §3 order", ";a*1=y;a*0=x;a*10=k;a*2=z", []Param{{"A", "xyzk"}}},
		{"RFC 2231 charset", ";name*=iso-8859-1''%E4", []Param{{"NAME", "ä"}}},
		{"RFC 2231 wins over plain", ";filename=\"ae.txt\";filename*=utf-8''%C3%A4.txt", []Param{{"FILENAME", "ä.txt"}}},
		{"RFC 2231 split character", ";n*0*=utf-8''%C3;n*1*=%A4", []Param{{"N", "ä"}}},
		{"first wins", ";a=1;a=2", []Param{{"A", "1"}}},
		{"no semicolon", " charset=utf-8 format=flowed", []Param{{"CHARSET", "utf-8"}, {"FORMAT", "flowed"}}},
		{"double semicolons", ";; a=1;;b=2;", []Param{{"A", "1"}, {"B", "2"}}},
		{"blanks around =", "; a = 1 ; b =\"2\"", []Param{{"A", "1"}, {"B", "2"}}},
		{"blanks in a value", ";filename=my great file.txt;x=y", []Param{{"FILENAME", "my great file.txt"}, {"X", "y"}}},
		{"special characters in a value", ";boundary=----=_Next:Part/1", []Param{{"BOUNDARY", "----=_Next:Part/1"}}},
		{"quote not closed", `;name="abc`, []Param{{"NAME", "abc"}}},
		{"8-bit UTF-8", ";name=\"ä\"", []Param{{"NAME", "ä"}}},
		{"8-bit Latin-1", ";name=\"\xe4\"", []Param{{"NAME", "ä"}}},
		{"RFC 2047 stays", ";name=\"=?utf-8?q?a?=\"", []Param{{"NAME", "=?utf-8?q?a?="}}},
		{"no value", ";a;b=1", []Param{{"B", "1"}}},
		{"empty value", `;a=""`, []Param{{"A", ""}}},
		{"none", "", nil},
	} {
		if got := parseParams(c.in); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %q: got %q want %q", c.why, c.in, got, c.want)
		}
	}
}

func TestContentType(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"text/html; charset=utf-8":    "TEXT/HTML",
		"Text (c) / (d) Html":         "TEXT/HTML",
		"text":                        "TEXT/PLAIN",
		"":                            "TEXT/PLAIN",
		"/x":                          "TEXT/PLAIN",
		"text/":                       "TEXT/PLAIN",
		"a b/c":                       "TEXT/PLAIN",
		"application/vnd.ms-excel":    "APPLICATION/VND.MS-EXCEL",
		" image/jpeg name=x.jpg":      "IMAGE/JPEG",
		"multipart/mixed":             "MULTIPART/MIXED",
		"text/plain charset=us-ascii": "TEXT/PLAIN",
		"\"text/html\"":               "TEXT/PLAIN",
		"text/\xff":                   "TEXT/PLAIN",
	} {
		typ, sub, params := parseContentType(rawField{in, true})
		if got := typ + "/" + sub; got != want {
			t.Errorf("%q: got %s want %s", in, got, want)
		}
		if typ == "TEXT" && param(params, "CHARSET") == "" {
			t.Errorf("%q: no charset (RFC 2045 §5.2)", in)
		}
	}
	for in, want := range map[string]string{
		"base64": "BASE64", " 7Bit (c)": "7BIT", "(c) quoted-printable": "QUOTED-PRINTABLE", "": "7BIT", "8bit; x": "8BIT", "x-foo": "X-FOO", "\"base64\"": "BASE64",
	} {
		if got := parseEncoding(rawField{in, true}); got != want {
			t.Errorf("encoding %q: got %s want %s", in, got, want)
		}
	}
	// RFC 3282 §2: a list, with comments and white space
	if got := parseLanguage(rawField{"de, (c) en-US ,, fr", true}); !reflect.DeepEqual(got, []string{"de", "en-US", "fr"}) {
		t.Errorf("languages %q", got)
	}
}

func TestFields(t *testing.T) {
	t.Parallel()
	in := "From x@y Mon Jan\r\nA: 1\r\njunk\r\nB : 2\r\n  more\r\nC:\r\n\r\nD: body\r\n"
	var got []string
	Fields([]byte(in), func(name string, v, whole []byte) bool {
		got = append(got, name+"="+string(v)+"<"+string(whole)+">")
		return true
	})
	want := []string{"A= 1\r\n<A: 1\r\n>", "B= 2\r\n  more\r\n<B : 2\r\n  more\r\n>", "C=\r\n<C:\r\n>"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q want %q", got, want)
	}
}
