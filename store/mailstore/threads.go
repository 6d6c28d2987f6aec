package mailstore

import (
	"context"
	"sync"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// threads bounds thread_ref. Its rows have no owner: any of a conversation's messages may have brought them, and a reply
// yet to come may need them. They are dead once no message of the conversation is left. Nothing tells when that is so,
// therefore they are swept: when an account has lost as many messages as half of those it has, at least sweepThreads, its
// messages are walked and the rows of other conversations deleted. So there are never more than those of the living and of
// that many dead messages, each with maxThreadRefs+1 at most. Lost counts are forgotten at a restart: waste, no harm.
// A reply to a conversation that was swept begins a new one (RFC 8621 §3 leaves it to the server).
type threads struct {
	mu   sync.Mutex
	lost map[mail.AccountID]int64
}

const (
	sweepThreads     = 500  // messages; each sweep of a small account costs a few ms
	sweepThreadsPage = 2000 // rows read under one snapshot or deleted in one transaction
)

func (x *threads) init() { x.lost = make(map[mail.AccountID]int64) }

// gone counts n messages of a that were reaped.
func (x *threads) gone(a mail.AccountID, n int) {
	x.mu.Lock()
	x.lost[a] += int64(n)
	x.mu.Unlock()
}

// candidates are the accounts that lost at least sweepThreads messages.
func (x *threads) candidates() (out map[mail.AccountID]int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	out = make(map[mail.AccountID]int64)
	for a, n := range x.lost {
		if n >= sweepThreads {
			out[a] = n
		}
	}
	return out
}

func (x *threads) swept(a mail.AccountID) {
	x.mu.Lock()
	delete(x.lost, a)
	x.mu.Unlock()
}

// sweepThreads sweeps the accounts whose turn it is.
func (s *Store) sweepThreads(ctx context.Context) error {
	for a, n := range s.threads.candidates() {
		acc, err := s.Account(ctx, a)
		if mail.KindOf(err) == mail.NoSuchAccount {
			s.threads.swept(a)
			continue
		}
		if err != nil {
			return err
		}
		if n < acc.UsedCount/2 {
			continue
		}
		s.threads.swept(a)
		if err := s.sweepThreadRefs(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

const (
	sqlThreadsOf  = `SELECT id, thread_id FROM messages WHERE account_id=? AND id>? AND id<=? ORDER BY id LIMIT ?`
	sqlThreadRefs = `SELECT ref, thread_id FROM thread_ref WHERE account_id=? AND ref>=? ORDER BY ref LIMIT ?`
	sqlDropRef    = `DELETE FROM thread_ref WHERE account_id=? AND ref=?`
)

// liveThreads are the conversations of an account that have messages, up to a message.
type liveThreads struct {
	a     mail.AccountID
	scope db.Value
	high  int64    // key of the last message looked at
	bits  []uint64 // by thread; they are numbered without gaps
}

func (s *Store) liveThreads(a mail.AccountID) *liveThreads {
	return &liveThreads{a: a, scope: s.scope(a), high: messageKey(a, 0)}
}

func (l *liveThreads) has(t int64) bool {
	return t>>6 < int64(len(l.bits)) && l.bits[t>>6]&(1<<(t&63)) != 0
}

// more looks at up to a page of messages behind those seen, and says how many it were.
func (l *liveThreads) more(c *db.Conn) (n int, err error) {
	for r, err := range c.Rows(sqlThreadsOf, l.scope, db.Int(l.high), db.Int(messageKey(l.a, maxMessageID)), db.Int(sweepThreadsPage)) {
		if err != nil {
			return n, err
		}
		t := r.Int(1)
		for int64(len(l.bits)) <= t>>6 {
			l.bits = append(l.bits, make([]uint64, len(l.bits)+64)...)
		}
		l.bits[t>>6] |= 1 << (t & 63)
		l.high = r.Int(0)
		n++
	}
	return n, nil
}

// sweepThreadRefs deletes the rows of thread_ref whose conversation has no message.
func (s *Store) sweepThreadRefs(ctx context.Context, a mail.AccountID) error {
	live := s.liveThreads(a)
	for n := sweepThreadsPage; n == sweepThreadsPage; {
		err := s.view(ctx, func(c *db.Conn) (err error) { n, err = live.more(c); return err })
		if err != nil {
			return err
		}
	}
	for from, more := int64(-1<<63), true; more; {
		var dead []int64
		var err error
		if dead, from, more, err = s.deadRefs(ctx, live, from); err != nil {
			return err
		}
		if len(dead) == 0 {
			continue
		}
		if err := s.dropRefs(ctx, live, dead); err != nil {
			return err
		}
		sleep(ctx, reapPause, nil)
	}
	return nil
}

// deadRefs looks at a page of thread_ref from ref on, and says where to go on.
func (s *Store) deadRefs(ctx context.Context, live *liveThreads, from int64) (dead []int64, next int64, more bool, err error) {
	err = s.view(ctx, func(c *db.Conn) error {
		dead, next = nil, from
		n := 0
		for r, err := range c.Rows(sqlThreadRefs, db.Int(live.a), db.Int(from), db.Int(sweepThreadsPage)) {
			if err != nil {
				return err
			}
			n++
			if !live.has(r.Int(1)) {
				dead = append(dead, r.Int(0))
			}
			next = r.Int(0)
		}
		if more = n == sweepThreadsPage; more {
			next++ // no overflow: a page more follows, or there is no larger one
		}
		return nil
	})
	return dead, next, more && next != -1<<63, err
}

// dropRefs deletes refs, unless mail that came since has brought their conversation back to life. Deliveries wait
// meanwhile, so none comes in between.
func (s *Store) dropRefs(ctx context.Context, live *liveThreads, refs []int64) error {
	return s.db.UpdateFor(ctx, int64(live.a), askLock(live.a), func(t *db.Tx) error {
		if err := lockAccount(t, live.a); err != nil {
			return err
		}
		for n := sweepThreadsPage; n == sweepThreadsPage; {
			var err error
			if n, err = live.more(&t.Conn); err != nil {
				return err
			}
		}
		for _, ref := range refs {
			var thread int64
			found, err := t.Row(`SELECT thread_id FROM thread_ref WHERE account_id=? AND ref=?`, db.Int(live.a), db.Int(ref)).Scan(&thread)
			if err != nil {
				return err
			}
			if !found || live.has(thread) {
				continue
			}
			if _, err := t.Exec(sqlDropRef, db.Int(live.a), db.Int(ref)); err != nil {
				return err
			}
		}
		return nil
	}, nil)
}
