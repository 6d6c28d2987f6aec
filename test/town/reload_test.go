package town

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestHangup: SIGHUP serves a new certificate to new connections while old sessions stay; the log
// level changes at once; keys that need a restart are named; a mistake changes nothing, and is logged.
func TestHangup(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	w, other := New(t), New(t)
	anna := w.Account("anna", "secret")
	w.Serve()
	old := w.trust()
	c := w.session("SCRAM-SHA-256-PLUS", anna, "secret")

	copyCertificate(t, other, w)
	w.Configure(`#level = "info"`, `level = "debug"`)
	w.Configure(`#max_recipients = 1000`, `max_recipients = 7`)
	w.Signal(syscall.SIGHUP)
	w.Logged("re-read configuration and certificates", "changed=log.level", "need_restart=mail.max_recipients")
	if nc, err := tls.Dial("tcp", w.Addr("imaps"), old); err == nil {
		nc.Close()
		t.Error("a new connection still gets the old certificate")
	}
	w.session("SCRAM-SHA-256-PLUS", anna, "secret").says(t, "SELECT INBOX", "READ-WRITE")
	c.says(t, "SELECT INBOX", "READ-WRITE")
	w.Logged("level=DEBUG", "SELECT")

	// mistakes
	w.Configure(`level = "debug"`, `level = "loud"`)
	w.Signal(syscall.SIGHUP)
	w.Logged("level=ERROR", "configuration not re-read", `log.level: \"loud\" is unknown`)
	w.Configure(`level = "loud"`, "level = \"info\"\nlevle = 1")
	w.Signal(syscall.SIGHUP)
	w.Logged("level=ERROR", "configuration not re-read", "log.levle: there is no such key; did you mean log.level?")
	w.Configure("\nlevle = 1", "")
	if err := os.WriteFile(filepath.Join(w.Dir, "tls", "cert.pem"), []byte("no certificate\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.Signal(syscall.SIGHUP)
	w.Logged("level=ERROR", "certificate not re-read", "cert.pem")

	copyCertificate(t, other, w) // on disk, so that session trusts what the node still has in memory
	c.says(t, "NOOP", "OK")
	w.session("SCRAM-SHA-256", anna, "secret").says(t, "SELECT INBOX", "READ-WRITE")
	if n := strings.Count(w.Log(), "re-read configuration and certificates"); n != 1 {
		t.Errorf("re-read %d times, wanted once", n)
	}
	if out := w.Run("session", "list"); strings.Count(out, anna) != 3 {
		t.Errorf("three sessions should live:\n%s", out)
	}
}

func copyCertificate(t *testing.T, from, to *Town) {
	t.Helper()
	for _, name := range []string{"cert.pem", "key.pem"} {
		b, err := os.ReadFile(filepath.Join(from.Dir, "tls", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(to.Dir, "tls", name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
