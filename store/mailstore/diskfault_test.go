package mailstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"bahnpost/mail"
	"bahnpost/store/blob"
	"bahnpost/store/internal/db"
)

// faults fails calls number from..from+run-1 of one kind, on one disk.
type faults struct {
	op   string
	n    atomic.Int64
	from int64
	run  int64
	hits atomic.Int64
	off  atomic.Bool // no faults while the site is made or judged
}

func (f *faults) ask(op string) error {
	if f == nil || op != f.op || f.off.Load() {
		return nil
	}
	if n := f.n.Add(1); n < f.from || n >= f.from+f.run {
		return nil
	}
	f.hits.Add(1)
	return errShaky
}

// shakySite is a site as store.Open ties it together, on disks that fail.
func shakySite(t *testing.T, rows, bodies *faults) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), cfg: Config{InlineMax: 600, Compression: "off", BlobGrace: -1}}
	for _, f := range []*faults{rows, bodies} {
		if f != nil {
			f.off.Store(true)
			defer f.off.Store(false)
		}
	}
	var err error
	if s.b, err = blob.OpenDir(filepath.Join(s.dir, "bodies"), blob.DirConfig{Flushed: true, Fault: bodies.ask}); err != nil {
		t.Fatal(err)
	}
	c := db.Config{Path: filepath.Join(s.dir, "mail.db"), BeforeCommit: s.b.Flush, CheckpointKB: 400}
	if rows != nil {
		c.Fault = rows.ask
	}
	if s.d, err = db.Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if s.Store, err = New(t.Context(), s.d, s.b, s.cfg); err != nil {
		t.Fatal(err)
	}
	s.account(1, Quota{})
	return s
}

// judge looks whether all that was acknowledged is there, and nothing else, in memory and, after a restart, on disk.
func (s *site) judge(what string, acked map[string]bool, f *faults) {
	s.t.Helper()
	f.off.Store(true)
	for _, when := range []string{"", ", reopened"} {
		got := make(map[string]bool)
		for _, box := range []string{Inbox, "Archive"} {
			for _, m := range s.texts(1, s.box(1, box).ID) {
				got[m] = true
			}
		}
		for m := range acked {
			if !got[m] {
				s.t.Errorf("%s%s: %.60q was acknowledged and is not there", what, when, m)
			}
		}
		for m := range got {
			if !acked[m] {
				s.t.Errorf("%s%s: %.60q is there and was not acknowledged", what, when, m)
			}
		}
		for p, err := range s.Check(context.Background(), CheckOptions{Bodies: true}) {
			if err != nil || p.Fatal {
				s.t.Errorf("%s%s: %+v %v", what, when, p, err)
			}
		}
		if when == "" {
			s.reopen()
		}
	}
}

func (s *site) texts(a mail.AccountID, box MailboxID) (out []string) {
	s.t.Helper()
	b, err := s.OpenBox(context.Background(), a, box)
	if err != nil {
		s.t.Fatal(err)
	}
	defer b.Close()
	for e, err := range b.NewView().Entries(context.Background(), nil) {
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, s.read(a, e.Row.Message))
	}
	return out
}

// work delivers, moves, flags, renames and expunges from several goroutines; it returns the texts that must be there.
func (s *site) work() (acked map[string]bool, failed int) {
	acked = make(map[string]bool)
	tk := Ticket{1, 1}
	inbox, archive := s.box(1, Inbox).ID, s.box(1, "Archive").ID
	var mu sync.Mutex
	note := func(err error, ok func()) bool {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed++
			if k := mail.KindOf(err); k != mail.Internal {
				s.t.Errorf("a broken disk became %v", err)
			}
		} else {
			ok()
		}
		return err == nil
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 6 {
				txt := big(g*100+i, i*400) // below and above InlineMax
				w := s.NewBody(context.Background())
				w.Write([]byte(txt))
				b, err := w.Finish()
				if !note(err, func() {}) {
					continue
				}
				var a Appended
				ok := note(s.try(tk, func(x *Tx) (err error) { a, err = x.Append(inbox, NewMessage{Body: b}); return err }), func() { acked[txt] = true })
				b.Release()
				if !ok {
					continue
				}
				switch i % 3 {
				case 0:
					note(s.try(tk, func(x *Tx) error { _, err := x.Move(inbox, UIDs(a.UID), archive); return err }), func() {})
				case 1:
					note(s.try(tk, func(x *Tx) error { _, err := x.Expunge(inbox, UIDs(a.UID), false); return err }), func() { delete(acked, txt) })
				case 2:
					name := fmt.Sprintf("t%d-%d", g, i)
					note(s.try(tk, func(x *Tx) error {
						m, err := x.CreateMailbox(MailboxSpec{Name: name, Subscribe: true})
						if err != nil {
							return err
						}
						_, err = x.StoreFlags(inbox, Range(1, maxUID), AddFlags, Seen, []string{name}, false, 0)
						return errors.Join(err, x.RenameMailbox(m.ID, "r"+name))
					}), func() {})
				}
			}
		})
	}
	wg.Wait()
	return acked, failed
}

// A disk that refuses rows, at every place in turn and for one call or for many: what was acknowledged is there, what was
// refused is not, memory agrees with the tables, and afterwards all goes on.
func TestRowFaults(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"write", "sync"} {
		hits, failed := int64(0), 0
		for from := int64(1); from <= 14; from++ {
			f := &faults{op: op, from: from, run: []int64{1, 2, 9, 25}[from%4]}
			s := shakySite(t, f, nil)
			acked, n := s.work()
			failed += n
			hits += f.hits.Load()
			f.off.Store(true)
			after := text(9999)
			s.append(Ticket{1, 1}, s.box(1, Inbox).ID, after, 0)
			acked[after] = true
			s.judge(fmt.Sprint(op, " ", from), acked, f)
			s.close()
		}
		if failed == 0 || hits == 0 {
			t.Errorf("%s: nothing failed: the test proves nothing", op)
		}
		t.Logf("%s: %d faults, %d errors heard", op, hits, failed)
	}
}

// A disk that loses staged bodies: the commit that would name them does not happen, and the next try works.
func TestStagedBodyLost(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"write", "sync"} {
		hits, failed := int64(0), 0
		for from := int64(1); from <= 16; from++ {
			f := &faults{op: op, from: from, run: []int64{1, 2, 5}[from%3]}
			s := shakySite(t, nil, f)
			acked, n := s.work()
			failed += n
			hits += f.hits.Load()
			f.off.Store(true)
			after := big(9999, 5000)
			s.append(Ticket{1, 1}, s.box(1, Inbox).ID, after, 0)
			acked[after] = true
			s.judge(fmt.Sprint(op, " ", from), acked, f)
			s.close()
		}
		if failed == 0 || hits == 0 {
			t.Errorf("%s: nothing failed: the test proves nothing", op)
		}
		t.Logf("%s: %d faults, %d errors heard", op, hits, failed)
	}
}

// The same Body for two recipients: if its octets are lost neither gets it, and a Body of a second try is as good as new.
func TestStagedBodyLostForAll(t *testing.T) {
	t.Parallel()
	f := &faults{op: "sync", from: 1, run: 1 << 30}
	s := shakySite(t, nil, f)
	defer s.close()
	f.off.Store(true)
	s.account(2, Quota{})
	txt := big(1, 5000)
	b := s.body(txt)
	inboxes := []MailboxID{0, s.box(1, Inbox).ID, s.box(2, Inbox).ID}
	deliver := func(b *Body, a mail.AccountID) error {
		return s.try(Ticket{a, 1}, func(x *Tx) error { _, err := x.Append(inboxes[a], NewMessage{Body: b, Dedup: "k"}); return err })
	}
	f.off.Store(false)
	for a := range mail.AccountID(2) {
		if err := deliver(b, a+1); mail.KindOf(err) != mail.Internal {
			t.Errorf("account %d: %v", a+1, err)
		}
	}
	f.off.Store(true)
	if err := deliver(b, 1); err == nil { // its octets will never be there
		t.Error("a lost body was stored")
	}
	b.Release()
	b = s.body(txt)
	for a := range mail.AccountID(2) {
		if err := deliver(b, a+1); err != nil {
			t.Error(err)
		}
		if got := s.texts(a+1, inboxes[a+1]); len(got) != 1 || got[0] != txt {
			t.Errorf("account %d has %q", a+1, got)
		}
	}
	b.Release()
	for p, err := range s.Check(t.Context(), CheckOptions{Bodies: true}) {
		if err != nil || p.Fatal {
			t.Errorf("%+v %v", p, err)
		}
	}
}
