package mailstore

import (
	"context"
	"time"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

const (
	trimAccounts = 200  // accounts looked at under one snapshot
	trimRows     = 2000 // rows deleted in one transaction
)

// trim forgets history older than ExpungeHistory and keys of old deliveries.
func (s *Store) trim(ctx context.Context) error {
	before := time.Now().Add(-s.cfg.ExpungeHistory).Unix()
	var last mail.AccountID
	for {
		ids, next, err := s.trimmable(ctx, last, before)
		if err != nil {
			return err
		}
		for _, a := range ids {
			if err := s.trimAccount(ctx, a, before); err != nil {
				return err
			}
		}
		if next == last {
			return nil
		}
		last = next
	}
}

// sqlTrimmable says of a portion of accounts when their oldest step was, and how many keys of deliveries are out of date.
const sqlTrimmable = `SELECT a.account_id, COALESCE((SELECT at FROM changelog c WHERE c.account_id=a.account_id ORDER BY modseq LIMIT 1), 0),
	(SELECT COUNT(*) FROM dedup d WHERE d.account_id=a.account_id AND d.expires<?3) FROM accounts a WHERE a.account_id>?1 ORDER BY a.account_id LIMIT ?2`

// trimmable lists the accounts after last that have something old, and how far it looked.
func (s *Store) trimmable(ctx context.Context, last mail.AccountID, before int64) (ids []mail.AccountID, next mail.AccountID, err error) {
	err = s.view(ctx, func(c *db.Conn) error {
		ids, next = nil, last
		for r, err := range c.Rows(sqlTrimmable, db.Int(last), db.Int(trimAccounts), db.Int(time.Now().Unix())) {
			if err != nil {
				return err
			}
			next = mail.AccountID(r.Int(0))
			if at := r.Int(1); at != 0 && at < before || r.Int(2) > 0 {
				ids = append(ids, next)
			}
		}
		return nil
	})
	return ids, next, err
}

// trimAccount raises the floor of a's history, in steps.
func (s *Store) trimAccount(ctx context.Context, a mail.AccountID, before int64) error {
	for {
		n := 0
		err := s.db.UpdateFor(ctx, int64(a), askLock(a), func(t *db.Tx) error {
			n = 0
			if err := lockAccount(t, a); err != nil {
				return err
			}
			var floor ModSeq
			for r, err := range t.Rows(`SELECT modseq, at FROM changelog WHERE account_id=? ORDER BY modseq LIMIT ?`, db.Int(a), db.Int(trimRows)) {
				if err != nil {
					return err
				}
				if r.Int(1) >= before {
					break
				}
				floor = ModSeq(r.Int(0))
				n++
			}
			if _, err := t.Exec(`DELETE FROM dedup WHERE account_id=? AND expires<?`, db.Int(a), db.Int(time.Now().Unix())); err != nil || n == 0 {
				return err
			}
			// Rows of one step are trimmed together: a floor within a step would tell half of it.
			if _, err := t.Exec(`DELETE FROM changelog WHERE account_id=? AND modseq<=?`, db.Int(a), db.Int(floor)); err != nil {
				return err
			}
			_, err := t.Exec(`UPDATE accounts SET log_floor=? WHERE account_id=?`, db.Int(floor), db.Int(a))
			return err
		}, nil)
		if err != nil || n < trimRows {
			return err
		}
	}
}

// RemoveAccount deletes all of a's data, in steps. Unknown accounts are no error. It first marks a as removed, durably;
// then it calls unlist (if not nil), which takes a out of the directory; then the mail goes. So whenever it is cut off,
// the next start goes on with the mail, and an account that is still listed has none: a second call ends it.
func (s *Store) RemoveAccount(ctx context.Context, a mail.AccountID, unlist func(context.Context) error) error {
	if err := s.condemn(ctx, a); err != nil {
		return err
	}
	if unlist != nil {
		if err := unlist(ctx); err != nil {
			return err
		}
	}
	return s.dropAccount(ctx, a)
}

// condemn marks an account as removed: nobody can use it from then on.
func (s *Store) condemn(ctx context.Context, a mail.AccountID) error {
	err := s.db.UpdateFor(ctx, int64(a), askLock(a), func(t *db.Tx) error {
		if err := lockAccount(t, a); err != nil {
			return err
		}
		s.unsure.add(t, a)
		_, err := t.Exec(`UPDATE accounts SET removed=1, modseq=modseq+1 WHERE account_id=? AND removed=0`, db.Int(a))
		if acc := s.cache.peek(a); acc != nil {
			s.cache.drop(acc)
		}
		return err
	}, func() {
		if !s.shared {
			s.forgetAccount(a)
			return
		}
		st := s.follows.of(a)
		st.mu.Lock()
		delete(st.by, a)
		s.forgetAccount(a)
		st.mu.Unlock()
		s.db.Hint(int64(a), 1<<62)
	})
	return said(err)
}

// askLock is what lockAccount asks.
func askLock(a mail.AccountID) []db.Question { return []db.Question{db.AskLock(sqlModSeq, db.Int(a))} }

// lockAccount makes an account ours, where other nodes write too. It need not exist.
func lockAccount(t *db.Tx, a mail.AccountID) error {
	if !t.Shared() || a == 0 {
		return nil
	}
	var m ModSeq
	_, err := t.Lock(sqlModSeq, db.Int(a)).Scan(&m)
	return err
}

// dropAccount deletes what a condemned account has; its own row last, so that a start finds what was left.
func (s *Store) dropAccount(ctx context.Context, a mail.AccountID) error {
	for _, step := range [...]func(*db.Tx) (int, error){
		func(t *db.Tx) (int, error) { return s.dropMessages(t, a) },
		func(t *db.Tx) (int, error) { return dropIndex(t, a) },
		func(t *db.Tx) (int, error) { return dropSearch(t, a) },
		dropSome(`DELETE FROM thread_ref WHERE account_id=?1 AND ref<=(SELECT MAX(ref) FROM (SELECT ref FROM thread_ref WHERE account_id=?1 ORDER BY ref LIMIT ?2) x)`, a),
		dropSome(`DELETE FROM changelog WHERE account_id=?1 AND modseq<=(SELECT MAX(modseq) FROM (SELECT modseq FROM changelog WHERE account_id=?1 ORDER BY modseq LIMIT ?2) x)`, a),
		dropSome(`DELETE FROM dedup WHERE account_id=?1 AND token<=(SELECT token FROM (SELECT token FROM dedup WHERE account_id=?1 ORDER BY token LIMIT ?2) x ORDER BY token DESC LIMIT 1)`, a),
	} {
		if err := s.repeat(ctx, a, step); err != nil {
			return err
		}
	}
	s.reaper.more()
	return s.db.UpdateFor(ctx, int64(a), askLock(a), func(t *db.Tx) error {
		if err := lockAccount(t, a); err != nil {
			return err
		}
		for _, sql := range [...]string{`DELETE FROM gone WHERE account_id=?`, `DELETE FROM acl WHERE account_id=?`,
			`DELETE FROM metadata WHERE account_id=?`, `DELETE FROM keywords WHERE account_id=?`, `DELETE FROM subscriptions WHERE account_id=?`,
			`DELETE FROM mailboxes WHERE account_id=?`} {
			if _, err := t.Exec(sql, db.Int(a)); err != nil {
				return err
			}
		}
		_, err := t.Exec(`DELETE FROM accounts WHERE account_id=? AND removed=1`, db.Int(a))
		return err
	}, nil)
}

// resumeRemovals goes on with accounts whose removal was cut off.
func (s *Store) resumeRemovals(ctx context.Context) {
	var left []mail.AccountID
	err := s.view(ctx, func(c *db.Conn) error {
		left = nil
		for r, err := range c.Rows(`SELECT account_id FROM accounts WHERE removed=1`) {
			if err != nil {
				return err
			}
			left = append(left, mail.AccountID(r.Int(0)))
		}
		return nil
	})
	for _, a := range left {
		if err == nil {
			err = s.RemoveAccount(ctx, a, nil)
		}
	}
	if err != nil && ctx.Err() == nil {
		s.cfg.Log.Error("mailstore: cannot go on with a removal", "err", err)
	}
}

// repeat runs step in transactions of its own until it has nothing left.
func (s *Store) repeat(ctx context.Context, a mail.AccountID, step func(*db.Tx) (int, error)) error {
	for {
		n := 0
		err := s.db.UpdateFor(ctx, int64(a), askLock(a), func(t *db.Tx) (err error) {
			if err = lockAccount(t, a); err != nil {
				return err
			}
			n, err = step(t)
			return err
		}, nil)
		if err != nil || n == 0 {
			return err
		}
	}
}

func dropSome(sql string, a mail.AccountID) func(*db.Tx) (int, error) {
	return func(t *db.Tx) (int, error) {
		n, err := t.Exec(sql, db.Int(a), db.Int(trimRows))
		return int(n), err
	}
}

func (s *Store) dropMessages(t *db.Tx, a mail.AccountID) (int, error) {
	var msgs []MessageID
	for r, err := range t.Rows(`SELECT id FROM messages WHERE account_id=? AND id BETWEEN ? AND ? LIMIT ?`, s.scope(a), db.Int(messageKey(a, 0)), db.Int(messageKey(a, maxMessageID)), db.Int(reapStep)) {
		if err != nil {
			return 0, err
		}
		msgs = append(msgs, MessageID(r.Int(0)&maxMessageID))
	}
	return len(msgs), s.reapMessages(t, a, msgs)
}

func dropIndex(t *db.Tx, a mail.AccountID) (int, error) {
	var box MailboxID
	found, err := t.Row(`SELECT mailbox_id FROM msgidx WHERE account_id=? ORDER BY mailbox_id LIMIT 1`, db.Int(a)).Scan(&box)
	if err != nil || !found {
		return 0, err
	}
	msgs, err := deadRows(t, a, box)
	return len(msgs), err
}

// forget marks all boxes of an account as gone.
func (x *boxes) forget(a mail.AccountID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k, b := range x.byKey {
		if k.account != a {
			continue
		}
		b.mu.Lock()
		b.apply(&event{kind: MailboxDeleted}, &b.cur)
		if b.load != nil {
			b.load.wake()
		}
		b.mu.Unlock()
		x.use(b)
		x.drop(k)
	}
}

// dropSearch takes a part of the search index away.
func dropSearch(t *db.Tx, a mail.AccountID) (int, error) {
	if done, err := removeSearchIndex(t, a); done || err != nil {
		return 0, err
	}
	return 1, nil
}
