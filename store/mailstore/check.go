package mailstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"time"

	"bahnpost/mail"
	"bahnpost/store/blob"
	"bahnpost/store/internal/db"
)

// Check verifies the invariants (counters, UIDs, modseqs, bodies, index) on a live or idle store.
// Each part is read under one snapshot, so that a live store is found consistent.
func (s *Store) Check(ctx context.Context, o CheckOptions) iter.Seq2[Problem, error] {
	return func(yield func(Problem, error) bool) {
		c := &checker{s: s, o: o, ctx: ctx}
		if o.Bodies {
			c.ctx = blob.Thorough(ctx)
		}
		for _, part := range [...]func() error{c.engine, c.accounts, c.warm, c.refs, c.bodies, c.orphans, c.search} {
			c.found = c.found[:0]
			err := part()
			for _, p := range c.found {
				if !yield(p, nil) {
					return
				}
			}
			if err != nil {
				yield(Problem{}, err)
				return
			}
		}
		if o.Progress != nil {
			o.Progress(c.done, c.total)
		}
	}
}

// checker is one run of Check.
type checker struct {
	s           *Store
	o           CheckOptions
	ctx         context.Context
	found       []Problem
	done, total int64
}

func (c *checker) bad(p Problem, format string, args ...any) {
	p.Text = fmt.Sprintf(format, args...)
	c.found = append(c.found, p)
}

func (c *checker) step() {
	c.done++
	if c.o.Progress != nil && c.done%256 == 0 {
		c.o.Progress(c.done, c.total)
	}
}

// engine asks the database for its own complaints: of pages that no row here reads, and of the directory's, which are in the same file.
func (c *checker) engine() error {
	bad, err := c.s.db.IntegrityCheck(c.ctx)
	if err != nil && c.ctx.Err() != nil {
		return err
	}
	if err != nil {
		bad = append(bad, err.Error())
	}
	for _, text := range bad {
		c.bad(Problem{Fatal: true}, "database: %s", text)
	}
	return nil
}

// accounts checks one account after the other.
func (c *checker) accounts() error {
	var ids []mail.AccountID
	err := c.s.view(c.ctx, func(q *db.Conn) error {
		ids = nil
		for r, err := range q.Rows(`SELECT account_id FROM accounts WHERE removed=0 ORDER BY account_id`) {
			if err != nil {
				return err
			}
			ids = append(ids, mail.AccountID(r.Int(0)))
		}
		_, err := q.Row(`SELECT COUNT(*) FROM bodies`).Scan(&c.total)
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		n := len(c.found)
		if err := c.s.view(c.ctx, func(q *db.Conn) error { c.found = c.found[:n]; return c.account(q, id) }); err != nil {
			return err
		}
	}
	return nil
}

const (
	sqlCount = `SELECT COUNT(*), COALESCE(SUM(size),0), COALESCE(SUM(CASE WHEN flags&1=0 THEN 1 ELSE 0 END),0),
		COALESCE(SUM(CASE WHEN flags&8<>0 THEN 1 ELSE 0 END),0), COALESCE(MAX(uid),0), COALESCE(MAX(modseq),0), COALESCE(MAX(msg_id),0)
		FROM msgidx WHERE account_id=? AND mailbox_id=?`
	sqlMismatch = `SELECT x.uid, m.id IS NULL, b.body_id IS NULL,
		LENGTH(m.summary)=0 AND s.body_id IS NULL FROM msgidx x
		LEFT JOIN messages m ON m.account_id=?3 AND m.id=((x.account_id<<32)|x.msg_id) LEFT JOIN bodies b ON b.account_id=m.account_id AND b.body_id=m.body_id
		LEFT JOIN summaries s ON s.account_id=m.account_id AND s.body_id=m.body_id WHERE x.account_id=?1 AND x.mailbox_id=?2 AND (m.id IS NULL OR b.body_id IS NULL OR x.size<>b.rawsize+COALESCE(LENGTH(m.prefix),0) OR LENGTH(m.summary)=0 AND s.body_id IS NULL)`
	sqlOrder    = `SELECT uid, added FROM msgidx WHERE account_id=? AND mailbox_id=? ORDER BY uid`
	sqlStranger = `SELECT COUNT(*) FROM msgidx x WHERE x.account_id=?1 AND NOT EXISTS
		(SELECT 1 FROM mailboxes b WHERE b.account_id=?1 AND b.mailbox_id=x.mailbox_id)
		AND NOT EXISTS (SELECT 1 FROM gone g WHERE g.account_id=?1 AND g.mailbox_id=x.mailbox_id AND g.msgs IS NULL)`
)

// account checks rows of one account in one snapshot.
func (c *checker) account(q *db.Conn, id mail.AccountID) error {
	a, err := loadAcct(q, id)
	if err != nil {
		return err
	}
	c.mirror(a)
	var bytes, msgs int64
	for _, m := range a.boxes {
		p := Problem{Account: id, Mailbox: m.id, Fatal: true}
		bytes, msgs = bytes+m.wrk.bytes, msgs+int64(m.wrk.msgs)
		if m.wrk.modseq > a.wrk.modseq {
			c.bad(p, "mailbox's modseq %d is above the account's %d", m.wrk.modseq, a.wrk.modseq)
		}
		if m.id >= a.wrk.nextMailbox {
			c.bad(p, "mailbox id %d is not below the next one %d", m.id, a.wrk.nextMailbox)
		}
		if m.wrk.parent != 0 && a.byID(m.wrk.parent) == nil {
			c.bad(p, "parent %d of the mailbox is not there", m.wrk.parent)
		}
		if err := c.mailbox(q, a, m, p); err != nil {
			return err
		}
	}
	p := Problem{Account: id, Fatal: true}
	if bytes != a.wrk.usedBytes || msgs != a.wrk.usedMsgs {
		c.bad(p, "usage is kept as %d octets in %d messages, mailboxes hold %d in %d", a.wrk.usedBytes, a.wrk.usedMsgs, bytes, msgs)
	}
	var strangers int64
	if _, err := q.Row(sqlStranger, db.Int(id)).Scan(&strangers); err != nil {
		return err
	}
	if strangers > 0 {
		c.bad(p, "%d index rows belong to no mailbox", strangers)
	}
	return c.unlisted(q, id)
}

// mirror compares the account in memory, if there is one at the same modseq, with the tables: counters, tree and subscriptions.
func (c *checker) mirror(want *acct) {
	a := c.s.cache.get(want.id)
	if a == nil {
		return
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.cur.modseq != want.cur.modseq {
		return
	}
	p := Problem{Account: want.id, Fatal: true}
	if a.cur != want.cur {
		c.bad(p, "account in memory differs from the table: %+v, %+v", a.cur, want.cur)
	}
	live := 0
	for _, m := range a.boxes {
		if !m.cur.live {
			continue
		}
		live++
		p.Mailbox = m.id
		if w := want.byID(m.id); w == nil || m.cur != w.cur {
			c.bad(p, "mailbox in memory differs from the table: %+v, %+v", m.cur, w)
		}
	}
	if p.Mailbox = 0; live != len(want.boxes) {
		c.bad(p, "%d mailboxes in memory, %d in the table", live, len(want.boxes))
	}
}

// mailbox checks counters against rows, and rows against messages.
func (c *checker) mailbox(q *db.Conn, a *acct, m *mbox, p Problem) error {
	var n, size, unseen, deleted, uid, mod, msg int64
	if _, err := q.Row(sqlCount, db.Int(a.id), db.Int(m.id)).Scan(&n, &size, &unseen, &deleted, &uid, &mod, &msg); err != nil {
		return err
	}
	w := &m.wrk
	if int64(w.msgs) != n || w.bytes != size || int64(w.unseen) != unseen || int64(w.deleted) != deleted {
		c.bad(p, "counters say %d messages, %d octets, %d unseen, %d deleted; rows say %d, %d, %d, %d",
			w.msgs, w.bytes, w.unseen, w.deleted, n, size, unseen, deleted)
	}
	if uid >= int64(w.uidNext) || mod > int64(w.modseq) || msg >= int64(a.wrk.nextMsg) {
		c.bad(p, "highest uid %d, modseq %d, message id %d; next uid %d, modseq %d, next message id %d", uid, mod, msg, w.uidNext, w.modseq, a.wrk.nextMsg)
	}
	for r, err := range q.Rows(sqlMismatch, db.Int(a.id), db.Int(m.id), c.s.scope(a.id)) {
		if err != nil {
			return err
		}
		p.UID = UID(r.Int(0))
		switch {
		case r.Int(1) != 0:
			c.bad(p, "index row has no message")
		case r.Int(2) != 0:
			c.bad(p, "message has no body")
		case r.Int(3) != 0:
			c.bad(p, "message has no summary")
		default:
			c.bad(p, "size in the index differs from the body's")
		}
	}
	p.UID = 0
	var last int64
	for r, err := range q.Rows(sqlOrder, db.Int(a.id), db.Int(m.id)) {
		if err != nil {
			return err
		}
		if r.Int(1) < last {
			p.UID = UID(r.Int(0))
			c.bad(p, "arrival modseqs do not rise with the uids")
			break
		}
		last = r.Int(1)
	}
	return nil
}

const (
	// Nearly all messages are where they were put; only if one is not, the list of all is made.
	sqlUnlisted = `SELECT m.id, m.mailbox_id, m.uid FROM messages m WHERE m.account_id=?2 AND m.id BETWEEN ?1<<32 AND (?1<<32|4294967295) AND NOT EXISTS
		(SELECT 1 FROM msgidx x WHERE x.account_id=?1 AND x.mailbox_id=m.mailbox_id AND x.uid=m.uid AND x.msg_id=(m.id&4294967295))
		AND (m.id&4294967295) NOT IN (SELECT msg_id FROM msgidx WHERE account_id=?1)`
	sqlTwice = `SELECT msg_id, COUNT(*) FROM msgidx WHERE account_id=? GROUP BY msg_id HAVING COUNT(*)>1`
)

// unlisted finds messages without an index row that the reaper does not know of: waste; and those with two of them.
func (c *checker) unlisted(q *db.Conn, id mail.AccountID) error {
	dead := make(map[MessageID]bool)
	for r, err := range q.Rows(`SELECT msgs FROM gone WHERE account_id=? AND msgs IS NOT NULL`, db.Int(id)) {
		if err != nil {
			return err
		}
		ids, err := decodeMsgs(r.RawBytes(0))
		if err != nil {
			c.bad(Problem{Account: id, Fatal: true}, "%v", err)
		}
		for _, m := range ids {
			dead[m] = true
		}
	}
	for r, err := range q.Rows(sqlUnlisted, db.Int(id), c.s.scope(id)) {
		if err != nil {
			return err
		}
		if m := MessageID(r.Int(0) & maxMessageID); !dead[m] {
			c.bad(Problem{Account: id, Mailbox: MailboxID(r.Int(1)), UID: UID(r.Int(2))}, "message %d is in no mailbox", m)
		}
		delete(dead, MessageID(r.Int(0)&maxMessageID))
	}
	for r, err := range q.Rows(sqlTwice, db.Int(id)) {
		if err != nil {
			return err
		}
		c.bad(Problem{Account: id, Fatal: true}, "message %d is in mailboxes %d times", r.Int(0), r.Int(1))
	}
	return nil
}

const (
	sqlMiscounted = `SELECT b.account_id, b.body_id, b.refs+COALESCE(c.refs, 0), COALESCE(n.uses, 0) FROM bodies b
		LEFT JOIN copied c ON c.account_id=b.account_id AND c.body_id=b.body_id LEFT JOIN
		(SELECT account_id, body_id, COUNT(*) AS uses FROM messages GROUP BY account_id, body_id) n
		ON n.account_id=b.account_id AND n.body_id=b.body_id WHERE b.refs+COALESCE(c.refs, 0)<>COALESCE(n.uses, 0)`
	sqlBodyless = `SELECT account_id, body_id FROM summaries UNION SELECT account_id, body_id FROM copied EXCEPT SELECT account_id, body_id FROM bodies`
)

// refs checks that each body is counted as often as it is used, and that what hangs on a body went with it.
func (c *checker) refs() error {
	return c.s.view(c.ctx, func(q *db.Conn) error {
		c.found = c.found[:0]
		for r, err := range q.Rows(sqlMiscounted) {
			if err != nil {
				return err
			}
			c.bad(Problem{Account: mail.AccountID(r.Int(0)), Fatal: r.Int(2) < r.Int(3)}, "body %d is counted %d times and used %d times", r.Int(1), r.Int(2), r.Int(3))
		}
		for r, err := range q.Rows(sqlBodyless) {
			if err != nil {
				return err
			}
			c.bad(Problem{Account: mail.AccountID(r.Int(0))}, "body %d is gone, its summary or its count of copies is not", r.Int(1))
		}
		return nil
	})
}

const (
	sqlBodiesAfter = `SELECT body_id, sha256, codec, rawsize, crc, ref, data FROM bodies WHERE account_id=? AND body_id>? ORDER BY body_id LIMIT ?`
	sqlNextScope   = `SELECT account_id FROM bodies WHERE account_id>? ORDER BY account_id LIMIT 1`
)

// checkPage is how many bodies are read under one snapshot.
const checkPage = 64

// checkedBody is a body to check.
type checkedBody struct {
	scope mail.AccountID
	id    int64
	sha   []byte
	b     storedBody
}

// bodies checks that each body is there, and with CheckOptions.Bodies that it is what came in: scope by scope.
func (c *checker) bodies() error {
	for scope, more := mail.AccountID(0), true; more; {
		err := c.bodiesOf(scope)
		if err != nil || !c.s.shared {
			return err
		}
		err = c.s.view(c.ctx, func(q *db.Conn) (err error) {
			more, err = q.Row(sqlNextScope, db.Int(scope)).Scan(&scope)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// bodiesOf checks the bodies of one scope.
func (c *checker) bodiesOf(scope mail.AccountID) error {
	var last int64
	for {
		var page []checkedBody
		err := c.s.view(c.ctx, func(q *db.Conn) error {
			page = nil
			for r, err := range q.Rows(sqlBodiesAfter, db.Int(scope), db.Int(last), db.Int(checkPage)) {
				if err != nil {
					return err
				}
				page = append(page, checkedBody{scope, r.Int(0), r.Bytes(1), storedBody{codec(r.Int(2)), r.Int(3), uint32(r.Int(4)), blob.Ref(r.Text(5)), r.Bytes(6)}})
			}
			return nil
		})
		if err != nil || len(page) == 0 {
			return err
		}
		for i := range page {
			last = page[i].id
			if err := c.body(&page[i]); err != nil {
				return err
			}
			c.step()
		}
	}
}

func (c *checker) body(x *checkedBody) error {
	if !c.o.Bodies && x.b.ref == "" {
		return nil
	}
	if !c.o.Bodies {
		r, err := c.s.blobs.Open(c.ctx, x.b.ref)
		if err == nil {
			r.Close()
		}
		return c.judge(x, err)
	}
	r := &Reader{s: c.s}
	err := r.open(c.ctx, &x.b)
	if err != nil {
		return c.judge(x, err)
	}
	defer r.Close()
	h := sha256.New()
	if err := r.CopyRange(h, 0, r.size); err != nil {
		return c.judge(x, err)
	}
	if !slices.Equal(h.Sum(nil), x.sha) {
		return c.judge(x, errChecksum)
	}
	return nil
}

// Slow, but asked for damage only.
const sqlWhose = `SELECT m.id>>32, COALESCE(x.mailbox_id, m.mailbox_id), COALESCE(x.uid, m.uid) FROM messages m
	LEFT JOIN msgidx x ON x.account_id=m.id>>32 AND x.msg_id=(m.id&4294967295) WHERE m.account_id=? AND m.body_id=? LIMIT 100`

// judge makes a problem of an error for each message that has the body, unless it has left meanwhile or the check was stopped.
func (c *checker) judge(x *checkedBody, err error) error {
	if err == nil || c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	there := 0
	var whose []Problem
	viewErr := c.s.view(c.ctx, func(q *db.Conn) error {
		whose = nil
		if _, err := q.Row(`SELECT 1 FROM bodies WHERE account_id=? AND body_id=? AND ref=?`, db.Int(x.scope), db.Int(x.id), db.Text(string(x.b.ref))).Scan(&there); err != nil || there == 0 {
			return err
		}
		for r, err := range q.Rows(sqlWhose, db.Int(x.scope), db.Int(x.id)) {
			if err != nil {
				return err
			}
			whose = append(whose, Problem{Account: mail.AccountID(r.Int(0)), Mailbox: MailboxID(r.Int(1)), UID: UID(r.Int(2)), Fatal: true})
		}
		return nil
	})
	if viewErr != nil || there == 0 {
		return viewErr
	}
	if whose == nil {
		whose = []Problem{{Fatal: true}}
	}
	for _, p := range whose {
		c.bad(p, "body %d: %v", x.id, err)
	}
	return nil
}

// orphans finds bodies that no row knows.
func (c *checker) orphans() error {
	d, ok := c.s.blobs.(interface {
		All(context.Context) iter.Seq2[blob.Entry, error]
	})
	if !ok {
		return nil
	}
	live := c.s.live(c.ctx)
	for e, err := range d.All(c.ctx) {
		if err != nil {
			if errors.Is(err, blob.ErrCorrupt) || errors.Is(err, fs.ErrNotExist) {
				continue // garbage, or what bodies has reported
			}
			return err
		}
		ok, err := live(e.Ref)
		if err == nil && !ok {
			ok, err = c.due(e.Ref)
		}
		if err != nil {
			return err
		}
		if !ok {
			// A crash or a full disk leaves such bodies (law 3: a body without a row is garbage); what no sweep takes is a fault.
			young := time.Since(e.Time) < 2*sweepAge
			c.bad(Problem{Note: young}, "stored body %s (%d octets) belongs to no message", e.Ref, e.Size)
		}
	}
	return nil
}

// due reports whether the reaper knows of ref.
func (c *checker) due(ref blob.Ref) (ok bool, err error) {
	err = c.s.view(c.ctx, func(q *db.Conn) error {
		var one int
		ok, err = q.Row(`SELECT 1 FROM gone_refs WHERE ref=?`, db.Text(string(ref))).Scan(&one)
		return err
	})
	return ok, err
}

// warm compares the indexes in memory with the table. A box that a commit changes meanwhile is left alone.
func (c *checker) warm() error {
	x := &c.s.boxes
	x.mu.Lock()
	open := slices.Collect(maps.Values(x.byKey))
	x.mu.Unlock()
	for _, b := range open {
		rows, _, snap, err := b.readRows(c.ctx)
		if mail.KindOf(err) == mail.NoSuchMailbox {
			continue
		}
		if err != nil {
			return err
		}
		b.mu.RLock()
		if b.loaded && b.cur.modseq == snap {
			c.compare(b, &rows)
		}
		b.mu.RUnlock()
	}
	return nil
}

func (c *checker) compare(b *Box, want *rowList) {
	p := Problem{Account: b.account, Mailbox: b.id, Fatal: true}
	if want.n != b.rows.n || int(b.cur.msgs) != want.n {
		c.bad(p, "index in memory has %d rows and counts %d, the table has %d", b.rows.n, b.cur.msgs, want.n)
		return
	}
	for i := range want.n {
		if x, y := b.rows.at(i), want.at(i); *x != *y {
			p.UID = y.uid
			c.bad(p, "row in memory differs from the table: %+v, %+v", *x, *y)
			return
		}
	}
}

var _ io.ReaderAt = (*Reader)(nil)
