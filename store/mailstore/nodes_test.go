package mailstore

import (
	"context"
	"sync"
	"testing"

	"bahnpost/mail"
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
