package mailstore

import (
	"context"
	"errors"
	"sync"
	"time"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
	"bahnpost/store/internal/fts"
)

// The search index trails the mail. Who commits new mail says so (touch); the indexer
// takes the account up IndexDelay later, or when enough has come together.
// What the index does not cover yet, searches read directly.

const (
	defaultIndexDelay = 5 * time.Second
	indexBatch        = 250     // messages in a segment: with fewer, CPU per message grows
	indexBatchOctets  = 3 << 20 // memory of a batch, which ends it early
	indexRetry        = 10 * time.Second
	indexScanPage     = 500 // accounts looked at under one snapshot at the start
)

// indexQueue holds the accounts that wait for the indexer.
type indexQueue struct {
	delay time.Duration
	wake  chan struct{} // has a token when next may say something new

	mu  sync.Mutex
	due map[mail.AccountID]indexJob
}

type indexJob struct {
	at    time.Time
	n     int  // messages that came
	reset bool // build it anew
}

func (x *indexQueue) init(delay time.Duration) {
	x.due = make(map[mail.AccountID]indexJob)
	x.wake = make(chan struct{}, 1)
	x.delay = delay
}

// touch says that n messages came to a. It is called on the committer's goroutine. It wakes
// the indexer only if that sleeps without a term, or has a whole batch to do.
func (x *indexQueue) touch(a mail.AccountID, n int) {
	x.mu.Lock()
	j, ok := x.due[a]
	if !ok {
		j.at = time.Now().Add(x.delay)
	}
	before := j.n
	j.n += n
	x.due[a] = j
	wake := len(x.due) == 1 && !ok || before < indexBatch && j.n >= indexBatch
	x.mu.Unlock()
	if wake {
		x.signal()
	}
}

func (x *indexQueue) signal() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// later has a taken up at the given time, if it does not wait already.
func (x *indexQueue) later(a mail.AccountID, at time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.due[a]; !ok {
		x.due[a] = indexJob{at: at}
	}
}

// reset has a's index built anew, at once or, if that failed, after a while.
func (x *indexQueue) reset(a mail.AccountID, at time.Time) {
	x.mu.Lock()
	x.due[a] = indexJob{at: at, reset: true}
	x.mu.Unlock()
	x.signal()
}

// next takes an account that is due, or says how long to wait for one; 0: none waits.
func (x *indexQueue) next(now time.Time) (a mail.AccountID, job indexJob, wait time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, j := range x.due {
		left := j.at.Sub(now)
		if left <= 0 || j.n >= indexBatch {
			delete(x.due, id)
			return id, j, 0
		}
		if wait == 0 || left < wait {
			wait = left
		}
	}
	return 0, indexJob{}, wait
}

// runIndexer indexes new mail until ctx ends. Called by Run.
func (s *Store) runIndexer(ctx context.Context) error {
	ix := indexer{s: s, b: fts.NewBuilder()}
	q := &s.search.news
	for ctx.Err() == nil {
		now := time.Now()
		a, job, wait := q.next(now)
		if a == 0 {
			ix.rest(ctx, wait)
			continue
		}
		if err := ix.account(ctx, a, job.reset); err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("mailstore: cannot index", "account", a, "err", err)
			if job.reset {
				q.reset(a, now.Add(indexRetry))
			} else {
				q.later(a, now.Add(indexRetry)) // searches read what is missing meanwhile
			}
		}
	}
	return nil
}

// textsVersion grows when textWalk or what it calls begins to give other texts for the same message: then
// the indexes are built anew, account by account; the old ones serve until their turn comes.
const textsVersion = 2

const sqlBehind = `SELECT a.account_id, COALESCE(f.high, 0) < a.next_msg-1, COALESCE(f.texts, ?3) <> ?3 FROM accounts a LEFT JOIN fts_account f ON f.account_id=a.account_id
	WHERE a.account_id>?1 AND a.removed=0 ORDER BY a.account_id LIMIT ?2`

// leftDelay lets the node that took mail in index it first.
const leftDelay = time.Minute

// findUnindexed has the accounts indexed that were left behind by the last run, or by a node that died.
func (s *Store) findUnindexed(ctx context.Context, at time.Time) error {
	var last mail.AccountID
	for n := indexScanPage; n == indexScanPage; {
		n = 0
		err := s.view(ctx, func(c *db.Conn) error {
			for r, err := range c.Rows(sqlBehind, db.Int(last), db.Int(indexScanPage), db.Int(textsVersion)) {
				if err != nil {
					return err
				}
				n++
				last = mail.AccountID(r.Int(0))
				if r.Int(2) != 0 {
					s.search.news.reset(last, at)
				} else if r.Int(1) != 0 {
					s.search.news.later(last, at)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// indexer is the state of runIndexer.
type indexer struct {
	s     *Store
	b     *fts.Builder
	walk  textWalk
	page  messageRows
	pacer pacer
}

// rest waits for the next account to be due, if any waits, else for new mail.
func (ix *indexer) rest(ctx context.Context, wait time.Duration) {
	ix.b, ix.page = fts.NewBuilder(), messageRows{} // a big batch has grown them
	var tick <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		tick = t.C
	}
	select {
	case <-ctx.Done():
	case <-ix.s.search.news.wake:
	case <-tick:
	}
	ix.pacer.begin(true)
}

// account brings the index of a up to date and tends it.
func (ix *indexer) account(ctx context.Context, a mail.AccountID, reset bool) error {
	if ix.pacer.began.IsZero() {
		ix.pacer.begin(false)
	}
	if reset {
		if err := ix.s.search.index.Reset(ctx, ix.s.db, int64(a)); err != nil {
			return err
		}
	}
	for more := true; more; {
		var err error
		if more, err = ix.batch(ctx, a); err != nil {
			return err
		}
		if err := ix.pace(ctx); err != nil {
			return err
		}
		if err := ix.merge(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// merge does what merging is due, which is rarely much: a message is rewritten a few times in its life.
func (ix *indexer) merge(ctx context.Context, a mail.AccountID) error {
	for more := true; more; {
		var err error
		more, err = ix.s.search.index.Merge(ctx, ix.s.db, int64(a), ix.alive(a), ix.pace)
		if errors.Is(err, fts.ErrDamaged) {
			ix.s.search.news.reset(a, time.Now())
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	sqlIndexAccount = `SELECT next_msg-1 FROM accounts WHERE account_id=? AND removed=0`
	sqlMessageIDs   = `SELECT id FROM messages WHERE account_id=? AND id>? AND id<=? ORDER BY id LIMIT ?`
)

// batch indexes the next messages of a; more: there may be others.
func (ix *indexer) batch(ctx context.Context, a mail.AccountID) (more bool, err error) {
	var high, last int64
	found := false
	err = ix.s.view(ctx, func(c *db.Conn) (err error) {
		if found, err = c.Row(sqlIndexAccount, db.Int(a)).Scan(&last); err != nil || !found {
			return err
		}
		high, err = fts.High(c, int64(a))
		return err
	})
	if err != nil || !found || high >= last {
		return false, err
	}
	ix.b.Reset()
	n, done := 0, high
	for more = true; more && n < indexBatch && ix.b.Size() <= indexBatchOctets; {
		if more, err = ix.read(ctx, a, done, last, indexBatch-n); err != nil {
			return false, err
		}
		for i := range ix.page.all {
			m := &ix.page.all[i]
			if err := ix.message(ctx, m); err != nil {
				return false, err
			}
			if err := ix.breathe(ctx); err != nil {
				return false, err
			}
			n++
			if done = int64(m.id); ix.b.Size() > indexBatchOctets {
				more = true
				break
			}
		}
	}
	if !more {
		done = last
	}
	if err = ix.s.search.index.Write(ctx, ix.s.db, int64(a), ix.b, high, done, ix.pace); err == nil {
		ix.s.search.done.Add(int64(n))
	}
	return more, err
}

const (
	indexPage       = 32        // messages read under one snapshot
	indexPageOctets = 512 << 10 // memory of them, after which no more are read
)

// read fills ix.page with the next messages of a after the given one, at most n; more: there may be others up to last.
func (ix *indexer) read(ctx context.Context, a mail.AccountID, after, last int64, n int) (more bool, err error) {
	n = min(n, indexPage)
	err = ix.s.view(ctx, func(c *db.Conn) error {
		ix.page.reset()
		for r, err := range c.Rows(sqlReadMessages, ix.s.scope(a), db.Int(messageKey(a, MessageID(after))), db.Int(messageKey(a, MessageID(last))), db.Int(n)) {
			if err != nil {
				return err
			}
			ix.page.add(ix.s, r)
			if len(ix.page.octets) > indexPageOctets {
				more = true
				break
			}
		}
		return nil
	})
	return more || len(ix.page.all) == n, err
}

// ownForIndex keeps other nodes' indexers out, and refuses to write for an account that is being removed. Leases alone
// would not do: who was cut off for a while learns late that another has taken over.
func ownForIndex(tx *db.Tx, account int64) error {
	var last int64
	found, err := tx.Lock(sqlIndexAccount, db.Int(account)).Scan(&last)
	if err == nil && !found {
		err = errNoAccount
	}
	return err
}

// message adds the text of a message to the batch. One that is gone or cannot be read has none.
func (ix *indexer) message(ctx context.Context, m *readMessage) error {
	r := &m.r
	err := r.open(ctx, &m.body)
	if k := mail.KindOf(err); err != nil && (k == mail.NoSuchMessage || k == mail.Corrupt) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close()
	ix.b.Message(int64(m.id))
	if f := factsOf(&Meta{Summary: r.summary}); f.sentOK {
		const day = 86400
		ix.b.Sent((f.sent - (f.sent%day+day)%day) / day)
	}
	var stopped error
	err = ix.walk.walk(r, true, func(t *foldedText) bool {
		if t.name != "" {
			ix.b.Text(fts.Name, t.fold, nil)
		}
		ix.b.Text(t.field, t.fold, t.text)
		if t.end {
			ix.b.EndText()
		}
		if t.field == fts.Body { // may be long
			stopped = ix.breathe(ctx)
		}
		return stopped == nil
	})
	ix.b.EndText()
	if mail.KindOf(err) == mail.Corrupt {
		return nil
	}
	if err == nil {
		err = stopped
	}
	return err
}

// alive says which messages exist, for merges.
func (ix *indexer) alive(a mail.AccountID) fts.Live {
	const page = 20000
	return func(ctx context.Context, from, to int64) (*fts.Set, error) {
		s := new(fts.Set)
		for next := from - 1; next >= 0; {
			after := next
			next = -1
			err := ix.s.view(ctx, func(c *db.Conn) error {
				n := 0
				for r, err := range c.Rows(sqlMessageIDs, ix.s.scope(a), db.Int(messageKey(a, MessageID(after))), db.Int(messageKey(a, MessageID(to))), db.Int(page)) {
					if err != nil {
						return err
					}
					id := r.Int(0) & maxMessageID
					s.Add(id)
					if n++; n == page {
						next = id
					}
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
		return s, nil
	}
}

const sqlIndexed = `SELECT f.account_id, f.high, COALESCE(a.next_msg, 1) FROM fts_account f LEFT JOIN accounts a ON a.account_id=f.account_id ORDER BY f.account_id`

// search checks the search indexes. What is wrong with one is waste, not loss: it is built anew when a search meets it.
func (c *checker) search() error {
	type mark struct {
		account    mail.AccountID
		high, next int64
	}
	var all []mark
	err := c.s.view(c.ctx, func(q *db.Conn) error {
		all = nil
		for r, err := range q.Rows(sqlIndexed) {
			if err != nil {
				return err
			}
			all = append(all, mark{mail.AccountID(r.Int(0)), r.Int(1), r.Int(2)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.high >= m.next {
			c.bad(Problem{Account: m.account}, "search index: covers messages up to %d, the next one will be %d", m.high, m.next)
		}
		var fault error
		for range 3 { // a merge meanwhile takes segments away
			if fault = c.s.search.index.Check(c.ctx, c.s.db, int64(m.account)); !errors.Is(fault, fts.ErrDamaged) {
				break
			}
		}
		if errors.Is(fault, fts.ErrDamaged) {
			c.bad(Problem{Account: m.account}, "search index: %v", fault)
		} else if fault != nil {
			return fault
		}
	}
	return nil
}

const sqlThreadOf = `SELECT thread_id FROM messages WHERE account_id=? AND id=?`

// threadOf returns the thread of a message, 0 if it is gone.
func (s *Store) threadOf(ctx context.Context, a mail.AccountID, m MessageID) (t ThreadID, err error) {
	err = s.view(ctx, func(c *db.Conn) error {
		_, err := c.Row(sqlThreadOf, s.scope(a), db.Int(messageKey(a, m))).Scan(&t)
		return err
	})
	return t, err
}
