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

func FuzzFold(f *testing.F) {
	f.Add("Grüße an alle", "prefix")
	f.Add("aaaaaaaaaaaaaaa\xff", "")
	f.Fuzz(func(t *testing.T, s, before string) {
		got := string(Fold([]byte(before), s))
		want := before + s
		if utf8.ValidString(s) {
			want = before + string(foldRunes(nil, s))
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
