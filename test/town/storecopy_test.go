package town

import (
	"crypto/sha256"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bahnpost/store/storetest"
)

// TestStoreCopy: a node outgrows its machine and comes back: its store is copied to PostgreSQL by runs that are killed at
// any instant, then back to one machine. Clients see the same in all three.
func TestStoreCopy(t *testing.T) {
	w, anna := serving(t)
	dsn := storetest.Postgres(t)
	w.Account("bert", "secret")
	lmtp, err := DialLMTP(w.Addr("lmtp"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 150 {
		if rs, err := lmtp.Deliver(message(fmt.Sprint("copy", i), i), anna, "bert@"+Domain); err != nil || !strings.HasPrefix(rs[0], "250") {
			t.Fatal(rs, err)
		}
	}
	lmtp.Close()
	m, err := DialIMAP(w.Addr("imap"), anna, "secret")
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range []string{"CREATE Projects/2026", "SELECT INBOX", `STORE 3:50 +FLAGS (\Seen $Later)`, "COPY 10:60 Projects/2026", "MOVE 70:80 Projects/2026", `STORE 100:120 +FLAGS (\Deleted)`, "EXPUNGE"} {
		if lines, err := m.Do("%s", cmd); err != nil {
			t.Fatal(cmd, lines, err)
		}
	}
	m.Close()
	want := w.seen(t, anna)
	w.Kill() // as a power cut: what the copy finds is what the next start would

	cluster := w.beside("cluster", "--store", strings.Replace(url(t, dsn), "secret@", "", 1), "--blobs", "file://"+filepath.Join(shortDir(t), "bodies"))
	cluster.killedCopies(t, w)
	if out, err := w.Try("", "store", "copy", "--from", w.Dir, "--to", cluster.Dir); err == nil || !strings.Contains(out, "a finished copy of --from already") {
		t.Errorf("a copy over a finished one: %v\n%s", err, out)
	}
	w.says(t, words("store copy --again --from "+w.Dir+" --to "+cluster.Dir), "0 bodies, 0 B, were read now", "3 accounts and the directory were compared on both sides: no difference")
	cluster.says(t, []string{"check", cluster.Dir}, "0 problems")
	cluster.Serve()
	cluster.same(t, anna, want)
	cluster.deliver(t, anna, "250 ")
	want = cluster.seen(t, anna)
	back := w.beside("back", "--domain", Domain)
	if out, err := w.Try("", "store", "copy", "--from", cluster.Dir, "--to", back.Dir); err == nil || !strings.Contains(out, "stop the node") {
		t.Errorf("a copy of a store that is served: %v\n%s", err, out)
	}
	cluster.Signal(syscall.SIGTERM)
	if err := cluster.Wait(); err != nil {
		t.Fatal(err)
	}
	w.says(t, words("store copy --from "+cluster.Dir+" --to "+back.Dir+" --dry-run"), "would copy 3 accounts")
	w.says(t, words("store copy --json --from "+cluster.Dir+" --to "+back.Dir), `"verified": 3`)
	back.says(t, []string{"check", back.Dir}, "0 problems")
	back.Serve()
	back.same(t, anna, want)
	if t.Failed() {
		t.Log(cluster.Log(), back.Log())
	}
}

// url is a test server's DSN as an administrator would write it.
func url(t *testing.T, dsn string) string {
	t.Helper()
	var host, user, name string
	for f := range strings.FieldsSeq(dsn) {
		switch k, v, _ := strings.Cut(f, "="); k {
		case "host":
			host = v
		case "user":
			user = v
		case "dbname":
			name = v
		}
	}
	return "postgres:///" + name + "?host=" + host + "&user=" + user
}

// beside makes a node of another directory and other ports, by init with flags.
func (w *Town) beside(name string, flags ...string) *Town {
	w.t.Helper()
	b := &Town{Dir: filepath.Join(shortDir(w.t), name), Admin: w.Admin, offset: takeOffset(w.t), t: w.t}
	args := append([]string{"init", b.Dir, "--hostname", "mx.example.org", "--loopback", "--port-offset", fmt.Sprint(b.offset)}, flags...)
	if !slices.Contains(flags, "--domain") {
		args = append(args, "--domain", Domain)
	}
	w.Run(args...)
	return b
}

// killedCopies copies from another town; the copier is killed later and later, until it comes to its end.
func (w *Town) killedCopies(t *testing.T, from *Town) {
	t.Helper()
	bin, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for n := 1; ; n++ {
		cmd := exec.Command(bin, "store", "copy", "--from", from.Dir, "--to", w.Dir)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(n)*copyLonger, func() { cmd.Process.Kill() })
		err := cmd.Wait()
		timer.Stop()
		switch {
		case err == nil:
			t.Logf("%d copiers were killed; what they left was refused %d times", n-1, refused)
			if !strings.Contains(out.String(), "copied 3 accounts") || !strings.Contains(out.String(), "compared on both sides: no difference") {
				t.Error(out.String())
			}
			return
		case cmd.ProcessState.Exited():
			t.Fatal(err, out.String())
		}
		if out, err := w.Try("", "account", "list"); err != nil {
			if refused++; !strings.Contains(out, "a copy that is not finished") {
				t.Fatal(err, out)
			}
		}
	}
}

// copyLonger is by how much longer each copier may live than the one before.
const copyLonger = 80 * time.Millisecond

// seen is what an IMAP client sees of an account, the octets of all messages included.
func (w *Town) seen(t *testing.T, user string) (out []string) {
	t.Helper()
	m, err := DialIMAP(w.Addr("imap"), user, "secret")
	if err != nil {
		t.Fatal(err, w.Log())
	}
	defer m.Close()
	if _, err := m.Do("ENABLE IMAP4rev2"); err != nil { // without \Recent, which is whoever selects first
		t.Fatal(err)
	}
	for _, box := range []string{"INBOX", "Projects/2026", "Sent"} {
		for _, cmd := range []string{"STATUS %s (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ MAILBOXID SIZE)", "SELECT %s"} {
			lines, err := m.Do(cmd, box)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, lines...)
		}
		lines, err := m.Do("FETCH 1:* (UID FLAGS MODSEQ INTERNALDATE SAVEDATE EMAILID THREADID ENVELOPE RFC822.SIZE BODY.PEEK[])")
		if err != nil && box != "Sent" {
			t.Fatal(err)
		}
		for _, l := range lines {
			out = append(out, fmt.Sprintf("%.60q %x", l, sha256.Sum256([]byte(l))))
		}
	}
	return out
}

func (w *Town) same(t *testing.T, user string, want []string) {
	t.Helper()
	got := w.seen(t, user)
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Errorf("a client sees something else: line %d of %d and %d\n%.300s\n%.300s", i, len(got), len(want), got[min(i, len(got)-1)], want[min(i, len(want)-1)])
			return
		}
	}
}
