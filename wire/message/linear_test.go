package message

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestHostile feeds what would be slow for a parser that is not linear. Each message takes
// milliseconds to some tenths of a second; the bound leaves room for a busy machine.
func TestHostile(t *testing.T) {
	const bound = 20 * time.Second
	rep := strings.Repeat
	const mp = "Content-Type: multipart/mixed; boundary=a\r\n\r\n"
	nested := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
		}
		return b.String()
	}
	for name, in := range map[string]string{
		"40,000 parts":            mp + rep("--a\r\n\r\nx\r\n", 40000),
		"40,000 empty parts":      mp + rep("--a\r\n", 40000),
		"2,000 multiparts":        nested(2000) + "x",
		"2,000 messages":          rep("Content-Type: message/rfc822\r\n\r\n", 2000) + "x",
		"digests":                 "Content-Type: multipart/digest; boundary=a\r\n\r\n" + rep("--a\r\n\r\nContent-Type: multipart/digest; boundary=a\r\n\r\n", 2000),
		"dashes in 99 levels":     nested(99) + rep("--b\r\n", 200000),
		"near misses":             "Content-Type: multipart/mixed; boundary=" + rep("a", 1999) + "b\r\n\r\n" + rep("--"+rep("a", 1999)+"\r\n", 1000),
		"1 MB line":               "Subject: " + rep("x", 1<<20) + "\r\n\r\n",
		"20 MB header":            rep("Subject: "+rep("x", 990)+"\r\n", 20000),
		"header of empty fields":  rep(":\r\n", 700000),
		"header of dashes":        "Content-Type: multipart/mixed; boundary=a\r\n" + rep("--b\r\n", 100000),
		"folded":                  "Subject: x" + rep("\r\n x", 300000) + "\r\n\r\n",
		"addresses":               "To: " + rep("a@b,", 1000000) + "\r\n\r\n",
		"To fields":               rep("To: a@b\r\n", 100000) + "\r\n",
		"angles":                  "From: " + rep("<", 250000) + "\r\n\r\n",
		"angles with route":       "From: " + rep("<@", 125000) + "\r\n\r\n",
		"angles closed":           "From: " + rep("<>", 125000) + "\r\n\r\n",
		"comments":                "From: " + rep("(", 250000) + "\r\n\r\n",
		"comments closed":         "From: " + rep("()", 125000) + "\r\n\r\n",
		"quotes":                  "From: " + rep("\"\\", 125000) + "\r\n\r\n",
		"brackets":                "From: " + rep("[", 250000) + "\r\n\r\n",
		"groups":                  "From: " + rep("a:;", 80000) + "\r\n\r\n",
		"words":                   "From: " + rep("a ", 125000) + "\r\n\r\n",
		"at":                      "From: " + rep("@", 250000) + "\r\n\r\n",
		"encoded-words, open":     "Subject: " + rep("=?a?q?x ", 30000) + "\r\n\r\n",
		"encoded-words":           "Subject: " + rep("=?utf-8?q?x?= ", 18000) + "\r\n\r\n",
		"=?":                      "Subject: " + rep("=?", 125000) + "\r\n\r\n",
		"blobs":                   "Subject: " + rep("[]", 125000) + "\r\n\r\n",
		"blobs, not closed":       "Subject: " + rep("[a", 125000) + "\r\n\r\n",
		"re":                      "Subject: " + rep("re:", 80000) + "\r\n\r\n",
		"fwd":                     "Subject: " + rep("[fwd:", 50000) + rep("]", 50000) + "\r\n\r\n",
		"trailers":                "Subject: " + rep("(fwd)", 50000) + "\r\n\r\n",
		"references":              "References: " + rep("<a@b>", 50000) + "\r\n\r\n",
		"references, open":        "References: " + rep("<\"", 125000) + "\r\n\r\n",
		"references, long":        "References: " + rep("<"+rep("x", 990), 250) + "\r\n\r\n",
		"parameters":              "Content-Type: a/b" + rep(";a*0=b", 40000) + "\r\n\r\n",
		"parameter names":         "Content-Type: a/b" + rep(";a", 120000) + "\r\n\r\n",
		"parameter words":         "Content-Type: a/b; x=" + rep("a ", 120000) + "\r\n\r\n",
		"languages":               "Content-Language: " + rep("a,", 120000) + "\r\n\r\n",
		"date":                    "Date: " + rep("1 ", 120000) + "\r\n\r\n",
		"date of comments":        "Date: " + rep("(a)", 80000) + "\r\n\r\n",
		"HTML tags":               "Content-Type: text/html\r\n\r\n" + rep("<", 1<<20),
		"HTML comments":           "Content-Type: text/html\r\n\r\n<!--" + rep("-->x<!--", 1<<17),
		"HTML dashes":             "Content-Type: text/html\r\n\r\n<!--" + rep("-a", 1<<19),
		"HTML references":         "Content-Type: text/html\r\n\r\n" + rep("&", 1<<20),
		"HTML script":             "Content-Type: text/html\r\n\r\n<script>" + rep("</scrip", 1<<17),
		"HTML quotes":             "Content-Type: text/html\r\n\r\n<a x=" + rep("\"a\"", 1<<18),
		"quoted-printable blanks": "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + rep(" ", 1<<20),
		"quoted-printable =":      "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + rep("=", 1<<20),
		"uuencode":                "Content-Type: text/plain\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nbegin 1 x\r\n" + rep("x", 1<<20),
		"UTF-7":                   "Content-Type: text/plain; charset=utf-7\r\n\r\n" + rep("+", 1<<20),
		"bare CR":                 rep("x: y\r", 1<<18),
	} {
		start := time.Now()
		s := parseBytes([]byte(in))
		e := Stored(s.Encode(nil))
		if _, err := e.Decode(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		e.Body(nil)
		Texts(bytes.NewReader([]byte(in)), s.Root, func(TextKind, string, []byte) bool { return true })
		d := time.Since(start)
		if d > bound {
			t.Errorf("%s took %v", name, d)
		}
		if d > bound/100 {
			t.Logf("%s took %v", name, d)
		}
		if len(in) < 2<<20 {
			if msg := checkSummary(s, []byte(in)); msg != "" {
				t.Errorf("%s: %s", name, clip(msg, 300))
			}
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	const mp = "Content-Type: multipart/mixed; boundary=a\r\n\r\n"
	s := parseBytes([]byte(mp + strings.Repeat("--a\r\n\r\nx\r\n", MaxParts+500) + "--a--\r\n"))
	if n := len(s.Root.Parts); n != MaxParts-1 {
		t.Errorf("%d parts", n)
	}
	if last := s.Root.Parts[len(s.Root.Parts)-1]; last.End < s.Size-20 {
		t.Errorf("the last part ends at %d of %d", last.End, s.Size)
	}
	s = parseBytes([]byte(strings.Repeat("Content-Type: message/rfc822\r\n\r\n", MaxDepth+5)))
	n := 0
	p := s.Root
	for ; p.Inner != nil; p = p.Inner {
		n++
	}
	if n != MaxDepth || p.Type+"/"+p.Subtype != "APPLICATION/OCTET-STREAM" {
		t.Errorf("depth %d, then %s/%s", n, p.Type, p.Subtype)
	}
	s = parseBytes([]byte("To: " + strings.Repeat("a@b,", MaxAddresses+10) + "\r\n" + strings.Repeat("Cc: a@b\r\n", MaxAddresses+10) + "\r\n"))
	if len(s.Envelope.To) != MaxAddresses || len(s.Envelope.Cc) != MaxAddresses {
		t.Errorf("%d and %d addresses", len(s.Envelope.To), len(s.Envelope.Cc))
	}
	s = parseBytes([]byte("Subject: a\r\nX: " + strings.Repeat("x", MaxHeaderBytes) + "\r\nTo: a@b\r\n\r\nbody"))
	if s.Envelope.Subject == nil || s.Envelope.To != nil || s.Root.BodyStart != s.Size-4 {
		t.Errorf("header beyond MaxHeaderBytes: %+v", s.Envelope)
	}
}
