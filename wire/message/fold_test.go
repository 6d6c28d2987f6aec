package message

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// TestFoldASCII: the fast path agrees with the slow one at every alignment (RFC 5051 §2).
func TestFoldASCII(t *testing.T) {
	t.Parallel()
	for c := range 128 {
		for n := range 20 {
			s := strings.Repeat("x", n) + string(rune(c)) + "Zz9"
			if got, want := string(Fold(nil, s)), strings.ToUpper(s); got != want {
				t.Errorf("%q: %q", s, got)
			}
		}
	}
}

// TestFoldRunes: tables and shortcuts agree with what Unicode says, rune by rune.
func TestFoldRunes(t *testing.T) {
	t.Parallel()
	for r := rune(0); r <= utf8.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		s := "a" + string(r) + "b"
		if got, want := string(Fold(nil, s)), "A"+string(foldRune(nil, r))+"B"; got != want {
			t.Errorf("%U: %q, want %q", r, got, want)
		}
	}
	const bad = "grün \xff und blau"
	if got := string(Fold([]byte("x"), bad)); got != "x"+bad {
		t.Errorf("not UTF-8: %q", got)
	}
}

func FuzzFold(f *testing.F) {
	f.Add("Grüße an alle", "prefix")
	f.Add("aaaaaaaaaaaaaaa\xff", "")
	f.Fuzz(func(t *testing.T, s, before string) {
		got := string(Fold([]byte(before), s))
		want := before + s
		if utf8.ValidString(s) {
			want = before
			for _, r := range s {
				want = string(foldRune([]byte(want), r))
			}
		}
		if got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	})
}

func BenchmarkFold(b *testing.B) {
	s := strings.Repeat("Hello World, this is the text of a mail.\r\n", 100)
	var buf []byte
	b.SetBytes(int64(len(s)))
	for b.Loop() {
		buf = Fold(buf[:0], s)
	}
}
