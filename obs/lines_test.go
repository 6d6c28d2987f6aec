package obs

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLinesComeTogetherAndInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log, flush := NewLog(&out, false, new(slog.LevelVar))
		has := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			if got := strings.Count(out.String(), "\n"); got != len(want) {
				t.Fatalf("%s: %d lines, want %d:\n%s", when, got, len(want), out.String())
			}
			for _, w := range want {
				if !strings.Contains(out.String(), w) {
					t.Fatalf("%s: %q is missing:\n%s", when, w, out.String())
				}
			}
			out.Reset()
		}
		log.Info("one")
		log.With("k", "v").Info("two")
		has("at once")
		time.Sleep(linesDelay)
		has("after the delay", "one", "two")
		log.Info("three")
		log.WithGroup("g").Warn("four", "a", 1)
		has("after a warning", "three", "g.a=1")
		log.Info("five")
		flush()
		has("after flush", "five")
		time.Sleep(2 * linesDelay)
		has("later")
		for range linesSize / 1000 {
			log.Info(strings.Repeat("x", 1000))
		}
		synctest.Wait()
		if out.Len() < linesSize {
			t.Fatalf("%d octets written of more than %d", out.Len(), linesSize)
		}
		flush()
	})
}
