package mail

import (
	"errors"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 63)
	for _, c := range []struct{ in, local, domain, text string }{
		{"anna@example.org", "anna", "example.org", "anna@example.org"},
		{"Anna.B+x@EXAMPLE.Org.", "Anna.B+x", "example.org", "Anna.B+x@example.org"},
		{"grüße@bücher.example", "grüße", "bücher.example", "grüße@bücher.example"},
		{"gru\u0308n@b\u00fccher.example", "grün", "bücher.example", "grün@bücher.example"}, // NFC
		{"a@XN--Bcher-KVA.example", "a", "bücher.example", "a@bücher.example"},
		{"a@BÜCHER。example", "a", "bücher.example", "a@bücher.example"}, // RFC 3490 §3.1: ideographic dot
		{"a@straße.example", "a", "straße.example", "a@straße.example"}, // IDNA 2008 keeps ß
		{`"a b"@example.org`, "a b", "example.org", `"a b"@example.org`},
		{`"a\"\\b"@example.org`, `a"\b`, "example.org", `"a\"\\b"@example.org`},
		{`"plain"@example.org`, "plain", "example.org", "plain@example.org"}, // RFC 5321 §4.1.2: quoting means nothing
		{`"a@b"@example.org`, "a@b", "example.org", `"a@b"@example.org`},
		{`"a..b"@example.org`, "a..b", "example.org", `"a..b"@example.org`},
		{"a@[192.0.2.1]", "a", "[192.0.2.1]", "a@[192.0.2.1]"},
		{"a@[ipv6:2001:DB8:0:0::1]", "a", "[IPv6:2001:db8::1]", "a@[IPv6:2001:db8::1]"},
		{"a@ab--cd.example", "a", "ab--cd.example", "a@ab--cd.example"},
		{"a@" + long + ".example", "a", long + ".example", "a@" + long + ".example"},
		{"!#$%&'*+-/=?^_`{|}~@example.org", "!#$%&'*+-/=?^_`{|}~", "example.org", "!#$%&'*+-/=?^_`{|}~@example.org"},
		{"postmaster@localhost", "postmaster", "localhost", "postmaster@localhost"},
	} {
		a, err := ParseAddress(c.in)
		if err != nil || a != (Address{c.local, c.domain}) || a.String() != c.text {
			t.Errorf("%q: %+v %q %v", c.in, a, a, err)
		}
		if b, err := ParseAddress(a.String()); err != nil || b != a {
			t.Errorf("%q: its own text %q becomes %+v %v", c.in, a, b, err)
		}
	}
}

func TestBadAddresses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                                 "no @",
		"anna":                             "no @",
		"@example.org":                     "no local part",
		"anna@":                            "domain is missing",
		".a@example.org":                   "must be quoted",
		"a.@example.org":                   "must be quoted",
		"a..b@example.org":                 "must be quoted",
		"a b@example.org":                  "must be quoted",
		"a@b@example.org":                  "must be quoted",
		"a\x00b@example.org":               "must be quoted",
		"<a@example.org>":                  "must be quoted",
		`"a@example.org`:                   "not closed",
		`"a"b@example.org`:                 "no @ after",
		`""@example.org`:                   "no local part",
		"\"a\r\nb\"@example.org":           "control",
		"\"a\\\nb\"@example.org":           "control",
		"a\u0085b@example.org":             "control",
		"a\u2028b@example.org":             "control",
		"a\xff@example.org":                "UTF-8",
		"a@exa mple.org":                   "not a valid",
		"a@exa_mple.org":                   "not a valid",
		"a@example..org":                   "empty label",
		"a@.example.org":                   "empty label",
		"a@.":                              "empty label",
		"a@Example..org":                   "not a valid",
		"a@-example.org":                   "hyphen",
		"a@example-.org":                   "hyphen",
		"a@xn--a.example":                  "not a valid",
		"a@[192.0.2.1":                     "closing bracket",
		"a@[]":                             "closing bracket",
		"a@[300.0.2.1]":                    "neither",
		"a@[2001:db8::1]":                  "neither",
		"a@[IPv6:192.0.2.1]":               "neither",
		"a@[IPv6:fe80::1%eth0]":            "neither",
		"a@[x@y]":                          "must be quoted",
		strings.Repeat("a", 65) + "@b.org": "64 octets",
		strings.Repeat("é", 33) + "@b.org": "64 octets",
		"a@" + strings.Repeat("a", 64):     "63 octets",
		"a@" + strings.Repeat("ü", 60):     "not a valid",
		"a@" + strings.Repeat("abc.", 70):  "254 octets",
	} {
		_, err := ParseAddress(in)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Kind != BadInput || !strings.Contains(e.Text, want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\r\n\x00") {
			t.Errorf("%q: the error has its octets: %q", in, err)
		}
	}
	if _, err := ParseDomain(strings.Repeat("abcdefg.", 32)[:254]); err == nil {
		t.Error("a domain of 254 octets passed")
	}
}

func TestASCII(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   Address
		want string
		ok   bool
	}{
		{Address{"anna", "example.org"}, "anna@example.org", true},
		{Address{"anna", "bücher.example"}, "anna@xn--bcher-kva.example", true},
		{Address{"grüße", "bücher.example"}, "grüße@xn--bcher-kva.example", false},
	} {
		if got, ok := c.in.ASCII(); got != c.want || ok != c.ok {
			t.Errorf("%v: %q %v", c.in, got, ok)
		}
	}
	if (Address{}).String() != "" || !(Address{}).IsZero() {
		t.Error("the zero address")
	}
}

// What is an address has one text, and the text has no octets that break a protocol.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"anna@example.org", `"a b"@bücher.example`, "a@[IPv6:::1]", `"\"\\"@xn--bcher-kva.example`, "ß@ß.ß", "a@İ.example", "a@ǅ.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		text := a.String()
		if strings.ContainsAny(text, "\r\n\x00") {
			t.Errorf("%q became %q", s, text)
		}
		b, err := ParseAddress(text)
		if len(text) > MaxPath { // quoting or U-labels may need more octets than were given
			return
		}
		if err != nil || a != b {
			t.Errorf("%q became %q, and that %+v %v", s, text, b, err)
		}
		if _, ok := a.ASCII(); ok && !isASCII(a.Local) {
			t.Errorf("%q is said to be ASCII", s)
		}
	})
}

func BenchmarkParseAddress(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseAddress("some.person+detail@example.org"); err != nil {
			b.Fatal(err)
		}
	}
}
