package mailstore

import (
	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// Copied maps source UIDs to destination UIDs, both in ascending order of source.
type Copied struct {
	Src, Dst    UIDSet // pairwise in order
	UIDValidity uint32 // of the destination
	ModSeq      ModSeq
}

const (
	sqlScanRows = `SELECT uid, msg_id, modseq, flags, size, idate, sdate, kw_more FROM msgidx
		WHERE account_id=? AND mailbox_id=? AND uid BETWEEN ? AND ?`
	sqlCopyMessage = `INSERT INTO messages (id, mailbox_id, uid, thread_id, body_id, pop_order, uidl, prefix, summary)
		SELECT ?2, ?3, ?4, thread_id, body_id, 0, '', prefix, summary FROM messages WHERE id=?1`
	sqlRefOfMessage = `UPDATE bodies SET refs=refs+1 WHERE body_id=(SELECT body_id FROM messages WHERE id=?)`
	sqlMoveMessage  = `UPDATE messages SET mailbox_id=?, uid=?, pop_order=0, uidl='' WHERE id=?`
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
	rows, more, g, err := t.scan(from, uids)
	out := Copied{UIDValidity: to.wrk.uidValidity, ModSeq: t.modseq, Src: g.uids}
	if err != nil || len(rows) == 0 {
		return out, t.fail(err)
	}
	if err := t.roomFor(to, &g, move); err != nil {
		return out, err
	}
	if move {
		if err := t.removeRows(from, g.uids, &g, sqlExpunge); err != nil {
			return out, err
		}
		t.a.wrk.usedBytes -= g.bytes
		t.a.wrk.usedMsgs -= int64(g.n)
	}
	w := t.touch(to)
	for i := range rows {
		r := &rows[i]
		old := r.msg
		r.uid, r.modseq, r.saved = w.uidNext, t.modseq, t.saved(t.time())
		if !move {
			r.msg = uint32(t.a.wrk.nextMsg)
			t.a.wrk.nextMsg++
		}
		w.uidNext++
		if err := t.place(to, r, old, more[i], move); err != nil {
			return out, err
		}
		t.count(w, r)
		out.Dst.Add(r.uid)
	}
	if move {
		t.added -= g.bytes
	}
	t.arrive(to, rows, more, out.Dst)
	return out, nil
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

// scan reads rows as the writer sees them.
func (t *tx) scan(b *mbox, uids UIDSet) (rows []row, more [][]KeywordID, g doomed, err error) {
	uids = uids.Intersect(Range(1, max(b.wrk.uidNext, 2)-1))
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

// place writes one copied or moved row.
func (t *tx) place(to *mbox, r *row, old uint32, more []KeywordID, move bool) error {
	a := t.a.id
	key := messageKey(a, MessageID(r.msg))
	if move {
		if _, err := t.exec(sqlMoveMessage, db.Int(to.id), db.Int(r.uid), db.Int(key)); err != nil {
			return err
		}
	} else {
		from := messageKey(a, MessageID(old))
		if _, err := t.exec(sqlCopyMessage, db.Int(from), db.Int(key), db.Int(to.id), db.Int(r.uid)); err != nil {
			return err
		}
		if _, err := t.exec(sqlRefOfMessage, db.Int(key)); err != nil {
			return err
		}
	}
	_, err := t.exec(sqlInsertIndex, db.Int(a), db.Int(to.id), db.Int(r.uid), db.Int(r.msg), db.Int(r.modseq), db.Int(r.flags),
		db.Int(r.size), db.Int(r.date), db.Int(r.saved), db.Int(t.modseq), db.Blob(encodeMore(more)))
	return err
}
