package mailstore

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// watchers is the register of who wants to be woken.
type watchers struct {
	mu        sync.RWMutex
	byAccount map[mail.AccountID][]*watcher
}

// watcher is one registration.
type watcher struct {
	mailbox MailboxID
	wake    func([]Change)
	mu      sync.Mutex // held while wake runs: stop waits for it
	stopped bool
}

func (w *watchers) init() { w.byAccount = make(map[mail.AccountID][]*watcher) }

// Notify is the lean form of Watch for sessions that only need to be woken:
// after each commit that touched mailbox (0: anything of a) wake is called on
// the committer's goroutine with the changes; it must return at once (hand over
// to another goroutine) and must not call stop. stop is idempotent; after it returned, wake is not called again.
func (s *Store) Notify(a mail.AccountID, mailbox MailboxID, wake func([]Change)) (stop func()) {
	w := &watcher{mailbox: mailbox, wake: wake}
	r := &s.watchers
	r.mu.Lock()
	r.byAccount[a] = append(r.byAccount[a], w)
	r.mu.Unlock()
	if s.shared && !s.follows.has(a) {
		s.catchUpSoon(a)
	}
	return func() { r.stop(a, w) }
}

func (r *watchers) stop(a mail.AccountID, w *watcher) {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.byAccount[a]
	i := slices.Index(old, w)
	if i < 0 {
		return
	}
	if len(old) == 1 {
		delete(r.byAccount, a)
		return
	}
	r.byAccount[a] = append(old[:i:i], old[i+1:]...) // a copy: tell may be walking the old one
}

// accounts lists those that are watched.
func (r *watchers) accounts() []mail.AccountID {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Collect(maps.Keys(r.byAccount))
}

// any reports whether somebody watches a.
func (r *watchers) any(a mail.AccountID) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.byAccount[a]) > 0
}

// tell wakes who waits for the changes of a. In the order of the account's steps; no lock held but follow's and the watcher's own.
func (r *watchers) tell(a mail.AccountID, changes func() []Change) {
	r.mu.RLock()
	list := r.byAccount[a]
	r.mu.RUnlock()
	if len(list) == 0 {
		return
	}
	all := changes()
	for _, w := range list {
		cs := all
		if w.mailbox != 0 {
			cs = slices.DeleteFunc(slices.Clone(all), func(c Change) bool { return c.Mailbox != w.mailbox && c.Kind != History })
		}
		if len(cs) > 0 {
			w.call(cs)
		}
	}
}

// removed wakes all who watch a: it is no more.
func (r *watchers) removed(a mail.AccountID) {
	r.mu.RLock()
	list := r.byAccount[a]
	r.mu.RUnlock()
	for _, w := range list {
		w.call([]Change{{Account: a, Mailbox: w.mailbox, Kind: MailboxDeleted}})
	}
}

func (w *watcher) call(cs []Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stopped {
		w.wake(cs)
	}
}

// changes lists what a step did, joined by mailbox and kind.
func (t *tx) changes() []Change {
	out := make([]Change, 0, len(t.events)+len(t.extra))
next:
	for i := range t.events {
		e := &t.events[i]
		if e.kind == MailboxDeleted {
			continue // in extra
		}
		for j := range out {
			if c := &out[j]; c.Mailbox == e.mailbox && c.Kind == e.kind {
				c.UIDs = c.UIDs.Union(e.uids)
				continue next
			}
		}
		out = append(out, Change{Account: t.a.id, ModSeq: t.after.modseq, Mailbox: e.mailbox, Kind: e.kind, UIDs: e.uids})
	}
	for _, c := range t.extra {
		c.Account, c.ModSeq = t.a.id, t.after.modseq
		out = append(out, c)
	}
	return out
}

// maxWatchQueue bounds the live changes that wait for a slow watcher; beyond it reads history again.
const maxWatchQueue = 1024

// feed is what a Watch has not yet yielded.
type feed struct {
	mu   sync.Mutex
	live []Change
	lost bool
	wake chan struct{}
}

func (f *feed) push(cs []Change) {
	f.mu.Lock()
	lost := slices.ContainsFunc(cs, func(c Change) bool { return c.Kind == History })
	if lost || len(f.live)+len(cs) > maxWatchQueue {
		f.live, f.lost = nil, true
	} else if !f.lost {
		f.live = append(f.live, cs...)
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *feed) take() (cs []Change, lost bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	cs, lost = f.live, f.lost
	f.live, f.lost = nil, false
	return cs, lost
}

// Watch yields the changes of a after since: history first, then live, no gap, until ctx ends, the account is removed
// (kind NoSuchAccount) or the loop breaks.
//
// In history a message that came and went again is not Added, only Expunged, and
// changes of one mailbox and kind keep their own modseqs. If since lies before
// the history kept, the first change is of kind History and the stream goes on from its ModSeq.
func (s *Store) Watch(ctx context.Context, a mail.AccountID, since ModSeq) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		f := &feed{lost: true, wake: make(chan struct{}, 1)}
		stop := s.Notify(a, 0, f.push)
		defer stop()
		at := since
		for {
			cs, lost := f.take()
			if lost {
				var err error
				if cs, err = s.history(ctx, a, at); err != nil {
					yield(Change{}, err)
					return
				}
			}
			last := at
			for _, c := range cs {
				if c.Kind == MailboxDeleted && c.Mailbox == 0 { // removed said it
					yield(Change{}, errNoAccount)
					return
				}
				if c.ModSeq <= at {
					continue
				}
				last = max(last, c.ModSeq)
				if !yield(c, nil) {
					return
				}
			}
			at = last
			if len(cs) > 0 {
				continue
			}
			select {
			case <-f.wake:
			case <-ctx.Done():
				yield(Change{}, ctx.Err())
				return
			}
		}
	}
}

const (
	sqlHistory    = `SELECT modseq, mailbox_id, kind, uids FROM changelog WHERE account_id=? AND modseq>? ORDER BY modseq, mailbox_id, kind`
	sqlChangedBox = `SELECT mailbox_id FROM mailboxes WHERE account_id=? AND modseq>? ORDER BY mailbox_id`
	sqlAddedSince = `SELECT uid, added FROM msgidx WHERE account_id=? AND mailbox_id=? ORDER BY uid DESC`
)

// history reads what happened after since, in order.
func (s *Store) history(ctx context.Context, a mail.AccountID, since ModSeq) (out []Change, err error) {
	err = s.view(ctx, func(c *db.Conn) error {
		out = nil
		var floor, now ModSeq
		found, err := c.Row(`SELECT log_floor, modseq FROM accounts WHERE account_id=? AND removed=0`, db.Int(a)).Scan(&floor, &now)
		if err != nil {
			return err
		}
		if !found {
			return errNoAccount
		}
		if since < floor {
			out = []Change{{Account: a, ModSeq: now, Kind: History}}
			return nil
		}
		if out, err = logged(c, a, since); err == nil {
			out, err = arrived(c, a, since, out)
		}
		return err
	})
	slices.SortStableFunc(out, func(x, y Change) int { return int(int64(x.ModSeq) - int64(y.ModSeq)) })
	return out, err
}

func logged(c *db.Conn, a mail.AccountID, since ModSeq) (out []Change, err error) {
	for r, err := range c.Rows(sqlHistory, db.Int(a), db.Int(since)) {
		if err != nil {
			return nil, err
		}
		uids, err := decodeUIDSet(r.RawBytes(3))
		if err != nil {
			return nil, err
		}
		out = append(out, Change{Account: a, ModSeq: ModSeq(r.Int(0)), Mailbox: MailboxID(r.Int(1)), Kind: ChangeKind(r.Int(2)), UIDs: uids})
	}
	return out, nil
}

// arrived adds the arrivals, which are in no log: added rises with uid, so the tail of each changed mailbox tells.
func arrived(c *db.Conn, a mail.AccountID, since ModSeq, out []Change) ([]Change, error) {
	var ids []MailboxID
	for r, err := range c.Rows(sqlChangedBox, db.Int(a), db.Int(since)) {
		if err != nil {
			return nil, err
		}
		ids = append(ids, MailboxID(r.Int(0)))
	}
	for _, id := range ids {
		first := len(out)
		for r, err := range c.Rows(sqlAddedSince, db.Int(a), db.Int(id)) {
			if err != nil {
				return nil, err
			}
			uid, m := UID(r.Int(0)), ModSeq(r.Int(1))
			if m <= since {
				break
			}
			if n := len(out); n > first && out[n-1].ModSeq == m {
				out[n-1].UIDs.Add(uid)
			} else {
				out = append(out, Change{Account: a, ModSeq: m, Mailbox: id, Kind: Added, UIDs: UIDs(uid)})
			}
		}
	}
	return out, nil
}
