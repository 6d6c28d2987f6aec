package town

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// secondStart is what a node that was stopped may take until it answers.
const secondStart = time.Second

// TestSecondStart: the time is printed; the node's own share of it counts, as others use the machine.
func TestSecondStart(t *testing.T) {
	w, anna := serving(t)
	c, err := DialLMTP(w.Addr("lmtp"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if rs, err := c.Deliver(message(fmt.Sprintf("start-%d", i), i), anna); err != nil || !strings.HasPrefix(rs[0], "250") {
			t.Fatal(rs, err)
		}
	}
	c.Close()
	best, used := time.Hour, time.Hour
	for range 3 {
		w.Signal(syscall.SIGTERM)
		if err := w.Wait(); err != nil {
			t.Fatalf("the node ended with %v\n%s", err, w.Log())
		}
		start := time.Now()
		w.Serve()
		best, used = min(best, time.Since(start)), min(used, w.CPU())
	}
	t.Logf("a second start takes %d ms, CPU %d ms", best.Milliseconds(), used.Milliseconds())
	if best > secondStart && used > secondStart {
		t.Errorf("a second start takes %v, CPU %v, more than %v", best, used, secondStart)
	}
}

// TestStopWhileStarting: a node that is told to stop (or to reload) before it is ready is a node that was stopped, not one that failed.
func TestStopWhileStarting(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	w := New(t)
	w.Serve()
	w.Signal(syscall.SIGTERM)
	if err := w.Wait(); err != nil {
		t.Fatal(err)
	}
	early := 0
	for i := range 20 {
		before := len(w.Log())
		w.launch()
		end := time.Now().Add(startTimeout)
		for mine := fmt.Sprintf("%d\n", w.PID()); ; time.Sleep(100 * time.Microsecond) {
			if time.Now().After(end) {
				t.Fatalf("the node does not start\n%s", w.Log())
			}
			if pid, err := os.ReadFile(filepath.Join(w.Dir, "store", "lock")); err == nil && string(pid) == mine {
				break
			}
		}
		time.Sleep(time.Duration(i) * 2 * time.Millisecond)
		w.Signal(syscall.SIGHUP)
		w.Signal(syscall.SIGTERM)
		if err := w.Wait(); err != nil {
			t.Fatalf("stopped while starting: %v\n%s", err, w.Log())
		}
		if strings.Contains(w.Log()[before:], "stopped while starting") {
			early++
		}
	}
	t.Logf("%d of 20 were stopped before they were ready", early)
}

// TestTwoProcesses: a directory has one node; the second says who the first is and changes nothing.
func TestTwoProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	w := New(t)
	w.Serve()
	for range 2 {
		out, err := w.Try("", "serve", w.Dir)
		if err == nil || !strings.Contains(out, fmt.Sprintf("in use by another process (pid %d)", w.PID())) {
			t.Errorf("second serve: %v, %s", err, out)
		}
	}
	if out := w.Run("account", "list"); !strings.Contains(out, w.Admin) {
		t.Errorf("the first node answers %s", out)
	}
	if out, err := w.Try("", "init", w.Dir, "--domain", "example.org", "--hostname", "mx.example.org"); err == nil || !strings.Contains(out, "already there") {
		t.Errorf("init on a node: %v, %s", err, out)
	}
	w.says(t, words("account show "+w.Admin), w.Admin)
}

// TestHealth: /readyz says 503 from the signal on, while sessions still say goodbye.
func TestHealth(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	w := New(t)
	w.Configure(`#drain_grace = "10s"`, `drain_grace = "2m"`) // so that the drain waits for us
	w.Serve()
	for path, want := range map[string]string{"/healthz": "ok", "/readyz": "ready", "/metrics": "bahnpost_build_info", "/": "Bahnpost"} {
		if status, body := w.Get(path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _ := w.Get("/elsewhere"); status != 404 {
		t.Errorf("/elsewhere: %d", status)
	}
	// a client that asks for much and reads nothing keeps the drain waiting
	anna := w.Account("anna", "secret")
	c, err := DialIMAP(w.Addr("imap"), anna, "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.says(t, "SELECT INBOX", "READ-WRITE")
	if _, err := c.Append("INBOX", strings.Repeat("a large message\r\n", 1<<16)); err != nil {
		t.Fatal(err)
	}
	var parts []string
	for i := range 40 {
		parts = append(parts, fmt.Sprintf("BODY.PEEK[]<%d.1000000>", i))
	}
	c.l.write("f FETCH 1 (%s)\r\n", strings.Join(parts, " "))
	if _, err := c.l.read(); err != nil { // the begin: FETCH is under way
		t.Fatal(err)
	}
	w.Signal(syscall.SIGTERM)
	w.Logged("draining")
	if status, body := w.Get("/readyz"); status != 503 || !strings.Contains(body, "not ready") {
		t.Errorf("/readyz of a node that drains: %d %s", status, body)
	}
	if status, _ := w.Get("/healthz"); status != 200 {
		t.Errorf("/healthz of a node that drains: %d", status)
	}
	if c, err := net.Dial("tcp", w.Addr("imap")); err == nil {
		c.Close()
		t.Error("a node that drains takes new sessions")
	}
	c.Close()
	if err := w.Wait(); err != nil {
		t.Errorf("the node ended with %v\n%s", err, w.Log())
	}
}

// TestUnwritable: what init and serve say where they may not write, and that a failed init leaves nothing in the way of the next.
func TestUnwritable(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	w := New(t)
	fails := func(want string, args ...string) {
		t.Helper()
		if out, err := w.Try("", args...); err == nil || !strings.Contains(out, want) {
			t.Errorf("%v: %v, %s; want %q", args, err, out, want)
		}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fails("not a directory", "init", filepath.Join(file, "node"), "--domain", "example.org")
	fails("make one with: bahnpost init", "serve", dir)
	node := filepath.Join(dir, "node")
	fails("address has no @", "init", node, "--domain", "example.org", "--admin", "nobody")
	fails("not between 1 and 65535", "init", node, "--domain", "example.org", "--port-offset", "70000")
	if err := os.WriteFile(filepath.Join(node, "store"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fails("store is already there", "init", node, "--domain", "example.org")
	if err := os.Remove(filepath.Join(node, "store")); err != nil {
		t.Fatal(err)
	}
	if out, err := w.Try("", "init", node, "--domain", "example.org", "--loopback"); err != nil {
		t.Errorf("after failed tries: %v, %s", err, out)
	}
	if err := os.RemoveAll(filepath.Join(node, "store")); err == nil {
		err = os.WriteFile(filepath.Join(node, "store"), nil, 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
	fails("not a directory", "serve", node)
	if os.Geteuid() == 0 {
		t.Log("not tried: directories without permission, as root may write everywhere")
		return
	}
	if err := os.Chmod(w.Dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(w.Dir, 0o700) // so that it can be cleaned up
	fails("permission denied", "serve", w.Dir)
}

// TestAllAddresses: what init writes for a real machine starts: all of IPv4 and all of IPv6, on the same ports.
func TestAllAddresses(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	w := New(t)
	w.Configure(`addresses = ["127.0.0.1", "::1"]`, `#addresses = ["0.0.0.0", "::"]`)
	w.finds(t, "ok port imap can listen on 0.0.0.0:")
	w.Serve()
	w.finds(t, "ok port imap answers on 0.0.0.0:")
	families := []string{"127.0.0.1"}
	if l, err := net.Listen("tcp6", "[::1]:0"); err == nil {
		l.Close()
		families = append(families, "::1")
	}
	for _, host := range families {
		for protocol := range ports {
			c, err := net.Dial("tcp", hostPort(host, w.Port(protocol)))
			if err != nil {
				t.Errorf("%s: %v", protocol, err)
				continue
			}
			c.Close()
		}
	}
}
