package hostile

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bahnpost/app"
	"bahnpost/test/town"
)

// status reads a figure of /proc/PID/status in KB.
func status(t testing.TB, w *town.Town, key string) int {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", w.PID()))
	if err != nil {
		t.Skip("no /proc here")
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), key+":"); ok {
			n, _ := strconv.Atoi(strings.Fields(rest)[0])
			return n
		}
	}
	t.Fatalf("no %s", key)
	return 0
}

// peakFrom begins a new measurement of the peak and returns what is used now, in KB.
func peakFrom(t testing.TB, w *town.Town) int {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", w.PID()), []byte("5"), 0); err != nil {
		t.Logf("peak can't be reset: %v", err)
	}
	return status(t, w, "VmRSS")
}

func peak(t testing.TB, w *town.Town) int { return status(t, w, "VmHWM") }

// live is what the node's heap and stacks hold after a collection, in KB: unlike its RSS it does not depend on when that comes.
func live(t testing.TB, w *town.Town) int {
	t.Helper()
	page := ask(t, w, "/debug/pprof/heap?gc=1&debug=1")
	octets := 0
	for _, name := range []string{"# HeapAlloc = ", "# Stack = "} {
		_, rest, found := strings.Cut(page, "\n"+name)
		n, err := strconv.Atoi(strings.Fields(rest + " x")[0])
		if !found || err != nil {
			t.Fatalf("no %q in the heap profile: %v", name, err)
		}
		octets += n
	}
	return octets >> 10
}

// openFiles is how many files a process may open here.
func openFiles(t testing.TB) int {
	t.Helper()
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	return int(min(l.Max, 1<<20))
}

// holds is what a process has open: leaks show here.
type holds struct{ goroutines, files int }

func held(t testing.TB, w *town.Town) holds {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.PID()))
	if err != nil {
		t.Fatal(err)
	}
	return holds{goroutines(t, w), len(fds)}
}

// ask reads a page of the admin socket.
func ask(t testing.TB, w *town.Town, path string) string {
	t.Helper()
	c := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", app.SocketPath(w.Dir))
		}}}
	r, err := c.Get("http://admin" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func goroutines(t testing.TB, w *town.Town) int {
	t.Helper()
	page := ask(t, w, "/debug/pprof/goroutine?debug=1")
	_, rest, _ := strings.Cut(page, "total ")
	n, err := strconv.Atoi(strings.Fields(rest + " x")[0])
	if err != nil {
		t.Fatalf("no goroutine profile: %.200s", page)
	}
	return n
}

// settled waits until the node holds about as much as before.
func settled(t testing.TB, w *town.Town, before holds) {
	t.Helper()
	const slack = 12 // idle workers and descriptors of the database come and go
	var now holds
	deadline := time.After(patience)
	for {
		now = held(t, w)
		if now.goroutines <= before.goroutines+slack && now.files <= before.files+slack {
			return
		}
		select {
		case <-deadline:
			t.Errorf("held before: %+v, after: %+v", before, now)
			t.Log(ask(t, w, "/debug/pprof/goroutine?debug=1"))
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// clean runs the check, which must find nothing.
func clean(t testing.TB, w *town.Town) {
	t.Helper()
	if out, err := w.Try("", "check", w.Dir); err != nil {
		t.Fatalf("check: %v\n%s", err, out)
	}
}

// quiet fails if the node logged a panic, an internal error or a race.
func quiet(t testing.TB, w *town.Town) {
	t.Helper()
	log, _ := os.ReadFile(w.Dir + "/log")
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "panic") || strings.Contains(line, "DATA RACE") {
			t.Errorf("logged: %s", line)
		}
	}
}
