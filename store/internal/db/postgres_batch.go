package db

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"
)

// A batch on PostgreSQL is a few round trips, however many members it has. First
// the questions of all members go out together; then the members run, one
// after another, on the answers, and queue what they change; then all of that goes out, and
// COMMIT. A member that fails before any of its statements was sent is cut off the
// queue. Only one that must wait for the server in its middle, after it has changed
// something, is wrapped in a savepoint.

// member is what a connection knows of the running function.
type member struct {
	key     int64
	told    []answer // not yet given
	mark    int      // where its part of the queue begins
	shared  bool     // the transaction holds what others did or were told
	saved   bool     // within a savepoint
	fault   error    // one of its statements that were sent went wrong
	foreign error    // … of a member before it
}

// answer is what the server said to a question.
type answer struct {
	q     *Question
	rows  *pgRows
	skips bool // a locked row was to be skipped
}

// extraRounds is how often a batch takes in those who came while the server was asked.
const extraRounds = 2

// runStaged runs those who wait for this batch, and those who came meanwhile.
func (w *writer) runStaged() {
	for round := 0; len(w.staged) > 0; round++ {
		if r := w.staged[0]; !r.barred.IsZero() && len(r.ask) == 0 { // its turn to wait for a lock: nobody may have one before it
			w.unstage()
			w.try(r)
		}
		w.foresee()
		for len(w.staged) > 0 {
			w.try(w.unstage())
		}
		for round < extraRounds && len(w.batch)+len(w.staged) < w.cfg.BatchMax {
			r := w.pop()
			if r == nil {
				break
			}
			w.staged = append(w.staged, r)
		}
	}
}

// unstage takes the first of those who wait.
func (w *writer) unstage() *request {
	r := w.staged[0]
	w.staged = slices.Delete(w.staged, 0, 1)
	return r
}

// foreseeMax is how many questions go out in one message: the answers must fit into the buffers between us.
const foreseeMax = 200

// foresee asks the questions of those who wait. An error is not met here: they ask again themselves.
func (w *writer) foresee() {
	c := w.tx.pg
	asked := w.staged[:0:0]
	n := 0
	for i, r := range w.staged {
		if r.key == 0 || len(r.ask) == 0 || w.keys[r.key] {
			continue
		}
		w.keys[r.key] = true
		asked = append(asked, r)
		if n += len(r.ask); n >= foreseeMax && i < len(w.staged)-1 {
			w.ask(c, asked)
			asked, n = asked[:0], 0
		}
	}
	w.ask(c, asked)
}

func (w *writer) ask(c *pgConn, asked []*request) {
	if len(asked) == 0 || w.begin() != nil {
		return
	}
	c.member = member{mark: len(c.queue), shared: true}
	for _, r := range asked {
		for i := range r.ask {
			q := &r.ask[i]
			if _, err := c.lookup(q.sql, q.args); err != nil {
				return // let its function find out
			}
		}
	}
	r := c.whole(func() reply { return c.foresee(asked) })
	if r.err == nil {
		w.foreseen += len(asked)
		return
	}
	again := pgClass(r.err, sqlStateLocked) && !c.hasty
	w.replay()
	if again { // the first has waited long enough for a lock: now for nobody's
		c.hasty = true
		w.ask(c, asked)
	}
}

// foresee sends the questions of asked and keeps the answers. Locks come before all else, and the
// first of the transaction alone: it may wait.
func (c *pgConn) foresee(asked []*request) reply {
	waits := c.mayWait()
	if err := c.sendQueue(); err != nil {
		return reply{err: err}
	}
	c.asks = c.asks[:0]
	for _, r := range asked {
		r.told = r.told[:0]
		for i := range r.ask {
			r.told = append(r.told, answer{q: &r.ask[i], rows: &pgRows{c: c, sql: r.ask[i].sql, limit: maxInt}})
		}
	}
	for _, locks := range [...]bool{true, false} {
		for _, r := range asked {
			for i := range r.told {
				a := &r.told[i]
				if a.q.lock != locks {
					continue
				}
				sql := a.q.sql
				if locks {
					sql = c.locking(sql, waits)
					a.skips = !waits
				}
				s, err := c.mergeable(sql, a.q.args)
				if err != nil {
					return reply{err: err}
				}
				c.asks = append(c.asks, asking{sql: sql, s: s, a: a, alone: locks && waits})
				waits = false
			}
		}
	}
	if err := c.sendAsks(); err != nil {
		return reply{err: err}
	}
	r := c.exchange()
	for i := range c.asks {
		x := &c.asks[i]
		if r.err == nil && x.merged {
			x.a.rows.s = x.s.many.rest
		}
	}
	clear(c.asks)
	return r
}

// asking is a question on its way.
type asking struct {
	sql    string
	s      *pgStmt
	a      *answer
	alone  bool
	sent   bool
	merged bool
}

// sendAsks puts the questions into the buffer, those of one text as one.
func (c *pgConn) sendAsks() error {
	for i := range c.asks {
		x := &c.asks[i]
		if x.sent {
			continue
		}
		c.group = append(c.group[:0], i)
		for j := i + 1; j < len(c.asks) && !x.alone && x.s.many != nil && !x.s.many.refused; j++ {
			if c.asks[j].s == x.s && !c.asks[j].alone {
				c.group = append(c.group, j)
			}
		}
		if len(c.group) == 1 {
			s, err := c.prepare(x.sql, x.a.q.args)
			if err != nil {
				return err
			}
			x.a.rows.s, x.sent = s, true
			c.bind("", s, x.a.q.args)
			c.execute("", 0)
			c.pending = append(c.pending, pending{s: s, rows: x.a.rows, want: AnyCount, sql: x.sql, own: true})
			continue
		}
		m := x.s.many
		c.name(m)
		c.encodeMany(len(c.group), func(k int) []Value { return c.asks[c.group[k]].a.q.args })
		c.bindParams("", m)
		c.execute("", 0)
		each := make([]*pgRows, len(c.group))
		for k, j := range c.group {
			y := &c.asks[j]
			y.sent, y.merged = true, true
			each[k] = y.a.rows
		}
		c.pending = append(c.pending, pending{s: m, each: each, want: AnyCount, sql: x.sql, own: true})
	}
	return nil
}

// tell finds the answer to a question, if it was asked ahead.
func (c *pgConn) tell(sql string, args []Value, lock bool) *answer {
	for i := range c.member.told {
		if a := &c.member.told[i]; a.q != nil && a.q.is(sql, args, lock) {
			a.q = nil
			return a
		}
	}
	return nil
}

func (q *Question) is(sql string, args []Value, lock bool) bool {
	return q.lock == lock && q.sql == sql && slices.EqualFunc(q.args, args, sameValue)
}

func sameValue(a, b Value) bool {
	return a.kind == b.kind && a.i == b.i && a.s == b.s && string(a.b) == string(b.b)
}

// outdate forgets what was told: sql may change it.
func (c *pgConn) outdate(sql string) {
	if len(c.member.told) > 0 && !strings.HasPrefix(sql, "SELECT") {
		c.member.told = nil
	}
}

// locking is sql with what makes it lock: the first of a transaction waits, for it
// holds nothing that another could wait for.
func (c *pgConn) locking(sql string, waits bool) string {
	pair, ok := c.locks[sql]
	if !ok {
		pair = [2]string{sql + " FOR UPDATE SKIP LOCKED", sql + " FOR UPDATE"}
		c.locks[sql] = pair
	}
	if waits {
		return pair[1]
	}
	return pair[0]
}

// mayWait reports whether a lock may be waited for: by the first of a transaction, who holds none.
func (c *pgConn) mayWait() bool { return c.begin != "" && len(c.queue) == 1 && !c.hasty }

// lock is Tx.Lock.
func (c *pgConn) lock(sql string, args []Value) *Row {
	var r *Row
	skips := false
	if a := c.tell(sql, args, true); a != nil {
		r, skips = a.rows.one(nil), a.skips
	} else {
		waits := c.mayWait()
		r, skips = c.ask(c.locking(sql, waits), args), !waits
	}
	if skips && r.err == nil && !r.found {
		if r = c.ask(sql, args); r.found { // it is there, and another node's
			r.err = errBusy
		}
	}
	return r
}

// guard sets a savepoint before the running member's part of the queue, if sql makes it be sent
// or changes something, and there is something that must not go with the member.
func (c *pgConn) guard(sql string) {
	m := &c.member
	if !m.shared || m.saved || len(c.queue) == m.mark && strings.HasPrefix(sql, "SELECT") {
		return
	}
	c.queue = slices.Insert(c.queue, m.mark, queued{sql: "SAVEPOINT s", want: AnyCount})
	m.saved = true
}

// undo takes back what the running member sent.
func (c *pgConn) undo() error {
	c.cut()
	for _, sql := range [...]string{"ROLLBACK TO s", "RELEASE s"} {
		c.immediately(sql)
		c.pending = append(c.pending, pending{want: AnyCount, sql: sql, own: true})
	}
	return c.exchange().err
}

// begin opens the batch's transaction if it is not open.
func (w *writer) begin() error {
	if w.inTx {
		return nil
	}
	if err := w.exec("BEGIN"); err != nil {
		return err
	}
	w.tx.serial++
	w.inTx, w.kept, w.foreseen = true, 0, 0
	return nil
}

// tryQueued is try on PostgreSQL.
func (w *writer) tryQueued(r *request) {
	c := w.tx.pg
	w.batch = append(w.batch, r)
	if r.err = w.begin(); r.err != nil {
		return
	}
	m := &c.member
	c.singly = w.replaying
	*m = member{key: r.key, told: r.told, mark: len(c.queue), shared: w.kept > 0 || w.foreseen > 1}
	if r.key != 0 {
		w.keys[r.key] = true
	}
	r.err = w.call(r.fn)
	r.told = r.told[:0]
	r.err = cmp.Or(r.err, m.fault)
	if r.err == nil && c.failed {
		r.err = errAborted
	}
	busy := errors.Is(r.err, errBusy) || pgClass(r.err, sqlStateLocked)
	switch {
	case w.tx.idle(): // the connection was lost
		w.inTx = false
		r.err = away(cmp.Or(r.err, errors.New("db: transaction ended inside an update")))
		w.replay()
	case m.foreign != nil:
		w.replay()
	case r.err == nil:
		w.kept++
		if m.saved {
			c.enqueue("RELEASE s", nil, AnyCount)
		}
		if r.key == 0 && (m.saved || len(c.queue) > m.mark || c.wrote) {
			w.untell() // nobody knows whose rows it changed
		}
	case !m.shared:
		w.rollback()
		if busy {
			c.hasty = true
			w.bar(r)
		}
	case m.saved && c.undo() != nil, !m.saved && c.failed:
		w.replay()
	default:
		c.cut()
		if busy {
			w.bar(r)
		}
	}
}

// bar sends the member that was tried last back to the queue, unless it was there for too long.
func (w *writer) bar(r *request) {
	if r.barred.IsZero() {
		r.barred = time.Now()
	} else if time.Since(r.barred) > lockPatience {
		r.err = away(r.err)
		return
	}
	w.batch = w.batch[:len(w.batch)-1]
	w.later = append(w.later, r)
}

// untell makes those who wait ask by themselves.
func (w *writer) untell() {
	for _, r := range w.staged {
		r.told = r.told[:0]
	}
}
