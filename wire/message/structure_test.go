package message

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestBodyStructure(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ why, in, structure, body string }{
		{"simple", "Content-Type: text/plain; charset=UTF-8\r\n\r\nhello\r\nworld\r\n",
			`("TEXT" "PLAIN" ("CHARSET" "UTF-8") NIL NIL "7BIT" 14 2 NIL NIL NIL NIL)`, `("TEXT" "PLAIN" ("CHARSET" "UTF-8") NIL NIL "7BIT" 14 2)`},
		{"no MIME at all (RFC 2045 §5.2)", "\r\nx", `("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 1 0 NIL NIL NIL NIL)`, `("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 1 0)`},
		{"all extension data", "Content-Type: image/gif\r\nContent-ID: <a@b>\r\nContent-Description: d\r\nContent-Transfer-Encoding: base64\r\nContent-MD5: Q2hl==\r\nContent-Disposition: inline; filename=x.gif\r\nContent-Language: de, en\r\nContent-Location: http://x/\r\n\r\nAA==",
			`("IMAGE" "GIF" NIL "<a@b>" "d" "BASE64" 4 "Q2hl==" ("INLINE" ("FILENAME" "x.gif")) ("de" "en") "http://x/")`, `("IMAGE" "GIF" NIL "<a@b>" "d" "BASE64" 4)`},
		{"RFC 2231", "Content-Type: application/x; name*0*=iso-8859-1''%E4; name*1=b; x=y\r\n\r\n",
			`("APPLICATION" "X" ("NAME*" "utf-8''%C3%A4b" "X" "y") NIL NIL "7BIT" 0 NIL NIL NIL NIL)`, `("APPLICATION" "X" ("NAME*" "utf-8''%C3%A4b" "X" "y") NIL NIL "7BIT" 0)`},
		{"multipart", "Content-Type: multipart/mixed; boundary=a\r\nContent-Language: de\r\n\r\n--a\r\n\r\none\r\n--a\r\nContent-Type: text/html\r\nContent-Disposition: attachment\r\n\r\ntwo\r\n\r\n--a--\r\n",
			`(("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 0 NIL NIL NIL NIL)("TEXT" "HTML" ("CHARSET" "us-ascii") NIL NIL "7BIT" 5 1 NIL ("ATTACHMENT" NIL) NIL NIL) "MIXED" ("BOUNDARY" "a") NIL "de" NIL)`,
			`(("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 0)("TEXT" "HTML" ("CHARSET" "us-ascii") NIL NIL "7BIT" 5 1) "MIXED")`},
		{"no parts", "Content-Type: multipart/mixed; boundary=a\r\n\r\nnothing\r\n",
			`(("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 0 0 NIL NIL NIL NIL) "MIXED" ("BOUNDARY" "a") NIL NIL NIL)`, `(("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 0 0) "MIXED")`},
		{"multipart without boundary", "Content-Type: multipart/mixed\r\n\r\nnothing\r\n",
			`("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 9 1 NIL NIL NIL NIL)`, `("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 9 1)`},
		{"message/rfc822", "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nx\r\n",
			`("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 18 (NIL "in" NIL NIL NIL NIL NIL NIL NIL NIL) ("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 1 NIL NIL NIL NIL) 3 NIL NIL NIL NIL)`,
			`("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 18 (NIL "in" NIL NIL NIL NIL NIL NIL NIL NIL) ("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 3 1) 3)`},
		{"message/global (RFC 6532 §3.7)", "Content-Type: message/global\r\n\r\n\r\n",
			`("MESSAGE" "GLOBAL" NIL NIL NIL "7BIT" 2 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) ("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 0 0 NIL NIL NIL NIL) 1 NIL NIL NIL NIL)`,
			`("MESSAGE" "GLOBAL" NIL NIL NIL "7BIT" 2 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) ("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 0 0) 1)`},
		{"digest (RFC 2046 §5.1.5)", "Content-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n\r\nSubject: d\r\n\r\n--a\r\nContent-Type: text/plain\r\n\r\n--a--",
			`(("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 14 (NIL "d" NIL NIL NIL NIL NIL NIL NIL NIL) ("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 0 0 NIL NIL NIL NIL) 2 NIL NIL NIL NIL)("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 0 0 NIL NIL NIL NIL) "DIGEST" ("BOUNDARY" "a") NIL NIL NIL)`, ""},
		{"message/partial is a leaf", "Content-Type: message/partial; id=x\r\n\r\nSubject: in\r\n", `("MESSAGE" "PARTIAL" ("ID" "x") NIL NIL "7BIT" 13 NIL NIL NIL NIL)`, `("MESSAGE" "PARTIAL" ("ID" "x") NIL NIL "7BIT" 13)`},
		{"encoding with comment", "Content-Type: x/y\r\nContent-Transfer-Encoding: (c) Base64 (d)\r\n\r\n", `("X" "Y" NIL NIL NIL "BASE64" 0 NIL NIL NIL NIL)`, ""},
	} {
		e := Stored(parseBytes([]byte(c.in)).Encode(nil))
		if got := string(e.BodyStructure()); got != c.structure {
			t.Errorf("%s:\n got %s\nwant %s", c.why, got, c.structure)
		}
		if got := string(e.Body(nil)); c.body != "" && got != c.body {
			t.Errorf("%s: BODY\n got %s\nwant %s", c.why, got, c.body)
		}
	}
}

// tree writes a part tree with the octets of its leaves.
func tree(p *Part, data string) string {
	switch {
	case p.Type == "MULTIPART":
		var l []string
		for _, c := range p.Parts {
			l = append(l, tree(c, data))
		}
		return "(" + strings.Join(l, " ") + ")"
	case p.Inner != nil:
		return "M" + tree(p.Inner, data)
	}
	return fmt.Sprintf("%q", data[p.BodyStart:p.End])
}

func TestMultipart(t *testing.T) {
	t.Parallel()
	const m = "Content-Type: multipart/mixed; boundary="
	for _, c := range []struct{ why, in, want string }{
		{"RFC 2046 §5.1.1: the CRLF is the delimiter's", m + "a\r\n\r\npre\r\n--a\r\n\r\none\r\n\r\n--a\r\n\r\ntwo\r\n--a--\r\nepi", `("one\r\n" "two")`},
		{"blanks after the boundary", m + "a\r\n\r\n--a \t\r\n\r\nx\r\n--a-- \r\n", `("x")`},
		{"close-delimiter missing", m + "a\r\n\r\n--a\r\n\r\nx\r\ny", `("x\r\ny")`},
		{"close-delimiter without line end", m + "a\r\n\r\n--a\r\n\r\nx\r\n--a--", `("x")`},
		{"bare LF", m + "a\n\n--a\n\nx\n\n--a--\n", `("x\n")`},
		{"LF and CRLF", m + "a\r\n\r\n--a\n\nx\n--a--\r\n", `("x")`},
		{"bare CR", m + "a\r\r--a\r\rx\r\r--a--\r", `("x\r")`},
		{"quoted boundary with blanks", m + "\"a b\"\r\n\r\n--a b\r\n\r\nx\r\n--a b--\r\n", `("x")`},
		{"inner boundary has the outer as prefix", m + "a\r\n\r\n--a\r\n" + m + "ab\r\n\r\n--ab\r\n\r\nx\r\n--ab--\r\n--a\r\n\r\ny\r\n--a--", `(("x") "y")`},
		{"outer boundary has the inner as prefix", m + "ab\r\n\r\n--ab\r\n" + m + "a\r\n\r\n--a\r\n\r\nx\r\n--a--\r\n--ab\r\n\r\ny\r\n--ab--", `(("x") "y")`},
		{"outer boundary ends the inner multipart", m + "a\r\n\r\n--a\r\n" + m + "b\r\n\r\n--b\r\n\r\nx\r\n--a\r\n\r\ny\r\n--a--", `(("x") "y")`},
		{"RFC 2046 §5.1.1: the line need not be the boundary alone", m + "a\r\n\r\n--a x\r\n\r\none\r\n--abc\r\n\r\ntwo\r\n--a--", `("one" "two")`},
		{"the same boundary in a nested multipart", m + "a\r\n\r\n--a\r\n" + m + "a\r\n\r\n--a\r\n\r\nx\r\n--a--\r\n--a\r\n\r\ny\r\n--a--", `(("x") "y")`},
		{"dashes only", m + "a\r\n\r\n--a\r\n\r\n--\r\n---\r\n-- a\r\n--\r\n--a--", `("--\r\n---\r\n-- a\r\n--")`},
		{"not at the beginning of a line", m + "a\r\n\r\n--a\r\n\r\nx --a\r\n--a--", `("x --a")`},
		{"part without header and empty line", m + "a\r\n\r\n--a\r\n--a--\r\n", `("")`},
		{"part without empty line", m + "a\r\n\r\n--a\r\nContent-Type: text/html\r\n--a\r\n\r\nx\r\n--a--\r\n", `("" "x")`},
		{"empty body", m + "a\r\n\r\n--a\r\nContent-Type: text/html\r\n\r\n--a--\r\n", `("")`},
		{"message header without empty line", m + "a\r\n--a\r\n\r\nx\r\n--a--\r\n", `("x")`},
		{"header of a nested multipart without empty line", m + "a\r\n\r\n--a\r\n" + m + "ab\r\n--ab\r\n\r\nx\r\n--ab--\r\n--a--", `(("x"))`},
		{"nested message without empty line", m + "a\r\n\r\n--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n--a\r\n\r\ny\r\n--a--", `(M"" "y")`},
		{"nested multipart message", "Content-Type: message/rfc822\r\n\r\n" + m + "a\r\n\r\n--a\r\n\r\nx\r\n--a--\r\n", `M("x")`},
		{"message/rfc822 whatever its encoding", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdA==\r\n", `M""`},
		{"multipart whatever its encoding", "Content-Transfer-Encoding: base64\r\n" + m + "a\r\n\r\n--a\r\n\r\nx\r\n--a--", `("x")`},
		{"delimiter at the end", m + "a\r\n\r\n--a\r\n\r\nx\r\n--a", `("x" "")`},
		{"epilogue with the closed boundary", m + "a\r\n\r\n--a\r\n\r\nx\r\n--a--\r\n--a\r\n\r\ny\r\n", `("x")`},
		{"NUL in the body", m + "a\r\n\r\n--a\r\n\r\n\x00\r\n--a--", `("\x00")`},
		{"empty", "", `""`},
		{"header only", "Subject: x\r\n", `""`},
		{"header only, no line end", "Subject: x", `""`},
		{"no header", "\r\nx", `"x"`},
	} {
		for _, chunk := range []int{1, 3, len(c.in) + 1} {
			s := parseChunks([]byte(c.in), chunk)
			if got := tree(s.Root, c.in); got != c.want {
				t.Errorf("%s: %q\n got %s\nwant %s", c.why, c.in, got, c.want)
			}
			if msg := checkSummary(s, []byte(c.in)); msg != "" {
				t.Errorf("%s: %s", c.why, msg)
			}
		}
	}
}

// TestFind follows the example of RFC 9051 §6.4.5.1.
func TestFind(t *testing.T) {
	t.Parallel()
	const inner = "Subject: in\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\n421\r\n--c\r\nContent-Type: multipart/alternative; boundary=d\r\n\r\n--d\r\n\r\n4221\r\n--d\r\nContent-Type: text/richtext\r\n\r\n4222\r\n--d--\r\n--c--\r\n"
	in := "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n1\r\n--a\r\nContent-Type: application/octet-stream\r\n\r\n2\r\n--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n31\r\n" +
		"--a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: image/gif\r\n\r\n41\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n" + inner + "--b--\r\n--a--\r\n"
	s := parseBytes([]byte(in))
	for _, c := range []struct {
		path []int
		want string
	}{
		{[]int{1}, "1"}, {[]int{2}, "2"}, {[]int{3, 1}, "31"}, {[]int{4, 1}, "41"}, {[]int{4, 2, 1}, "421"}, {[]int{4, 2, 2, 1}, "4221"}, {[]int{4, 2, 2, 2}, "4222"},
		{[]int{0}, "none"}, {[]int{5}, "none"}, {[]int{1, 1}, "none"}, {[]int{3, 2}, "none"}, {[]int{3, 1, 1}, "none"}, {[]int{-1}, "none"}, {[]int{4, 2, 2, 3}, "none"},
	} {
		got := "none"
		if p := s.Root.Find(c.path); p != nil {
			got = in[p.BodyStart:p.End]
		}
		if got != c.want {
			t.Errorf("%v: got %q want %q", c.path, got, c.want)
		}
	}
	if p := s.Root.Find([]int{4, 2}); p == nil || p.Inner == nil || *p.Envelope.Subject != "in" {
		t.Error("4.2 is not the nested message")
	}
	if s.Root.Find(nil) != s.Root {
		t.Error("the empty path is not the root")
	}
	one := parseBytes([]byte("\r\nx"))
	if one.Root.Find([]int{1}) != one.Root || one.Root.Find([]int{2}) != nil || one.Root.Find([]int{1, 1}) != nil {
		t.Error("a message that is not multipart has part 1 only")
	}
	msg := parseBytes([]byte("Content-Type: message/rfc822\r\n\r\nSubject: y\r\n\r\nx"))
	if p := msg.Root.Find([]int{1, 1}); p == nil || p != msg.Root.Inner {
		t.Error("1.1 of a message that is a message is the text inside")
	}
}

func TestStoredFields(t *testing.T) { // not parallel: counts allocations
	in := "From: \"Zed, Z.\" <Zed@x.test>, b@y\r\nTo: =?utf-8?q?=C3=A4?= <T@x>\r\nCc: g: c@x;\r\nSubject: Re: [l] Straße\r\nMessage-ID: <\"q\"@x.test>\r\nIn-Reply-To: <r@x>\r\nDate: 1 Feb 2001 10:00:00 +0100\r\n\r\nhello  there\r\n"
	s := parseBytes([]byte(in))
	e := Stored(s.Encode(nil))
	got := e.SortKeys()
	want := SortKeys{Subject: []byte("STRASSE"), From: []byte("ZED"), To: []byte("T"), Cc: []byte("G"), DisplayFrom: []byte("ZED, Z."), DisplayTo: []byte("A\u0308"),
		SentDate: 981018000, SentZone: 60, SentDateOK: true, IsReplyOrForward: true, MessageID: []byte("q@x.test")}
	want.Subject = Fold(nil, "Straße")
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if string(e.Preview()) != "hello there" {
		t.Errorf("preview %q", e.Preview())
	}
	for id := range e.References {
		if string(id) != "r@x" {
			t.Errorf("reference %q", id)
		}
	}
	if n := testing.AllocsPerRun(100, func() { e.SortKeys(); e.Envelope(); e.BodyStructure(); e.Preview() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for i := range e { // damage is an error or another summary, never a panic
		bad := append(Stored(nil), e...)
		bad[i] ^= 0x55
		bad.Decode()
		e[:i].Decode()
	}
	if _, err := (Stored{}).Decode(); err != ErrCorrupt {
		t.Errorf("empty: %v", err)
	}
}

func TestHasAttachment(t *testing.T) {
	t.Parallel()
	part := func(sub, h string) string {
		return "Content-Type: multipart/" + sub + "; boundary=a\r\n\r\n--a\r\n\r\nx\r\n--a\r\n" + h + "\r\n\r\nx\r\n--a--"
	}
	for _, c := range []struct {
		in   string
		want bool
	}{
		{"\r\nx", false},
		{part("mixed", "Content-Type: application/pdf; name=x.pdf"), true},
		{part("mixed", "Content-Type: application/pdf"), false},
		{part("mixed", "Content-Type: text/plain\r\nContent-Disposition: attachment"), true}, // RFC 2183 §2.2
		{part("mixed", "Content-Type: text/plain\r\nContent-Disposition: inline; filename=x"), false},
		{part("related", "Content-Type: image/png; name=x.png\r\nContent-Disposition: inline"), false},
		{part("related", "Content-Type: image/png; name=x.png\r\nContent-Disposition: attachment"), true},
		{part("signed", "Content-Type: application/pgp-signature; name=signature.asc"), false},
		{part("mixed", "Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\nSubject: x"), true},
		{"Content-Type: application/pdf; name=x.pdf\r\n\r\n", true},
	} {
		if got := parseBytes([]byte(c.in)).HasAttachment; got != c.want {
			t.Errorf("%q: got %v", c.in, got)
		}
	}
}

// TestReset: a used parser does as a new one, and the summaries share nothing with it.
func TestReset(t *testing.T) {
	t.Parallel()
	p := NewParser()
	var before *Summary
	var copyOf string
	for _, in := range append(seeds(), seeds()...) {
		p.Reset()
		p.Write([]byte(in))
		s := p.Finish()
		if want := parseBytes([]byte(in)); !reflect.DeepEqual(s, want) {
			t.Errorf("%q: a used parser gives another summary", in)
		}
		if before != nil && string(before.Encode(nil)) != copyOf {
			t.Errorf("%q changed the summary before", in)
		}
		before, copyOf = s, string(s.Encode(nil))
	}
}

// TestHeadersBudget: the summary does not grow without end with the headers of nested messages.
func TestHeadersBudget(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("Content-Type: multipart/mixed; boundary=a\r\n\r\n")
	for range 200 {
		b.WriteString("--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: " + strings.Repeat("x", 200<<10) + "\r\n\r\n\r\n")
	}
	s := parseBytes([]byte(b.String()))
	if n := len(s.Encode(nil)); n > headersBudget+1<<20 {
		t.Errorf("%d octets of %d", n, b.Len())
	}
	if msg := checkSummary(s, []byte(b.String())); msg != "" {
		t.Error(msg)
	}
}

// TestBareCRProbe: line ends are found alike in any chunks, also around crProbe octets.
func TestBareCRProbe(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", crProbe-10)
	for _, c := range []struct {
		in   string
		body int
	}{
		{"Subject: " + long + "\r\n\r\nbody", 4},
		{"Subject: " + strings.Repeat("x", crProbe-20) + "\rTo: a\r\rbody", 4},
		{strings.Repeat("Subject: x\r", 20000) + "\rbody\r", 5},
		{strings.Repeat("Subject: x\r\n", 20000) + "\r\nbody\r\n", 6},
		{"Subject: " + strings.Repeat("x", 2*crProbe) + "\nTo: a\n\nbody", 4},
	} {
		for _, n := range []int{1000, crProbe - 1, crProbe, crProbe + 1, len(c.in)} {
			s := parseChunks([]byte(c.in), n)
			if got := int(s.Size - s.Root.BodyStart); got != c.body {
				t.Errorf("%.12q… in chunks of %d: body of %d octets, want %d", c.in, n, got, c.body)
			}
		}
	}
}
