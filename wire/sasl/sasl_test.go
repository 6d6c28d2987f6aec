package sasl

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

func TestPlain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		want Credentials
		bad  bool
	}{
		{in: "\x00tim\x00tanstaaftanstaaf", want: Credentials{"", "tim", "tanstaaftanstaaf"}}, // RFC 4616 §4
		{in: "Ursel\x00Kurt\x00xipj3plmq", want: Credentials{"Ursel", "Kurt", "xipj3plmq"}},   // RFC 4616 §4
		{in: "\x00grüße\x00pass wörd", want: Credentials{"", "grüße", "pass wörd"}},
		{in: "\x00a\x00\xff\xfe", want: Credentials{"", "a", "\xff\xfe"}},
		{in: "", bad: true},
		{in: "a", bad: true},
		{in: "\x00a", bad: true},
		{in: "\x00\x00", bad: true},
		{in: "\x00a\x00", bad: true},
		{in: "\x00\x00b", bad: true},
		{in: "\x00a\x00b\x00", bad: true},
		{in: "\x00\xff\x00b", bad: true},
		{in: "\x00" + strings.Repeat("a", MaxField+1) + "\x00b", bad: true},
		{in: "\x00a\x00" + strings.Repeat("b", MaxMessage), bad: true},
	} {
		got, err := ParsePlain([]byte(c.in))
		if c.bad {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%.40q: %v, want malformed", c.in, err)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%q: %+v %v", c.in, got, err)
		}
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	for _, initial := range []bool{false, true} {
		var l LoginServer
		if !initial {
			if p, done, err := l.Next(nil); p != PromptUser || done || err != nil {
				t.Fatal(p, done, err)
			}
		}
		if p, done, err := l.Next([]byte("anna\x00")); p != PromptPass || done || err != nil {
			t.Fatal(p, done, err)
		}
		if _, done, err := l.Next([]byte("pw")); !done || err != nil {
			t.Fatal(done, err)
		}
		if c := l.Credentials(); c != (Credentials{Login: "anna", Password: "pw"}) {
			t.Errorf("%+v", c)
		}
		if _, _, err := l.Next([]byte("again")); !errors.Is(err, ErrMalformed) {
			t.Errorf("a fourth message: %v", err)
		}
	}
	var l LoginServer
	l.Next([]byte(""))
	if _, _, err := l.Next([]byte("pw")); !errors.Is(err, ErrMalformed) {
		t.Errorf("empty name: %v", err)
	}
}

// RFC 7677 §3's example.
func TestScramExample(t *testing.T) {
	t.Parallel()
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	keys, err := DeriveKeys("pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ final, want string }{
		{"c=biws,r=$,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
		{"c=biws,r=$,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVA=", "refused"},
		{"c=eSws,r=$,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "refused"},
		{"c=biws,r=$x,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "refused"},
		{"c=biws,r=$,p=dHzb", "malformed"},
		{"c=biws,r=$", "malformed"},
		{"c=biws,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "malformed"},
		{"r=$,c=biws,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "malformed"},
		{"c=!,r=$,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "malformed"},
		{"", "malformed"},
	} {
		var s Scram
		name, err := s.First([]byte("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"))
		if err != nil || name != "user" {
			t.Fatal(name, err)
		}
		s.nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
		if got := string(s.Challenge(keys)); got != "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096" {
			t.Errorf("server-first-message %q", got)
		}
		got, err := s.Final([]byte(strings.Replace(c.final, "$", s.nonce, 1)))
		if text := outcome(got, err); text != c.want {
			t.Errorf("%s: %s (%v), want %s", c.final, text, err, c.want)
		}
		if _, err := s.Final([]byte(c.final)); !errors.Is(err, ErrMalformed) {
			t.Errorf("a second try in one conversation: %v", err)
		}
	}
}

func outcome(b []byte, err error) string {
	switch {
	case errors.Is(err, ErrMalformed):
		return "malformed"
	case errors.Is(err, ErrRefused):
		return "refused"
	case err != nil:
		return err.Error()
	}
	return string(b)
}

func TestScramFirst(t *testing.T) {
	t.Parallel()
	binding := func(string) ([]byte, bool) { return nil, false }
	good := func(cb string) ([]byte, bool) { return []byte("data"), cb == Exporter }
	for _, c := range []struct {
		in            string
		plus, offered bool
		want, authz   string
	}{
		{in: "n,,n=user,r=abc", want: "user"},
		{in: "n,a=other,n=us=2Cer=3D,r=abc,x=ext", want: "us,er=", authz: "other"},
		{in: "y,,n=user,r=abc", want: "user"},
		{in: "y,,n=user,r=abc", offered: true, want: "refused"}, // RFC 5802 §6: downgrade
		{in: "n,,n=user,r=abc", offered: true, want: "user"},
		{in: "p=tls-exporter,,n=user,r=abc", plus: true, offered: true, want: "user"},
		{in: "p=tls-unique,,n=user,r=abc", plus: true, offered: true, want: "refused"},
		{in: "p=tls-exporter,,n=user,r=abc", want: "malformed"},
		{in: "n,,n=user,r=abc", plus: true, want: "malformed"},
		{in: "y,,n=user,r=abc", plus: true, offered: true, want: "malformed"},
		{in: "x,,n=user,r=abc", want: "malformed"},
		{in: "n,,m=ext,n=user,r=abc", want: "malformed"},
		{in: "n,,n=,r=abc", want: "malformed"},
		{in: "n,,n=us=2cer,r=abc", want: "malformed"},
		{in: "n,,n=user=,r=abc", want: "malformed"},
		{in: "n,,n=user", want: "malformed"},
		{in: "n,,n=user,r=", want: "malformed"},
		{in: "n,,n=user,r=a b", want: "malformed"},
		{in: "n,b=x,n=user,r=abc", want: "malformed"},
		{in: "n", want: "malformed"},
		{in: "", want: "malformed"},
		{in: "n,,n=\xff,r=abc", want: "malformed"},
		{in: "n,,n=I\u00adX,r=abc", want: "IX"}, // RFC 4013 §3
	} {
		s := Scram{Plus: c.plus, PlusOffered: c.offered, Binding: binding}
		if c.plus {
			s.Binding = good
		}
		name, err := s.First([]byte(c.in))
		if got := outcome([]byte(name), err); got != c.want || s.AuthzID() != c.authz {
			t.Errorf("%q: %s authz %q (%v), want %s %q", c.in, got, s.AuthzID(), err, c.want, c.authz)
		}
	}
}

// A foreign client, with names and passwords that need care.
func TestScramForeign(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, stored, typed string }{
		{"user", "pencil", "pencil"},
		{"us,er=", "p,=\u00a0x", "p,= x"},
		{"jürgen@example.org", "grüße", "gru\u0308ße"},
	} {
		client, err := scram.SHA256.NewClient(c.name, c.typed, "")
		if err != nil {
			t.Fatal(err)
		}
		conv := client.NewConversation()
		keys, err := NewKeys(c.stored, 4096)
		if err != nil {
			t.Fatal(err)
		}
		var s Scram
		m1, _ := conv.Step("")
		name, err := s.First([]byte(m1))
		if err != nil || name != c.name {
			t.Fatalf("%q: %q %v", c.name, name, err)
		}
		m3, err := conv.Step(string(s.Challenge(keys)))
		if err != nil {
			t.Fatal(err)
		}
		m4, err := s.Final([]byte(m3))
		if err != nil {
			t.Errorf("%q: %v", c.name, err)
			continue
		}
		if _, err := conv.Step(string(m4)); err != nil || !conv.Valid() {
			t.Errorf("%q: client says %v", c.name, err)
		}
	}
}

func TestFakeKeysAreStable(t *testing.T) {
	t.Parallel()
	a, b := FakeKeys([]byte("s"), "nobody", 0), FakeKeys([]byte("s"), "nobody", 0)
	if !bytes.Equal(a.Salt, b.Salt) || a.Iterations != DefaultIterations || len(a.Salt) != SaltSize {
		t.Errorf("%+v %+v", a, b)
	}
	if c := FakeKeys([]byte("s"), "other", 0); bytes.Equal(a.Salt, c.Salt) {
		t.Error("two names have one salt")
	}
	if c := FakeKeys([]byte("t"), "nobody", 0); bytes.Equal(a.Salt, c.Salt) {
		t.Error("two secrets have one salt")
	}
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":        "plain",
		"I\u00adX":     "IX", // RFC 4013 §3
		"\u00aa":       "a",  // RFC 4013 §3
		"\u2168":       "IX", // RFC 4013 §3
		"a\u00a0b":     "a b",
		"a\x07b":       "a\x07b",       // prohibited: taken as it is
		"\u0627\u0031": "\u0627\u0031", // fails the bidi check
		"\xff":         "\xff",
	} {
		if got := Prepare(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestEndPointHash(t *testing.T) {
	t.Parallel()
	if hashOf(x509.SHA1WithRSA).Size() != 32 || hashOf(x509.ECDSAWithSHA384).Size() != 48 || hashOf(x509.PureEd25519) != 0 {
		t.Error("RFC 5929 §4.1 says otherwise")
	}
	if _, ok := Binding(Exporter, nil, nil); ok {
		t.Error("binding without TLS")
	}
}

func FuzzPlain(f *testing.F) {
	f.Add([]byte("\x00tim\x00tanstaaftanstaaf"))
	f.Add([]byte("a\x00b\x00c\x00d"))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := ParsePlain(in)
		if err == nil && c.AuthzID+"\x00"+c.Login+"\x00"+c.Password != string(in) {
			t.Errorf("%q became %+v", in, c)
		}
	})
}

// Nothing but the right proof may pass, whatever comes.
func FuzzScram(f *testing.F) {
	f.Add([]byte("n,,n=user,r=abc"), []byte("c=biws,r=abc,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="))
	f.Add([]byte("p=tls-exporter,a=x,n=us=2C,r=abc,e=f"), []byte("c=eSws,r=abc,p=,p=AA=="))
	keys := FakeKeys([]byte("secret"), "x", 4096)
	f.Fuzz(func(t *testing.T, first, final []byte) {
		for _, plus := range []bool{false, true} {
			s := Scram{Plus: plus, PlusOffered: plus, Binding: func(string) ([]byte, bool) { return []byte("x"), true }}
			if _, err := s.First(first); err != nil {
				continue
			}
			s.Challenge(keys)
			final := bytes.ReplaceAll(final, []byte("r=abc"), []byte("r="+s.nonce))
			if _, err := s.Final(final); err == nil {
				t.Errorf("%q %q passed", first, final)
			}
		}
	})
}
