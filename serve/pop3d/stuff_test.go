package pop3d

import (
	"bufio"
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

// plainStuff is RFC 1939 §3 said line by line.
func plainStuff(text string, lines int) string {
	var out strings.Builder
	body := false
	for line := range strings.Lines(text) {
		if body && lines >= 0 {
			if lines == 0 {
				break
			}
			lines--
		}
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if strings.HasPrefix(line, ".") {
			out.WriteByte('.')
		}
		out.WriteString(line + "\r\n")
		body = body || line == ""
	}
	return out.String() + ".\r\n"
}

// TestStuffingInPieces compares with the plain way, however the message comes in pieces.
func TestStuffingInPieces(t *testing.T) {
	t.Parallel()
	words := []string{".", "..", "a", "\r", "\n", "\r\n", "\r\n.", "\n.", "\r\n\r\n", "longer words", "\r\r\n"}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		var b strings.Builder
		for range r.IntN(12) {
			b.WriteString(words[r.IntN(len(words))])
		}
		text, lines := b.String(), r.IntN(4)-1
		var out bytes.Buffer
		w := bufio.NewWriterSize(&out, 16)
		s := newStuffer(w, lines)
		for rest := []byte(text); len(rest) > 0; {
			n := 1 + r.IntN(len(rest))
			if _, err := s.Write(rest[:n]); errors.Is(err, errEnough) {
				break
			}
			rest = rest[n:]
		}
		s.end()
		w.Flush()
		if got, want := out.String(), plainStuff(text, lines); got != want {
			t.Fatalf("%q with %d lines became\n%q, want\n%q", text, lines, got, want)
		}
	}
}
