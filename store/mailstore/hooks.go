package mailstore

import (
	"context"
	"sync"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// What search (search*.go, internal/fts) needs of the rest of the package:
//
//   - Store.dirty: accounts with messages that came since it was last taken;
//     Store.dirty.wake has a token when there are some. A crash forgets it: at
//     start, accounts whose fts_high is below next_msg-1 are the dirty ones (lagging).
//   - unindexed: the messages of an account above fts_high, in order of arrival.
//   - deletions: a message that is gone has no row in messages (after the reaper)
//     or none in the index in memory (at once): filter hits by Box rows, drop at merge.
//     A move keeps the MessageID and changes mailbox and uid.
//   - Store.openSearch is called by New, Store.runSearch by Run in a goroutine of its own;
//     forgetSearch by RemoveAccount inside its last transaction.
//   - fts tables: a Migrate component of their own.

// dirty is the set of accounts that have new messages.
type dirty struct {
	mu   sync.Mutex
	set  map[mail.AccountID]struct{}
	wake chan struct{}
}

func (d *dirty) init() {
	d.set = make(map[mail.AccountID]struct{})
	d.wake = make(chan struct{}, 1)
}

// mark notes new messages of a; called after each commit that brought some.
func (d *dirty) mark(a mail.AccountID) {
	d.mu.Lock()
	d.set[a] = struct{}{}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// take empties the set.
func (d *dirty) take() []mail.AccountID {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]mail.AccountID, 0, len(d.set))
	for a := range d.set {
		out = append(out, a)
	}
	clear(d.set)
	return out
}

// place says where a message is.
type place struct {
	message MessageID
	mailbox MailboxID
	uid     UID
}

const (
	sqlUnindexed = `SELECT id, mailbox_id, uid FROM messages WHERE id>? AND id<=? ORDER BY id LIMIT ?`
	sqlLagging   = `SELECT account_id FROM accounts WHERE fts_high<next_msg-1 AND removed=0 AND account_id>? ORDER BY account_id LIMIT ?`
)

// unindexed lists up to n messages of a with an id above high, ascending.
func unindexed(c *db.Conn, a mail.AccountID, high MessageID, n int) ([]place, error) {
	var out []place
	for r, err := range c.Rows(sqlUnindexed, db.Int(messageKey(a, high)), db.Int(messageKey(a, maxMessageID)), db.Int(n)) {
		if err != nil {
			return nil, err
		}
		out = append(out, place{MessageID(r.Int(0) & maxMessageID), MailboxID(r.Int(1)), UID(r.Int(2))})
	}
	return out, nil
}

// lagging lists up to n accounts above after whose search index is behind.
func (s *Store) lagging(ctx context.Context, after mail.AccountID, n int) (out []mail.AccountID, err error) {
	err = s.db.View(ctx, func(c *db.Conn) error {
		out = nil
		for r, err := range c.Rows(sqlLagging, db.Int(after), db.Int(n)) {
			if err != nil {
				return err
			}
			out = append(out, mail.AccountID(r.Int(0)))
		}
		return nil
	})
	return out, err
}
