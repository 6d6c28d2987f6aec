package town

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSupervisor: a supervisor (systemd with Type=notify) hears when the node serves, reloads and stops.
func TestSupervisor(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	w := New(t)
	path := filepath.Join(w.Dir, "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	hears := func(want string) {
		t.Helper()
		l.SetReadDeadline(time.Now().Add(startTimeout))
		b := make([]byte, 500)
		n, err := l.Read(b)
		if got := string(b[:n]); err != nil || !strings.HasPrefix(got, want) {
			t.Fatalf("the supervisor hears %q, want %q; %v", got, want, err)
		}
	}
	t.Setenv("NOTIFY_SOCKET", path)
	w.launch()
	hears("READY=1")
	for protocol := range ports {
		if c, err := net.Dial("tcp", w.Addr(protocol)); err != nil {
			t.Errorf("ready, but %s: %v", protocol, err)
		} else {
			c.Close()
		}
	}
	w.Signal(syscall.SIGHUP)
	hears("RELOADING=1\nMONOTONIC_USEC=")
	hears("READY=1")
	w.Signal(syscall.SIGTERM)
	hears("STOPPING=1")
	if err := w.Wait(); err != nil {
		t.Errorf("the node ended with %v\n%s", err, w.Log())
	}
}
