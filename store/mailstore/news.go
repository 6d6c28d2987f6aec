package mailstore

import (
	"slices"
	"time"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// news is what other nodes did to an account since memory was told of it last.
type news struct {
	s     *Store
	id    mail.AccountID
	at    time.Time // not later than the reading
	known bool      // memory was told something: all up to since
	since ModSeq
	have  *acct // in the cache, at since

	gone    bool
	row     acctRow
	floor   ModSeq
	fresh   *acct // the whole account, if have cannot be brought up to row
	boxes   []boxNews
	heard   bool // what follows was read, and what boxes have of messages: somebody listens
	log     []Change
	watched bool // and what arrived in any mailbox: somebody watches
}

// boxNews is what became of a mailbox.
type boxNews struct {
	id      MailboxID
	row     mboxRow
	arrived []row // ascending
	added   []ModSeq
	flagged []row // older ones, as they are now
	more    map[UID][]KeywordID
	full    bool // flagged are all; else the rows have to be loaded anew
}

// newsOf begins to catch up with an account.
func (s *Store) newsOf(id mail.AccountID) *news {
	n := &news{s: s, id: id, at: time.Now()}
	st := s.follows.of(id)
	st.mu.Lock()
	defer st.mu.Unlock()
	x := st.by[id]
	if x == nil {
		return n
	}
	n.known, n.since = true, x.told
	if a := s.cache.peek(id); a != nil && s.cache.current(a) && a.at() == x.told {
		n.have = a
	}
	return n
}

// at is what readers see of an account.
func (a *acct) at() ModSeq {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.cur.modseq
}

// sqlMailboxNews reads what changes with messages: what else changes does so with accounts.shape.
const sqlMailboxNews = `SELECT mailbox_id, uidnext, modseq, msgs, unseen, deleted, bytes FROM mailboxes WHERE account_id=? AND modseq>? ORDER BY mailbox_id`

// read reads the news from a snapshot.
func (n *news) read(c *db.Conn) (err error) {
	n.row, n.floor, err = scanAccount(c.Row(sqlAccount, db.Int(n.id)))
	n.gone = err == errNoAccount
	if err != nil && !n.gone {
		return err
	}
	return n.readRest(c)
}

// readRest reads all but the account's row.
func (n *news) readRest(c *db.Conn) (err error) {
	n.fresh, n.boxes, n.log, n.heard, n.watched = nil, n.boxes[:0], nil, false, false
	switch {
	case n.gone, n.have != nil && n.row.modseq == n.since:
		return nil
	case n.have == nil, n.row.shape > n.since:
		if n.fresh, err = loadTree(c, n.id, n.row); err != nil {
			return err
		}
		for _, m := range n.fresh.boxes {
			if m.cur.modseq > n.since {
				n.boxes = append(n.boxes, boxNews{id: m.id, row: m.cur})
			}
		}
	default:
		if err := n.readCounters(c); err != nil {
			return err
		}
	}
	if !n.known || n.since < n.floor || n.row.modseq == n.since || !n.s.listened(n.id) {
		return nil
	}
	n.heard = true
	if n.log, err = logged(c, n.id, n.since); err != nil {
		return err
	}
	n.watched = n.s.watchers.any(n.id)
	for i := range n.boxes {
		if err := n.readMessages(c, &n.boxes[i]); err != nil {
			return err
		}
	}
	return nil
}

// readCounters reads the mailboxes that changed, none of them in its place in the tree.
func (n *news) readCounters(c *db.Conn) error {
	for r, err := range c.Rows(sqlMailboxNews, db.Int(n.id), db.Int(n.since)) {
		if err != nil {
			return err
		}
		b := boxNews{id: MailboxID(r.Int(0))}
		b.row = mboxRow{uidNext: UID(r.Int(1)), modseq: ModSeq(r.Int(2)), msgs: int32(r.Int(3)), unseen: int32(r.Int(4)),
			deleted: int32(r.Int(5)), bytes: r.Int(6)}
		n.boxes = append(n.boxes, b)
	}
	return nil
}

const (
	sqlArrivals = `SELECT uid, msg_id, modseq, flags, size, idate, sdate, kw_more, added FROM msgidx
		WHERE account_id=? AND mailbox_id=? AND uid>=? ORDER BY uid DESC`

	// maxFlagNews and maxFlagRanges bound what is read of changed flags; beyond them the rows are loaded anew when they are needed.
	maxFlagNews   = 5000
	maxFlagRanges = 64
)

// readMessages reads what is new in a mailbox, if a box or a watcher wants to know.
func (n *news) readMessages(c *db.Conn, b *boxNews) error {
	box := n.s.boxes.peek(boxKey{n.id, b.id})
	if box == nil && !n.watched {
		return nil
	}
	from, rows := UID(1), false
	if n.have != nil {
		if m := n.have.byID(b.id); m != nil {
			n.have.mu.RLock()
			from = m.cur.uidNext
			n.have.mu.RUnlock()
		}
	}
	if box != nil {
		box.mu.RLock()
		from, rows = box.cur.uidNext, box.loaded || box.load != nil
		box.mu.RUnlock()
	}
	b.more = make(map[UID][]KeywordID)
	if from < b.row.uidNext {
		for q, err := range c.Rows(sqlArrivals, db.Int(n.id), db.Int(b.id), db.Int(from)) {
			if err != nil {
				return err
			}
			if ModSeq(q.Int(8)) <= n.since {
				break
			}
			b.arrived = append(b.arrived, b.take(q))
			b.added = append(b.added, ModSeq(q.Int(8)))
		}
		slices.Reverse(b.arrived)
		slices.Reverse(b.added)
	}
	if !rows {
		return nil
	}
	return n.readFlags(c, b)
}

// take reads a row with its far keywords.
func (b *boxNews) take(q *db.Row) row {
	r := scanRow(q)
	if r.flags&moreBit != 0 {
		b.more[r.uid] = decodeMore(q.RawBytes(7))
	}
	return r
}

// readFlags reads the older rows whose flags changed.
func (n *news) readFlags(c *db.Conn, b *boxNews) error {
	var uids UIDSet
	for i := range n.log {
		if x := &n.log[i]; x.Mailbox == b.id && x.Kind == FlagsChanged {
			uids = uids.Union(x.UIDs)
		}
	}
	if len(b.arrived) > 0 {
		uids = uids.Intersect(Range(1, max(b.arrived[0].uid, 2)-1))
	}
	if len(uids) > maxFlagRanges || uids.Count() > maxFlagNews {
		return nil
	}
	for _, r := range uids {
		for q, err := range c.Rows(sqlScanRows, db.Int(n.id), db.Int(b.id), db.Int(r.Lo), db.Int(r.Hi)) {
			if err != nil {
				return err
			}
			b.flagged = append(b.flagged, b.take(q))
		}
	}
	b.full = true
	return nil
}

// tell tells memory the news, if they follow what it was told before: else ok is false, and they have to be read anew.
// The account returned is the cached one.
func (s *Store) tell(n *news) (a *acct, ok bool) {
	st := s.follows.of(n.id)
	st.mu.Lock()
	defer st.mu.Unlock()
	x := st.by[n.id]
	if n.known != (x != nil) || x != nil && x.told != n.since {
		return nil, false
	}
	if n.gone {
		if n.known {
			delete(st.by, n.id)
			s.forgetAccount(n.id)
		}
		return nil, true
	}
	a = s.cache.peek(n.id)
	if n.fresh == nil && a != n.have || n.short() {
		return nil, false
	}
	if x == nil {
		x = new(followed)
		st.by[n.id] = x
	}
	if n.row.modseq > n.since || n.fresh != nil {
		a = s.learn(n, a)
	}
	x.told = max(x.told, n.row.modseq)
	if n.at.After(x.checked) {
		x.checked = n.at
	}
	return a, true
}

// short reports whether somebody began to listen while the news were read, who wants to hear more.
func (n *news) short() bool {
	if !n.known || n.row.modseq == n.since || n.since < n.floor {
		return false
	}
	return !n.heard && n.s.listened(n.id) || !n.watched && n.s.watchers.any(n.id)
}

// learn tells memory and the watchers. Under the stripe's lock.
func (s *Store) learn(n *news, a *acct) *acct {
	if n.fresh != nil {
		a = n.fresh
	}
	lost := !n.heard && (!n.known || n.row.modseq > n.since) // or nobody listens
	if n.known && n.row.modseq > n.since {
		s.stats.caughtUp.Add(1)
		if lost && s.listened(n.id) {
			s.stats.overrun.Add(1)
		}
	}
	s.recents.learn(n)
	a.mu.Lock()
	if n.fresh != nil {
		s.cache.put(a)
		s.cache.publish(a)
	} else {
		n.count(a)
	}
	s.boxes.learn(n, a, lost)
	a.mu.Unlock()
	s.watchers.tell(n.id, func() []Change { return n.changes(lost) })
	return a
}

// count brings the counters of a cached account up to date.
func (n *news) count(a *acct) {
	n.row.mailboxes = a.cur.mailboxes
	a.cur = n.row
	for i := range n.boxes {
		b := &n.boxes[i]
		m := a.byID(b.id)
		if m == nil {
			continue // shape would have told
		}
		w := m.cur
		w.uidNext, w.modseq, w.msgs, w.unseen, w.deleted, w.bytes = b.row.uidNext, b.row.modseq, b.row.msgs, b.row.unseen, b.row.deleted, b.row.bytes
		m.cur, b.row = w, w
	}
}

// changes is what watchers hear, in order.
func (n *news) changes(lost bool) []Change {
	if lost {
		return []Change{{Account: n.id, ModSeq: n.row.modseq, Kind: History}}
	}
	out := slices.Clone(n.log)
	for i := range n.boxes {
		b := &n.boxes[i]
		first := len(out)
		for j := range b.arrived {
			if k := len(out); k > first && out[k-1].ModSeq == b.added[j] {
				out[k-1].UIDs.Add(b.arrived[j].uid)
				continue
			}
			out = append(out, Change{Account: n.id, ModSeq: b.added[j], Mailbox: b.id, Kind: Added, UIDs: UIDs(b.arrived[j].uid)})
		}
	}
	slices.SortStableFunc(out, func(x, y Change) int { return int(int64(x.ModSeq) - int64(y.ModSeq)) })
	return out
}

// learn takes in what came and went. A message that came while nobody here had a session is recent to nobody here.
func (r *recents) learn(n *news) {
	for i := range n.boxes {
		b := &n.boxes[i]
		if len(b.arrived) > 0 {
			e := event{kind: Added}
			for j := range b.arrived {
				e.uids.Add(b.arrived[j].uid)
			}
			r.event(boxKey{n.id, b.id}, &e)
		}
	}
	for i := range n.log {
		if c := &n.log[i]; c.Kind == Expunged || c.Kind == MailboxDeleted {
			r.event(boxKey{n.id, c.Mailbox}, &event{kind: c.Kind, uids: c.UIDs})
		}
	}
}

// learn tells the open boxes. Under acct.mu.
func (x *boxes) learn(n *news, a *acct, lost bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.perAccount[n.id] == 0 {
		return
	}
	for i := range n.boxes {
		if b := x.byKey[boxKey{n.id, n.boxes[i].id}]; b != nil {
			b.mu.Lock()
			b.learn(n, &n.boxes[i], lost)
			b.mu.Unlock()
		}
	}
	if n.fresh == nil {
		return
	}
	for k, b := range x.byKey { // the tree changed: rare
		if k.account != n.id {
			continue
		}
		m := a.byID(k.mailbox)
		b.mu.Lock()
		if m == nil || m.cur.noSelect {
			b.apply(&event{kind: MailboxDeleted}, &b.cur)
			if b.load != nil {
				b.load.wake()
			}
			x.use(b)
			x.drop(k)
		} else {
			b.cur, b.path = m.cur, a.path(m, curRow)
		}
		b.mu.Unlock()
	}
}

// learn brings the box up to the news. Under mu.
func (b *Box) learn(n *news, w *boxNews, lost bool) {
	if b.cur.modseq >= w.row.modseq {
		return // opened since
	}
	b.cur = w.row
	if lost {
		b.first, b.ring = b.head()+1, nil // views compare, and read the change log
	}
	var gone UIDSet
	for i := range n.log {
		c := &n.log[i]
		if c.Mailbox != b.id || c.Kind != FlagsChanged && c.Kind != Expunged {
			continue
		}
		b.remember(told{c.Kind, c.ModSeq, c.UIDs})
		if c.Kind == Expunged {
			gone = gone.Union(c.UIDs)
		}
	}
	if lost || !w.full {
		b.rows, b.more, b.loaded = rowList{}, nil, false
		if b.load != nil {
			b.load.again = true
		}
	} else {
		for _, e := range [...]event{{kind: Added, rows: w.flagged, far: w.more, again: true}, {kind: Added, rows: w.arrived, far: w.more, again: true},
			{kind: Expunged, uids: gone}} {
			e.commit = w.row.modseq
			if b.load != nil {
				b.load.journal = append(b.load.journal, e)
			}
			if b.loaded {
				b.applyRows(&e)
			}
		}
	}
	if b.load != nil {
		b.load.wake()
	}
}

// applyAgain takes rows in as they are now, some of which may be there. Under mu.
func (b *Box) applyAgain(e *event) {
	for _, r := range e.rows {
		if old := b.rows.find(r.uid); old != nil {
			*old = r
		} else if k := len(b.rows.chunks); k == 0 || r.uid > b.rows.at(b.rows.n-1).uid {
			b.rows.add(r)
		} else {
			continue
		}
		b.setMore(r.uid, e.far[r.uid])
	}
}

// toldOwn is apply for a step that this node has committed, unless memory heard of it already: a catch-up
// may read what is durable and not yet told.
func (s *Store) toldOwn(t *tx) {
	id := t.a.id
	st := s.follows.of(id)
	st.mu.Lock()
	x := st.by[id]
	if x == nil {
		x = &followed{told: t.savedAcct.modseq}
		st.by[id] = x
	}
	if x.told < t.after.modseq {
		s.apply(t)
		x.told, x.checked = t.after.modseq, time.Now()
	}
	if a := s.cache.peek(id); a != nil && a != t.a && a.at() < x.told {
		s.cache.drop(a)
	}
	st.mu.Unlock()
	s.db.Hint(int64(id), int64(t.after.modseq))
}

// forgetAccount forgets an account that is no more. Where it is followed, under the stripe's lock.
func (s *Store) forgetAccount(a mail.AccountID) {
	if acc := s.cache.peek(a); acc != nil {
		s.cache.drop(acc)
	}
	s.boxes.forget(a)
	s.recents.forget(a)
	s.watchers.removed(a)
}
