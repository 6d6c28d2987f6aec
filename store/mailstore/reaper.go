package mailstore

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"bahnpost/mail"
	"bahnpost/store/blob"
	"bahnpost/store/internal/db"
)

// reaper gives back what expunges left behind. The order is law 3's: index row
// (with the expunge), message and body row, blob; each step durable before the
// next, each harmless when done twice.
type reaper struct {
	wake chan struct{}
}

func (r *reaper) init() { r.wake = make(chan struct{}, 1) }

// more says that there is something to do.
func (r *reaper) more() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run does the background work (reaper of bodies, history trim, search index,
// vacuum, compaction) until ctx ends. Nothing acknowledged depends on it.
func (s *Store) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { s.every(ctx, s.cfg.IndexIdle/2, "cool indexes", s.boxes.cool) })
	wg.Go(func() { s.held(ctx, "mailstore/reap", s.runReaper) })
	wg.Go(func() { s.held(ctx, "mailstore/tidy", s.runTidy) })
	wg.Go(func() { s.held(ctx, "mailstore/left", s.runLeft) })
	if s.shared {
		wg.Go(func() { s.runPoll(ctx) })
	}
	err := s.runIndexer(ctx)
	wg.Wait()
	return err
}

const (
	leaseTime = 15 * time.Second // after which the work of a node that died is another's
	leaseTry  = 10 * time.Second // between two tries to get a lease that another node has
)

// held runs fn while we hold a lease, whenever we get it, until ctx ends. Alone we always have it.
func (s *Store) held(ctx context.Context, name string, fn func(context.Context)) {
	for ctx.Err() == nil {
		_, err := s.db.Hold(ctx, name, leaseTime, func(ctx context.Context) error {
			fn(ctx)
			return nil
		})
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("mailstore: lease", "name", name, "err", err)
		}
		sleep(ctx, leaseTry, nil)
	}
}

// runTidy trims and compacts.
func (s *Store) runTidy(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { s.every(ctx, s.cfg.TrimEvery, "trim history", s.trim) })
	if _, ok := s.blobs.(keeper); ok {
		wg.Go(func() { s.every(ctx, s.cfg.CompactEvery, "compact bodies", s.compact) })
		wg.Go(func() { s.every(ctx, s.cfg.SweepEvery, "sweep bodies", s.sweep) })
	}
	wg.Wait()
}

// leftEvery is how often somebody looks for what nodes left undone that died, where there are others to do it.
const leftEvery = time.Hour

// runLeft goes on with what was cut off: removals, and mail that nobody indexed.
func (s *Store) runLeft(ctx context.Context) {
	for ctx.Err() == nil {
		s.resumeRemovals(ctx)
		at := time.Now()
		if s.shared {
			at = at.Add(leftDelay)
		}
		if err := s.findUnindexed(ctx, at); err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("mailstore: cannot find mail to index", "err", err)
			sleep(ctx, indexRetry, nil)
			continue
		}
		if !s.shared {
			return
		}
		sleep(ctx, leftEvery, nil)
	}
}

// every runs fn at intervals; a failure is logged and tried again next time.
func (s *Store) every(ctx context.Context, pause time.Duration, what string, fn func(context.Context) error) {
	t := time.NewTicker(pause)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := fn(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("mailstore: cannot "+what, "err", err)
		}
	}
}

// reapPause lets deliveries through between two steps: the reaper takes at most about a third of the writer.
const reapPause = 30 * time.Millisecond

// reapTidy is how often space is given back while messages keep dying.
const reapTidy = time.Second

func (s *Store) runReaper(ctx context.Context) {
	var tidied time.Time
	for ctx.Err() == nil {
		n, err := s.reap(ctx)
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("mailstore: cannot reap", "err", err)
			n = 0
		}
		if n > 0 && time.Since(tidied) < reapTidy {
			sleep(ctx, reapPause, nil)
			continue
		}
		tidied = time.Now()
		if err := s.sweepThreads(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("mailstore: cannot sweep threads", "err", err)
		}
		if err := s.deleteBlobs(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("mailstore: cannot delete bodies", "err", err)
		}
		if err := s.vacuum(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("mailstore: cannot vacuum", "err", err)
		}
		if n > 0 {
			sleep(ctx, reapPause, nil)
			continue
		}
		sleep(ctx, s.cfg.ReapEvery, s.reaper.wake)
	}
}

func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-wake:
	}
}

const (
	sqlNextGone   = `SELECT account_id, modseq, part, mailbox_id, msgs FROM gone ORDER BY account_id, modseq, part LIMIT 1`
	sqlNextGoneOf = `SELECT account_id, modseq, part, mailbox_id, msgs FROM gone WHERE account_id=? ORDER BY modseq, part LIMIT 1`
	sqlGoneFrom   = `SELECT account_id FROM gone ORDER BY account_id LIMIT 1`
	sqlEndGone    = `DELETE FROM gone WHERE account_id=? AND modseq=? AND part=?`
	sqlDeadRows   = `SELECT uid, msg_id FROM msgidx WHERE account_id=? AND mailbox_id=? ORDER BY uid LIMIT ?`
	sqlDropRows   = `DELETE FROM msgidx WHERE account_id=? AND mailbox_id=? AND uid<=?`
	sqlDropMsg    = `DELETE FROM messages WHERE account_id=? AND id=? RETURNING body_id`
)

// reap takes a portion of dead messages, of as many expunges as it takes, and says how many it was. Where other nodes
// write, it is of one account, whose row is locked meanwhile.
func (s *Store) reap(ctx context.Context) (n int, err error) {
	var only mail.AccountID
	if s.shared {
		err = s.view(ctx, func(c *db.Conn) error { _, err := c.Row(sqlGoneFrom).Scan(&only); return err })
		if err != nil || only == 0 {
			return 0, err
		}
	}
	var gone map[mail.AccountID]int
	err = s.db.UpdateFor(ctx, int64(only), askLock(only), func(t *db.Tx) error {
		n, gone = 0, map[mail.AccountID]int{}
		if err := lockAccount(t, only); err != nil {
			return err
		}
		for n < reapStep {
			a, msgs, found, err := s.reapNext(t, only)
			if err != nil || !found {
				return err
			}
			n += msgs + 1
			gone[a] += msgs
		}
		return nil
	}, nil)
	s.stats.reaped.Add(int64(n))
	for a, msgs := range gone {
		if err == nil && msgs > 0 {
			s.threads.gone(a, msgs)
		}
	}
	return n, err
}

// reapNext takes the messages of the oldest expunge, or a portion of those of a deleted mailbox; of one account, or (0) of any.
func (s *Store) reapNext(t *db.Tx, only mail.AccountID) (a mail.AccountID, n int, found bool, err error) {
	var mod ModSeq
	var part int
	var box MailboxID
	var blob []byte
	sql, args := sqlNextGone, []db.Value(nil)
	if only != 0 {
		sql, args = sqlNextGoneOf, []db.Value{db.Int(only)}
	}
	if found, err = t.Row(sql, args...).Scan(&a, &mod, &part, &box, &blob); err != nil || !found {
		return 0, 0, false, err
	}
	whole := blob == nil
	var msgs []MessageID
	if whole {
		msgs, err = deadRows(t, a, box)
	} else {
		msgs, err = decodeMsgs(blob)
	}
	if err == nil {
		err = s.reapMessages(t, a, msgs)
	}
	if err != nil || whole && len(msgs) > 0 {
		return a, len(msgs), true, err // of a mailbox again, until nothing is left
	}
	_, err = t.Exec(sqlEndGone, db.Int(a), db.Int(mod), db.Int(part))
	return a, len(msgs), true, err
}

// deadRows takes a portion of the index rows of a deleted mailbox away.
func deadRows(t *db.Tx, a mail.AccountID, box MailboxID) (msgs []MessageID, err error) {
	var last UID
	for r, err := range t.Rows(sqlDeadRows, db.Int(a), db.Int(box), db.Int(reapStep)) {
		if err != nil {
			return nil, err
		}
		last = UID(r.Int(0))
		msgs = append(msgs, MessageID(r.Int(1)))
	}
	if len(msgs) > 0 {
		_, err = t.Exec(sqlDropRows, db.Int(a), db.Int(box), db.Int(last))
	}
	return msgs, err
}

// reapMessages ends message rows, and body rows that nothing refers to any more.
func (s *Store) reapMessages(t *db.Tx, a mail.AccountID, msgs []MessageID) error {
	if s.shared {
		return s.reapAtOnce(t, a, msgs)
	}
	for _, m := range msgs {
		var body int64
		found, err := t.Row(sqlDropMsg, s.scope(a), db.Int(messageKey(a, m))).Scan(&body)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		if err := s.unref(t, s.scope(a), body); err != nil {
			return err
		}
	}
	return nil
}

const (
	vacuumStep  = 256     // pages in one commit, about 5 ms (storage.md §4)
	vacuumTick  = 64      // steps in one round: 64 MB
	vacuumFloor = 1 << 12 // free pages worth keeping for the next deliveries
)

// vacuum gives free pages back while nobody waits.
func (s *Store) vacuum(ctx context.Context) error {
	for range 2 { // the counters are refreshed behind a commit: the second one waits for that
		if err := s.db.Update(ctx, func(*db.Tx) error { return nil }, nil); err != nil {
			return err
		}
	}
	for range vacuumTick {
		st := s.db.Stats()
		if st.Waiting > 0 || st.FreePages < max(vacuumFloor, st.Pages/16) {
			return nil
		}
		if n, err := s.db.IncrementalVacuum(ctx, vacuumStep); err != nil || n == 0 {
			return err
		}
		sleep(ctx, reapPause, nil)
	}
	return nil
}

// keeper is a body store that can tidy itself up.
type keeper interface {
	Compact(ctx context.Context, live func(blob.Ref) (bool, error), moved func(ctx context.Context, old, new blob.Ref) error) (int64, error)
	Sweep(ctx context.Context, olderThan time.Duration, live func(blob.Ref) (bool, error)) (int, int64, error)
}

var (
	_ keeper = (*blob.Dir)(nil)
	_ keeper = (*blob.Remote)(nil)
)

// sweepAge is what keeps a sweep from bodies whose row is yet to come: no delivery takes a day.
const sweepAge = 24 * time.Hour

func (s *Store) sweep(ctx context.Context) error {
	_, _, err := s.blobs.(keeper).Sweep(ctx, sweepAge, s.live(ctx))
	return err
}

func (s *Store) compact(ctx context.Context) error {
	_, err := s.blobs.(keeper).Compact(ctx, s.live(ctx), s.relocated)
	return err
}

// live reports whether a row refers to a blob, or a Body under way may yet make one.
func (s *Store) live(ctx context.Context) func(blob.Ref) (bool, error) {
	return func(ref blob.Ref) (ok bool, err error) {
		if s.bodies.isHeld(ref) {
			return true, nil
		}
		err = s.view(ctx, func(c *db.Conn) error {
			var one int
			ok, err = c.Row(sqlRefUsed, db.Text(string(ref))).Scan(&one)
			return err
		})
		return ok, err
	}
}

// relocated points the row of a moved blob to its new place.
func (s *Store) relocated(ctx context.Context, old, new blob.Ref) error {
	if s.bodies.isHeld(old) {
		return fmt.Errorf("mailstore: body %s is being delivered", old)
	}
	var n int64
	err := s.db.Update(ctx, func(t *db.Tx) (err error) {
		n, err = t.Exec(`UPDATE bodies SET ref=?2 WHERE ref=?1 AND ref<>''`, db.Text(string(old)), db.Text(string(new)))
		return err
	}, nil)
	if err == nil && n == 0 {
		return fmt.Errorf("mailstore: body %s: %w", old, fs.ErrNotExist)
	}
	return err
}
