package mailstore

import (
	"encoding/binary"

	"bahnpost/store/internal/db"
)

const (
	sqlScanGone = `SELECT uid, flags, msg_id, size FROM msgidx WHERE account_id=? AND mailbox_id=? AND uid BETWEEN ? AND ?`
	sqlExpunge  = `DELETE FROM msgidx WHERE account_id=? AND mailbox_id=? AND uid BETWEEN ? AND ?`
	sqlExpungeD = `DELETE FROM msgidx WHERE account_id=? AND mailbox_id=? AND uid BETWEEN ? AND ? AND flags&8<>0`
	sqlGone     = `INSERT INTO gone (account_id, modseq, mailbox_id, msgs) VALUES (?1,?2,?3,?4)
		ON CONFLICT (account_id, modseq, mailbox_id) DO UPDATE SET msgs=msgs||?4`
)

// Expunge removes messages. onlyDeleted: of uids (empty set: of all) those with \Deleted.
// The index rows go now; messages and bodies are the reaper's (state G in DESIGN.md).
func (t *Tx) Expunge(id MailboxID, uids UIDSet, onlyDeleted bool) (UIDSet, error) {
	b, err := t.get(id)
	if err != nil {
		return nil, err
	}
	if len(uids) == 0 && onlyDeleted {
		uids = Range(1, maxUID)
	}
	if onlyDeleted && b.wrk.deleted == 0 {
		return nil, nil
	}
	uids = uids.Intersect(Range(1, max(b.wrk.uidNext, 2)-1))
	g, err := t.doomed(b, uids, onlyDeleted)
	if err != nil || len(g.uids) == 0 {
		return nil, t.fail(err)
	}
	sql := sqlExpunge
	if onlyDeleted {
		sql = sqlExpungeD
	}
	if len(g.uids) < len(uids) {
		uids = g.uids
	}
	if err := t.removeRows(b, uids, &g, sql); err != nil {
		return nil, err
	}
	_, err = t.exec(sqlGone, db.Int(t.a.id), db.Int(t.modseq), db.Int(id), db.Blob(g.msgs))
	t.a.wrk.usedBytes -= g.bytes
	t.a.wrk.usedMsgs -= int64(g.n)
	t.s.reaper.more()
	return g.uids, err
}

// removeRows deletes the index rows of g and tells of it.
func (t *tx) removeRows(b *mbox, uids UIDSet, g *doomed, sql string) error {
	for _, r := range uids {
		if _, err := t.exec(sql, db.Int(t.a.id), db.Int(b.id), db.Int(r.Lo), db.Int(r.Hi)); err != nil {
			return err
		}
	}
	w := t.touch(b)
	w.msgs -= g.n
	w.unseen -= g.unseen
	w.deleted -= g.deleted
	w.bytes -= g.bytes
	t.record(b.id, Expunged, g.uids)
	t.event(event{mailbox: b.id, kind: Expunged, uids: g.uids})
	return nil
}

// doomed is what is to be removed.
type doomed struct {
	uids               UIDSet
	msgs               []byte // message ids, encodeMsg
	n, unseen, deleted int32
	bytes              int64
	last               int64
}

func (g *doomed) add(uid UID, f Flags, msg, size int64) {
	g.uids.Add(uid)
	g.msgs = binary.AppendVarint(g.msgs, msg) // absolute: rows of several calls are joined in one blob
	g.n++
	if f&Seen == 0 {
		g.unseen++
	}
	if f&Deleted != 0 {
		g.deleted++
	}
	g.bytes += size
}

// doomed collects from memory if it is at the writer's state, else from the table.
func (t *tx) doomed(b *mbox, uids UIDSet, onlyDeleted bool) (g doomed, err error) {
	if t.s.boxes.rows(t, b, func(x *Box) {
		for _, r := range uids {
			x.rows.each(r.Lo, r.Hi, func(r *row) bool {
				if !onlyDeleted || r.flags&Deleted != 0 {
					g.add(r.uid, r.flags, int64(r.msg), int64(r.size))
				}
				return true
			})
		}
	}) {
		return g, nil
	}
	for _, r := range uids {
		for q, err := range t.c.Rows(sqlScanGone, db.Int(t.a.id), db.Int(b.id), db.Int(r.Lo), db.Int(r.Hi)) {
			if err != nil {
				return g, err
			}
			if f := Flags(q.Int(1)); !onlyDeleted || f&Deleted != 0 {
				g.add(UID(q.Int(0)), f, q.Int(2), q.Int(3))
			}
		}
	}
	return g, nil
}

// decodeMsgs yields the message ids of a gone row from offset on, and the offset after each.
func decodeMsgs(b []byte, yield func(msg MessageID, next int) bool) error {
	for at := 0; at < len(b); {
		v, n := binary.Varint(b[at:])
		if n <= 0 {
			return errBadSet
		}
		at += n
		if !yield(MessageID(v), at) {
			return nil
		}
	}
	return nil
}
