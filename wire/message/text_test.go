package message

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

func TestDecodeHeader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ why, in, want string }{
		{"plain", "hello", "hello"},
		{"RFC 2047 §8", "(=?ISO-8859-1?Q?a?=)", "(a)"},
		{"RFC 2047 §8", "(=?ISO-8859-1?Q?a?= b)", "(a b)"},
		{"RFC 2047 §8", "(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)"},
		{"RFC 2047 §8", "(=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=)", "(ab)"},
		{"RFC 2047 §8", "(=?ISO-8859-1?Q?a_b?=)", "(a b)"},
		{"RFC 2047 §8", "(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)", "(a b)"},
		{"RFC 2047 §8", "=?ISO-8859-1?Q?Keld_J=F8rn_Simonsen?= <keld@dkuug.dk>", "Keld Jørn Simonsen <keld@dkuug.dk>"},
		{"RFC 2047 §8", "=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?= =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=", "If you can read this you understand the example."},
		{"RFC 2231 §5", "=?US-ASCII*EN?Q?Keith_Moore?= x", "Keith Moore x"},
		{"split character", "=?utf-8?q?=C3?= =?UTF-8?q?=A4?=", "ä"},
		{"split character, base64", "=?utf-8?b?w6TD?= =?utf-8?b?pA==?=", "ää"},
		{"no padding", "=?utf-8?b?w6Q?=", "ä"},
		{"bad base64", "=?utf-8?b?w6Q=!?= x", "ä x"},
		{"blanks in Q", "=?utf-8?q?a b c?=", "a b c"},
		{"question mark in Q", "=?utf-8?q?a?b?=", "a?b"},
		{"glued to text", "x=?utf-8?q?=C3=A4?=y", "xäy"},
		{"in quotes", "\"=?utf-8?q?=C3=A4?=\" <a@b>", "\"ä\" <a@b>"},
		{"unknown charset stays", "=?x-foo?q?a=20?= b", "=?x-foo?q?a=20?= b"},
		{"unknown encoding stays", "=?utf-8?x?a?=", "=?utf-8?x?a?="},
		{"not closed", "=?utf-8?q?abc", "=?utf-8?q?abc"},
		{"empty", "a =?utf-8?q??= b", "a  b"},
		{"no word", "=? ?= =?=", "=? ?= =?="},
		{"ISO-2022-JP", "=?ISO-2022-JP?B?GyRCRnxLXBsoQg==?=", "日本"},
		{"UTF-7", "=?utf-7?q?Hi_+Jjo-?=", "Hi ☺"},
		{"GB2312", "=?gb2312?B?1tDOxA==?=", "中文"},
		{"Big5", "=?big5?B?pKSk5Q==?=", "中文"},
		{"KS_C_5601", "=?ks_c_5601-1987?B?x9GxuQ==?=", "한국"},
		{"KOI8-R", "=?koi8-r?B?8tXT?=", "Рус"},
		{"cp932", "=?cp932?B?k/qWew==?=", "日本"},
		{"raw UTF-8", "Grüße", "Grüße"},
		{"raw Latin-1", "Gr\xfc\xdfe \x80", "Grüße €"},
		{"NFC", "a\u0308", "ä"},
		{"line end in a word", "=?utf-8?q?a=0D=0ABcc:_x?=", "a  Bcc: x"},
		{"truncated UTF-8", "=?utf-8?q?=C3?=", "\ufffd"},
	} {
		if got := DecodeHeader(c.in); got != c.want {
			t.Errorf("%s: %q: got %q want %q", c.why, c.in, got, c.want)
		}
	}
}

func TestBaseSubject(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in, want string
		reply    bool
	}{
		{"hello", "hello", false},
		{"Re: hello", "hello", true},
		{"re : hello", "hello", true},
		{"RE[2]: hello", "hello", true},
		{"Fw: Fwd: re: hello", "hello", true},
		{"[list] hello", "hello", false},
		{"[list] Re: [other] hello", "hello", true},
		{"Re: [list] [a] hello", "hello", true},
		{"[only]", "[only]", false},
		{"[a][only]", "[only]", false},
		{"Re: [only]", "[only]", true},
		{"hello (fwd)", "hello", true},
		{"hello (fwd) (FWD)  ", "hello", true},
		{"[fwd: hello]", "hello", true},
		{"[Fwd: Re: hello (fwd)]", "hello", true},
		{"[fwd: [fwd: re: x]]", "x", true},
		{"Re: ", "", true},
		{"Re:", "", true},
		{"", "", false},
		{"Re hello", "Re hello", false},
		{"Regarding: x", "Regarding: x", false},
		{"Fwdx: y", "Fwdx: y", false},
		{"a\t  b\r\n c", "a b c", false},
		{"=?utf-8?q?Re=3A_Gr=C3=BC=C3=9Fe?=", "Grüße", true},
		{"Re [x] : y", "y", true},
		{"[x [y] z", "[x [y] z", false},
		{"[]x", "x", false},
		{"[a] ", "[a]", false},
		{"fwd: [fwd: x] y", "y", true},
		{"(fwd)", "", true},
		{"re:re:re:", "", true},
	} {
		got, reply := BaseSubject(c.in)
		if got != c.want || reply != c.reply {
			t.Errorf("%q: got %q %v want %q %v", c.in, got, reply, c.want, c.reply)
		}
	}
}

func TestParseDate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why, in string
		unix    int64
		zone    int16
		ok      bool
	}{
		{"RFC 5322 A.1.1", "Fri, 21 Nov 1997 09:55:06 -0600", 880127706, -360, true},
		{"RFC 5322 A.6.2", "21 Nov 97 09:55:06 GMT", 880106106, 0, true},
		{"RFC 5322 A.5", "Thu,\r\n      13\r\n        Feb\r\n          1969\r\n      23:32\r\n               -0330 (Newfoundland Time)", -27723480, -210, true},
		{"RFC 5322 A.6.3", "Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", 880127706, -360, true},
		{"RFC 5256 §2.2", "31 Dec 2000 16:01:33 -0800", 978307293, -480, true},
		{"RFC 5322 §4.3 zones", "21 Nov 1997 09:55:06 EST", 880124106, -300, true},
		{"RFC 5322 §4.3 two digits", "1 Jan 49 00:00:00 +0000", 2493072000, 0, true},
		{"RFC 5322 §4.3 two digits", "1 Jan 50 00:00:00 +0000", -631152000, 0, true},
		{"RFC 5322 §4.3 three digits", "1 Jan 101 00:00:00 +0000", 978307200, 0, true},
		{"military zone is UTC", "21 Nov 1997 09:55:06 A", 880106106, 0, true},
		{"no zone", "21 Nov 1997 09:55:06", 880106106, 0, true},
		{"no seconds", "21 Nov 1997 09:55 +0000", 880106100, 0, true},
		{"no time", "21 Nov 1997", 880070400, 0, true},
		{"invalid time (RFC 5256 §2.2)", "21 Nov 1997 25:61:00 +0000", 880070400, 0, true},
		{"invalid zone (RFC 5256 §2.2)", "21 Nov 1997 09:55:06 +9999", 880106106, 0, true},
		{"asctime", "Fri Nov 21 09:55:06 1997", 880106106, 0, true},
		{"asctime with zone", "Fri Nov 21 09:55:06 EST 1997", 880124106, -300, true},
		{"ctime with offset", "Fri Nov 21 09:55:06 1997 +0100", 880102506, 60, true},
		{"dashes", "21-Nov-1997 09:55:06 +0000", 880106106, 0, true},
		{"RFC 850", "Friday, 21-Nov-97 09:55:06 GMT", 880106106, 0, true},
		{"long names", "Friday, November 21, 1997 09:55:06 GMT", 880106106, 0, true},
		{"PM", "21 Nov 1997 9:55:06 PM +0000", 880149306, 0, true},
		{"GMT with offset", "21 Nov 1997 09:55:06 GMT+0100", 880102506, 60, true},
		{"ISO 8601", "1997-11-21T09:55:06+01:00", 880102506, 60, true},
		{"ISO 8601 Z", "1997-11-21 09:55:06Z", 880106106, 0, true},
		{"short offset", "21 Nov 1997 09:55:06 -600", 880127706, -360, true},
		{"leap second", "31 Dec 1998 23:59:60 +0000", 915148800, 0, true},
		{"empty", "", 0, 0, false},
		{"words", "yesterday", 0, 0, false},
		{"no month", "21 1997 09:55:06", 0, 0, false},
		{"day 32", "32 Nov 1997 09:55:06 +0000", 0, 0, false},
		{"long number", "99999999999999999999 Nov 1997", 0, 0, false},
	} {
		unix, zone, ok := ParseDate(c.in)
		if unix != c.unix || zone != c.zone || ok != c.ok {
			t.Errorf("%s: %q: got %d %d %v want %d %d %v", c.why, c.in, unix, zone, ok, c.unix, c.zone, c.ok)
		}
	}
}

func TestMessageIDs(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"<a@b>":                                "a@b",
		"<a@b> <c@d>":                          "a@b c@d",
		"<a@b><c@d>":                           "a@b c@d",
		"junk <a@b> (c) <x> y":                 "a@b",
		"<\"a\"@b>":                            "a@b", // RFC 5256 §3: quoting does not count
		"<\"01KF8JCEOCBS0045PS\"@xxx.yyy.com>": "01KF8JCEOCBS0045PS@xxx.yyy.com",
		"<\"a>b\"@c>":                          "a>b@c",
		"<a@b":                                 "",
		"a@b":                                  "",
		"<a <b@c>":                             "b@c",
		"<@> <a@> <@b>":                        "",
		"< a@b >":                              "a@b",
		"":                                     "",
		"Your message of <x@y>.":               "x@y",
	} {
		if got := strings.Join(messageIDs(in), " "); got != want {
			t.Errorf("%q: got %q want %q", in, got, want)
		}
	}
	many := strings.Repeat("<a@b> ", 5*MaxReferences) + "<last@b>"
	if l := messageIDs(many); len(l) != MaxReferences || l[len(l)-1] != "last@b" {
		t.Errorf("%d ids, the last %s", len(l), l[len(l)-1])
	}
	irt := "<x@y> <z@y>"
	if got := references("", &irt); len(got) != 1 || got[0] != "x@y" {
		t.Errorf("In-Reply-To gives %q", got)
	}
	if got := references("<x>", &irt); len(got) != 1 || got[0] != "x@y" {
		t.Errorf("References without valid id: %q", got)
	}
}

func TestFold(t *testing.T) { // not parallel: counts allocations
	for in, want := range map[string]string{
		"Hello":  "HELLO",
		"ä":      "A\u0308",
		"\u01c4": "Dz\u030c", // RFC 5051 §2, the example
		"ß":      "ß",
		"ﬁ":      "fi",
		"한":      "\u1112\u1161\u11ab",
		"\xff a": "\xff a", // RFC 5051 §2 (1)(b)
		"aä\xff": "aä\xff",
		"":       "",
		"Ελλάδα": "ΕΛΛΑ\u0301ΔΑ",
		"é":      "E\u0301",
		"①":      "1",
		"プ":      "フ\u309a",
	} {
		if got := string(Fold(nil, in)); got != want {
			t.Errorf("%q: got %+q want %+q", in, got, want)
		}
	}
	buf := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() { Fold(buf, "plain ASCII text") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDecoder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ why, enc, in, want string }{
		{"RFC 2045 §6.8", "BASE64", "SGVsbG8s\r\nIHdvcmxk\r\n", "Hello, world"},
		{"padding", "base64", "SGVsbG8=", "Hello"},
		{"no padding", "base64", "SGVsbG8", "Hello"},
		{"junk inside", "base64", "SG!Vs\x00 bG8=\r\n", "Hello"},
		{"two of them", "base64", "SGVsbG8=SGVsbG8=", "HelloHello"},
		{"one digit left", "base64", "SGVsbG8hS", "Hello!"},
		{"RFC 2045 §6.7", "QUOTED-PRINTABLE", "Now's the time =\r\nfor all folk to come=\r\n to the aid of their country.", "Now's the time for all folk to come to the aid of their country."},
		{"rule 3: blanks at the end", "quoted-printable", "a  \t\r\nb=20\r\n", "a\r\nb \r\n"},
		{"blanks behind =", "quoted-printable", "a=  \r\nb", "ab"},
		{"small letters", "quoted-printable", "=c3=a4", "ä"},
		{"no hex digits", "quoted-printable", "a=XYb=1", "a=XYb=1"},
		{"= at the end", "quoted-printable", "a=", "a"},
		{"bare LF", "quoted-printable", "a=\nb\n", "ab\n"},
		{"8-bit", "8bit", "\xe4", "\xe4"},
		{"uuencode", "x-uuencode", "junk\r\nbegin 644 f\r\n#0V%T\r\n`\r\nend\r\nmore", "Cat"},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in)), iotest.DataErrReader(strings.NewReader(c.in))} {
			d, ok := Decoder(c.enc, r)
			got, err := io.ReadAll(d)
			if string(got) != c.want || err != nil || !ok {
				t.Errorf("%s: %q: got %q, %v", c.why, c.in, got, err)
			}
		}
	}
	if _, ok := Decoder("x-foo", strings.NewReader("")); ok {
		t.Error("x-foo is known (RFC 3516 §4.3)")
	}
	want := io.ErrClosedPipe
	d, _ := Decoder("base64", iotest.ErrReader(want))
	if _, err := io.ReadAll(d); err != want {
		t.Errorf("error is %v", err)
	}
}

func TestCharset(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"utf-8", "ä\xff", "ä\ufffd"},
		{"ISO-8859-1", "\xe4\x80", "ä€"},
		{"iso-8859-15", "\xa4", "€"},
		{"us-ascii", "ä \xe4", "ä ä"},
		{"", "\xe4", "ä"},
		{"x-unknown", "\xe4", "ä"},
		{"no-such-charset", "a\xe4b", "a\ufffdb"},
		{"utf-7", "a+AOQ-b +- +AGEAYg", "aäb + ab"},
		{"UTF-7", "+2D3eAA-", "😀"},
		{"utf-16le", "a\x00", "a"},
		{"utf-16", "\xff\xfea\x00", "a"},
		{"utf-16", "\xfe\xff\x00a", "a"},
		{"utf-16", "a\x00", "a"},
		{"iso-2022-kr", "\x1b$)C\x0eGQ19\x0f!", "한국!"},
		{"hz-gb-2312", "~{VPND~}", "中文"},
		{"cp1251", "\xcf", "П"},
		{"windows_1251", "\xcf", "П"},
		{"x-mac-cyrillic", "\x80", "А"},
		{"macintosh", "\x80", "Ä"},
		{"cp850", "\x84", "ä"},
		{"ibm437", "\x84", "ä"},
		{"iso8859-2", "\xb1", "ą"},
		{"koi8-u", "\xa4", "є"},
		{"euc-jp", "\xc6\xfc", "日"},
		{"tis-620", "\xa1", "ก"},
		{"\"utf-8\"", "ä", "ä"},
	} {
		got, err := io.ReadAll(CharsetReader(c.name, strings.NewReader(c.in)))
		if string(got) != c.want || err != nil {
			t.Errorf("%s: %q: got %q want %q, %v", c.name, c.in, got, c.want, err)
		}
		if got := string(toUTF8(c.name, []byte(c.in))); !strings.HasPrefix(c.name, "utf-8") && c.name != "\"utf-8\"" && got != c.want {
			t.Errorf("%s: %q: toUTF8 %q", c.name, c.in, got)
		}
		got, _ = io.ReadAll(CharsetReader(c.name, iotest.OneByteReader(strings.NewReader(c.in))))
		if string(got) != c.want {
			t.Errorf("%s: %q by octets: got %q", c.name, c.in, got)
		}
	}
	for name, want := range map[string]bool{"UTF-8": true, "us-ascii": true, "koi8-r": true, "x-foo": false, "": false, "utf-7": true, strings.Repeat("x", 1000): false, "replacement": false} {
		if KnownCharset(name) != want {
			t.Errorf("%q: known is not %v", name, want)
		}
	}
}

func TestPreview(t *testing.T) {
	t.Parallel()
	alt := func(plain, html string) string {
		return "Content-Type: multipart/alternative; boundary=a\r\n\r\n--a\r\nContent-Type: text/html\r\n\r\n" + html + "\r\n--a\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + plain + "\r\n--a--\r\n"
	}
	for _, c := range []struct{ why, in, want string }{
		{"RFC 8970 §3.1", "\r\nhello\r\n  world\t!\r\n", "hello world !"},
		{"plain before HTML", alt("plain", "<p>html"), "plain"},
		{"HTML if plain is empty", alt(" ", "<p>html &amp; more</p><p>x</p>"), "html & more x"},
		{"charset", "Content-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\xfc\xdfe", "Grüße"},
		{"encoding", "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nR3LDvMOfZQ==\r\n", "Grüße"},
		{"attachment is not shown", "Content-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nx", ""},
		{"no text", "Content-Type: image/gif\r\n\r\nx", ""},
		{"empty", "", ""},
		{"invalid UTF-8", "Content-Type: text/plain; charset=utf-8\r\n\r\na\xffb", "a\ufffdb"},
		{"long", "\r\n" + strings.Repeat("ä", 500), strings.Repeat("ä", PreviewRunes)},
		{"style and script", "Content-Type: text/html\r\n\r\n<style>p{}</style><script>a<b</script>x", "x"},
		{"nested message", "Content-Type: message/rfc822\r\n\r\n\r\nx", ""},
	} {
		if got := parseBytes([]byte(c.in)).Preview; got != c.want {
			t.Errorf("%s: got %q want %q", c.why, got, c.want)
		}
	}
}

func TestStripHTML(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a<b>b</b>c":                            "abc",
		"<p>a</p><p>b":                          "a b",
		"a<br>b":                                "a b",
		"a &lt; b &#228; &#xE4; &auml; &x; & b": "a < b ä ä ä &x; & b",
		"<a title=\"x>y\">z</a>":                "z",
		"<a title='x>y'>z</a>":                  "z",
		"<a title=x\">z</a>":                    "z",
		"a<!-- b > -- c -->d":                   "ad",
		"a<!---->b":                             "ab",
		"<SCRIPT>a</scrip></SCRIPT >b":          "b",
		"<style></style>b":                      "b",
		"1 < 2 <3":                              "1 < 2 <3",
		"a<":                                    "a<",
		"a&":                                    "a&",
		"a&amp":                                 "a&amp",
		"<!DOCTYPE html><html><body>x":          "x",
		"<div/>x":                               "x",
		"&nbsp;x&nbsp;":                         "x",
		"<td>a</td><td>b</td>":                  "a b",
		"so&shy;ft":                             "soft",
	} {
		for _, n := range []int{1, 2, 5, 1000} {
			var got []byte
			s := stripper{yield: func(b []byte) bool { got = append(got, b...); return true }}
			for b := []byte(in); len(b) > 0; {
				k := min(n, len(b))
				s.write(b[:k])
				b = b[k:]
			}
			s.close()
			if text := strings.Join(strings.Fields(string(got)), " "); text != want {
				t.Errorf("%q in pieces of %d: got %q want %q", in, n, text, want)
			}
		}
	}
}

// RFC 9051 §6.4.4: FROM and its like search the ENVELOPE, which has no comments.
func TestTextsOfComments(t *testing.T) {
	t.Parallel()
	in := "From: <ann (of)@ (the) example.org> (Ann)\r\nTo: g: a(1)@b(2), c@d;\r\nCc: x@y\r\nSubject: a(1)@b\r\n\r\n"
	var got []string
	Texts(strings.NewReader(in), parseBytes([]byte(in)).Root, func(_ TextKind, field string, text []byte) bool {
		got = append(got, field+"="+string(text))
		return true
	})
	want := []string{"from=<ann (of)@ (the) example.org> (Ann)", "from=ann@example.org", "to=g: a(1)@b(2), c@d;", "to=a@b c@d", "cc=x@y", "subject=a(1)@b"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestTexts(t *testing.T) {
	t.Parallel()
	in := "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX-Y: a\r\n b\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\none\r\n" +
		"--a\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>tw=F6</p>\r\n" +
		"--a\r\nContent-Type: application/pdf; name*=utf-8''%C3%A4.pdf\r\n\r\nbinary\r\n" +
		"--a\r\nContent-Type: application/pdf; name=\"=?utf-8?q?=C3=B6.pdf?=\"\r\n\r\nbinary\r\n" +
		"--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nthree\r\n--a--\r\n"
	s := parseBytes([]byte(in))
	var got []string
	err := Texts(strings.NewReader(in), s.Root, func(kind TextKind, field string, text []byte) bool {
		got = append(got, string("HBFP"[kind])+field+"="+strings.TrimSpace(string(text)))
		return true
	})
	want := []string{"Hsubject=Grüße", "Hx-y=a b", "Hcontent-type=multipart/mixed; boundary=a", "B=one",
		"Pcontent-type=text/html; charset=iso-8859-1", "Pcontent-transfer-encoding=quoted-printable", "B=twö",
		"Pcontent-type=application/pdf; name*=utf-8''%C3%A4.pdf", "F=ä.pdf", "Pcontent-type=application/pdf; name=\"ö.pdf\"", "F=ö.pdf",
		"Pcontent-type=message/rfc822", "Psubject=inner", "B=three"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") || err != nil {
		t.Errorf("got %q\nwant %q, %v", got, want, err)
	}
	n := 0
	w := TextWalker{BodyOnly: true}
	w.Texts(strings.NewReader(in), s.Root, func(kind TextKind, _ string, _ []byte) bool {
		n++
		if kind == HeaderText || kind == PartHeader {
			t.Errorf("kind %d with BodyOnly", kind)
		}
		return true
	})
	if n != 5 {
		t.Errorf("%d texts with BodyOnly", n)
	}
	n = 0
	Texts(strings.NewReader(in), s.Root, func(TextKind, string, []byte) bool { n++; return n < 5 })
	if n != 5 {
		t.Errorf("%d calls after it said stop at 5", n)
	}
}

// TestTextChunks: a chunk ends between words, and all chunks together are the text.
func TestTextChunks(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("wörd ", 30000)
	for _, c := range []struct{ typ, body, want string }{
		{"plain", text, text + "\n"},
		{"plain", strings.Repeat("ä", 50000), strings.Repeat("ä", 50000) + "\n"},
		{"html", strings.Repeat("w<b>ö</b>r&amp;d ", 30000), strings.Repeat("wör&d ", 30000) + "\n"},
		{"html", strings.Repeat("<i>ä</i>", 50000), strings.Repeat("ä", 50000) + "\n"},
	} {
		in := "Content-Type: text/" + c.typ + "; charset=utf-8\r\n\r\n" + c.body
		var got bytes.Buffer
		n := 0
		Texts(strings.NewReader(in), parseBytes([]byte(in)).Root, func(kind TextKind, _ string, b []byte) bool {
			if kind == BodyText {
				n++
				if !utf8.Valid(b) || strings.HasPrefix(c.body, "w") && b[len(b)-1] != ' ' && b[len(b)-1] != '\n' {
					t.Errorf("chunk ends in %q", b[len(b)-10:])
				}
				got.Write(b)
			}
			return true
		})
		if got.String() != c.want || n < 3 {
			t.Errorf("text differs, %d chunks, %d octets of %d", n, got.Len(), len(c.want))
		}
	}
}
