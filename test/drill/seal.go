package drill

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"bahnpost/test/town"
)

// sealVar holds, within the seal, the directory that the world may use.
const sealVar = "BAHNPOST_SEALED"

// unsealable is the exit status of a shell that could not make the namespaces ready.
const unsealable = 77

// The first process of the namespaces is a shell: it takes in the orphans (PostgreSQL's postmaster is one), and when it ends so do all.
const firstProcess = `mount --make-rprivate / && mount -t proc proc /proc && mount -t tmpfs tmpfs /run && ip link set lo up || exit 77
"$@"; exit $?`

// Sealed runs body in namespaces of its own: it runs the test's program anew as
// their first child, for this test only. dir is empty and is removed after all
// processes have ended. The test skips where namespaces can't be had.
func Sealed(t *testing.T, body func(t *testing.T, dir string)) {
	t.Helper()
	if dir := os.Getenv(sealVar); dir != "" {
		body(t, dir)
		return
	}
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("needs root on Linux: pid, network and mount namespaces of its own")
	}
	for _, tool := range []string{"ip", "mount", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("not installed: ", tool)
		}
	}
	bin, err := town.Binary()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "drill") // short: sockets' paths have at most 107 octets
	if err != nil {
		t.Fatal(err)
	}
	defer removeAll(t, dir)
	if err := os.Chmod(dir, 0o755); err != nil { // user postgres comes in
		t.Fatal(err)
	}
	args := []string{"-c", firstProcess, "sh", self, "-test.run=^" + t.Name() + "$", "-test.v", "-test.count=1"}
	if until, ok := t.Deadline(); ok {
		args = append(args, "-test.timeout="+time.Until(until.Add(-deadlineReserve)).String())
	}
	var out bytes.Buffer
	cmd := exec.Command("/bin/sh", args...)
	cmd.Env = append(os.Environ(), sealVar+"="+dir, "BAHNPOST_BINARY="+bin)
	cmd.Stdout = io.MultiWriter(t.Output(), &out)
	cmd.Stderr = cmd.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is about the thread
	defer runtime.UnlockOSThread()
	verdict(t, cmd.Run(), out.String())
}

// deadlineReserve is left to the outer test for tidying up.
const deadlineReserve = 10 * time.Second

// verdict carries the result of the inner test over to the outer.
func verdict(t *testing.T, err error, out string) {
	t.Helper()
	exit, ended := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil && strings.Contains(out, "--- SKIP: "+t.Name()):
		t.Skip("within the namespaces: see above")
	case err == nil:
	case !ended || exit.ExitCode() == unsealable:
		t.Skip("namespaces can't be made here: ", err)
	default:
		t.Error("within the namespaces: ", err)
	}
}

// removeAll takes the world's directory away, unless a failed test shall be looked at.
func removeAll(t *testing.T, dir string) {
	if t.Failed() && os.Getenv("BAHNPOST_DRILL_KEEP") != "" {
		t.Log("kept: ", dir)
		return
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}
