package drill

import (
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// report fails the test for what is bad and logs the rest.
func report(t *testing.T, l *Load, f *Findings, deaf []string) {
	t.Helper()
	const most = 20
	for i, s := range append(append(f.Bad(), l.g.hard...), l.g.broken...) {
		if i == most {
			t.Errorf("… and more")
			break
		}
		t.Error(s)
	}
	for _, d := range deaf {
		t.Error("nobody was told of ", d)
	}
	t.Logf("%d messages acknowledged, %d of them expunged, %d attempts without an answer, %d copies by clients that sent again; errors: %s",
		f.Kept, f.Dropped, f.Unanswered, f.Redoubled, l.g.errors())
}

// one makes a single node on the embedded store, running, with the load's accounts.
func one(t *testing.T, dir string) (*Node, *Journal) {
	t.Helper()
	n := newNode(t, dir, 1)
	n.Init()
	n.Serve()
	j := NewJournal(t, filepath.Join(dir, "journal"))
	settle(t, n, j)
	return n, j
}

// TestKillSingle: a node on the embedded store is killed under all of the load and comes back.
func TestKillSingle(t *testing.T) {
	if testing.Short() {
		t.Skip("kills nodes; not in -short")
	}
	Sealed(t, func(t *testing.T, dir string) {
		n, j := one(t, dir)
		l := Begin([]*Node{n}, j, 1)
		<-time.After(2 * time.Second)
		at := time.Now()
		n.Kill()
		n.Serve()
		<-time.After(2 * time.Second)
		deaf, err := l.Stop()
		if err != nil {
			t.Fatal(err)
		}
		report(t, l, Verify(t, []*Node{n}, j), deaf)
		t.Logf("without service: deliver %v, read %v", l.g.outage("deliver", at, l.ended), l.g.outage("read", at, l.ended))
	})
}

// TestNothingPassesUnseen: what is done behind the journal's back is found, so that a clean drill means something.
func TestNothingPassesUnseen(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a node; not in -short")
	}
	Sealed(t, func(t *testing.T, dir string) {
		n, j := one(t, dir)
		l := Begin([]*Node{n}, j, 1)
		<-time.After(2 * time.Second)
		if deaf, err := l.Stop(); err != nil || len(deaf) > 0 {
			t.Fatal(deaf, err)
		}
		if f := Verify(t, []*Node{n}, j); len(f.Bad()) > 0 {
			t.Fatal("bad before anything was done: ", f.Bad())
		}
		w, err := dialIMAP(n, reader(0), clientPatience)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		do := func(format string, args ...any) {
			t.Helper()
			if _, err := w.imap(format, args...); err != nil {
				t.Fatal(err)
			}
		}
		do("SELECT INBOX")
		do(`STORE 2 FLAGS (\Deleted)`)
		do("EXPUNGE")                                                 // lost
		do("COPY 3 INBOX")                                            // doubled
		text := message("r1append0-1-s1")                             //
		do("SELECT %s", boxAppended)                                  //
		do(`STORE 1 FLAGS (\Deleted)`)                                //
		do("EXPUNGE")                                                 //
		spoilt := text[:len(text)-3] + "\r\n"                         //
		do("APPEND %s {%d+}\r\n%s", boxAppended, len(spoilt), spoilt) // other octets, and more copies than were acknowledged
		do("STORE 1 FLAGS (v77)")                                     // a flag that nobody set
		do("APPEND %s {%d+}\r\n%s", boxGone, len(text), text)         // nobody sent it there
		f := Verify(t, []*Node{n}, j)
		if len(f.Lost) != 2 || len(f.Doubled) != 3 || len(f.Flags) != 1 || len(f.Bad()) != 6 {
			t.Errorf("found: lost %q, doubled %q, flags %q, others %q", f.Lost, f.Doubled, f.Flags, slices.Concat(f.Returned, f.UIDs, f.ModSeqs))
		}
	})
}
