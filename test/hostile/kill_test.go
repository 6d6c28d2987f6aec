package hostile

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"bahnpost/test/town"
)

// killed starts the node, runs the work beside it and kills both after a random time below bound.
func killed(t *testing.T, w *town.Town, bound time.Duration, work func(stop <-chan struct{})) {
	t.Helper()
	w.Serve()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		work(stop)
	}()
	<-time.After(time.Duration(rand.Int64N(int64(bound))))
	w.Kill()
	close(stop)
	<-done
	clean(t, w)
}

// verb begins a verb of the program beside the running node; it may fail when that dies.
func verb(t *testing.T, w *town.Town, args ...string) func(<-chan struct{}) {
	return func(stop <-chan struct{}) {
		bin, err := town.Binary()
		if err != nil {
			t.Error(err)
			return
		}
		cmd := exec.Command(bin, args...)
		cmd.Env = append(os.Environ(), "BAHNPOST_DIR="+w.Dir)
		if err := cmd.Start(); err != nil {
			t.Error(err)
			return
		}
		ended := make(chan struct{})
		go func() {
			cmd.Wait()
			close(ended)
		}()
		select {
		case <-stop:
		case <-ended:
		}
		cmd.Process.Kill()
		<-ended
	}
}

// TestKillDuringImport: an import of accounts that is cut off can be repeated; then all accounts are there and work.
func TestKillDuringImport(t *testing.T) {
	if testing.Short() {
		t.Skip("kills nodes; not in -short")
	}
	w := town.New(t)
	n := pick(3000, 10000)
	var csv strings.Builder
	csv.WriteString("address,password,name,quota\n")
	for i := range n {
		fmt.Fprintf(&csv, "s%d@example.org,{SSHA512}%s,,1GB\n", i, ssha512)
	}
	path := w.Dir + "/people.csv"
	if err := os.WriteFile(path, []byte(csv.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for range pick(3, 10) {
		killed(t, w, 900*time.Millisecond, verb(t, w, "account", "import", path))
	}
	t.Logf("%d of %d came before the last kill", strings.Count(w.Run("account", "list"), "@example.org"), n)
	w.Serve()
	w.Run("account", "import", path)
	if got := strings.Count(w.Run("account", "list"), "@example.org"); got < n {
		t.Errorf("%d accounts of %d", got, n)
	}
	for _, u := range []string{"s0", fmt.Sprint("s", n/2), fmt.Sprint("s", n-1)} {
		imap(t, w, u).ok(t, "SELECT INBOX")
		if r := lmtp(t, w).deliver(t, u, letter("x", 100)); !strings.HasPrefix(r, "250") {
			t.Error(r)
		}
	}
	w.Kill()
	clean(t, w)
}

// TestKillDuringExpunge: the node dies while messages are expunged and their bodies reaped.
func TestKillDuringExpunge(t *testing.T) {
	if testing.Short() {
		t.Skip("kills nodes; not in -short")
	}
	w := town.New(t)
	people(w, 1)
	for range pick(4, 20) {
		w.Serve()
		l := lmtp(t, w)
		for i := range 60 {
			l.deliver(t, "u0", noise("x", []int{300, 9000, 60_000}[i%3]))
		}
		c := imap(t, w, "u0")
		fill(t, c, "Trash", 3000)
		w.Kill()
		killed(t, w, 300*time.Millisecond, func(<-chan struct{}) {
			c, err := town.DialIMAP(w.Addr("imap"), "u0", "secret")
			if err != nil {
				return
			}
			defer c.Close()
			for _, cmd := range []string{"SELECT INBOX", `STORE 1:40 +FLAGS.SILENT (\Deleted)`, "EXPUNGE", "SELECT Trash", `STORE 1:2500 +FLAGS.SILENT (\Deleted)`, "CLOSE", "DELETE Archive"} {
				if _, err := c.Do("%s", cmd); err != nil {
					return
				}
			}
		})
	}
	w.Serve()
	imap(t, w, "u0").ok(t, "SELECT INBOX")
}

// TestKillDuringRemoval: an account with mail is removed and the node dies; the removal can be repeated, and the address given anew.
func TestKillDuringRemoval(t *testing.T) {
	if testing.Short() {
		t.Skip("kills nodes; not in -short")
	}
	w := town.New(t)
	people(w, 1)
	for range pick(4, 20) {
		w.Account("leaver", "secret")
		w.Serve()
		l := lmtp(t, w)
		for i := range 40 {
			l.begin(t, "leaver", "u0") // one body for both
			l.must(t, "354", "DATA")
			l.say("%s.\r\n", noise("x", []int{300, 9000, 60_000}[i%3]))
			l.reply()
			l.reply()
		}
		fill(t, imap(t, w, "leaver"), "Archive", 5000)
		w.Kill()
		killed(t, w, 250*time.Millisecond, verb(t, w, "account", "remove", "leaver@example.org"))
		w.Try("", "account", "remove", "leaver@example.org")
		clean(t, w)
		if out := w.Run("account", "list"); strings.Contains(out, "leaver@") {
			t.Errorf("the account is still there:\n%s", out)
		}
	}
	w.Account("leaver", "secret")
	w.Serve()
	if s := imap(t, w, "leaver").ok(t, "SELECT INBOX"); !strings.Contains(s, "* 0 EXISTS") {
		t.Errorf("the new account has old mail: %s", s)
	}
	c := imap(t, w, "u0")
	c.ok(t, "SELECT INBOX")
	c.ok(t, "FETCH 1:* BODY.PEEK[]")
}

// TestKillUnderLargeLoad: killed under deliveries that do not compress, so that bodies go to packs and to files of their own.
func TestKillUnderLargeLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("kills nodes; not in -short")
	}
	w := town.New(t)
	people(w, 4)
	acked := map[string]string{}
	for round := range pick(3, 20) {
		w.Serve()
		underLoad(t, w, round, acked, w.Kill, true)
		clean(t, w)
	}
	w.Serve()
	allThere(t, w, acked)
}
