package mailstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"
)

// Two nodes on one database deliver into the same accounts: all that was
// acknowledged is there once, in the accounts' order, whichever node one asks
// after it has written there itself.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	if !dbtest.OnPostgres() {
		t.Skip("SQLite has one node")
	}
	const senders, each = 8, 40
	dir := t.TempDir()
	node := func() *site {
		s := &site{t: t, dir: dir, cfg: Config{InlineMax: 1 << 20}} // bodies are in rows: packs are one node's
		s.open()
		t.Cleanup(s.close)
		return s
	}
	nodes := []*site{node(), node()}
	accounts := []mail.AccountID{1, 2, 3}
	for _, a := range accounts {
		nodes[a%2].account(a, Quota{})
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	uids := make(map[mail.AccountID]UIDSet)
	for g := range senders {
		s := nodes[g%2]
		wg.Go(func() {
			for k := range each {
				a := accounts[(g+k)%len(accounts)]
				b := s.body(text(g*each + k))
				defer b.Release()
				var out Appended
				err := s.Update(context.Background(), Ticket{a, 1}, func(x *Tx) (err error) {
					out, err = x.Append(1, NewMessage{Body: b})
					return err
				})
				if err != nil {
					t.Error(err)
					continue
				}
				mu.Lock()
				set := uids[a]
				if set.Contains(out.UID) {
					t.Errorf("account %d: UID %d was given out twice", a, out.UID)
				}
				uids[a] = set.Union(UIDs(out.UID))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	third := node()
	total := 0
	for _, a := range accounts {
		m := third.box(a, Inbox)
		if n := uids[a].Count(); m.ID != 1 || m.Messages != n || len(uids[a]) != 1 || uids[a][0].Lo != 1 || int(m.UIDNext) != n+1 {
			t.Errorf("account %d: %d acknowledged as %v, the third node sees %+v", a, n, uids[a], m)
		}
		total += m.Messages
		for _, s := range append(nodes, third) {
			out := s.append(Ticket{a, 1}, 1, "Subject: last\n\n", 0)
			if now := s.box(a, Inbox); out.UID != now.UIDNext-1 || int(out.UID) != now.Messages {
				t.Errorf("account %d: UID %d, then %+v", a, out.UID, now)
			}
		}
	}
	if total != senders*each {
		t.Errorf("%d messages, %d were acknowledged", total, senders*each)
	}
	third.reopen()
	third.clean()
}

// onNodes opens n nodes on one database and one place for bodies.
func onNodes(t *testing.T, n int, cfg Config) []*site {
	t.Helper()
	if !dbtest.OnPostgres() {
		t.Skip("SQLite has one node")
	}
	nodes := []*site{newSite(t, cfg)}
	for len(nodes) < n {
		nodes = append(nodes, nodes[0].join())
	}
	return nodes
}

// rumour hints at every step on one node to the others, now and then: what is lost, comes twice or late must not matter.
func rumour(ctx context.Context, nodes []*site, a mail.AccountID, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		acc, err := nodes[r.IntN(len(nodes))].Account(ctx, a)
		if err != nil {
			continue
		}
		to := nodes[r.IntN(len(nodes))]
		to.heard([]db.Hint{{Account: 0, ModSeq: 9}, {Account: int64(a), ModSeq: int64(acc.ModSeq) - int64(r.IntN(3))}})
		if r.IntN(20) == 0 {
			_ = to.pollSessions(ctx)
		}
	}
}

// follower replays a Watch: what it ends with is what there is.
type follower struct {
	last  ModSeq
	box   map[MailboxID]UIDSet
	flags map[string]int // changes by modseq and mailbox
	err   error
}

// follow watches until a message came to mailbox end.
func follow(ctx context.Context, s *site, a mail.AccountID, end MailboxID) *follower {
	f := &follower{box: make(map[MailboxID]UIDSet), flags: make(map[string]int)}
	for c, err := range s.Watch(ctx, a, 0) {
		if err != nil {
			f.err = err
			break
		}
		if c.ModSeq < f.last {
			f.err = fmt.Errorf("modseq %d after %d", c.ModSeq, f.last)
			break
		}
		f.last = c.ModSeq
		set := f.box[c.Mailbox]
		switch c.Kind {
		case Added:
			if !set.Intersect(c.UIDs).Empty() {
				f.err = fmt.Errorf("%v came twice", c.UIDs)
			}
			f.box[c.Mailbox] = set.Union(c.UIDs)
		case Expunged:
			f.box[c.Mailbox] = set.Subtract(c.UIDs)
		case FlagsChanged:
			f.flags[fmt.Sprint(c.ModSeq, "/", c.Mailbox)]++
		case History:
			f.err = errors.New("history was not told")
		}
		if f.err != nil || c.Mailbox == end && c.Kind == Added {
			break
		}
	}
	return f
}

// Three nodes write into one account at once, each with a watcher and a session. No step is missed, told twice or out
// of order on any of them, whatever happens to hints, and memory ends as the tables are.
func TestNodesTogether(t *testing.T) {
	t.Parallel()
	nodes := onNodes(t, 3, Config{InlineMax: 200, BlobGrace: -1})
	const a, each = 5, 60
	tk := nodes[0].account(a, Quota{})
	inbox, archive := nodes[0].box(a, Inbox).ID, nodes[0].box(a, "Archive").ID
	trash := nodes[0].box(a, "Trash").ID
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var writers, watchers, sessions, gossip sync.WaitGroup
	followers := make([]*follower, len(nodes))
	stop := make(chan struct{})
	for i, s := range nodes {
		watchers.Go(func() { followers[i] = follow(ctx, s, a, trash) })
		sessions.Go(func() { s.session(inbox, stop) })
		for w := range 2 {
			writers.Go(func() { s.scribble(tk, inbox, archive, uint64(10*i+w), each) })
		}
	}
	gossip.Go(func() { rumour(ctx, nodes, a, 1) })
	writers.Wait()
	close(stop)
	sessions.Wait()
	nodes[1].append(tk, trash, text(0), 0)
	for _, s := range nodes {
		s.catchUpSoon(a)
	}
	watchers.Wait()
	cancel()
	gossip.Wait()
	want := nodes[0].flagSteps(a)
	for i, s := range nodes {
		f := followers[i]
		if f.err != nil {
			t.Fatalf("node %d: %v", i, f.err)
		}
		if !maps.Equal(f.flags, want) {
			t.Errorf("node %d heard of %d changes of flags, there were %d", i, len(f.flags), len(want))
		}
		for _, id := range []MailboxID{inbox, archive} {
			if got := s.uids(a, id); !got.Equal(f.box[id]) {
				t.Errorf("node %d, mailbox %d: heard of %v, there are %v", i, id, f.box[id], got)
			}
		}
		s.clean()
	}
}

// scribble does n random things.
func (s *site) scribble(tk Ticket, inbox, archive MailboxID, seed uint64, n int) {
	r := rand.New(rand.NewPCG(seed, 3))
	for i := range n {
		b := s.body(big(int(seed)*1000+i, r.IntN(2)*3000))
		err := s.Update(context.Background(), tk, func(x *Tx) (err error) {
			lo := UID(1 + r.IntN(n))
			some := Range(lo, lo+UID(r.IntN(n)))
			switch r.IntN(10) {
			case 0:
				_, err = x.StoreFlags(inbox, some, FlagOp(1+r.IntN(2)), Flagged, []string{fmt.Sprint("k", r.IntN(80))}, false, 0)
			case 1:
				_, err = x.StoreFlags(archive, Range(1, maxUID), AddFlags, Seen, nil, false, 0)
			case 2:
				_, err = x.Expunge(inbox, UIDs(UID(1+r.IntN(n)), UID(1+r.IntN(n))), false)
			case 3:
				_, err = x.Move(inbox, UIDs(UID(1+r.IntN(n))), archive)
			case 4:
				_, err = x.Copy(inbox, UIDs(UID(1+r.IntN(n))), archive)
			case 5:
				err = x.Subscribe(fmt.Sprint("s", r.IntN(5)), r.IntN(2) == 0)
			case 6:
				err = s.shake(x, r)
			default:
				_, err = x.Append(inbox, NewMessage{Body: b, Flags: Flags(r.IntN(2))})
			}
			return err
		})
		b.Release()
		if err != nil {
			s.t.Error(err)
		}
	}
}

// shake changes the tree.
func (s *site) shake(x *Tx, r *rand.Rand) error {
	name, other := fmt.Sprint("t", r.IntN(3)), fmt.Sprint("t", r.IntN(3))
	m, err := x.MailboxByName(name)
	switch {
	case mail.KindOf(err) == mail.NoSuchMailbox:
		_, err = x.CreateMailbox(MailboxSpec{Name: name})
	case err != nil:
	case r.IntN(2) == 0:
		err = x.DeleteMailbox(m.ID)
	default:
		if err = x.RenameMailbox(m.ID, other); mail.KindOf(err) == mail.MailboxExists {
			err = nil
		}
	}
	return err
}

// session keeps a client's view until stop: its sequence numbers must always fit what it was told.
func (s *site) session(box MailboxID, stop chan struct{}) {
	ctx := context.Background()
	b, err := s.OpenBox(ctx, 5, box)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer b.Close()
	v := b.NewView()
	var uids []UID
	learn := func(from UID) {
		for e, err := range v.Entries(ctx, Range(from, maxUID)) {
			if err != nil {
				s.t.Error(err)
				return
			}
			if uids = append(uids, e.Row.UID); e.Seq != len(uids) {
				s.t.Errorf("uid %d is said to be %d, it is the client's %d", e.Row.UID, e.Seq, len(uids))
			}
		}
	}
	learn(1)
	for ended := false; !ended; {
		select {
		case <-stop:
			ended = true
			if _, err := s.refresh(ctx, 5); err != nil {
				s.t.Error(err)
			}
		case <-time.After(time.Millisecond):
		}
		n, err := v.Sync(ctx, true)
		if err != nil {
			s.t.Error(err)
			return
		}
		for _, seq := range n.ExpungedSeqs {
			uids = slices.Delete(uids, seq-1, seq)
		}
		for _, e := range n.Changed {
			if e.Seq > len(uids) || uids[e.Seq-1] != e.Row.UID {
				s.t.Errorf("change of %d, uid %d, to a client of %d", e.Seq, e.Row.UID, len(uids))
			}
		}
		if n.Exists {
			learn(n.First)
		}
		if v.Count() != len(uids) {
			s.t.Errorf("view counts %d, the client %d", v.Count(), len(uids))
			return
		}
	}
	for i, u := range slices.Collect(s.uids(5, box).All()) {
		if uids[i] != u {
			s.t.Errorf("client ends with %v", uids)
			return
		}
	}
}

// uids are those of a mailbox, from the table.
func (s *site) uids(a mail.AccountID, box MailboxID) (out UIDSet) {
	s.t.Helper()
	if err := s.d.View(context.Background(), func(c *db.Conn) error {
		for r, err := range c.Rows(`SELECT uid FROM msgidx WHERE account_id=? AND mailbox_id=? ORDER BY uid`, db.Int(a), db.Int(box)) {
			if err != nil {
				return err
			}
			out.Add(UID(r.Int(0)))
		}
		return nil
	}); err != nil {
		s.t.Error(err)
	}
	return out
}

// flagSteps are the changes of flags that were made.
func (s *site) flagSteps(a mail.AccountID) map[string]int {
	s.t.Helper()
	out := make(map[string]int)
	if err := s.d.View(context.Background(), func(c *db.Conn) error {
		for r, err := range c.Rows(`SELECT modseq, mailbox_id FROM changelog WHERE account_id=? AND kind=2 ORDER BY modseq`, db.Int(a)) {
			if err != nil {
				return err
			}
			out[fmt.Sprint(r.Int(0), "/", r.Int(1))]++
		}
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
	return out
}
