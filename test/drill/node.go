package drill

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"bahnpost/app"
	"bahnpost/test/town"

	"golang.org/x/sys/unix"
)

// domain is the mail domain of every world.
const domain = town.Domain

// secret is the password of every account.
const secret = "secret"

// Node is a node with a network of its own. It listens on loopback there, so
// that cables to the databases can be pulled without the clients noticing.
type Node struct {
	Name string
	Dir  string

	number int
	space  *os.File // its network
	proc   *process
	t      testing.TB
}

// Cables from each node: what lies behind them, and the network's third octet before the node's number is added.
var cables = map[string]struct {
	behind string
	octet  int
}{
	"db": {"10.213.0.0/28", 10},  // database servers: 10.213.0.1 … 15
	"s3": {"10.213.0.16/28", 20}, // object stores: 10.213.0.17 … 31
}

// newNode makes a network and, without a configuration yet, a node in it.
func newNode(t testing.TB, dir string, number int) *Node {
	t.Helper()
	n := &Node{Name: fmt.Sprint("n", number), number: number, t: t}
	n.Dir = filepath.Join(dir, n.Name)
	run(t, "ip", "netns", "add", n.Name)
	var err error
	if n.space, err = os.Open("/run/netns/" + n.Name); err != nil {
		t.Fatal(err)
	}
	run(t, n.within("ip", "link", "set", "lo", "up")...)
	for name, c := range cables {
		here, there := n.cable(name), "up"+name
		net := fmt.Sprintf("10.213.%d.", c.octet+number)
		run(t, "ip", "link", "add", "name", here, "type", "veth", "peer", "name", there, "netns", n.Name)
		run(t, "ip", "addr", "add", net+"1/30", "dev", here)
		run(t, "ip", "link", "set", here, "up")
		run(t, n.within("ip", "addr", "add", net+"2/30", "dev", there)...)
		run(t, n.within("ip", "link", "set", there, "up")...)
		run(t, n.within("ip", "route", "add", c.behind, "via", net+"1")...)
	}
	return n
}

func (n *Node) cable(name string) string { return fmt.Sprint(name, n.number) }

// within is the command line that runs args in the node's network.
func (n *Node) within(args ...string) []string {
	return append([]string{"nsenter", "--net=/run/netns/" + n.Name, "--"}, args...)
}

// Pull pulls a cable out: nothing arrives, nothing is answered, not even by a reset.
func (n *Node) Pull(cable string) {
	n.t.Helper()
	run(n.t, "ip", "link", "set", n.cable(cable), "down")
}

// Plug plugs it in again.
func (n *Node) Plug(cable string) {
	n.t.Helper()
	run(n.t, "ip", "link", "set", n.cable(cable), "up")
}

// Init writes the node's configuration; extra are more flags of the verb init.
func (n *Node) Init(extra ...string) {
	n.t.Helper()
	n.Verb("", append([]string{"init", n.Dir, "--domain", domain, "--hostname", n.Name + "." + domain, "--loopback"}, extra...)...)
}

// Verb runs a verb of the program where the node is; a failure ends the test.
func (n *Node) Verb(stdin string, args ...string) string {
	n.t.Helper()
	out, err := n.Try(stdin, args...)
	if err != nil {
		n.t.Fatalf("bahnpost %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Try runs a verb of the program where the node is.
func (n *Node) Try(stdin string, args ...string) (string, error) {
	bin, err := town.Binary()
	if err != nil {
		return "", err
	}
	line := n.within(append([]string{bin}, args...)...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(os.Environ(), "BAHNPOST_DIR="+n.Dir)
	cmd.Env = append(cmd.Env, s3Credentials...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Launch starts the node and waits for nothing.
func (n *Node) Launch() {
	n.t.Helper()
	bin, err := town.Binary()
	if err != nil {
		n.t.Fatal(err)
	}
	// nsenter becomes the node: the process is the node's.
	n.proc = start(n.t, n.Log(), nil, append([]string{"env"}, append(s3Credentials, n.within(bin, "serve", n.Dir)...)...)...)
}

// Log is the path of what the node logs.
func (n *Node) Log() string { return n.Dir + ".log" }

// startTimeout bounds how long anything may take to answer after its start.
const startTimeout = 2 * time.Minute

// Await waits until the node listens on its last port.
func (n *Node) Await() {
	n.t.Helper()
	until(n.t, startTimeout, n.Name+" answers", func() bool {
		if !n.proc.alive() {
			n.t.Fatalf("%s ended:\n%s", n.Name, lastLines(n.Log(), 20))
		}
		c, err := net.Dial("unix", app.SocketPath(n.Dir))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// Serve starts the node and waits until it answers.
func (n *Node) Serve() {
	n.t.Helper()
	n.Launch()
	n.Await()
}

// Kill ends the node as a power cut would.
func (n *Node) Kill() {
	n.proc.kill()
	n.proc = nil
}

// Drain ends the node politely.
func (n *Node) Drain() {
	if n.proc != nil {
		n.proc.cmd.Process.Signal(syscall.SIGTERM)
		<-n.proc.ended
		n.proc = nil
	}
}

// Dial connects to a port of the node, from within its network.
func (n *Node) Dial(port int, timeout time.Duration) (net.Conn, error) {
	return n.DialTo("127.0.0.1", port, timeout)
}

// DialTo connects to an address in the node's network.
func (n *Node) DialTo(host string, port int, timeout time.Duration) (net.Conn, error) {
	runtime.LockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer here.Close()
	if err := unix.Setns(int(n.space.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	c, err := net.DialTimeout("tcp", fmt.Sprint(host, ":", port), timeout)
	if unix.Setns(int(here.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread() // else the thread ends with this goroutine
	}
	return c, err
}

// until asks every 20 ms whether something holds.
func until(t testing.TB, patience time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}
