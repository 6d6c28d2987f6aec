package message

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// seeds has one message for each rule of the parser.
func seeds() []string {
	return []string{
		"",
		"\r\n",
		"Subject: x\r\n\r\nbody\r\n",
		"From x@y Mon Jan  1 00:00:00 2001\nSubject: mbox\nFrom: A <a@b>\n\nbody\n",
		"From: a@b\rSubject: bare CR\r\rbody\rmore\r",
		"Content-Type: multipart/mixed; boundary=a\r\n\r\npreamble\r\n--a\r\n\r\none\r\n--a\r\nContent-Type: text/html\r\n\r\n<b>two\r\n--a--\r\nepilogue\r\n",
		"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/digest; boundary=ab\r\n\r\n--ab\r\n\r\nSubject: in\r\n\r\nx\r\n--ab--\r\n--a\r\nno colon\r\n--a--",
		"Content-Type: multipart/mixed; boundary=a\r\n--a\r\n\r\nheader without empty line\r\n--a--\r\n",
		"Content-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: multipart/x; boundary=\"q q\"\r\n\r\n--q q \t\r\n--q q--",
		"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: cut\r\n--a\r\n--a--\r\n",
		"Content-Type: application/x; name*0*=utf-8''%c3%a4; name*1=b; foo=\"a\\\"b\"; x=(c) y\r\nContent-Disposition: attachment; filename==?utf-8?q?=c3=a4?=\r\nContent-Language: de, en\r\nContent-MD5: x\r\nContent-Location: http://x/\r\nContent-ID: <a@b>\r\nContent-Description: \xff\x00\r\n\r\n",
		"From: =?utf-8?q?a?= <@r1,@r2:\"x y\"@[1.2.3.4]>, G: a@b, c (N);, \"q\\\"q\" <z@z>\r\nTo: undisclosed-recipients:;\r\nSubject: [x] Re: [fwd: =?iso-8859-1?b?5A==?=] (fwd)\r\nDate: Fri, 21 Nov 97 09:55:06 EST (c)\r\nMessage-ID: <\"a\"@b>\r\nReferences: <a@b> <c@d>\r\nIn-Reply-To: <x@y>\r\n\r\n",
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, chunk uint8) {
		s := parseBytes(data)
		if msg := checkSummary(s, data); msg != "" {
			t.Fatal(msg)
		}
		if c := parseChunks(data, int(chunk)+1); !reflect.DeepEqual(s, c) {
			t.Fatalf("chunks of %d parse differently:\n%s\n%s", int(chunk)+1, Stored(s.Encode(nil)).BodyStructure(), Stored(c.Encode(nil)).BodyStructure())
		}
		if !utf8.ValidString(s.Preview) {
			t.Fatal("preview is not UTF-8")
		}
	})
}

func FuzzDecodeHeader(f *testing.F) {
	for _, s := range []string{"a", "=?utf-8?q?=c3=a4?= =?utf-8?q?=c3?=", "=?utf-8?b?w6Q=?=", "=?iso-2022-jp?b?GyRCJCIbKEI=?=", "\xe4", "=?utf-7?q?+AOQ-?=", "=?x?q?a?=", "=?=?=?", "=?utf-8*en?q?a b?c?="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := DecodeHeader(s); !utf8.ValidString(d) {
			t.Fatalf("not UTF-8: %q", d)
		}
		base, _ := BaseSubject(s)
		if again, reply := BaseSubject(base); !strings.Contains(base, "=?") && len(base) < 1000 && ascii(base) && (again != base || reply) {
			t.Fatalf("base subject %q of %q has base subject %q", base, s, again)
		}
		ParseDate(s)
		for _, id := range messageIDs(s) {
			if id == "" || len(id) > maxMessageID {
				t.Fatalf("id %q", id)
			}
		}
	})
}

func FuzzStored(f *testing.F) {
	for _, s := range seeds() {
		f.Add(parseBytes([]byte(s)).Encode(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e := Stored(b)
		e.Envelope()
		e.BodyStructure()
		e.Body(nil)
		e.Preview()
		e.SortKeys()
		for range e.References {
		}
		s, err := e.Decode()
		if err != nil {
			return
		}
		s.Encode(nil)
		s.Root.Find([]int{1, 1})
	})
}

func FuzzAddressList(f *testing.F) {
	for _, s := range []string{"a@b", "A <a@b>, \"x\" <c@d>", "g: a@b;", "a@b (c (d))", "<@a,@b:c@d>", "a b <", "\"", "[", ";,:;", "a\\b@c", "g:\"\":;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l := ParseAddressList(s)
		if len(l) > MaxAddresses+1 {
			t.Fatal("too many addresses")
		}
		open := false
		for _, a := range l {
			if a.Group {
				if start := a.Mailbox != ""; start == open {
					t.Fatalf("groups not closed in %+v", l)
				}
				open = !open
			} else if a.Mailbox == "" && a.Host == "" && a.Name == "" {
				t.Fatalf("empty address in %+v", l)
			}
		}
		if open {
			t.Fatalf("group not closed in %+v", l)
		}
		text := imapText{b: appendAddrs(nil, l)}
		if got := text.addrs(); text.bad || len(text.b) > 0 || len(got) != len(l) || len(l) > 0 && !reflect.DeepEqual(got, l) {
			t.Fatalf("%+v became %+v", l, got)
		}
	})
}

func FuzzTexts(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte(s))
	}
	f.Add([]byte("Content-Type: text/html; charset=iso-2022-jp\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p a='>'>x&amp;&#x41<!-- y --><style>z</style>=1b$B$\"=\r\n"))
	f.Add([]byte("Content-Type: text/plain; charset=utf-7\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 x\r\n#0V%T\r\n`\r\nend\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := parseBytes(data)
		err := Texts(bytes.NewReader(data), s.Root, func(_ TextKind, _ string, text []byte) bool {
			if !utf8.Valid(text) {
				t.Fatalf("text is not UTF-8: %q", text)
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// plainQP decodes RFC 2045 §6.7 in the plainest way.
func plainQP(src []byte) (dst []byte) {
	for line := range bytes.SplitAfterSeq(src, []byte("\n")) {
		text, eol := line, ""
		for _, eol = range []string{"\r\n", "\n", ""} {
			if t, ok := bytes.CutSuffix(line, []byte(eol)); ok {
				text = t
				break
			}
		}
		text = bytes.TrimRight(text, " \t")
		if t, ok := bytes.CutSuffix(text, []byte("=")); ok {
			text, eol = t, ""
		}
		for i := 0; i < len(text); i++ {
			if text[i] == '=' && i+2 < len(text) && unhex(text[i+1])|unhex(text[i+2]) < 16 {
				dst = append(dst, unhex(text[i+1])<<4|unhex(text[i+2]))
				i += 2
			} else {
				dst = append(dst, text[i])
			}
		}
		dst = append(dst, eol...)
	}
	return dst
}

// FuzzQP: however the octets come in, they are decoded as RFC 2045 §6.7 says.
func FuzzQP(f *testing.F) {
	for _, s := range []string{"Gr=C3=BC=C3=9Fe  an alle =\r\n die \t\r\n  \r\nda=20\t\r\n sind=", "a==\n= =\t\r\n=0D\n=\r\r\n\r \r\n=3", "x=4\n1=  ", strings.Repeat("0123456=\n=3D ", 9)} {
		f.Add([]byte(s), uint64(1))
	}
	f.Fuzz(func(t *testing.T, src []byte, seed uint64) {
		if len(src) >= qpHeld {
			return
		}
		var s qpStep
		var got []byte
		r := rand.New(rand.NewPCG(seed, 1))
		for rest := src; ; {
			k := r.IntN(len(rest) + 1)
			last := k == len(rest)
			got = s.step(got, rest[:k], last)
			if rest = rest[k:]; last {
				break
			}
		}
		if want := plainQP(src); !bytes.Equal(got, want) {
			t.Fatalf("%q: %q, want %q", src, got, want)
		}
	})
}
