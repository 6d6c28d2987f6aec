package mailstore

import (
	"context"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// Box is an open mailbox: its index in memory, shared by all sessions on it and
// caught up at each commit. Opening costs one look into the cache; the rows load at first need.
//
// Locks: acct.mu, then boxes.mu, then Box.mu; none is held over I/O.
type Box struct {
	s       *Store
	account mail.AccountID
	id      MailboxID

	// Under boxes.mu.
	refs       int
	prev, next *Box  // LRU of unused ones with rows
	charged    int64 // octets counted in boxes.unused

	looked atomic.Int64 // boxes.round when a view needed rows last

	mu     sync.RWMutex
	path   string
	cur    mboxRow // counters as of the last commit told to us
	gone   bool    // mailbox was deleted
	loaded bool
	rows   rowList
	more   map[UID][]KeywordID
	ring   []told // recent FlagsChanged and Expunged
	first  int64  // number of ring[0]
	load   *loading
}

// told is an entry of a box's ring.
type told struct {
	kind   ChangeKind
	modseq ModSeq
	uids   UIDSet
}

// event is what one step did to one mailbox.
type event struct {
	mailbox MailboxID
	kind    ChangeKind
	modseq  ModSeq // of the rows
	commit  ModSeq // of the step; differs after an import with a higher modseq
	uids    UIDSet
	// Added
	rows  []row
	more  []KeywordID // of a single row
	again bool        // rows are what another node left: they may be known already, as they were before
	far   map[UID][]KeywordID
	// FlagsChanged
	flags *flagChange
	// Added, FlagsChanged: rows with keywords beyond the bits
	moreRows []slowRow
}

// maxRing and maxRingRanges bound what a box remembers for its views; an
// idler that fell further behind reads the change log instead.
const (
	maxRing       = 64
	maxRingRanges = 4096
)

// event queues what the step did to mailbox for the box, if one is open.
func (t *tx) event(e event) {
	e.modseq = t.modseq
	t.events = append(t.events, e)
}

// OpenBox opens a mailbox; Close when done.
func (s *Store) OpenBox(ctx context.Context, a mail.AccountID, id MailboxID) (*Box, error) {
	for {
		acc, err := s.account(ctx, a)
		if err != nil {
			return nil, err
		}
		if b, err := s.openBox(acc, id); b != nil || err != nil {
			return b, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// openBox returns nil if acc has left the cache since it was looked up: what
// was committed since by way of its successor is not in it, and was told to no box.
func (s *Store) openBox(acc *acct, id MailboxID) (*Box, error) {
	acc.mu.RLock()
	defer acc.mu.RUnlock()
	m := acc.byID(id)
	if m == nil || !m.cur.live || m.cur.noSelect {
		return nil, errNoMailbox
	}
	return s.boxes.open(s, acc, m), nil
}

// Close gives the box back; the index stays warm for a while.
func (b *Box) Close() { b.s.boxes.close(b) }

// Mailbox returns the description with current counters, from memory. Subscription and children are as of the last change.
func (b *Box) Mailbox() Mailbox {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.cur.describe(b.id, b.path)
}

// Account is the account of the mailbox.
func (b *Box) Account() mail.AccountID { return b.account }

// ID is the id of the mailbox.
func (b *Box) ID() MailboxID { return b.id }

// Gone reports whether the mailbox was deleted.
func (b *Box) Gone() bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.gone
}

// Loaded reports whether the rows are in memory.
func (b *Box) Loaded() bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.loaded
}

// Row returns one row. It loads the rows if they are not there; a failure of that looks like no row, so Load first if it matters.
func (b *Box) Row(uid UID) (Row, bool) {
	defer b.look().RUnlock()
	if r := b.rows.find(uid); r != nil {
		return r.row(), true
	}
	return Row{}, false
}

// More returns the keyword ids of a row beyond the bits. Shared, read-only.
func (b *Box) More(uid UID) []KeywordID {
	defer b.look().RUnlock()
	return b.more[uid]
}

// look locks the box for reading, with its rows if they can be had.
func (b *Box) look() *sync.RWMutex {
	b.mu.RLock()
	if !b.loaded && !b.gone && b.cur.msgs > 0 {
		b.mu.RUnlock()
		_ = b.Load(context.Background())
		b.mu.RLock()
	}
	return &b.mu
}

// apply brings a committed event into memory. Under mu.
func (b *Box) apply(e *event, row *mboxRow) {
	b.cur = *row
	if e == nil {
		return
	}
	switch e.kind {
	case MailboxDeleted:
		b.gone = true
		b.rows, b.more, b.loaded = rowList{}, nil, false
		return
	case FlagsChanged, Expunged:
		b.remember(told{e.kind, e.modseq, e.uids})
	}
	if b.load != nil {
		b.load.journal = append(b.load.journal, *e)
	}
	if b.loaded {
		b.applyRows(e)
	}
}

// applyRows changes the rows.
func (b *Box) applyRows(e *event) {
	switch e.kind {
	case Added:
		if e.again {
			b.applyAgain(e)
			return
		}
		for i := range e.rows {
			b.rows.add(e.rows[i])
		}
		if len(e.more) > 0 {
			b.setMore(e.rows[0].uid, e.more)
		}
		for _, r := range e.moreRows {
			b.setMore(r.uid, r.more)
		}
	case Expunged:
		b.rows.remove(e.uids)
		if len(b.more) > 0 {
			for u := range b.more {
				if e.uids.Contains(u) {
					delete(b.more, u)
				}
			}
		}
	case FlagsChanged:
		for _, r := range e.uids {
			b.rows.each(r.Lo, r.Hi, func(r *row) bool {
				r.flags, r.modseq = e.flags.apply(r.flags), e.modseq
				return true
			})
		}
		for _, s := range e.moreRows {
			if r := b.rows.find(s.uid); r != nil {
				r.flags = s.flags
				b.setMore(s.uid, s.more)
			}
		}
	}
}

func (b *Box) setMore(uid UID, more []KeywordID) {
	if len(more) == 0 {
		delete(b.more, uid)
		return
	}
	if b.more == nil {
		b.more = make(map[UID][]KeywordID)
	}
	b.more[uid] = more
}

// remember puts e into the ring.
func (b *Box) remember(e told) {
	n := len(e.uids)
	for i := range b.ring {
		n += len(b.ring[i].uids)
	}
	if limit := b.s.boxes.ring; len(b.ring) >= limit || n > maxRingRanges {
		drop := len(b.ring) - limit/2
		if n > maxRingRanges {
			drop = len(b.ring)
		}
		b.ring = append([]told(nil), b.ring[drop:]...)
		b.first += int64(drop)
	}
	b.ring = append(b.ring, e)
}

func (b *Box) head() int64 { return b.first + int64(len(b.ring)) }

// Vanished returns the UIDs expunged after since, out of known (nil: 1..UIDNext-1). If history does not reach back so
// far it answers all of known that are not there now (RFC 7162 §3.2.6), complete then is false.
func (b *Box) Vanished(ctx context.Context, since ModSeq, known UIDSet) (gone UIDSet, complete bool, err error) {
	m := b.Mailbox()
	if known == nil {
		known = Range(1, maxUID)
	}
	if m.UIDNext <= 1 {
		return nil, true, nil
	}
	known = known.Intersect(Range(1, m.UIDNext-1))
	var floor ModSeq
	err = b.s.view(ctx, func(c *db.Conn) error {
		gone = nil
		if _, err := c.Row(sqlFloor, db.Int(b.account)).Scan(&floor); err != nil || since < floor {
			return err
		}
		var err error
		gone, err = expungedBetween(c, b.account, b.id, since, 1<<62)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	if since >= floor {
		return gone.Intersect(known), true, nil
	}
	if err := b.Load(ctx); err != nil {
		return nil, false, err
	}
	var here UIDSet
	b.mu.RLock()
	b.rows.each(1, maxUID, func(r *row) bool { here.Add(r.uid); return true })
	b.mu.RUnlock()
	return known.Subtract(here), false, nil
}

const sqlExpunged = `SELECT uids FROM changelog WHERE account_id=? AND modseq>? AND modseq<=? AND mailbox_id=? AND kind=3`

// expungedBetween reads the change log for after < modseq <= until.
func expungedBetween(c *db.Conn, a mail.AccountID, m MailboxID, after, until ModSeq) (UIDSet, error) {
	var gone UIDSet
	for r, err := range c.Rows(sqlExpunged, db.Int(a), db.Int(after), db.Int(until), db.Int(m)) {
		if err != nil {
			return nil, err
		}
		s, err := decodeUIDSet(r.RawBytes(0))
		if err != nil {
			return nil, err
		}
		for _, x := range s {
			gone.AddRange(x.Lo, x.Hi)
		}
	}
	return gone, nil
}

const (
	metaOf       = `SELECT m.id, m.thread_id, m.pop_order, m.uidl, LENGTH(m.prefix), COALESCE(s.summary, m.summary), m.origin, m.mailbox_id, m.uid FROM messages m LEFT JOIN summaries s ON s.account_id=m.account_id AND s.body_id=m.body_id `
	sqlMeta      = metaOf + `WHERE m.account_id=? AND m.id=?`
	sqlMetaRange = metaOf + `WHERE m.account_id=? AND m.id BETWEEN ? AND ? ORDER BY m.id`

	metaStride       = 256  // messages read under one snapshot: a slow client holds none
	sharedMetaStride = 1024 // where a snapshot costs round trips
	maxSparse        = 4    // a range is read through if it holds at most so many times the messages wanted
)

// metaBatch is a stride of Metas.
type metaBatch struct {
	metas []Meta
	found []bool
	buf   []byte // all summaries
	spans [][2]int
}

// Metas yields the Meta of each of rows (ascending UID), reading in long sequential strides.
// Rows whose message is gone meanwhile are left out. No snapshot is held while yielding.
func (b *Box) Metas(ctx context.Context, rows []Row) iter.Seq2[*Meta, error] {
	return func(yield func(*Meta, error) bool) {
		m := new(metaBatch)
		n := metaStride
		if b.s.shared {
			n = sharedMetaStride
		}
		for stride := range slices.Chunk(rows, n) {
			err := b.s.view(ctx, func(c *db.Conn) error { return m.read(c, b, stride) })
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range m.metas {
				if !m.found[i] {
					continue
				}
				m.metas[i].Summary = m.buf[m.spans[i][0]:m.spans[i][1]:m.spans[i][1]]
				if !yield(&m.metas[i], nil) {
					return
				}
			}
		}
	}
}

func (m *metaBatch) read(c *db.Conn, b *Box, rows []Row) error {
	n, a := len(rows), b.account
	m.metas, m.found, m.spans, m.buf = make([]Meta, n), make([]bool, n), make([][2]int, n), m.buf[:0]
	lo, hi, ascending := rows[0].Message, rows[0].Message, true
	for i, r := range rows {
		ascending = ascending && (i == 0 || r.Message > rows[i-1].Message)
		lo, hi = min(lo, r.Message), max(hi, r.Message)
	}
	if !ascending || int64(hi-lo) > int64(maxSparse*n) {
		for i, r := range rows {
			if err := m.one(c, i, b, r); err != nil {
				return err
			}
		}
		return nil
	}
	i := 0
	for q, err := range c.Rows(sqlMetaRange, b.s.scope(a), db.Int(messageKey(a, lo)), db.Int(messageKey(a, hi))) {
		if err != nil {
			return err
		}
		id := q.Int(0)
		for i < n && messageKey(a, rows[i].Message) < id {
			i++
		}
		if i < n && messageKey(a, rows[i].Message) == id {
			m.take(i, q, b.id, rows[i].UID)
		}
	}
	return nil
}

func (m *metaBatch) one(c *db.Conn, i int, b *Box, r Row) error {
	for q, err := range c.Rows(sqlMeta, b.s.scope(b.account), db.Int(messageKey(b.account, r.Message))) {
		if err != nil {
			return err
		}
		m.take(i, q, b.id, r.UID)
	}
	return nil
}

// take fills in the i-th Meta. What was imported for POP3 holds for the place where the message was put: a move ends it.
func (m *metaBatch) take(i int, q *db.Row, box MailboxID, uid UID) {
	m.found[i] = true
	m.metas[i] = Meta{Message: MessageID(q.Int(0) & maxMessageID), Thread: ThreadID(q.Int(1)), Prefix: int(q.Int(4))}
	if MailboxID(q.Int(7)) == box && UID(q.Int(8)) == uid {
		m.metas[i].Order, m.metas[i].UIDL = q.Int(2), q.Text(3)
	}
	if m.metas[i].Email = m.metas[i].Message; q.Int(6) != 0 {
		m.metas[i].Email = MessageID(q.Int(6) & maxMessageID)
	}
	at := len(m.buf)
	m.buf = append(m.buf, q.RawBytes(5)...)
	m.spans[i] = [2]int{at, len(m.buf)}
}
