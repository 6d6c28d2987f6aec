package mailstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// never is a pause that no test waits for.
const never = 24 * time.Hour

// heard waits for a change that a watcher of mailbox passes on.
func heard(t *testing.T, s *site, a mail.AccountID, box MailboxID) (wait func() []Change) {
	t.Helper()
	came := make(chan []Change, 100)
	t.Cleanup(s.Notify(a, box, func(cs []Change) { came <- cs }))
	return func() []Change {
		t.Helper()
		select {
		case cs := <-came:
			return cs
		case <-time.After(time.Minute): // nothing will come
			t.Fatal("nobody told the watcher")
			return nil
		}
	}
}

// A session on one node hears of a delivery on another: by the hint, and if that is lost by the poll.
func TestNewsOfAnotherNode(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{"hint": {PollEvery: never}, "poll": {PollEvery: 5 * time.Millisecond, deaf: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := onNodes(t, 2, cfg)
			here, there := nodes[0], nodes[1]
			tk := here.account(1, Quota{})
			inbox := here.box(1, Inbox).ID
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			done := make(chan error, 1)
			go func() { done <- here.Run(ctx) }()
			b, err := here.OpenBox(t.Context(), 1, inbox)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			v := b.NewView()
			wait := heard(t, here, 1, inbox)
			if err := b.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				a := there.append(tk, inbox, text(i), Seen, "k", fmt.Sprint("k", i))
				cs := wait()
				if len(cs) != 1 || cs[0].Kind != Added || !cs[0].UIDs.Contains(a.UID) || cs[0].ModSeq != a.ModSeq {
					t.Errorf("%+v, appended %+v", cs, a)
				}
				n, err := v.Sync(t.Context(), true)
				if err != nil || !n.Exists || v.Count() != i+1 {
					t.Errorf("%+v, %d messages, %v", n, v.Count(), err)
				}
				if r, _ := b.Row(a.UID); !b.Loaded() || r.Flags&Seen == 0 || here.read(1, r.Message) != text(i) {
					t.Errorf("%+v", r)
				}
			}
			there.must(tk, func(x *Tx) error { _, err := x.Expunge(inbox, UIDs(2), false); return err })
			if cs := wait(); len(cs) != 1 || cs[0].Kind != Expunged || !cs[0].UIDs.Equal(UIDs(2)) {
				t.Errorf("%+v", cs)
			}
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
			here.clean()
		})
	}
}

// Of two sessions on two nodes that hear nothing of each other: what a node writes is never founded on what is old, and
// what a client was told stays true (RFC 9051 §7.5.1, RFC 7162 §3.2.10) until it is told more.
func TestDeafNodes(t *testing.T) {
	t.Parallel()
	nodes := onNodes(t, 2, Config{PollEvery: never, deaf: true})
	here, there := nodes[0], nodes[1]
	tk := here.account(1, Quota{})
	inbox := here.box(1, Inbox).ID
	for i := range 6 {
		here.append(tk, inbox, text(i), 0)
	}
	b, err := here.OpenBox(t.Context(), 1, inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	v := b.NewView()
	since := v.ModSeq()
	there.must(tk, func(x *Tx) error { _, err := x.Expunge(inbox, UIDs(2, 4), false); return err })
	there.append(tk, inbox, text(6), 0)

	if gone, complete, err := b.Vanished(t.Context(), since, nil); err != nil || !complete || !gone.Equal(UIDs(2, 4)) {
		t.Errorf("vanished %v, %v, %v", gone, complete, err)
	}
	if gone, err := v.Vanished(t.Context(), since, nil); err != nil || !gone.Empty() {
		t.Errorf("%v would be said to have vanished while the client counts them; %v", gone, err)
	}
	// the rows come from a snapshot that is ahead of what was told: loading them catches up
	for seq, uid := range map[int]UID{1: 1, 2: 2, 3: 3, 6: 6} {
		if got, err := v.UID(t.Context(), seq); err != nil || got != uid {
			t.Errorf("message %d has UID %d, want %d; %v", seq, got, uid, err)
		}
	}
	if n, err := v.Sync(t.Context(), false); err != nil || len(n.ExpungedSeqs) > 0 || !n.Exists || v.Count() != 7 {
		t.Errorf("%+v, %d messages, %v", n, v.Count(), err)
	}
	if n, err := v.Sync(t.Context(), true); err != nil || !slices.Equal(n.ExpungedSeqs, []int{2, 3}) || v.Count() != 5 {
		t.Errorf("%+v, %d messages, %v", n, v.Count(), err)
	}

	there.append(tk, inbox, text(7), 0, "far")
	there.must(tk, func(x *Tx) error { _, err := x.CreateMailbox(MailboxSpec{Name: "new"}); return err })
	if a := here.append(tk, inbox, text(8), 0, "far"); a.UID != 9 {
		t.Errorf("UID %d, want 9", a.UID)
	}
	if here.box(1, "new").ID != there.box(1, "new").ID {
		t.Error("the nodes know different mailboxes")
	}
	if n, err := v.Sync(t.Context(), true); err != nil || !n.Exists || v.Count() != 7 {
		t.Errorf("%+v, %d messages, %v", n, v.Count(), err)
	}
	var res StoreResult
	there.must(tk, func(x *Tx) (err error) {
		res, err = x.StoreFlags(inbox, Range(1, maxUID), RemoveFlags, 0, []string{"far"}, false, 0)
		return err
	})
	if !res.Changed.Equal(UIDs(8, 9)) {
		t.Errorf("changed %v", res.Changed)
	}
	for _, s := range nodes {
		s.clean()
	}
}

// A delivery that is tried once more on another node is the same one.
func TestDeliveredOnce(t *testing.T) {
	t.Parallel()
	nodes := onNodes(t, 3, Config{deaf: true})
	tk := nodes[0].account(1, Quota{})
	inbox := nodes[0].box(1, Inbox).ID
	var first Appended
	for i, s := range slices.Concat(nodes, nodes) {
		body := s.body(text(1))
		var a Appended
		if err := s.UpdateWith(t.Context(), tk, []Expect{{body, "key"}}, func(x *Tx) (err error) {
			a, err = x.Append(inbox, NewMessage{Body: body, Dedup: "key"})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		body.Release()
		if i == 0 {
			first = a
		} else if a != first {
			t.Errorf("%+v, at first %+v", a, first)
		}
	}
}

// An account that one node removes is gone on the others, for those who watch and those who come.
func TestRemovedElsewhere(t *testing.T) {
	t.Parallel()
	nodes := onNodes(t, 2, Config{PollEvery: never})
	here, there := nodes[0], nodes[1]
	tk := here.account(1, Quota{})
	inbox := here.box(1, Inbox).ID
	here.append(tk, inbox, text(1), 0)
	b, err := here.OpenBox(t.Context(), 1, inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ended := make(chan error, 1)
	go func() {
		for _, err := range here.Watch(t.Context(), 1, 0) {
			if err != nil {
				ended <- err
			}
		}
	}()
	wait := heard(t, here, 1, inbox)
	if err := there.RemoveAccount(t.Context(), 1, nil); err != nil {
		t.Fatal(err)
	}
	if cs := wait(); len(cs) != 1 || cs[0].Kind != MailboxDeleted || !b.Gone() {
		t.Errorf("%+v", cs)
	}
	if err := <-ended; mail.KindOf(err) != mail.NoSuchAccount {
		t.Error(err)
	}
	if _, err := here.Account(t.Context(), 1); mail.KindOf(err) != mail.NoSuchAccount {
		t.Error(err)
	}
	here.account(1, Quota{}) // once more, as somebody else
	if m := there.box(1, Inbox); m.Messages != 0 {
		t.Errorf("%+v", m)
	}
}

// Where each recipient has a row of bodies of its own they share the blob, which goes with the last of them; and whoever
// began too long ago to be sure of it may not refer to it any more.
func TestSharedBlob(t *testing.T) {
	t.Parallel()
	nodes := onNodes(t, 2, Config{BlobGrace: never, InlineMax: 1 << 20, Compression: "off"})
	here, there := nodes[0], nodes[1]
	const n = 10
	body := here.body(big(1, 40000))
	defer body.Release()
	if err := body.Spread(t.Context(), n); err != nil || body.ref == "" {
		t.Fatalf("ref %q, %v", body.ref, err)
	}
	put := func(a mail.AccountID) error {
		return here.Update(t.Context(), Ticket{a, 1}, func(x *Tx) error {
			for range 2 {
				if _, err := x.Append(1, NewMessage{Body: body}); err != nil {
					return err
				}
			}
			_, err := x.Copy(1, UIDs(1), 2)
			return err
		})
	}
	for a := mail.AccountID(1); a <= n; a++ {
		here.account(a, Quota{})
		if err := put(a); err != nil {
			t.Fatal(err)
		}
	}
	if rows, copies := here.count("bodies"), here.count("copied"); rows != n || copies != n {
		t.Errorf("%d rows of bodies, %d of copied", rows, copies)
	}
	here.clean()
	lost := func(a mail.AccountID) {
		t.Helper()
		s := there
		s.must(Ticket{a, 1}, func(x *Tx) error { _, err := x.Expunge(1, Range(1, maxUID), false); return err })
		s.must(Ticket{a, 1}, func(x *Tx) error { _, err := x.Expunge(2, Range(1, maxUID), false); return err })
		s.reapAll()
		if err := s.deleteBlobs(t.Context()); err != nil {
			t.Error(err)
		}
	}
	there.cfg.BlobGrace = -1
	there.Store.cfg.BlobGrace = -1
	for a := mail.AccountID(1); a < n; a++ {
		lost(a)
		there.clean()
	}
	if got := there.read(n, 1); got != big(1, 40000) {
		t.Error("the last copy is damaged")
	}
	late := time.Now().Add(-never)
	body.stored.Store(&late)
	if err := put(1); !errors.Is(err, errBodyLate) {
		t.Errorf("stored a body whose blob may be gone: %v", err)
	}
	lost(n)
	if rows := here.count("bodies"); rows != 0 {
		t.Errorf("%d rows left", rows)
	}
	for e, err := range here.b.All(t.Context()) {
		t.Error("a blob is left: ", e, err)
	}
	here.clean()
}

// What passes is said to pass.
func TestAwayIsUnavailable(t *testing.T) {
	t.Parallel()
	for _, err := range []error{db.ErrAway, fmt.Errorf("x: %w", db.ErrUnknown)} {
		if k := mail.KindOf(said(err)); k != mail.Unavailable {
			t.Errorf("%v is of kind %v", err, k)
		}
	}
	if err := said(errNoMailbox); err != error(errNoMailbox) || said(nil) != nil {
		t.Error(err)
	}
}
