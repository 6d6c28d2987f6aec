package mailstore

import (
	"context"

	"bahnpost/store/internal/db"
)

// A client that asks for a message of a mailbox of a million does not wait until its whole index is in memory: few rows
// are read from the table, and their sequence numbers counted from the nearer end.
const (
	largeBox  = 20_000 // messages; the index of a smaller mailbox is there in a few ms
	fewRanges = 4
	fewAtOnce = 256
	// fewCost is what a look costs beside the counting, in rows. A view counts as many rows as there are messages, at
	// most: then it is cheaper to have the index.
	fewCost = 1000
)

const (
	sqlCountBelow = `SELECT COUNT(*) FROM msgidx WHERE account_id=? AND mailbox_id=? AND uid<?`
	sqlCountFrom  = `SELECT COUNT(*) FROM msgidx WHERE account_id=? AND mailbox_id=? AND uid>=?`
	sqlCounters   = `SELECT modseq, msgs FROM mailboxes WHERE account_id=? AND mailbox_id=?`
)

// few answers Entries without the rows in memory, if they are not there and few are asked for; else done is false.
func (v *View) few(ctx context.Context, uids UIDSet) (out []Entry, done bool, err error) {
	if err := v.enter(ctx, false); err != nil {
		return nil, false, err
	}
	b := v.box
	msgs, apt := int(b.cur.msgs), !b.loaded && b.load == nil && b.cur.msgs >= b.s.boxes.large
	b.mu.RUnlock()
	if !apt || v.uidNext <= 1 || v.counted+fewCost > msgs {
		return nil, false, nil
	}
	uids = uids.Intersect(Range(1, v.uidNext-1))
	if len(uids) > fewRanges || uids.Count() > fewAtOnce {
		return nil, false, nil
	}
	snap, out, err := v.readFew(ctx, uids)
	if err != nil {
		return nil, false, err
	}
	if err := v.enter(ctx, false); err != nil {
		return nil, false, err
	}
	defer b.mu.RUnlock()
	if b.cur.modseq != snap {
		return nil, false, nil // someone else wrote meanwhile: the rows will tell
	}
	for i := range out {
		out[i].Seq += v.pend.below(out[i].Row.UID)
	}
	return out, true, nil
}

// readFew reads the rows of uids from a snapshot, whose modseq of the mailbox is snap. Seq counts the rows only.
func (v *View) readFew(ctx context.Context, uids UIDSet) (snap ModSeq, out []Entry, err error) {
	b := v.box
	counted := 0
	err = b.s.view(ctx, func(c *db.Conn) error {
		out, counted = nil, fewCost
		var msgs int
		if found, err := c.Row(sqlCounters, db.Int(b.account), db.Int(b.id)).Scan(&snap, &msgs); err != nil || !found {
			if err == nil {
				err = errNoMailbox
			}
			return err
		}
		for _, r := range uids {
			n := len(out)
			for q, err := range c.Rows(sqlScanRows, db.Int(b.account), db.Int(b.id), db.Int(r.Lo), db.Int(r.Hi)) {
				if err != nil {
					return err
				}
				x := scanRow(q)
				out = append(out, Entry{Row: x.row()})
			}
			if n == len(out) {
				continue
			}
			sql, upper := sqlCountBelow, r.Lo > v.uidNext/2
			if upper {
				sql = sqlCountFrom
			}
			var rank int
			if _, err := c.Row(sql, db.Int(b.account), db.Int(b.id), db.Int(r.Lo)).Scan(&rank); err != nil {
				return err
			}
			counted += rank
			if upper {
				rank = msgs - rank
			}
			for i := n; i < len(out); i++ {
				rank++
				out[i].Seq = rank
			}
		}
		return nil
	})
	v.counted += counted
	return snap, out, err
}
