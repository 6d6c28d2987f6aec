package mailstore

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sort"

	"bahnpost/store/internal/db"
)

// View is what one client has been told of a mailbox: which messages exist
// (hence sequence numbers) and up to which modseq flags were said. It costs a
// few words, plus the expunges not yet said. Not safe for concurrent use.
//
// The messages a client knows are the box's rows below uidNext, and pend:
// those that were expunged since and of which it was not told.
type View struct {
	box     *Box
	pos     int64  // number of the ring entry up to which flags were told
	xpos    int64  // the same for expunges that went into pend
	modseq  ModSeq // told
	xmodseq ModSeq // of pend
	uidNext UID
	count   int32
	stale   bool // flags: the ring overran pos; compare modseqs instead
	pend    UIDSet
	known   []ModSeq // own steps
	counted int      // rows counted for few
}

// NewView starts with what is now.
func (b *Box) NewView() *View {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return &View{box: b, pos: b.head(), xpos: b.head(), modseq: b.cur.modseq, xmodseq: b.cur.modseq, uidNext: b.cur.uidNext, count: b.cur.msgs}
}

// Box returns the mailbox viewed.
func (v *View) Box() *Box { return v.box }

// Count is the number of messages the client knows; UIDNext and ModSeq as told.
func (v *View) Count() int { return int(v.count) }

// UIDNext is the bound below which the client may know messages.
func (v *View) UIDNext() UID { return v.uidNext }

// ModSeq is the highest modseq whose changes were told.
func (v *View) ModSeq() ModSeq { return v.modseq }

// Know marks the flag changes of one step, made by this session, as known to the client (.SILENT).
func (v *View) Know(m ModSeq) { v.known = append(v.known, m) }

// absorb moves new expunges into pend. Under box.mu; false if the ring no longer reaches back so far.
func (v *View) absorb() bool {
	b := v.box
	if v.xpos < b.first {
		return false
	}
	for ; v.xpos < b.head(); v.xpos++ {
		if e := &b.ring[v.xpos-b.first]; e.kind == Expunged {
			v.addPend(e.uids)
		}
	}
	v.xmodseq = b.cur.modseq
	return true
}

func (v *View) addPend(uids UIDSet) {
	for _, r := range uids {
		if r.Lo >= v.uidNext {
			break
		}
		v.pend.AddRange(r.Lo, min(r.Hi, v.uidNext-1))
	}
}

// reread is absorb by way of the change log.
func (v *View) reread(ctx context.Context) error {
	b := v.box
	b.mu.RLock()
	until, head := b.cur.modseq, b.head()
	b.mu.RUnlock()
	var gone UIDSet
	err := b.s.view(ctx, func(c *db.Conn) (err error) {
		var floor ModSeq
		if _, err := c.Row(sqlFloor, db.Int(b.account)).Scan(&floor); err != nil {
			return err
		}
		if floor > v.xmodseq {
			return errForgotten
		}
		gone, err = expungedBetween(c, b.account, b.id, v.xmodseq, until)
		return err
	})
	if err != nil {
		return err
	}
	v.addPend(gone)
	v.xpos, v.xmodseq = head, until
	return nil
}

const sqlFloor = `SELECT log_floor FROM accounts WHERE account_id=?`

// errForgotten: nobody asked this view for news while the history of them was trimmed (Config.ExpungeHistory: weeks). What
// its client believes can't be told any more; it has to select the mailbox again.
var errForgotten = errors.New("mailstore: expunges were forgotten before a view heard of them")

// enter locks the box for reading with its rows loaded (if rows) and all expunges absorbed.
func (v *View) enter(ctx context.Context, rows bool) error {
	b := v.box
	if round := b.s.boxes.round.Load(); rows && b.looked.Load() != round {
		b.looked.Store(round)
	}
	for {
		b.mu.RLock()
		switch {
		case b.gone:
			b.mu.RUnlock()
			return errNoMailbox
		case rows && !b.loaded:
			b.mu.RUnlock()
			if err := b.Load(ctx); err != nil {
				return err
			}
			continue
		case v.absorb():
			return nil
		}
		b.mu.RUnlock()
		if err := v.reread(ctx); err != nil {
			return err
		}
	}
}

// seq is the sequence number of a known uid, or where it would be: one more than the known ones below it. Under box.mu.
func (v *View) seq(uid UID) int { return v.box.rows.rank(uid) + v.pend.below(uid) + 1 }

// knows reports whether the client knows uid. Under box.mu.
func (v *View) knows(uid UID) bool {
	return uid < v.uidNext && (v.box.rows.find(uid) != nil || v.pend.Contains(uid))
}

// uid is the UID of seq, 0 if there is none. Under box.mu.
func (v *View) uid(seq int) UID {
	if seq < 1 || seq > int(v.count) {
		return 0
	}
	at := func(below int) UID { // the row that has below pending ones before it
		if i := seq - 1 - below; i < v.box.rows.n {
			return v.box.rows.at(i).uid
		}
		return 0
	}
	if len(v.pend) == 0 {
		return at(0)
	}
	// the last pending range that begins at or before seq
	i := sort.Search(len(v.pend), func(i int) bool { return v.seq(v.pend[i].Lo) > seq }) - 1
	if i < 0 {
		return at(0)
	}
	r := v.pend[i]
	if off := seq - v.seq(r.Lo); off <= int(r.Hi-r.Lo) {
		return r.Lo + UID(off)
	}
	return at(v.pend.below(r.Hi) + 1)
}

// UID returns the UID of sequence number seq (1-based), 0 if there is none. It may already be expunged.
func (v *View) UID(ctx context.Context, seq int) (UID, error) {
	if err := v.enter(ctx, true); err != nil {
		return 0, err
	}
	defer v.box.mu.RUnlock()
	return v.uid(seq), nil
}

// Seq returns the sequence number of a UID, 0 if the client does not know it.
func (v *View) Seq(ctx context.Context, uid UID) (int, error) {
	if err := v.enter(ctx, true); err != nil {
		return 0, err
	}
	defer v.box.mu.RUnlock()
	if !v.knows(uid) {
		return 0, nil
	}
	return v.seq(uid), nil
}

// UIDsOfSeqs maps a set of sequence numbers (1-based, within Count) to UIDs. A
// range becomes one range of UIDs: numbers in between that no message ever
// known to the client has may be included, so do not count them.
func (v *View) UIDsOfSeqs(ctx context.Context, seqs UIDSet) (UIDSet, error) {
	if err := v.enter(ctx, true); err != nil {
		return nil, err
	}
	defer v.box.mu.RUnlock()
	var out UIDSet
	for _, r := range seqs {
		lo, hi := max(int(r.Lo), 1), min(int(r.Hi), int(v.count))
		if lo <= hi {
			out.AddRange(v.uid(lo), v.uid(hi))
		}
	}
	return out, nil
}

// SeqsOfUIDs maps UIDs to sequence numbers; UIDs that the client does not know are left out.
func (v *View) SeqsOfUIDs(ctx context.Context, uids UIDSet) (UIDSet, error) {
	if err := v.enter(ctx, true); err != nil {
		return nil, err
	}
	defer v.box.mu.RUnlock()
	var out UIDSet
	for _, r := range uids {
		hi := min(r.Hi, v.uidNext-1)
		if r.Lo > hi {
			break
		}
		out.AddRange(UID(v.seq(r.Lo)), UID(v.seq(hi+1)-1))
	}
	return out, nil
}

// Entry is a message in a view.
type Entry struct {
	Seq int
	Row Row
}

// entryBatch is how many rows Entries copies under one lock.
const entryBatch = 512

// Entries yields the messages of the view whose UID is in uids (nil: all) in ascending order, those expunged
// meanwhile left out. Rows are current. The iteration holds no lock while yielding; the Entry is reused for the next.
// Sync must not be called in between.
func (v *View) Entries(ctx context.Context, uids UIDSet) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		if uids == nil {
			uids = Range(1, maxUID)
		}
		batch, done, err := v.few(ctx, uids)
		if err != nil {
			yield(nil, err)
			return
		}
		for i := range batch {
			if !yield(&batch[i], nil) {
				return
			}
		}
		if done {
			return
		}
		from := UID(1)
		for {
			var err error
			if batch, err = v.batch(ctx, uids, from, batch[:0]); err != nil {
				yield(nil, err)
				return
			}
			if len(batch) == 0 {
				return
			}
			from = batch[len(batch)-1].Row.UID + 1
			for i := range batch {
				if !yield(&batch[i], nil) {
					return
				}
			}
		}
	}
}

// batch copies up to entryBatch entries of uids from uid on.
func (v *View) batch(ctx context.Context, uids UIDSet, from UID, out []Entry) ([]Entry, error) {
	if err := v.enter(ctx, true); err != nil {
		return nil, err
	}
	defer v.box.mu.RUnlock()
	if out == nil {
		out = make([]Entry, 0, min(v.box.rows.n, entryBatch))
	}
	skip := sort.Search(len(uids), func(i int) bool { return uids[i].Hi >= from })
	for _, r := range uids[skip:] {
		lo, hi := max(r.Lo, from), min(r.Hi, v.uidNext-1)
		if lo > hi {
			break
		}
		rank, base := v.box.rows.rank(lo), 0
		v.box.rows.each(lo, hi, func(r *row) bool {
			if len(v.pend) > 0 {
				base = v.pend.below(r.uid)
			}
			rank++
			out = append(out, Entry{Seq: rank + base, Row: r.row()})
			return len(out) < entryBatch
		})
		if len(out) >= entryBatch {
			break
		}
	}
	return out, nil
}

// Lags reports whether the client still counts messages that are expunged, among uids (nil: any).
func (v *View) Lags(ctx context.Context, uids UIDSet) (bool, error) {
	if err := v.enter(ctx, false); err != nil {
		return false, err
	}
	defer v.box.mu.RUnlock()
	return len(v.pend) > 0 && (uids == nil || !v.pend.Intersect(uids).Empty()), nil
}

// Vanished is Box.Vanished without the messages that the client still counts: those were expunged since it heard of them.
func (v *View) Vanished(ctx context.Context, since ModSeq, known UIDSet) (UIDSet, error) {
	gone, _, err := v.box.Vanished(ctx, since, known)
	if err != nil || gone.Empty() {
		return nil, err
	}
	if err := v.enter(ctx, true); err != nil {
		return nil, err
	}
	defer v.box.mu.RUnlock()
	counted := v.pend
	for _, r := range gone {
		v.box.rows.each(r.Lo, min(r.Hi, v.uidNext-1), func(x *row) bool { // a commit that was not told to us yet
			counted = counted.Union(UIDs(x.uid))
			return true
		})
	}
	return gone.Subtract(counted), nil
}

// Lost returns the messages among uids that are expunged while the client still counts them. Of
// their rows only the UID is left.
func (v *View) Lost(ctx context.Context, uids UIDSet) ([]Entry, error) {
	if err := v.enter(ctx, true); err != nil {
		return nil, err
	}
	defer v.box.mu.RUnlock()
	var out []Entry
	for u := range v.pend.Intersect(uids).All() {
		out = append(out, Entry{Seq: v.seq(u), Row: Row{UID: u}})
	}
	return out, nil
}

// News is what a client has to hear, in this order: expunges, then EXISTS if it grew, then flags.
type News struct {
	ExpungedSeqs []int   // each as of the moment it is said (RFC 9051 §7.5.1)
	ExpungedUIDs UIDSet  // the same as UIDs, for VANISHED
	Exists       bool    // say Count() as EXISTS
	First        UID     // no new message has a smaller UID, if Exists
	Changed      []Entry // messages whose flags or modseq changed, without the new ones
}

// Sync moves the view forward and returns what to say. With expunge false the
// expunges are kept back and sequence numbers stay (RFC 9051 §7.5.1: not during FETCH, STORE, SEARCH).
// A deleted mailbox: kind NoSuchMailbox.
func (v *View) Sync(ctx context.Context, expunge bool) (News, error) {
	needRows := false
	for {
		if err := v.enter(ctx, needRows); err != nil {
			return News{}, err
		}
		changed := v.changes()
		if !needRows && !v.box.loaded && (len(changed) > 0 || expunge && len(v.pend) > 0) {
			v.box.mu.RUnlock()
			needRows = true
			continue
		}
		n := v.tell(changed, expunge)
		v.box.mu.RUnlock()
		return n, nil
	}
}

// changes are the known messages whose flags changed and were not told. Under box.mu.
func (v *View) changes() UIDSet {
	b := v.box
	if v.uidNext <= 1 {
		return nil
	}
	if v.pos < b.first {
		v.stale = true
	}
	if v.stale {
		return Range(1, v.uidNext-1) // filtered by modseq in entries
	}
	var s UIDSet
	for i := v.pos - b.first; i < int64(len(b.ring)); i++ {
		if e := &b.ring[i]; e.kind == FlagsChanged && !slices.Contains(v.known, e.modseq) {
			if s == nil {
				s = e.uids
			} else {
				s = s.Union(e.uids)
			}
		}
	}
	if s.Max() >= v.uidNext {
		s = s.Intersect(Range(1, v.uidNext-1))
	}
	return s
}

// tell makes the news and moves on. Under box.mu.
func (v *View) tell(changed UIDSet, expunge bool) News {
	b := v.box
	var n News
	if expunge && len(v.pend) > 0 {
		n.ExpungedUIDs = v.pend
		n.ExpungedSeqs = make([]int, 0, v.pend.Count())
		for _, r := range v.pend {
			seq := b.rows.rank(r.Lo) + 1 // those before it are gone by then, and no row lies inside the range
			for range int(r.Hi-r.Lo) + 1 {
				n.ExpungedSeqs = append(n.ExpungedSeqs, seq)
			}
		}
		v.count -= int32(len(n.ExpungedSeqs))
		v.pend = nil
	}
	for _, r := range changed {
		b.rows.each(r.Lo, r.Hi, func(x *row) bool {
			if !v.stale || x.modseq > v.modseq && !slices.Contains(v.known, x.modseq) {
				n.Changed = append(n.Changed, Entry{Seq: v.seq(x.uid), Row: x.row()})
			}
			return true
		})
	}
	now := b.cur.msgs + int32(v.pend.Count())
	if now > v.count {
		n.Exists, n.First = true, v.uidNext
	}
	v.count, v.uidNext, v.modseq = now, b.cur.uidNext, b.cur.modseq
	v.pos, v.stale, v.known = b.head(), false, nil
	return n
}

// Dirty reports cheaply whether Sync(true) would have something to say.
func (v *View) Dirty() bool {
	b := v.box
	b.mu.RLock()
	defer b.mu.RUnlock()
	switch {
	case b.gone, len(v.pend) > 0, v.pos < b.first, v.xpos < b.first:
		return true
	case v.pos == b.head() && b.cur.uidNext == v.uidNext:
		return false
	}
	return b.cur.uidNext != v.uidNext || v.expungesWait() || len(v.changes()) > 0
}

func (v *View) expungesWait() bool {
	b := v.box
	for i := v.xpos - b.first; i < int64(len(b.ring)); i++ {
		if e := &b.ring[i]; e.kind == Expunged && len(e.uids) > 0 && e.uids[0].Lo < v.uidNext {
			return true
		}
	}
	return false
}
