package mailstore

import (
	"fmt"
	"testing"
)

// .SILENT (RFC 9051 §6.4.6): own changes are not told back, others' are; and a
// message changed by both is told.
func TestKnow(t *testing.T) {
	t.Parallel()
	for _, ring := range []int{maxRing, 1} { // 1: by way of modseqs
		s := newSite(t, Config{})
		s.boxes.ring = ring
		tk := s.account(1, Quota{})
		inbox := s.box(1, Inbox).ID
		for i := range 3 {
			s.append(tk, inbox, text(i), 0)
		}
		b, err := s.OpenBox(t.Context(), 1, inbox)
		if err != nil {
			t.Fatal(err)
		}
		mine, other := b.NewView(), b.NewView()
		store := func(u UID, f Flags) (m ModSeq) {
			s.must(tk, func(x *Tx) error {
				m = x.ModSeq()
				_, err := x.StoreFlags(inbox, UIDs(u), AddFlags, f, nil, false, 0)
				return err
			})
			return m
		}
		mine.Know(store(1, Seen))
		if ring > 1 && mine.Dirty() {
			t.Error("own change makes dirty")
		}
		store(2, Seen)
		mine.Know(store(3, Flagged))
		store(3, Answered)
		told := func(v *View) (out string) {
			n, err := v.Sync(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range n.Changed {
				out += fmt.Sprintf("%d:%d ", e.Seq, e.Row.Flags)
			}
			return out
		}
		if got, want := told(mine), fmt.Sprintf("2:%d 3:%d ", Seen, Flagged|Answered); got != want {
			t.Errorf("ring %d: told %q, want %q", ring, got, want)
		}
		if got, want := told(other), fmt.Sprintf("1:%d 2:%d 3:%d ", Seen, Seen, Flagged|Answered); got != want {
			t.Errorf("ring %d: told %q, want %q", ring, got, want)
		}
		if mine.Dirty() || other.Dirty() || told(mine) != "" || mine.ModSeq() != b.Mailbox().ModSeq {
			t.Error("there is more news")
		}
	}
}

// A watcher hears of its mailbox only, of each commit once, and of nothing after stop.
func TestNotify(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox, sent := s.box(1, Inbox).ID, s.box(1, "Sent").ID
	var all, one []string
	note := func(to *[]string) func([]Change) {
		return func(cs []Change) {
			for _, c := range cs {
				*to = append(*to, fmt.Sprintf("%d:%d:%v", c.Mailbox, c.Kind, c.UIDs))
			}
		}
	}
	stopAll, stopOne := s.Notify(1, 0, note(&all)), s.Notify(1, sent, note(&one))
	defer s.Notify(2, 0, func([]Change) { t.Error("news of another account") })()
	s.append(tk, inbox, text(1), 0)
	s.must(tk, func(x *Tx) error { _, err := x.Move(inbox, UIDs(1), sent); return err })
	stopOne()
	stopOne()
	s.append(tk, sent, text(1), 0)
	stopAll()
	s.append(tk, sent, text(1), 0)
	got := fmt.Sprint(all, one)
	if want := fmt.Sprintf("[%d:1:1 %d:3:1 %d:1:1 %d:1:2] [%d:1:1]", inbox, inbox, sent, sent, sent); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if len(s.watchers.byAccount[1]) != 0 {
		t.Error("watchers left")
	}
}

// SELECT must not read rows, nor must the news of an arrival.
func TestRowsLoadLate(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	for i := range 5 {
		s.append(tk, inbox, text(i), 0)
	}
	b, err := s.OpenBox(t.Context(), 1, inbox)
	if err != nil {
		t.Fatal(err)
	}
	v := b.NewView()
	s.append(tk, inbox, text(9), 0)
	n, err := v.Sync(t.Context(), true)
	if err != nil || !n.Exists || n.First != 6 || v.Count() != 6 || b.Loaded() {
		t.Errorf("%+v, count %d, loaded %v, %v", n, v.Count(), b.Loaded(), err)
	}
	if u, err := v.UID(t.Context(), 6); u != 6 || err != nil || !b.Loaded() {
		t.Errorf("%d %v", u, err)
	}
	// whoever does not look gives the rows back, and loses nothing
	for range 4 {
		s.boxes.cool(t.Context())
	}
	if b.Loaded() {
		t.Error("rows are kept for an idler")
	}
	s.must(tk, func(x *Tx) error { _, err := x.Expunge(inbox, UIDs(2, 4), false); return err })
	if n, err = v.Sync(t.Context(), true); err != nil || fmt.Sprint(n.ExpungedSeqs) != "[2 3]" || v.Count() != 4 {
		t.Errorf("%+v, count %d, %v", n, v.Count(), err)
	}
}

// What a client still counts has not vanished for it: messages expunged after it
// heard of them come with the next news (RFC 7162 §3.2.10).
func TestVanishedForView(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	for i := range 5 {
		s.append(tk, inbox, text(i), 0)
	}
	b, err := s.OpenBox(t.Context(), 1, inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	since := b.Mailbox().ModSeq
	expunge := func(u UID) {
		s.must(tk, func(x *Tx) error { _, err := x.Expunge(inbox, UIDs(u), false); return err })
	}
	expunge(1)
	v := b.NewView()
	expunge(3)
	want := func(set string) {
		t.Helper()
		if gone, err := v.Vanished(t.Context(), since, nil); err != nil || gone.String() != set {
			t.Errorf("vanished %q, want %q, %v", gone, set, err)
		}
	}
	want("1")
	if lags, err := v.Lags(t.Context(), UIDs(3)); !lags || err != nil {
		t.Errorf("does not lag, %v", err)
	}
	if lags, _ := v.Lags(t.Context(), UIDs(4)); lags {
		t.Error("lags at a message that is there")
	}
	if _, err := v.Sync(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	want("1,3")
}
