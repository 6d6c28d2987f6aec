// Package town runs whole nodes for tests: the real program's code from the
// configuration file to the sockets, on a temporary directory and loopback
// ports. Start runs one inside the test's process; Process runs the built
// binary, to be killed. Only tests import it.
package town

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bahnpost/app"
)

// Domain is the mail domain of every town.
const Domain = "example.org"

// Town is one running node.
type Town struct {
	Dir           string
	Admin         string // the administrator's address
	AdminPassword string
	Wire          *Wire // to the database; nil in a cell of one node

	offset int
	t      testing.TB
	stop   func() error
	cmd    *exec.Cmd
}

// New makes a node's directory without starting it.
func New(t testing.TB) *Town {
	t.Helper()
	return NewIn(t, filepath.Join(shortDir(t), "node"))
}

// shortDir is a temporary directory whose path leaves room for a socket's (103 octets), also where TMPDIR and the test's name are long.
func shortDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if len(dir) < 80 {
		return dir
	}
	dir, err := os.MkdirTemp("/tmp", "town")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// NewIn is New in a directory that does not exist yet: on a file system of its own, say.
func NewIn(t testing.TB, dir string) *Town {
	t.Helper()
	town := &Town{Dir: dir, Admin: "admin@" + Domain, offset: takeOffset(t), t: t}
	if err := app.WriteInit(town.Dir, app.InitOptions{Domain: Domain, Hostname: "mx.example.org", Loopback: true, PortOffset: town.offset}); err != nil {
		t.Fatal(err)
	}
	made, err := app.FirstAccounts(context.Background(), town.Dir, Domain, town.Admin)
	if err != nil {
		t.Fatal(err)
	}
	town.AdminPassword = made.Password
	return town
}

// Start makes a node and runs it in this process until the test ends.
func Start(t testing.TB) *Town {
	town := New(t)
	town.Start()
	return town
}

// Start runs the node in this process.
func (w *Town) Start() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	n, err := app.Start(ctx, w.Dir, app.Options{Version: "test", Commit: "test", Log: w.t.Output()})
	if err != nil {
		cancel()
		w.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	w.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	w.t.Cleanup(func() {
		if err := w.stop(); err != nil {
			w.t.Errorf("node ended with: %v", err)
		}
	})
}

// Stop drains a node started with Start.
func (w *Town) Stop() error { return w.stop() }

// Addr is the address of a protocol by its name in the configuration ("imap", "lmtp", …).
func (w *Town) Addr(protocol string) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(w.Port(protocol)))
}

// Port is the port of a protocol.
func (w *Town) Port(protocol string) int {
	p, ok := ports[protocol]
	if !ok {
		w.t.Fatalf("no protocol %q", protocol)
	}
	return p + w.offset
}

// Binary builds the program once per test process and returns its path.
// BAHNPOST_BINARY names one that is there already: built with the race
// detector, for example.
var Binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("BAHNPOST_BINARY"); path != "" {
		return path, nil
	}
	dir, err := buildDir()
	if err != nil {
		return "", err
	}
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "bahnpost")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/bahnpost")
	cmd.Dir = strings.TrimSpace(string(root))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

var buildDir = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "bahnpost-test-") })

// Main runs the tests of a package and removes the program that they built; TestMain of each package with towns calls it.
func Main(m *testing.M) (code int) {
	defer func() {
		if dir, err := buildDir(); err == nil {
			os.RemoveAll(dir)
		}
	}()
	return m.Run()
}

// PID is the process id of a node started with Serve, 0 if it does not run.
func (w *Town) PID() int {
	if w.cmd == nil || w.cmd.Process == nil {
		return 0
	}
	return w.cmd.Process.Pid
}

// Configure replaces text in bahnpost.toml; text that is not there ends the test.
func (w *Town) Configure(old, new string) {
	w.t.Helper()
	path := filepath.Join(w.Dir, app.ConfigFile)
	b, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		w.t.Fatalf("configuration has no %q", old)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), old, new, 1)), 0o640); err != nil {
		w.t.Fatal(err)
	}
}

// Run runs a verb of the binary with --dir and returns its output; a failure ends the test.
func (w *Town) Run(args ...string) string {
	w.t.Helper()
	out, err := w.Try("", args...)
	if err != nil {
		w.t.Fatalf("bahnpost %v: %v\n%s", args, err, out)
	}
	return out
}

// Try runs a verb with standard input and returns what it printed.
func (w *Town) Try(stdin string, args ...string) (string, error) {
	w.t.Helper()
	bin, err := Binary()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = append(os.Environ(), "BAHNPOST_DIR="+w.Dir)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Account adds an account with a password.
func (w *Town) Account(local, password string) string {
	w.t.Helper()
	address := local + "@" + Domain
	if out, err := w.Try(password+"\n", "account", "add", address, "--password-stdin"); err != nil {
		w.t.Fatalf("account add %s: %v\n%s", address, err, out)
	}
	return address
}

// startTimeout bounds how long a node may take to answer.
const startTimeout = 2 * time.Minute

// Serve runs the built binary as a process of its own and waits until it answers.
func (w *Town) Serve() {
	w.t.Helper()
	w.launch()
	w.await()
}

// launch starts the process and waits for nothing.
func (w *Town) launch() {
	w.t.Helper()
	bin, err := Binary()
	if err != nil {
		w.t.Fatal(err)
	}
	w.cmd = exec.Command(bin, "serve", w.Dir)
	log, err := os.OpenFile(filepath.Join(w.Dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	defer log.Close()
	w.cmd.Stderr = log
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.Kill)
}

// await dials until the last bound port answers.
func (w *Town) await() {
	w.t.Helper()
	deadline := time.After(startTimeout)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.Dial("unix", app.SocketPath(w.Dir))
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			log, _ := os.ReadFile(filepath.Join(w.Dir, "log"))
			w.t.Fatalf("node does not answer\n%s", log)
		}
	}
}

// Kill ends the process as a power cut would, without a word.
func (w *Town) Kill() {
	if w.cmd != nil && w.cmd.Process != nil {
		w.cmd.Process.Kill()
		w.cmd.Wait()
		w.cmd = nil
	}
}
