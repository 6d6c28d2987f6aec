package town

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Signal sends a signal to the process.
func (w *Town) Signal(s syscall.Signal) {
	w.t.Helper()
	if err := w.cmd.Process.Signal(s); err != nil {
		w.t.Fatal(err)
	}
}

// Wait waits until the process has ended by itself and returns how.
func (w *Town) Wait() error {
	err := w.cmd.Wait()
	w.cmd = nil
	return err
}

// Log is what the process has logged so far.
func (w *Town) Log() string {
	b, err := os.ReadFile(filepath.Join(w.Dir, "log"))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// Logged waits until a line of the log has each of words, and returns it.
func (w *Town) Logged(words ...string) string {
	w.t.Helper()
	deadline := time.After(startTimeout)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
	lines:
		for l := range strings.Lines(w.Log()) {
			for _, word := range words {
				if !strings.Contains(l, word) {
					continue lines
				}
			}
			return l
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("no log line has all of %q:\n%s", words, w.Log())
		}
	}
}

// Get asks the HTTP port.
func (w *Town) Get(path string) (status int, body string) {
	w.t.Helper()
	resp, err := http.Get("http://" + w.Addr("http") + path)
	if err != nil {
		w.t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		w.t.Error(err)
	}
	return resp.StatusCode, string(b)
}

// CPU is what the process has used so far, in steps of 10 ms; 0 where there is no /proc.
func (w *Town) CPU() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.PID()))
	if err != nil {
		return 0
	}
	const tick = 10 * time.Millisecond // Linux shows times of processes in hundredths of a second
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err := errors.Join(err1, err2); err != nil {
		w.t.Fatal(err)
	}
	return time.Duration(user+system) * tick
}
