package mailstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// A step that fails within a batch leaves nothing behind, and what the others
// of its batch did stays, in the table and in the cache.
func TestBatchWithFailures(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	boom := error(&mail.Error{Kind: mail.Policy, Text: "boom"}) // a refusal; after other errors the cache is dropped
	const workers, rounds = 16, 60
	var mu sync.Mutex
	uids := map[UID]int{}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				b := s.body(text(w*rounds + i))
				fail := (w+i)%3 == 0
				var a Appended
				err := s.Update(context.Background(), tk, func(tx *Tx) (err error) {
					a, err = tx.Append(inbox, NewMessage{Body: b, Flags: Seen, Keywords: []string{fmt.Sprint("k", (w+i)%7)}})
					if err == nil && fail {
						if i%2 == 0 { // changes the tree, too
							_, err = tx.CreateMailbox(MailboxSpec{Name: fmt.Sprint("x", w)})
						}
						if err == nil {
							err = boom
						}
					}
					return err
				})
				b.Release()
				if fail != errors.Is(err, boom) || !fail && err != nil {
					t.Errorf("fail %v: %v", fail, err)
				}
				if !fail {
					mu.Lock()
					uids[a.UID]++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	m := s.box(1, Inbox)
	if m.Messages != len(uids) || int(m.UIDNext) != len(uids)+1 || m.Unseen != 0 {
		t.Errorf("%+v, %d acknowledged", m, len(uids))
	}
	for u, n := range uids {
		if n != 1 {
			t.Errorf("uid %d given %d times", u, n)
		}
	}
	s.clean()
	s.reopen()
	if r := s.box(1, Inbox); r.Messages != m.Messages || r.UIDNext != m.UIDNext {
		t.Errorf("after reopen %+v, before %+v", r, m)
	}
	s.clean()
}

// clean fails the test if Check finds anything.
func (s *site) clean() {
	s.t.Helper()
	for p, err := range s.Check(context.Background(), CheckOptions{Bodies: true}) {
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Errorf("check: %+v", p)
	}
}

// A cache that a lost transaction left ahead of the table is found out, and the step runs anew.
func TestStaleCache(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	s.append(tk, inbox, text(1), 0)
	a := s.cache.peek(1)
	a.wrk.modseq += 5
	a.wrk.nextMsg += 5
	a.byID(inbox).wrk.uidNext += 5
	x := s.append(tk, inbox, text(2), 0)
	if x.UID != 2 || s.cache.peek(1) == a && !s.shared {
		t.Errorf("uid %d from a stale cache", x.UID)
	}
	// a refusal founded on it is not said either
	a = s.cache.peek(1)
	a.wrk.modseq++
	a.byID(inbox).wrk.live = false
	if x = s.append(tk, inbox, text(3), 0); x.UID != 3 {
		t.Errorf("uid %d", x.UID)
	}
	s.clean()
}

// A transaction that is lost as a whole tells nobody; its members run again, or never.
func TestLostTransaction(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	b, err := s.OpenBox(t.Context(), 1, inbox)
	if err != nil {
		t.Fatal(err)
	}
	v := b.NewView()
	body := s.body(text(1))
	defer body.Release()
	var got Appended
	u := &update{s: s.Store, ticket: tk, fn: func(tx *Tx) (err error) {
		if _, err = tx.CreateMailbox(MailboxSpec{Name: "made"}); err == nil {
			got, err = tx.Append(inbox, NewMessage{Body: body, Keywords: []string{"k"}})
		}
		return err
	}}
	lost := errors.New("lost")
	lose := func() {
		err := s.db.Update(context.Background(), func(c *db.Tx) error {
			if err := u.run(c); err != nil {
				return err
			}
			return lost
		}, u.committed)
		if !errors.Is(err, lost) {
			t.Fatal(err)
		}
	}
	lose()
	if m := s.box(1, Inbox); m.Messages != 0 || v.Dirty() {
		t.Errorf("readers see a lost step: %+v", m)
	}
	if a := s.append(tk, inbox, text(2), 0); a.UID != 1 || a.Message != 1 {
		t.Errorf("%+v", a)
	}
	lose()
	if err := s.db.Update(context.Background(), u.run, u.committed); err != nil || got.UID != 2 { // the replay
		t.Errorf("%+v %v", got, err)
	}
	if m := s.box(1, "made"); m.ID == 0 || s.box(1, Inbox).Messages != 2 {
		t.Errorf("%+v", m)
	}
	if n, err := v.Sync(t.Context(), true); err != nil || !n.Exists || v.Count() != 2 {
		t.Errorf("%+v %v", n, err)
	}
	s.clean()
}

// A box is never opened from an account that has left the cache: it would miss what came since.
func TestOpenFromOldAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	old, err := s.Store.account(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	s.cache.drop(old)
	s.append(tk, inbox, text(1), 0)
	if b, err := s.openBox(old, inbox); b != nil || err != nil {
		t.Errorf("%v %v", b, err)
	}
	b, err := s.OpenBox(t.Context(), 1, inbox)
	if err != nil || b.NewView().Count() != 1 {
		t.Errorf("%v", err)
	}
	if err := b.Load(t.Context()); err != nil {
		t.Error(err)
	}
}

// Sessions that load, sync and look while others write end with the truth.
func TestConcurrentSessions(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{IndexMemory: 4000, BlobGrace: -1})
	s.boxes.ring = 4
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { s.Run(ctx) })
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for w := range 8 {
		writers.Go(func() { s.writeAtRandom(tk, inbox, uint64(w), 150) })
	}
	for range 3 {
		readers.Go(func() { s.readUntil(inbox, done) })
	}
	writers.Wait()
	close(done)
	readers.Wait()
	cancel()
	run.Wait()
	s.clean()
}

func (s *site) writeAtRandom(tk Ticket, inbox MailboxID, seed uint64, n int) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	for i := range n {
		uid := UID(1 + rnd.IntN(i+2))
		var err error
		switch rnd.IntN(4) {
		case 0, 1:
			s.append(tk, inbox, text(i), 0)
		case 2:
			uid := UID(1 + rnd.IntN(12)) // the same few for all: steps of one batch meet
			err = s.Update(context.Background(), tk, func(t *Tx) error {
				_, err := t.StoreFlags(inbox, Range(uid, uid+5), FlagOp(1+rnd.IntN(2)), Seen|Flagged, nil, false, 0)
				return err
			})
		case 3:
			err = s.Update(context.Background(), tk, func(t *Tx) error {
				_, err := t.Expunge(inbox, UIDs(uid), false)
				return err
			})
		}
		if err != nil {
			s.t.Error(err)
		}
	}
}

// readUntil is a session that keeps a client's list, opening anew now and then.
func (s *site) readUntil(inbox MailboxID, done chan struct{}) {
	ctx := context.Background()
	for last := false; !last; {
		b, err := s.OpenBox(ctx, 1, inbox)
		if err != nil {
			s.t.Error(err)
			return
		}
		c := &client{box: b, view: b.NewView(), said: map[UID]string{}}
		s.follow(c, 1)
		for range 20 {
			select {
			case <-done:
				last = true
			default:
			}
			n, err := c.view.Sync(ctx, true)
			if err != nil {
				s.t.Error(err)
				break
			}
			for _, q := range n.ExpungedSeqs {
				delete(c.said, c.uids[q-1])
				c.uids = slices.Delete(c.uids, q-1, q)
			}
			for _, e := range n.Changed {
				c.said[e.Row.UID] = fmt.Sprint(e.Row.Flags)
			}
			if n.Exists {
				s.follow(c, n.First)
			}
		}
		if last {
			s.same(c)
		}
		b.Close()
	}
}

// follow reads new entries. One expunged between the sync and the reading leaves a hole with its number.
func (s *site) follow(c *client, from UID) {
	for e, err := range c.view.Entries(context.Background(), Range(from, maxUID)) {
		if err != nil {
			s.t.Error(err)
			return
		}
		for len(c.uids) < e.Seq-1 {
			c.uids = append(c.uids, 0)
		}
		c.uids = append(c.uids, e.Row.UID)
		c.said[e.Row.UID] = fmt.Sprint(e.Row.Flags)
	}
	for len(c.uids) < c.view.Count() {
		c.uids = append(c.uids, 0)
	}
}

// same compares what a client was told with the rows, after the last write.
func (s *site) same(c *client) {
	i := 0
	for e, err := range c.view.Entries(context.Background(), nil) {
		if err != nil {
			s.t.Error(err)
			return
		}
		if i >= len(c.uids) || c.uids[i] != e.Row.UID || c.said[e.Row.UID] != fmt.Sprint(e.Row.Flags) {
			s.t.Errorf("entry %d: %+v, told %q", i, e, c.said[e.Row.UID])
			return
		}
		i++
	}
	if i != len(c.uids) {
		s.t.Errorf("client has %d, view %d", len(c.uids), i)
	}
}

// Watch yields history, then live changes, each once and in order, whenever it starts.
func TestWatchNoGap(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	const n = 150
	var wg sync.WaitGroup
	acc, _ := s.Account(t.Context(), 1)
	for range 4 {
		wg.Go(func() {
			var at ModSeq
			var got UIDSet
			for c, err := range s.Watch(context.Background(), 1, acc.ModSeq) {
				if err != nil {
					t.Error(err)
					return
				}
				if c.ModSeq < at {
					t.Errorf("modseq %d after %d", c.ModSeq, at)
				}
				at = c.ModSeq
				if c.Kind == Added {
					if len(got.Intersect(c.UIDs)) > 0 {
						t.Errorf("%v twice", c.UIDs)
					}
					got = got.Union(c.UIDs)
				}
				if c.Kind == FlagsChanged {
					break
				}
			}
			if !got.Equal(Range(1, n)) {
				t.Errorf("added %v", got)
			}
		})
	}
	for i := range n {
		s.append(tk, inbox, text(i), 0)
	}
	s.must(tk, func(t *Tx) error { _, err := t.StoreFlags(inbox, UIDs(3), AddFlags, Seen, nil, false, 0); return err })
	wg.Wait()
}
