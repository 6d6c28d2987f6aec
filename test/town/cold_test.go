package town

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestColdMailbox: a mailbox that no cache holds is fetched whole, each body the right one, also after a fetch that broke off.
func TestColdMailbox(t *testing.T) {
	w, anna := serving(t)
	c, err := DialLMTP(w.Addr("lmtp"))
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.NewChaCha8([32]byte{7})
	var want []string
	for i := range 60 {
		raw := make([]byte, 30*[]int{100, 400, 700, 1100, 2500, 9000}[i%6])
		rnd.Read(raw)
		var body strings.Builder
		for ; len(raw) > 0; raw = raw[30:] {
			body.WriteString(hex.EncodeToString(raw[:30]) + "\r\n")
		}
		want = append(want, body.String())
		if rs, err := c.Deliver(fmt.Sprintf("From: a@b.example\r\nSubject: cold %d\r\n\r\n%s", i, body.String()), anna); err != nil || !strings.HasPrefix(rs[0], "250") {
			t.Fatal(rs, err)
		}
	}
	c.Close()
	w.Signal(syscall.SIGTERM)
	if err := w.Wait(); err != nil {
		t.Fatal(err)
	}
	packs, err := filepath.Glob(filepath.Join(w.Dir, "store", "bodies", "packs", "*.pack"))
	if err != nil || len(packs) == 0 {
		t.Fatal("no packs", err)
	}
	for _, p := range packs {
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		f.Sync()
		unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		f.Close()
	}
	w.Serve()
	for range 2 { // the first goes away in the middle
		k, err := DialIMAP(w.Addr("imap"), anna, "secret")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Do("EXAMINE INBOX"); err != nil {
			t.Fatal(err)
		}
		k.l.write("gone FETCH 1:* BODY.PEEK[]\r\n")
		k.l.read()
		k.Close()
	}
	k, err := DialIMAP(w.Addr("imap"), anna, "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if _, err := k.Do("EXAMINE INBOX"); err != nil {
		t.Fatal(err)
	}
	lines, err := k.Do("FETCH 1:* BODY.PEEK[TEXT]")
	if err != nil {
		t.Fatal(err)
	}
	lines = slices.DeleteFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "* ") || !strings.Contains(l, " FETCH ") })
	if len(lines) != len(want) {
		t.Fatalf("%d answers for %d messages", len(lines), len(want))
	}
	for i, l := range lines {
		if !strings.Contains(l, want[i]) {
			t.Errorf("message %d has another body", i+1)
		}
	}
}
