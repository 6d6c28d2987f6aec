package mailstore

import (
	"encoding/binary"
	"errors"
	"slices"

	"bahnpost/store/internal/db"
)

const (
	sqlScanGone = `SELECT uid, flags, msg_id, size FROM msgidx WHERE account_id=? AND mailbox_id=? AND uid BETWEEN ? AND ? ORDER BY uid`
	sqlExpunge  = `DELETE FROM msgidx WHERE account_id=? AND mailbox_id=? AND uid BETWEEN ? AND ?`
	sqlExpungeD = `DELETE FROM msgidx WHERE account_id=? AND mailbox_id=? AND uid BETWEEN ? AND ? AND flags&8<>0`
	sqlGone     = `INSERT INTO gone (account_id, modseq, part, mailbox_id, msgs) VALUES (?,?,?,?,?)`
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
	t.a.wrk.usedBytes -= g.bytes
	t.a.wrk.usedMsgs -= int64(g.n)
	return g.uids, t.bury(id, g.msgs)
}

// reapStep is how many messages the reaper takes in one transaction: about 15 ms of the writer.
const reapStep = 500

// bury leaves the messages to the reaper, in portions that it can take in one step each.
func (t *tx) bury(id MailboxID, msgs []MessageID) error {
	for part := range slices.Chunk(msgs, reapStep) {
		if err := t.grave(id, encodeMsgs(part)); err != nil {
			return err
		}
	}
	return nil
}

// grave adds one row of gone; msgs nil stands for all that is left of a dead mailbox.
func (t *tx) grave(id MailboxID, msgs []byte) error {
	t.graves++
	return t.send(1, sqlGone, db.Int(t.a.id), db.Int(t.modseq), db.Int(t.graves), db.Int(id), db.Blob(msgs))
}

// removeRows deletes the index rows of g and tells of it.
func (t *tx) removeRows(b *mbox, uids UIDSet, g *doomed, sql string) error {
	for _, r := range uids {
		if err := t.send(db.AnyCount, sql, db.Int(t.a.id), db.Int(b.id), db.Int(r.Lo), db.Int(r.Hi)); err != nil {
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
	msgs               []MessageID
	n, unseen, deleted int32
	bytes              int64
}

func (g *doomed) add(uid UID, f Flags, msg, size int64) {
	g.uids.Add(uid)
	g.msgs = append(g.msgs, MessageID(msg))
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

// encodeMsgs is the stored form of message ids: differences as varints.
func encodeMsgs(ids []MessageID) []byte {
	b := make([]byte, 0, 2*len(ids))
	var last MessageID
	for _, id := range ids {
		b = binary.AppendVarint(b, int64(id-last))
		last = id
	}
	return b
}

// decodeMsgs reads what encodeMsgs wrote.
func decodeMsgs(b []byte) (ids []MessageID, err error) {
	var last int64
	for len(b) > 0 {
		v, n := binary.Varint(b)
		if n <= 0 {
			return nil, errBadMsgs
		}
		last += v
		ids = append(ids, MessageID(last))
		b = b[n:]
	}
	return ids, nil
}

var errBadMsgs = errors.New("mailstore: damaged list of messages")
