package mailstore

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// Where other nodes write to the database, memory follows: what they commit is told to the cache, the boxes and the
// watchers as our own steps are, in the order of the account's modseqs, each once. An account is followed from when it
// is loaded until nothing of it is in memory any more. That there is something new is learnt in four ways:
//
//   - a writer locks the account's row and sees its modseq (hold): before it does anything it catches up, so a
//     node's own steps never build on what is old;
//   - a hint says so, some milliseconds after the commit; it may be lost;
//   - the poll asks for all accounts with a session, every pollEvery;
//   - whoever needs an account for anything else finds that nobody has looked for trustFor.
//
// The table is the truth in each case: news.go reads what came after the modseq that was told last.

const (
	pollEvery     = 30 * time.Second // at most so long does a session not hear of another node's commit
	trustFor      = time.Second      // how long a cached account is used without a look at its row
	followWorkers = 4                // Views that catch up at once
	catchUpTime   = 10 * time.Second // for one of them
	followIdle    = 10 * time.Minute // after which an account that is not in memory is no longer followed
	stripes       = 64
)

// followed is what memory was told of an account.
type followed struct {
	told    ModSeq    // all steps up to this
	behind  ModSeq    // there is a step that is at least so high
	checked time.Time // told was the table's modseq then
}

// stripe guards some of the accounts.
type stripe struct {
	mu sync.Mutex // held while memory is told: one step after the other
	by map[mail.AccountID]*followed
}

// follows is the register of what memory was told.
type follows struct {
	stripe [stripes]stripe
	poll   chan struct{} // has a token when hints may have been missed

	mu      sync.Mutex
	queued  map[mail.AccountID]struct{}
	queue   []mail.AccountID
	workers int
}

func (f *follows) init() {
	f.poll = make(chan struct{}, 1)
	f.queued = make(map[mail.AccountID]struct{})
	for i := range f.stripe {
		f.stripe[i].by = make(map[mail.AccountID]*followed)
	}
}

func (f *follows) of(a mail.AccountID) *stripe { return &f.stripe[uint64(a)%stripes] }

// count is how many accounts are followed.
func (f *follows) count() (n int) {
	for i := range f.stripe {
		st := &f.stripe[i]
		st.mu.Lock()
		n += len(st.by)
		st.mu.Unlock()
	}
	return n
}

// has reports whether a is followed.
func (f *follows) has(a mail.AccountID) bool {
	st := f.of(a)
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.by[a] != nil
}

// fresh reports whether what memory knows of a is good enough for reading.
func (f *follows) fresh(a mail.AccountID) bool {
	st := f.of(a)
	st.mu.Lock()
	defer st.mu.Unlock()
	x := st.by[a]
	return x != nil && x.behind <= x.told && time.Since(x.checked) < trustFor
}

// followed returns an account as of trustFor ago or later.
func (s *Store) followed(ctx context.Context, id mail.AccountID) (*acct, error) {
	if a := s.cache.get(id); a != nil && s.follows.fresh(id) {
		return a, nil
	}
	return s.refresh(ctx, id)
}

// refresh brings memory up to the table and returns the account.
func (s *Store) refresh(ctx context.Context, id mail.AccountID) (*acct, error) {
	for {
		n := s.newsOf(id)
		if err := s.view(ctx, func(c *db.Conn) error { return n.read(c) }); err != nil {
			return nil, err
		}
		if a, ok := s.tell(n); ok && n.gone {
			return nil, errNoAccount
		} else if ok {
			return a, nil
		}
		if err := ctx.Err(); err != nil { // another catch-up or a step of ours came between, so this ends
			return nil, err
		}
	}
}

// heard takes hints in: accounts with a session are caught up at once, others when somebody needs them.
func (s *Store) heard(hints []db.Hint) {
	for _, h := range hints {
		if h.Account > 0 {
			s.behind(mail.AccountID(h.Account), ModSeq(h.ModSeq))
		}
	}
}

// behind notes that a step of a is at least so high.
func (s *Store) behind(a mail.AccountID, m ModSeq) {
	st := s.follows.of(a)
	st.mu.Lock()
	x := st.by[a]
	late := false
	if x != nil {
		x.behind = max(x.behind, m)
		late = x.behind > x.told
	}
	st.mu.Unlock()
	if (late || x == nil) && s.listened(a) {
		s.catchUpSoon(a)
	}
}

// listened reports whether somebody wants to hear of a.
func (s *Store) listened(a mail.AccountID) bool { return s.watchers.any(a) || s.boxes.any(a) }

// catchUpSoon has a worker catch up with a.
func (s *Store) catchUpSoon(a mail.AccountID) {
	f := &s.follows
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.queued[a]; ok {
		return
	}
	f.queued[a] = struct{}{}
	f.queue = append(f.queue, a)
	if f.workers < followWorkers {
		f.workers++
		go s.catchUpWaiting()
	}
}

func (f *follows) next() (mail.AccountID, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		f.workers--
		f.queue = nil
		return 0, false
	}
	a := f.queue[0]
	f.queue = f.queue[1:]
	delete(f.queued, a) // what comes while we read is looked at once more
	return a, true
}

// catchUpWaiting is a worker: it ends when nobody waits.
func (s *Store) catchUpWaiting() {
	for {
		a, ok := s.follows.next()
		if !ok {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), catchUpTime)
		_, err := s.refresh(ctx, a)
		cancel()
		if err != nil && mail.KindOf(err) != mail.NoSuchAccount && !errors.Is(err, db.ErrClosed) && !errors.Is(err, db.ErrAway) {
			s.cfg.Log.Warn("mailstore: cannot catch up; the next poll will", "account", a, "err", err)
		}
	}
}

// missed says that hints may have been lost.
func (s *Store) missed() {
	select {
	case s.follows.poll <- struct{}{}:
	default:
	}
}

// runPoll asks for the accounts with sessions, until ctx ends.
func (s *Store) runPoll(ctx context.Context) {
	for ctx.Err() == nil {
		sleep(ctx, s.cfg.PollEvery, s.follows.poll)
		if ctx.Err() != nil {
			return
		}
		if err := s.pollSessions(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("mailstore: cannot look for other nodes' changes", "err", err)
		}
	}
}

// sqlPoll is said to PostgreSQL only.
const sqlPoll = `SELECT account_id, modseq FROM accounts WHERE removed=0 AND account_id = ANY(string_to_array(?, ',')::bigint[]) ORDER BY account_id`

// pollSessions looks at the rows of all accounts that somebody listens to: one question.
func (s *Store) pollSessions(ctx context.Context) error {
	ids := append(s.watchers.accounts(), s.boxes.accounts()...)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	s.unfollow()
	if len(ids) == 0 {
		return nil
	}
	list := make([]string, len(ids))
	for i, a := range ids {
		list[i] = strconv.FormatInt(int64(a), 10)
	}
	now := make(map[mail.AccountID]ModSeq, len(ids))
	err := s.view(ctx, func(c *db.Conn) error {
		clear(now)
		for r, err := range c.Rows(sqlPoll, db.Text(strings.Join(list, ","))) {
			if err != nil {
				return err
			}
			now[mail.AccountID(r.Int(0))] = ModSeq(r.Int(1))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, a := range ids {
		if m, ok := now[a]; ok {
			s.behind(a, m)
		} else {
			s.catchUpSoon(a) // removed: its sessions shall hear of it
		}
	}
	return nil
}

// unfollow forgets accounts of which nothing is in memory.
func (s *Store) unfollow() {
	for i := range s.follows.stripe {
		st := &s.follows.stripe[i]
		st.mu.Lock()
		for a, x := range st.by {
			if time.Since(x.checked) > followIdle && s.cache.peek(a) == nil && !s.listened(a) {
				delete(st.by, a)
			}
		}
		st.mu.Unlock()
	}
}

// unsure are the accounts that the running transaction has changed. On the writer's goroutine.
type unsure struct {
	serial   int64
	accounts map[mail.AccountID]struct{}
}

func (u *unsure) add(c *db.Tx, a mail.AccountID) {
	if u.accounts == nil || u.serial != c.Serial() {
		u.serial = c.Serial()
		u.accounts = make(map[mail.AccountID]struct{})
	}
	u.accounts[a] = struct{}{}
}

func (u *unsure) has(c *db.Tx, a mail.AccountID) bool {
	if u.serial != c.Serial() {
		return false
	}
	_, ok := u.accounts[a]
	return ok
}

// hold makes an account ours until the transaction ends, and brings memory up to it: what its row says is durable, and nobody
// else can change it from here on. But if an earlier step of this transaction has, what the row says is that step's.
func (s *Store) hold(c *db.Tx, id mail.AccountID) (*acct, error) {
	row, floor, err := scanAccount(c.Lock(sqlAccount, db.Int(id)))
	if err != nil && err != errNoAccount {
		return nil, err
	}
	a := s.cache.peek(id)
	if s.unsure.has(c, id) {
		if err == nil && (a == nil || a.wrk.modseq != row.modseq) { // a step that failed has thrown it out
			if a, err = loadTree(&c.Conn, id, row); err == nil {
				s.cache.put(a) // not for readers
			}
		}
		return a, err
	}
	if a != nil && a.pending.Load() > 0 { // of a transaction that was lost
		s.cache.drop(a)
	}
	for {
		n := s.newsOf(id)
		n.row, n.floor, n.gone = row, floor, err != nil
		if e := n.readRest(&c.Conn); e != nil {
			return nil, e
		}
		a, ok := s.tell(n)
		if !ok {
			continue // a catch-up came between: there is no more to learn than this
		}
		if n.gone {
			return nil, errNoAccount
		}
		if a.wrk.modseq != row.modseq {
			a.resync()
		}
		return a, nil
	}
}

// resync lets the writer see what readers see: other nodes' steps are in cur only.
func (a *acct) resync() {
	a.mu.RLock()
	defer a.mu.RUnlock()
	a.wrk, a.wkw, a.wname = a.cur, a.kw, nil
	for _, m := range a.boxes {
		m.wrk = m.cur
	}
}

// Shared reports whether other nodes use the database.
func (s *Store) Shared() bool { return s.shared }

// firstMailbox is the id of the first mailbox of an account: furnish makes INBOX.
const firstMailbox MailboxID = 1

// LikelyInbox guesses the id of INBOX without asking anybody, for Expect.
func (s *Store) LikelyInbox(id mail.AccountID) MailboxID {
	if a := s.cache.peek(id); a != nil {
		if m, err := a.lookup(Inbox); err == nil && m != nil {
			return m.ID
		}
	}
	return firstMailbox
}

// Expect is what an Update will very probably append. Dedup is that of NewMessage.
type Expect struct {
	Body  *Body
	Dedup string
}

// ask lists what an update asks first: hold, and then Append.
func (s *Store) ask(id mail.AccountID, expect []Expect) []db.Question {
	n := s.newsOf(id)
	key := db.Int(id)
	q := append(make([]db.Question, 0, 8), db.AskLock(sqlAccount, key))
	if n.have != nil {
		q = append(q, db.Ask(sqlMailboxNews, key, db.Int(n.since)))
		if s.listened(id) {
			q = append(q, db.Ask(sqlHistory, key, db.Int(n.since)))
		}
	} else {
		q = append(q, db.Ask(sqlMailboxes, key), db.Ask(sqlKeywords, key), db.Ask(sqlSubscriptions, key))
	}
	for i := range expect {
		if e := &expect[i]; e.Dedup != "" {
			q = append(q, db.Ask(sqlDedup, key, db.Blob(dedupToken(e.Dedup))))
		}
		if i == 0 { // what a first message brings, a second finds changed
			q = append(q, askThreads(id, expect[i].Body.threadKeys)...)
		}
	}
	return q
}
