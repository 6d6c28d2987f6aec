package mailstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

type boxKey struct {
	account mail.AccountID
	mailbox MailboxID
}

// boxes is the register of open mailboxes and of unused ones kept warm.
type boxes struct {
	mu         sync.Mutex
	byKey      map[boxKey]*Box
	perAccount map[mail.AccountID]int // boxes in byKey
	lru        Box                    // ring of unused boxes with rows
	unused     int64
	limit      int64
	round      atomic.Int64 // of cool
	ring       int          // entries a box remembers: maxRing, fewer in tests
	large      int32        // messages from which on few rows are read by themselves: largeBox, fewer in tests

	hits, misses, loads, loadedRows atomic.Int64
}

func (x *boxes) init(limit int64) {
	x.byKey = make(map[boxKey]*Box)
	x.perAccount = make(map[mail.AccountID]int)
	x.lru.prev, x.lru.next = &x.lru, &x.lru
	x.limit, x.ring, x.large = limit, maxRing, largeBox
}

// open returns the box of m; the caller holds acct.mu for reading, so that no commit comes between.
func (x *boxes) open(s *Store, a *acct, m *mbox) *Box {
	k := boxKey{a.id, m.id}
	x.mu.Lock()
	defer x.mu.Unlock()
	b := x.byKey[k]
	if b == nil && !s.cache.current(a) { // while we hold mu nothing is told to boxes
		return nil
	}
	if b == nil {
		b = &Box{s: s, account: a.id, id: m.id, path: a.path(m, curRow), cur: m.cur}
		x.byKey[k] = b
		x.perAccount[k.account]++
		x.misses.Add(1)
	} else {
		x.hits.Add(1)
	}
	x.use(b)
	b.refs++
	return b
}

// drop takes a box out of the register.
func (x *boxes) drop(k boxKey) {
	delete(x.byKey, k)
	if x.perAccount[k.account]--; x.perAccount[k.account] == 0 {
		delete(x.perAccount, k.account)
	}
}

// peek returns the box of a mailbox, nil if there is none in memory.
func (x *boxes) peek(k boxKey) *Box {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.byKey[k]
}

// any reports whether boxes of a are in memory, open or warm.
func (x *boxes) any(a mail.AccountID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.perAccount[a] > 0
}

// accounts lists those of open boxes, some more than once.
func (x *boxes) accounts() (out []mail.AccountID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k, b := range x.byKey {
		if b.refs > 0 {
			out = append(out, k.account)
		}
	}
	return out
}

// use takes b out of the LRU.
func (x *boxes) use(b *Box) {
	if b.next == nil {
		return
	}
	b.prev.next, b.next.prev = b.next, b.prev
	b.prev, b.next = nil, nil
	x.unused -= b.charged
}

func (x *boxes) close(b *Box) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if b.refs--; b.refs > 0 {
		return
	}
	k := boxKey{b.account, b.id}
	b.mu.Lock()
	b.first = b.head() // no view looks back
	b.ring = nil
	keep := b.loaded && !b.gone
	b.charged = b.rows.bytes()
	b.mu.Unlock()
	if !keep {
		if x.byKey[k] == b {
			x.drop(k)
		}
		return
	}
	b.prev, b.next = &x.lru, x.lru.next
	b.prev.next, b.next.prev = b, b
	x.unused += b.charged
	for x.unused > x.limit && x.lru.prev != &x.lru {
		old := x.lru.prev
		x.use(old)
		x.drop(boxKey{old.account, old.id})
	}
}

// rows calls fn with the box of m, if its rows are exactly what the writer sees; it reports whether it did.
// On the writer's goroutine, which alone changes rows.
func (x *boxes) rows(t *tx, m *mbox, fn func(*Box)) bool {
	if m.touched == t.serial {
		return false
	}
	x.mu.Lock()
	b := x.byKey[boxKey{t.a.id, m.id}]
	x.mu.Unlock()
	if b == nil {
		return false
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if !b.loaded || b.cur.modseq != m.wrk.modseq || b.gone {
		return false
	}
	fn(b)
	return true
}

// apply tells the open boxes what a step did. Under acct.mu, on the writer's goroutine.
func (x *boxes) apply(t *tx) {
	a := t.a
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.byKey) == 0 {
		return
	}
	for i := range t.touched {
		p := &t.touched[i]
		b := x.byKey[boxKey{a.id, p.m.id}]
		if b == nil {
			continue
		}
		b.mu.Lock()
		told := false
		for j := range t.events {
			if e := &t.events[j]; e.mailbox == p.m.id {
				e.commit = t.after.modseq
				b.apply(e, &p.after)
				told = true
			}
		}
		if !told {
			b.apply(nil, &p.after)
		}
		if b.load != nil {
			b.load.wake()
		}
		gone := b.gone
		b.mu.Unlock()
		if gone {
			x.use(b)
			x.drop(boxKey{a.id, p.m.id})
		}
	}
	if len(t.names) > 0 {
		x.repath(a)
	}
}

// repath gives the open boxes of a their names anew after the tree changed: rare.
func (x *boxes) repath(a *acct) {
	for k, b := range x.byKey {
		if k.account != a.id {
			continue
		}
		if m := a.byID(k.mailbox); m != nil {
			b.mu.Lock()
			b.path = a.path(m, curRow)
			b.mu.Unlock()
		}
	}
}

// unload gives the rows back; who needs them next loads them again.
func (b *Box) unload() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rows, b.more, b.loaded = rowList{}, nil, false
}

// cool unloads boxes in use that nobody looked into since the last two rounds:
// a client that idles needs its view, not the rows.
func (x *boxes) cool(context.Context) error {
	round := x.round.Add(1)
	x.mu.Lock()
	var idle []*Box
	for _, b := range x.byKey {
		if b.refs > 0 && b.looked.Load() < round-2 {
			idle = append(idle, b)
		}
	}
	x.mu.Unlock()
	for _, b := range idle {
		b.unload()
	}
	return nil
}

// loading is a load of rows under way.
type loading struct {
	journal []event
	again   bool // something was not told: read anew
	done    chan struct{}
	told    chan struct{} // capacity 1: a commit was told to the box
	err     error
}

func (l *loading) wake() {
	select {
	case l.told <- struct{}{}:
	default:
	}
}

const sqlLoadRows = `SELECT uid, msg_id, modseq, flags, size, idate, sdate FROM msgidx WHERE account_id=? AND mailbox_id=? AND uid>? ORDER BY uid`

// Load makes the rows present. Other methods that need them call it.
//
// The rows come from a snapshot S. Commits told meanwhile go to a journal; those
// after S are applied to the rows at the end. S may be ahead of what the box
// has been told (a commit is durable before it is told): then we wait for it.
func (b *Box) Load(ctx context.Context) error {
	b.looked.Store(b.s.boxes.round.Load())
	for {
		b.mu.Lock()
		switch {
		case b.gone:
			b.mu.Unlock()
			return errNoMailbox
		case b.loaded:
			b.mu.Unlock()
			return nil
		case b.load == nil:
			l := &loading{done: make(chan struct{}), told: make(chan struct{}, 1)}
			b.load = l
			b.mu.Unlock()
			return b.fill(ctx, l)
		}
		l := b.load
		b.mu.Unlock()
		select {
		case <-l.done:
			if l.err != nil && ctx.Err() != nil {
				return ctx.Err()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// maxTellDelay is how long the telling of a durable commit may take (it is
// microseconds): beyond it a bug is better heard of than waited for.
const maxTellDelay = 10 * time.Second

var errNotTold = errors.New("mailstore: a commit was not told to its mailbox")

func (b *Box) fill(ctx context.Context, l *loading) (err error) {
	defer func() {
		b.mu.Lock()
		l.err = err
		b.load = nil
		b.mu.Unlock()
		close(l.done)
	}()
	for again := true; again; {
		if again, err = b.fillOnce(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// fillOnce reports whether it has to be done once more.
func (b *Box) fillOnce(ctx context.Context, l *loading) (again bool, err error) {
	rows, more, snap, err := b.readRows(ctx)
	if err != nil {
		return false, err
	}
	if err := b.await(ctx, l, snap); err != nil {
		return false, err
	}
	defer b.mu.Unlock()
	if l.again {
		l.again, l.journal = false, nil
		return true, nil
	}
	b.rows, b.more = rows, more
	for i := range l.journal {
		if e := &l.journal[i]; e.commit > snap {
			b.applyRows(e)
		}
	}
	b.loaded = true
	b.s.boxes.loads.Add(1)
	b.s.boxes.loadedRows.Add(int64(b.rows.n))
	return false, nil
}

// await returns with mu held when the box was told of all up to snap.
func (b *Box) await(ctx context.Context, l *loading, snap ModSeq) error {
	late := time.NewTimer(maxTellDelay)
	defer late.Stop()
	for {
		b.mu.Lock()
		if b.gone {
			b.mu.Unlock()
			return errNoMailbox
		}
		if b.cur.modseq >= snap {
			return nil
		}
		b.mu.Unlock()
		if b.s.shared { // most likely another node's step
			if _, err := b.s.refresh(ctx, b.account); err != nil {
				return err
			}
			continue
		}
		select {
		case <-l.told:
		case <-late.C:
			return errNotTold
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// readRows reads the index in one snapshot, whose modseq of the mailbox is snap.
func (b *Box) readRows(ctx context.Context) (rows rowList, more map[UID][]KeywordID, snap ModSeq, err error) {
	err = b.s.view(ctx, func(c *db.Conn) error {
		rows, more = rowList{}, nil
		if found, err := c.Row(`SELECT modseq FROM mailboxes WHERE account_id=? AND mailbox_id=?`, db.Int(b.account), db.Int(b.id)).Scan(&snap); err != nil || !found {
			if err == nil {
				err = errNoMailbox
			}
			return err
		}
		far := false
		for q, err := range c.Rows(sqlLoadRows, db.Int(b.account), db.Int(b.id), db.Int(0)) {
			if err != nil {
				return err
			}
			r := scanRow(q)
			far = far || r.flags&moreBit != 0
			rows.add(r)
		}
		if !far {
			return nil
		}
		more = make(map[UID][]KeywordID)
		for q, err := range c.Rows(`SELECT uid, kw_more FROM msgidx WHERE account_id=? AND mailbox_id=? AND flags&128<>0`, db.Int(b.account), db.Int(b.id)) {
			if err != nil {
				return err
			}
			more[UID(q.Int(0))] = decodeMore(q.RawBytes(1))
		}
		return nil
	})
	return rows, more, snap, err
}
