package drill

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shippedFile reads an example of deploy and replaces what is of another site; each must be in it.
func shippedFile(t *testing.T, path string, replace ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(deploy, path))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("%s has no %q", path, replace[i])
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	return text
}

// write puts text into a file of dir.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBehindHAProxy: a client reaches a node through HAProxy as it is shipped, and the node sees the client's address; when the
// node is gone, so is the way.
func TestBehindHAProxy(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a node; not in -short")
	}
	if _, err := exec.LookPath("haproxy"); err != nil {
		t.Skip("not installed: haproxy")
	}
	Sealed(t, func(t *testing.T, dir string) {
		n := newNode(t, dir, 1)
		n.Init()
		conf := filepath.Join(n.Dir, "bahnpost.toml")
		b, err := os.ReadFile(conf)
		if err != nil {
			t.Fatal(err)
		}
		const key = "#proxy_protocol_from = []"
		if !strings.Contains(string(b), key) {
			t.Fatal("no ", key)
		}
		// HAProxy comes from here; the verbs and we ourselves from 127.0.0.1.
		write(t, n.Dir, "bahnpost.toml", strings.Replace(string(b), key, `proxy_protocol_from = ["127.0.0.3/32"]`, 1))
		n.Serve()
		n.Verb(secret+"\n", "account", "add", address(reader(0)), "--password-stdin")
		cfg := shippedFile(t, "haproxy/mail.cfg", "192.0.2.100", "127.0.0.2", "192.0.2.21", "127.0.0.1", "192.0.2.22", "127.0.0.8", "192.0.2.23", "127.0.0.9",
			"default-server", "source 127.0.0.3\n    default-server", "maxconn 50000", "maxconn 500")
		start(t, filepath.Join(dir, "haproxy.log"), nil, n.within("haproxy", "-db", "-f", write(t, dir, "haproxy.cfg", cfg))...)
		login := func() error {
			c, err := n.DialTo("127.0.0.2", portIMAP, time.Second)
			if err != nil {
				return err
			}
			defer c.Close()
			w := newWire(c, clientPatience)
			w.SetDeadline(time.Now().Add(time.Second))
			if _, err := w.line(); err != nil {
				return err
			}
			if _, err := w.imap("LOGIN %s %s", reader(0), secret); err != nil {
				return err
			}
			if out := n.Verb("", "session", "list"); !strings.Contains(out, reader(0)) || strings.Contains(out, "127.0.0.3") || !strings.Contains(out, "127.0.0.1") {
				t.Errorf("the node sees: %s", out)
			}
			return nil
		}
		until(t, startTimeout, "a login through HAProxy", func() bool { return login() == nil })
		n.Kill()
		until(t, startTimeout, "no way to a node that is dead", func() bool { return login() != nil })
		n.Serve()
		until(t, startTimeout, "a login when it is back", func() bool { return login() == nil })
	})
}

// TestAddressMoves: keepalived, as it is shipped, on two nodes: the address is where a node is ready.
func TestAddressMoves(t *testing.T) {
	if testing.Short() {
		t.Skip("runs nodes; not in -short")
	}
	for _, tool := range []string{"keepalived", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("not installed: ", tool)
		}
	}
	Sealed(t, func(t *testing.T, dir string) {
		nodes := []*Node{newNode(t, dir, 1), newNode(t, dir, 2)}
		// A network that both have.
		run(t, "ip", "link", "add", "name", "eth0", "netns", "n1", "type", "veth", "peer", "name", "eth0", "netns", "n2")
		for i, n := range nodes {
			run(t, n.within("ip", "addr", "add", fmt.Sprintf("192.0.2.2%d/24", i+1), "dev", "eth0")...)
			run(t, n.within("ip", "link", "set", "eth0", "up")...)
			n.Init()
			n.Serve()
		}
		texts := []string{shippedFile(t, "keepalived/keepalived.conf"),
			shippedFile(t, "keepalived/keepalived.conf", "state MASTER", "state BACKUP", "priority 100", "priority 90",
				"192.0.2.21", "192.0.2.x", "192.0.2.22", "192.0.2.21", "192.0.2.x", "192.0.2.22")}
		for i, n := range nodes {
			conf := write(t, dir, n.Name+"-keepalived.conf", texts[i])
			start(t, filepath.Join(dir, n.Name+"-keepalived.log"), nil, n.within("keepalived", "--dont-fork", "--log-console", "--use-file", conf,
				"--pid", filepath.Join(dir, n.Name+".pid"), "--vrrp_pid", filepath.Join(dir, n.Name+"-vrrp.pid"))...)
		}
		has := func(i int) bool {
			out, err := exec.Command(nodes[i].within("ip", "-o", "addr", "show", "dev", "eth0")[0], nodes[i].within("ip", "-o", "addr", "show", "dev", "eth0")[1:]...).CombinedOutput()
			return err == nil && strings.Contains(string(out), "192.0.2.100/")
		}
		only := func(i int) func() bool { return func() bool { return has(i) && !has(1-i) } }
		until(t, startTimeout, "the first node has the address", only(0))
		at := time.Now()
		nodes[0].Kill()
		until(t, startTimeout, "the second node has the address of the first, which died", only(1))
		t.Logf("the address moved after %v", time.Since(at))
		nodes[0].Serve()
		until(t, startTimeout, "the first node has it again", only(0))
		at = time.Now()
		nodes[0].Drain()
		until(t, startTimeout, "the second node has the address of the first, which was stopped", only(1))
		t.Logf("the address moved after %v", time.Since(at))
	})
}
