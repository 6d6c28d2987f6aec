package mailstore

import (
	"context"
	"errors"
	"slices"
	"time"

	"bahnpost/home"
	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// update is one call of Store.Update on its way: what its function did, to be
// told to memory after the commit, or to be undone.
type update struct {
	s       *Store
	ticket  Ticket
	fn      func(*Tx) error
	tx      Tx
	first   [2]touched
	counted bool // this update is in acct.pending
}

// Tx is a transaction on one account, valid inside Update's function only. All
// changes of one Tx get the same modseq, ModSeq(). A method that refuses with a
// *mail.Error has done nothing; after any other error the whole step fails.
type Tx struct{ tx }

// tx is the inside of a Tx.
type tx struct {
	u      *update
	s      *Store
	c      *db.Tx
	a      *acct
	serial uint64
	now    time.Time
	modseq ModSeq
	failed error // an SQL error that the function may have swallowed

	savedAcct  acctRow
	after      acctRow
	touched    []touched
	stored     []storedAs // by this step, where bodies have an account's scope
	events     []event    // for boxes, in order
	log        []logEntry // for the change log
	extra      []Change   // changes that are not about messages
	names      []rename   // of the mailbox tree
	structural bool       // tree or dictionary changed: undo by forgetting
	reshaped   bool       // mailboxes, dictionary or subscriptions changed, see accounts.shape
	added      int64      // octets added, for the quota warning
	kw         []string   // the dictionary after the step, if it grew
	graves     int        // rows put into gone
	wrote      bool
}

// touched remembers a mailbox row before and after an update.
type touched struct {
	m             *mbox
	before, after mboxRow
}

type rename struct {
	m      *mbox
	before nameKey // zero: created
}

// logEntry is a row of changelog to be.
type logEntry struct {
	mailbox MailboxID
	kind    ChangeKind
	uids    UIDSet
}

// errStale says that the cache was ahead of or behind the table.
var errStale = errors.New("mailstore: cached account is stale")

// maxRetries bounds how often an update is run anew because of a stale cache: once
// is enough on one node; a second cause in a row is a bug that should be seen.
const maxRetries = 3

// sharedRetries is maxRetries where an update may have to come again because of a neighbour in its transaction, too.
const sharedRetries = 10

func (s *Store) retries() int {
	if s.shared {
		return sharedRetries
	}
	return maxRetries
}

// Update runs fn in a transaction on the ticket's account and returns when it is durable.
// fn runs on the writer: no blocking, no I/O, no call of Store methods. If fn fails, nothing of it stays.
// fn may run more than once: it sets what it captures, and never adds to it.
func (s *Store) Update(ctx context.Context, t Ticket, fn func(*Tx) error) error {
	return s.UpdateWith(ctx, t, nil, fn)
}

// UpdateWith is Update for an fn that will very probably append what is expected: what it has to know for that is asked
// ahead, together with the questions of all who wait, where a question costs a round trip. Nothing depends on it.
func (s *Store) UpdateWith(ctx context.Context, t Ticket, expect []Expect, fn func(*Tx) error) error {
	for try := 0; ; try++ {
		u := &update{s: s, ticket: t, fn: fn}
		var err error
		if s.shared {
			err = s.db.UpdateFor(ctx, int64(t.Account), s.ask(t.Account, expect), u.run, u.committed)
			if errors.Is(err, db.ErrCount) {
				err = errStale
			}
		} else {
			err = s.db.Update(ctx, u.run, u.committed)
		}
		if !errors.Is(err, errStale) || try >= s.retries() {
			return said(err)
		}
	}
}

// run is the function of the db transaction.
func (u *update) run(c *db.Tx) (err error) {
	if u.counted { // replayed: the transaction that held us was lost as a whole
		u.s.cache.drop(u.tx.a)
		u.counted = false
	}
	a, err := u.s.writerAccount(c, u.ticket.Account)
	if err != nil {
		return err
	}
	if u.ticket.Epoch < a.wrk.epoch {
		return u.settle(c, a, &home.Moved{Epoch: a.wrk.epoch})
	}
	u.s.serial++
	u.tx = Tx{tx{u: u, s: u.s, c: c, a: a, serial: u.s.serial, modseq: a.wrk.modseq + 1, savedAcct: a.wrk, touched: u.first[:0]}}
	done := false
	defer func() {
		if !done {
			u.tx.undo()
		}
	}()
	if err = u.fn(&u.tx); err == nil {
		err = u.tx.failed
	}
	if err == nil {
		err = u.tx.flush()
	}
	if err != nil {
		return u.settle(c, a, err)
	}
	a.pending.Add(1)
	u.counted, done = true, true
	if u.s.shared && u.tx.wrote {
		u.s.unsure.add(c, a.id)
	}
	return nil
}

// settle makes sure that a refusal was not founded on a stale cache; after any other fault the cache is not trusted either.
func (u *update) settle(c *db.Tx, a *acct, fault error) error {
	if mail.KindOf(fault) == mail.Internal {
		u.s.cache.drop(a)
		return fault
	}
	if u.s.shared { // its row is ours: what we know is true
		return fault
	}
	before := a.wrk.modseq
	if u.tx.a == a {
		before = u.tx.savedAcct.modseq
	}
	var now ModSeq
	if _, err := c.Row(sqlModSeq, db.Int(a.id)).Scan(&now); err != nil || now != before {
		u.s.cache.drop(a)
		return errStale
	}
	return fault
}

const sqlModSeq = `SELECT modseq FROM accounts WHERE account_id=?`

const (
	sqlFlushAccount = `UPDATE accounts SET modseq=?3, next_mailbox=?4, next_msg=?5, next_thread=?6, uidvalidity_next=?7,
		used_bytes=?8, used_msgs=?9, shape=?10 WHERE account_id=?1 AND modseq=?2 AND removed=0`
	sqlFlushMailbox = `UPDATE mailboxes SET uidnext=?3, modseq=?4, msgs=?5, unseen=?6, deleted=?7, bytes=?8
		WHERE account_id=?1 AND mailbox_id=?2`
	sqlLog = `INSERT INTO changelog (account_id, modseq, mailbox_id, kind, at, uids) VALUES (?,?,?,?,?,?)`
)

// flush writes the counters and the log of the step. The account's row is
// changed only if it has the modseq that the step began from.
func (t *tx) flush() error {
	if !t.wrote {
		return nil
	}
	a := t.a
	t.warnQuota()
	a.wrk.modseq = t.modseq
	if t.structural || t.reshaped {
		a.wrk.shape = t.modseq
	}
	if err := t.demand(sqlFlushAccount, db.Int(a.id), db.Int(t.savedAcct.modseq), db.Int(t.modseq), db.Int(a.wrk.nextMailbox),
		db.Int(a.wrk.nextMsg), db.Int(a.wrk.nextThread), db.Int(a.wrk.nextValidity), db.Int(a.wrk.usedBytes), db.Int(a.wrk.usedMsgs),
		db.Int(a.wrk.shape)); err != nil {
		return err
	}
	if err := t.countBodyRefs(); err != nil {
		return err
	}
	for i := range t.touched {
		p := &t.touched[i]
		w := &p.m.wrk
		p.after = *w
		if !w.live {
			continue
		}
		if err := t.send(1, sqlFlushMailbox, db.Int(a.id), db.Int(p.m.id), db.Int(w.uidNext), db.Int(w.modseq),
			db.Int(w.msgs), db.Int(w.unseen), db.Int(w.deleted), db.Int(w.bytes)); err != nil {
			return err
		}
	}
	for _, e := range t.log {
		if err := t.send(1, sqlLog, db.Int(a.id), db.Int(t.modseq), db.Int(e.mailbox), db.Int(e.kind),
			db.Int(t.time().Unix()), db.Blob(e.uids.encode(nil))); err != nil {
			return err
		}
	}
	t.after = a.wrk
	if t.structural {
		t.kw = a.wkw
	}
	return nil
}

// undo restores the writer's view of the account.
func (t *tx) undo() {
	if t.structural {
		t.s.cache.drop(t.a)
		return
	}
	t.a.wrk = t.savedAcct
	for _, p := range t.touched {
		p.m.wrk = p.before
		p.m.touched = 0
	}
}

// fail remembers an SQL error, so that a function that goes on all the same cannot commit half a step.
func (t *tx) fail(err error) error {
	if err != nil && t.failed == nil {
		t.failed = err
	}
	return err
}

// send runs a statement of the step that nobody needs an answer of. want is how many rows it changes (db.Tx.Send).
func (t *tx) send(want int64, sql string, args ...db.Value) error {
	if !t.s.shared {
		_, err := t.exec(sql, args...)
		return err
	}
	t.wrote = true
	t.c.Send(want, sql, slices.Clone(args)...) // so that args need not be on the heap
	return nil
}

// demand is send of a statement that changes one row, unless the cached account is stale.
func (t *tx) demand(sql string, args ...db.Value) error {
	if t.s.shared {
		return t.send(1, sql, args...)
	}
	n, err := t.c.Exec(sql, args...)
	if err == nil && n != 1 {
		err = errStale
	}
	return err
}

// exec runs a statement of the step.
func (t *tx) exec(sql string, args ...db.Value) (int64, error) {
	t.wrote = true
	n, err := t.c.Exec(sql, args...)
	return n, t.fail(err)
}

// time is the step's time, taken once.
func (t *tx) time() time.Time {
	if t.now.IsZero() {
		t.now = time.Now()
	}
	return t.now
}

// touch says that m changes in this step, and returns its row to write on.
func (t *tx) touch(m *mbox) *mboxRow {
	if m.touched != t.serial {
		m.touched = t.serial
		t.touched = append(t.touched, touched{m: m, before: m.wrk})
	}
	m.wrk.modseq = max(m.wrk.modseq, t.modseq)
	t.wrote = true
	return &m.wrk
}

// record puts a row into the change log; several of one kind in a step become one.
func (t *tx) record(m MailboxID, kind ChangeKind, uids UIDSet) {
	t.wrote = true
	for i := range t.log {
		if e := &t.log[i]; e.mailbox == m && e.kind == kind {
			e.uids = e.uids.Union(uids)
			return
		}
	}
	t.log = append(t.log, logEntry{m, kind, uids})
}

// announce records a change that is not about messages and tells it after the commit.
func (t *tx) announce(m MailboxID, kind ChangeKind) {
	t.record(m, kind, nil)
	t.extra = append(t.extra, Change{Mailbox: m, Kind: kind})
}

// get finds a live mailbox that can hold messages.
func (t *tx) get(id MailboxID) (*mbox, error) {
	m := t.a.byID(id)
	if m == nil || !m.wrk.live || m.wrk.noSelect {
		return nil, errNoMailbox
	}
	return m, nil
}

// warnQuota announces that a threshold was crossed upwards (RFC 9208 §3 leaves the policy to us).
func (t *tx) warnQuota() {
	w, old := &t.a.wrk, &t.savedAcct
	if t.added == 0 || w.quotaWarn == "" || w.quotaBytes == 0 && w.quotaMsgs == 0 {
		return
	}
	crossed := func(before, after, limit int64, pct int) bool {
		at := limit * int64(pct) / 100
		return limit > 0 && before < at && after >= at
	}
	for _, pct := range parseWarn(w.quotaWarn) {
		if crossed(old.usedBytes, w.usedBytes, w.quotaBytes, pct) || crossed(old.usedMsgs, w.usedMsgs, w.quotaMsgs, pct) {
			t.announce(0, QuotaWarning)
			return
		}
	}
}

// committed tells memory, then the watchers. It runs on the writer's goroutine in commit order.
func (u *update) committed() {
	t := &u.tx.tx
	a := t.a
	if u.counted {
		u.counted = false
		a.pending.Add(-1)
	}
	if !t.wrote {
		return
	}
	if u.s.shared {
		u.s.toldOwn(t)
	} else {
		u.s.apply(t)
	}
	if n := t.after.nextMsg - t.savedAcct.nextMsg; n > 0 {
		u.s.search.news.touch(a.id, int(n))
	}
	if t.graves > 0 {
		u.s.reaper.more()
	}
	u.s.stats.changed(t)
}

// apply tells memory and the watchers what a step did.
func (s *Store) apply(t *tx) {
	a := t.a
	s.recents.apply(t) // before a view can show the messages
	a.mu.Lock()
	a.cur = t.after
	if t.kw != nil {
		a.kw = t.kw
	}
	for i := range t.touched {
		t.touched[i].m.cur = t.touched[i].after
	}
	for _, r := range t.names {
		a.rename(r)
	}
	s.boxes.apply(t)
	a.mu.Unlock()
	s.cache.publish(a)
	s.watchers.tell(a.id, t.changes)
}

// ModSeq is what this step will be called.
func (t *Tx) ModSeq() ModSeq { return t.modseq }

// Account returns the counters and limits as this step sees them.
func (t *Tx) Account() Account { return t.a.wrk.describe(t.a.id) }

func (r *acctRow) describe(id mail.AccountID) Account {
	return Account{ID: id, Epoch: r.epoch, ModSeq: r.modseq, UsedBytes: r.usedBytes, UsedCount: r.usedMsgs, Mailboxes: r.mailboxes,
		Quota: Quota{Bytes: r.quotaBytes, Messages: r.quotaMsgs, Warn: parseWarn(r.quotaWarn)}}
}
