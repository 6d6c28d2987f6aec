package town

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// systemdPatience is for a boot and for the walk, on a busy machine.
const systemdPatience = 2 * time.Minute

// TestSystemd walks through the installation page under a real systemd: its lines as they stand there, then start, reload,
// a mail, kill -9, stop. It boots in namespaces of its own.
func TestSystemd(t *testing.T) {
	switch {
	case testing.Short():
		t.Skip("boots a systemd; not in -short")
	case os.Getuid() != 0:
		t.Skip("needs root for namespaces")
	}
	for _, need := range []string{"/lib/systemd/systemd", "/usr/bin/unshare", "/usr/bin/nsenter", "/usr/bin/setpriv", "/usr/bin/curl", "/usr/sbin/useradd"} {
		if _, err := os.Stat(need); err != nil {
			t.Skipf("%s is not installed", need)
		}
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	init := bootSystemd(t, root)
	walk, err := os.ReadFile("testdata/systemd-walk.sh")
	if err != nil {
		t.Fatal(err)
	}
	script := "set -eu\ncd /opt/src\n" + sudo + installLines(t, root) + string(walk)
	out, err := inside(init, "bash", "-c", script)
	if err != nil || !strings.HasSuffix(out, "walked\n") {
		journal, _ := inside(init, "journalctl", "-u", "bahnpost", "--no-pager", "-n", "30")
		t.Fatalf("%v\n%s\n%s", err, out, journal)
	}
}

// sudo stands in for the program, which not every machine has; make was called already.
const sudo = `make() { :; }
sudo() { if [ "$1" = -u ]; then u=$2; shift 2; setpriv --reuid "$u" --regid "$u" --init-groups "$@"; else "$@"; fi; }
`

// installLines are the commands of the first block of install.md.
func installLines(t *testing.T, root string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs", "operations", "install.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "\n```\n")
	lines, _, found := strings.Cut(rest, "\n```\n")
	if !found || !strings.Contains(lines, "systemctl enable") {
		t.Fatalf("install.md does not begin with its commands:\n%s", lines)
	}
	return lines + "\n"
}

// bootSystemd boots one and returns its process id. A machine that does not let us (a container, say) skips.
func bootSystemd(t *testing.T, root string) (init string) {
	t.Helper()
	bin, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var log bytes.Buffer
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net", "--cgroup", "--propagation", "private",
		"bash", filepath.Join(root, "test", "town", "testdata", "systemd.sh"), dir, root, bin)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Skipf("namespaces: %v", err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-ended })
	deadline := time.After(systemdPatience)
	for state := ""; ; {
		select {
		case <-ended:
			t.Skipf("this machine boots no systemd in namespaces: %s", log.String())
		case <-deadline:
			t.Skipf("systemd did not boot in %v: %q; %s", systemdPatience, state, log.String())
		case <-time.After(100 * time.Millisecond):
		}
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
		if init = strings.TrimSpace(string(children)); init == "" {
			continue
		}
		if state, _ = inside(init, "systemctl", "is-system-running"); strings.HasPrefix(state, "running") || strings.HasPrefix(state, "degraded") {
			return init
		}
	}
}

// inside runs a command where init is process 1.
func inside(init string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), systemdPatience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nsenter", append([]string{"-t", init, "-a", "-r", "-w"}, args...)...).CombinedOutput()
	return string(out), err
}
