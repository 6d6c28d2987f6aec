package mailstore

import (
	"sync"

	"bahnpost/mail"
)

// recents remembers which messages came into a mailbox and were shown to no
// session yet that may change it: those are \Recent (RFC 3501 §2.3.2).
//
// It is memory only. What a node finds when it starts is recent to nobody: that
// section would rather have it recent, but clients show \Recent as new mail, and
// after each restart all the old mail would be.
type recents struct {
	mu  sync.Mutex
	box map[boxKey]UIDSet // no empty sets
}

// maxRecentBoxes bounds the mailboxes with mail that nobody has looked at; one
// more makes some other one forget what is recent in it.
const maxRecentBoxes = 1 << 14

func (r *recents) init() { r.box = make(map[boxKey]UIDSet) }

// apply takes in what a step did. On the writer's goroutine, before sessions can see it.
func (r *recents) apply(t *tx) {
	for i := range t.events {
		if e := &t.events[i]; e.kind != FlagsChanged {
			r.event(boxKey{t.a.id, e.mailbox}, e)
		}
	}
}

func (r *recents) event(k boxKey, e *event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, ok := r.box[k]
	switch {
	case e.kind == Added && ok:
		for _, u := range e.uids {
			old.AddRange(u.Lo, u.Hi) // sets are given away when they are claimed, never while they grow
		}
		r.box[k] = old
	case e.kind == Added:
		if len(r.box) >= maxRecentBoxes {
			for other := range r.box {
				delete(r.box, other)
				break
			}
		}
		r.box[k] = e.uids.Clone()
	case ok && e.kind == Expunged:
		r.put(k, old.Subtract(e.uids))
	case ok && e.kind == MailboxDeleted:
		delete(r.box, k)
	}
}

func (r *recents) put(k boxKey, s UIDSet) {
	if s.Empty() {
		delete(r.box, k)
		return
	}
	r.box[k] = s
}

// forget drops all of account a.
func (r *recents) forget(a mail.AccountID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.box {
		if k.account == a {
			delete(r.box, k)
		}
	}
}

// recent returns the recent messages of k with a UID less than below, and takes them out if claim.
func (r *recents) recent(k boxKey, below UID, claim bool) UIDSet {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.box[k]
	if all.Empty() || all[0].Lo >= below {
		return nil
	}
	shown := all.Intersect(Range(1, below-1))
	if claim {
		r.put(k, all.Subtract(shown))
	}
	return shown
}

// Recent returns the messages that v's client knows and that no session has
// claimed: \Recent for a session that changes nothing, as after EXAMINE (RFC 3501 §6.3.2).
func (v *View) Recent() UIDSet { return v.box.recent(v.uidNext, false) }

// ClaimRecent is Recent, but these messages will be recent to nobody else.
func (v *View) ClaimRecent() UIDSet { return v.box.recent(v.uidNext, true) }

func (b *Box) recent(below UID, claim bool) UIDSet {
	return b.s.recents.recent(boxKey{b.account, b.id}, below, claim)
}

// RecentCount is how many messages of a mailbox no session has claimed as recent (STATUS, RFC 3501 §6.3.10).
func (s *Store) RecentCount(a mail.AccountID, m MailboxID) int {
	s.recents.mu.Lock()
	defer s.recents.mu.Unlock()
	return s.recents.box[boxKey{a, m}].Count()
}
