package mailstore

import (
	"sort"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// Copied maps source UIDs to destination UIDs, both in ascending order of source.
type Copied struct {
	Src, Dst    UIDSet // pairwise in order
	UIDValidity uint32 // of the destination
	ModSeq      ModSeq
}

const sqlScanRows = `SELECT uid, msg_id, modseq, flags, size, idate, sdate, kw_more FROM msgidx
	WHERE account_id=? AND mailbox_id=? AND uid BETWEEN ? AND ? ORDER BY uid`

// A portion are the rows ?3..?4 of mailbox ?2; n numbers them from 0 on: by arithmetic if no UID is missing (dense), else
// it takes a window. ?5 is the destination, ?6 its first new UID, ?7 and ?8 modseq and save date, ?9 the first new message id, ?10 the scope.
//
// A move leaves the message alone: its row says where it came to be, not where it is.
const (
	fromDense    = ` FROM (SELECT *, uid-?3 AS n FROM msgidx WHERE account_id=?1 AND mailbox_id=?2 AND uid BETWEEN ?3 AND ?4) x`
	fromSparse   = ` FROM (SELECT *, ROW_NUMBER() OVER (ORDER BY uid)-1 AS n FROM msgidx WHERE account_id=?1 AND mailbox_id=?2 AND uid BETWEEN ?3 AND ?4) x`
	copyMessages = `INSERT INTO messages (account_id, id, mailbox_id, uid, thread_id, body_id, pop_order, uidl, prefix, summary, origin)
		SELECT ?10, (?1<<32|?9)+x.n, ?5, ?6+x.n, thread_id, body_id, 0, '', prefix, summary, CASE origin WHEN 0 THEN messages.id ELSE origin END`
	ofRows    = ` CROSS JOIN messages WHERE messages.account_id=?10 AND messages.id=(?1<<32|x.msg_id)`
	copyIndex = `INSERT INTO msgidx (account_id, mailbox_id, uid, msg_id, modseq, flags, size, idate, sdate, added, kw_more) SELECT ?1, ?5, `
	copied    = `?6+x.n, ?9+x.n, ?7, flags, size, idate, ?8, ?7, kw_more`
	moved     = `?6+x.n, msg_id, ?7, flags, size, idate, ?8, ?7, kw_more`

	sqlCopyDense       = copyMessages + fromDense + ofRows
	sqlCopySparse      = copyMessages + fromSparse + ofRows
	sqlCopyIndexDense  = copyIndex + copied + fromDense
	sqlCopyIndexSparse = copyIndex + copied + fromSparse
	sqlMoveIndexDense  = copyIndex + moved + fromDense
	sqlMoveIndexSparse = copyIndex + moved + fromSparse

	copyRefs = `INSERT INTO copied (account_id, body_id, refs) SELECT ?1, body_id, COUNT(*) FROM messages
		WHERE account_id=?1 AND id BETWEEN ?2 AND ?3 GROUP BY body_id`
	addRefs        = ` DO UPDATE SET refs=copied.refs+excluded.refs`
	sqlCopyRefs    = copyRefs + ` ON CONFLICT (account_id, body_id)` + addRefs
	sqliteCopyRefs = copyRefs + ` ON CONFLICT (body_id)` + addRefs // its key; all have one scope
)

// Copy copies messages with flags and dates into dst (RFC 9051 §6.4.7); all or none.
func (t *Tx) Copy(src MailboxID, uids UIDSet, dst MailboxID) (Copied, error) {
	return t.transfer(src, uids, dst, false)
}

// Move is Copy and Expunge in one step that keeps MessageIDs (RFC 6851).
func (t *Tx) Move(src MailboxID, uids UIDSet, dst MailboxID) (Copied, error) {
	return t.transfer(src, uids, dst, true)
}

// transfer is Copy and Move. SAVEDATE is that of the new place (RFC 8514 §3).
func (t *tx) transfer(src MailboxID, uids UIDSet, dst MailboxID, move bool) (Copied, error) {
	from, err := t.get(src)
	if err != nil {
		return Copied{}, err
	}
	to, err := t.get(dst)
	if err != nil {
		return Copied{}, err
	}
	uids = uids.Intersect(Range(1, max(from.wrk.uidNext, 2)-1))
	rows, more, g, err := t.scan(from, uids)
	out := Copied{UIDValidity: to.wrk.uidValidity, ModSeq: t.modseq, Src: g.uids}
	if err != nil || len(rows) == 0 {
		return out, t.fail(err)
	}
	if err := t.roomFor(to, &g, move); err != nil {
		return out, err
	}
	w := t.touch(to)
	out.Dst = Range(w.uidNext, w.uidNext+UID(len(rows)-1))
	for at := 0; at < len(rows); {
		n := portion(rows[at:], uids)
		if err := t.place(from, to, rows[at:at+n], move); err != nil {
			return out, err
		}
		at += n
	}
	if move {
		if err := t.removeRows(from, uids, &g, sqlExpunge); err != nil {
			return out, err
		}
		w.add(&g)
	} else {
		w.add(&g)
		t.a.wrk.usedBytes += g.bytes
		t.a.wrk.usedMsgs += int64(g.n)
		t.added += g.bytes
	}
	t.arrive(to, rows, more, out.Dst)
	return out, nil
}

// add counts messages in.
func (w *mboxRow) add(g *doomed) {
	w.msgs += g.n
	w.unseen += g.unseen
	w.deleted += g.deleted
	w.bytes += g.bytes
}

// copyStep is how many rows one statement copies: SQLite gathers them in memory, because it reads from the table it
// writes to; with this it is about half a megabyte.
const copyStep = 512

// portion is how many of rows one statement can take: those of one range of uids, in which there are no others.
func portion(rows []row, uids UIDSet) int {
	k := sort.Search(len(uids), func(i int) bool { return uids[i].Hi >= rows[0].uid })
	n := min(len(rows), copyStep)
	return sort.Search(n, func(i int) bool { return rows[i].uid > uids[k].Hi })
}

// arrive tells boxes of new rows; those with far keywords singly.
func (t *tx) arrive(to *mbox, rows []row, more [][]KeywordID, uids UIDSet) {
	t.event(event{mailbox: to.id, kind: Added, uids: uids, rows: rows})
	last := &t.events[len(t.events)-1]
	for i, m := range more {
		if len(m) > 0 {
			last.moreRows = append(last.moreRows, slowRow{uid: rows[i].uid, more: m})
		}
	}
}

func (t *tx) roomFor(to *mbox, g *doomed, move bool) error {
	if move {
		if int(to.wrk.msgs)+int(g.n) > MaxMessages || uint64(to.wrk.uidNext)+uint64(g.n) >= maxUID {
			return &mail.Error{Kind: mail.Limit, Text: "too many messages in one mailbox"}
		}
		return nil
	}
	return t.room(to, int(g.n), g.bytes)
}

// scan reads rows as the writer sees them, from memory if it is at the writer's state.
func (t *tx) scan(b *mbox, uids UIDSet) (rows []row, more [][]KeywordID, g doomed, err error) {
	if t.s.boxes.rows(t, b, func(x *Box) {
		for _, r := range uids {
			x.rows.each(r.Lo, r.Hi, func(r *row) bool {
				rows = append(rows, *r)
				more = append(more, x.more[r.uid])
				g.add(r.uid, r.flags, int64(r.msg), int64(r.size))
				return true
			})
		}
	}) {
		return rows, more, g, nil
	}
	for _, r := range uids {
		for q, err := range t.c.Rows(sqlScanRows, db.Int(t.a.id), db.Int(b.id), db.Int(r.Lo), db.Int(r.Hi)) {
			if err != nil {
				return nil, nil, g, err
			}
			x := scanRow(q)
			rows = append(rows, x)
			more = append(more, decodeMore(q.RawBytes(7)))
			g.add(x.uid, x.flags, int64(x.msg), int64(x.size))
		}
	}
	return rows, more, g, nil
}

func scanRow(q *db.Row) row {
	return row{uid: UID(q.Int(0)), msg: uint32(q.Int(1)), modseq: ModSeq(q.Int(2)), flags: Flags(q.Int(3)), size: uint32(q.Int(4)),
		date: q.Int(5), saved: uint32(q.Int(6))}
}

// place writes a portion to its new place, and gives rows their new UIDs.
func (t *tx) place(from, to *mbox, rows []row, move bool) error {
	w, n := &to.wrk, len(rows)
	saved := t.saved(t.time())
	args := []db.Value{db.Int(t.a.id), db.Int(from.id), db.Int(rows[0].uid), db.Int(rows[n-1].uid), db.Int(to.id), db.Int(w.uidNext),
		db.Int(t.modseq), db.Int(saved), db.Int(t.a.wrk.nextMsg)}
	sqls := []string{sqlCopySparse, sqlCopyIndexSparse}
	dense := int(rows[n-1].uid-rows[0].uid) == n-1
	if dense {
		sqls = []string{sqlCopyDense, sqlCopyIndexDense}
	}
	if move {
		sqls, args = []string{sqlMoveIndexSparse}, args[:8]
		if dense {
			sqls = []string{sqlMoveIndexDense}
		}
	}
	for i, sql := range sqls {
		with := args
		if i == 0 && !move {
			with = append(args, t.scope())
		}
		if done, err := t.exec(sql, with...); err != nil {
			return err
		} else if int(done) != n {
			return t.fail(errTorn)
		}
	}
	if !move {
		first := t.a.wrk.nextMsg
		t.a.wrk.nextMsg += MessageID(n)
		sql := sqliteCopyRefs
		if t.s.shared {
			sql = sqlCopyRefs
		}
		if _, err := t.exec(sql, t.scope(), db.Int(messageKey(t.a.id, first)), db.Int(messageKey(t.a.id, t.a.wrk.nextMsg-1))); err != nil {
			return err
		}
	}
	for i := range rows {
		rows[i].uid, rows[i].modseq, rows[i].saved = w.uidNext+UID(i), t.modseq, saved
		if !move {
			rows[i].msg = uint32(t.a.wrk.nextMsg) - uint32(n-i)
		}
	}
	w.uidNext += UID(n)
	return nil
}

// errTorn: an index row has no message, or there are others. Check tells more.
var errTorn = &mail.Error{Kind: mail.Corrupt, Text: "mailbox is damaged"}
