package app

import (
	"context"
	"maps"
	"sync"
	"time"

	"bahnpost/mail"
)

// suspects are accounts that were changed, by this node or another, and whose
// sessions may have to end.
type suspects struct {
	wake chan struct{} // capacity 1
	mu   sync.Mutex
	ids  map[mail.AccountID]bool // 0: any
}

func newSuspects() *suspects {
	return &suspects{wake: make(chan struct{}, 1), ids: make(map[mail.AccountID]bool)}
}

// add is quick: it is called in the middle of a commit.
func (s *suspects) add(a mail.AccountID) {
	s.mu.Lock()
	s.ids[a] = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take empties the list.
func (s *suspects) take() map[mail.AccountID]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := maps.Clone(s.ids)
	clear(s.ids)
	return ids
}

// suspectsAgain is when accounts are looked at again that could not be read.
const suspectsAgain = time.Second

// shutOut ends the sessions of accounts that were disabled or removed, until ctx ends.
func (n *Node) shutOut(ctx context.Context) {
	for {
		var again <-chan time.Time
		if rest := n.judge(ctx, n.suspects.take()); len(rest) > 0 {
			n.suspects.mu.Lock()
			maps.Copy(n.suspects.ids, rest)
			n.suspects.mu.Unlock()
			again = time.After(suspectsAgain)
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-n.suspects.wake:
		}
	}
}

// judge looks at those of ids who have sessions here, and returns whom it could not judge now.
func (n *Node) judge(ctx context.Context, ids map[mail.AccountID]bool) (rest map[mail.AccountID]bool) {
	if len(ids) == 0 {
		return nil
	}
	here := make(map[mail.AccountID]bool)
	for _, s := range n.server.Sessions() {
		if s.Account != 0 && (ids[s.Account] || ids[0]) {
			here[s.Account] = true
		}
	}
	for a := range here {
		acc, err := n.floor.directory.Account(ctx, a)
		switch {
		case err == nil && !acc.Disabled:
			delete(here, a)
		case err == nil || mail.KindOf(err) == mail.NoSuchAccount:
			k := n.server.Kick(a)
			n.log.Info("sessions ended: the account was disabled or removed", "account", a, "sessions", k)
			delete(here, a)
		}
	}
	return here
}
