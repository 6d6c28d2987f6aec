package mailstore

import "testing"

// RFC 3501 §2.3.2: a message is recent to one session, the first that hears of it.
func TestRecent(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	for i := range 4 {
		s.append(tk, inbox, text(i), 0)
	}
	s.must(tk, func(x *Tx) error { _, err := x.Expunge(inbox, UIDs(2), false); return err })
	b, err := s.OpenBox(t.Context(), 1, inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	want := func(what string, got UIDSet, set string) {
		t.Helper()
		if got.String() != set {
			t.Errorf("%s: recent are %q, want %q", what, got, set)
		}
	}
	v, w := b.NewView(), b.NewView()
	want("looked at", v.Recent(), "1,3:4")
	if n := s.RecentCount(1, inbox); n != 3 {
		t.Errorf("%d are recent, want 3", n)
	}
	want("first", v.ClaimRecent(), "1,3:4")
	want("second", w.ClaimRecent(), "")
	s.append(tk, inbox, text(5), 0)
	want("not told yet", w.ClaimRecent(), "")
	if _, err := w.Sync(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	want("told", w.ClaimRecent(), "5")
	s.append(tk, inbox, text(6), 0)
	s.must(tk, func(x *Tx) error { _, err := x.Expunge(inbox, Range(1, maxUID), false); return err })
	if n := s.RecentCount(1, inbox); n != 0 {
		t.Errorf("%d are recent in an empty mailbox", n)
	}
}

// The memory of what is recent is bounded: one mailbox too many, and one is forgotten.
func TestRecentBounded(t *testing.T) {
	t.Parallel()
	var r recents
	r.init()
	for i := range maxRecentBoxes + 10 {
		r.event(boxKey{1, MailboxID(i)}, &event{kind: Added, uids: UIDs(7)})
	}
	if n := len(r.box); n != maxRecentBoxes {
		t.Errorf("%d mailboxes are remembered", n)
	}
	r.forget(1)
	if n := len(r.box); n != 0 {
		t.Errorf("%d mailboxes of a removed account are remembered", n)
	}
}
