package town

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bahnpost/app"
)

// TestDoctor: what the doctor says of a node that is well, and of one with each illness.
func TestDoctor(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	w := New(t)
	w.finds(t, "ok config in order", "note node is not running", "ok port imaps can listen on "+w.Addr("imaps"), "note certificate self-signed",
		"clock", "disk GB free", "fsync median", "files open files", "ok secrets private")
	w.Serve()
	w.finds(t, "ok node is running", "ok port imaps answers on "+w.Addr("imaps"), "ok port lmtp answers on "+w.Addr("lmtp"))
	w.Kill()

	l, err := net.Listen("tcp", w.Addr("pop3"))
	if err != nil {
		t.Fatal(err)
	}
	w.finds(t, "BAD port pop3: another program listens on "+w.Addr("pop3"))
	if out, err := w.Try("", "serve", w.Dir); err == nil || !strings.Contains(out, "pop3: ") || !strings.Contains(out, "address already in use") {
		t.Errorf("serve with an occupied port: %v, %s", err, out)
	}
	l.Close()

	if err := os.Chmod(filepath.Join(w.Dir, "tls", "key.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.finds(t, "BAD secrets can be read by everybody")
	w.Configure(`hostname = "mx.example.org"`, `hostname = "mail.example.org"`)
	w.finds(t, "BAD certificate is not made out to mail.example.org but to [mx.example.org")
	if err := os.WriteFile(filepath.Join(w.Dir, "tls", "cert.pem"), []byte("nothing\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.finds(t, "BAD certificate failed to find any PEM data")
	if out, err := w.Try("", "serve", w.Dir); err == nil || !strings.Contains(out, "[tls] certificate") || !strings.Contains(out, "cert.pem") {
		t.Errorf("serve with a broken certificate: %v, %s", err, out)
	}
	w.Configure(`#drain_grace = "10s"`, `drain_grace = "soon"`)
	w.finds(t, `BAD config bahnpost.toml:`, `BAD config "soon" is no duration`)
	if out, err := w.Try("", "serve", w.Dir); err == nil || !strings.Contains(out, `"soon" is no duration`) {
		t.Errorf("serve with a mistake in the configuration: %v, %s", err, out)
	}
}

// finds runs the doctor and wants a finding with all the words of each of want; if one is BAD the exit status must say so.
func (w *Town) finds(t *testing.T, want ...string) {
	t.Helper()
	out, err := w.Try("", "doctor", w.Dir)
	if strings.Contains(out, string(app.Bad)) != (err != nil) {
		t.Errorf("doctor ends with %v and says\n%s", err, out)
	}
	js, _ := w.Try("", "doctor", w.Dir, "--json")
	var fs []app.Finding
	if err := json.Unmarshal([]byte(js), &fs); err != nil {
		t.Errorf("doctor --json: %v\n%s", err, js)
	}
next:
	for _, x := range want {
	lines:
		for l := range strings.Lines(out) {
			for _, word := range strings.Fields(x) {
				if !strings.Contains(l, word) {
					continue lines
				}
			}
			continue next
		}
		t.Errorf("doctor does not say %q:\n%s", x, out)
	}
}
