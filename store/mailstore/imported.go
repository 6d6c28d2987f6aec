package mailstore

import (
	"context"
	"iter"

	"bahnpost/store/internal/db"
)

// Imported is what a move brought along for POP3.
type Imported struct {
	UID   UID
	UIDL  string // as the client knows it, "" if none
	Order int64  // POP3 position, 0 if none
}

const (
	sqlImported = `SELECT m.id, m.uid, m.uidl, m.pop_order FROM messages m CROSS JOIN msgidx x
		WHERE m.account_id=?6 AND m.mailbox_id=?1 AND m.id BETWEEN ?2 AND ?3 AND (m.uidl<>'' OR m.pop_order<>0) AND m.uid>?4
		AND x.account_id=?2>>32 AND x.mailbox_id=?1 AND x.uid=m.uid ORDER BY m.id LIMIT ?5`

	importedPage = 1000 // rows read under one snapshot
)

// Imported yields the messages with a UID above after that came with a POP3 UIDL or position, in no special order. It costs
// nothing for all other messages. No snapshot is held while yielding.
func (b *Box) Imported(ctx context.Context, after UID) iter.Seq2[Imported, error] {
	return func(yield func(Imported, error) bool) {
		page := make([]Imported, 0, 16)
		for last, more := messageKey(b.account, 0), true; more; {
			var next int64
			err := b.s.view(ctx, func(c *db.Conn) error {
				page, next = page[:0], last
				for r, err := range c.Rows(sqlImported, db.Int(b.id), db.Int(last), db.Int(messageKey(b.account, maxMessageID)), db.Int(after), db.Int(importedPage), b.s.scope(b.account)) {
					if err != nil {
						return err
					}
					next = r.Int(0) + 1
					page = append(page, Imported{UID(r.Int(1)), r.Text(2), r.Int(3)})
				}
				return nil
			})
			if err != nil {
				yield(Imported{}, err)
				return
			}
			for _, m := range page {
				if !yield(m, nil) {
					return
				}
			}
			last, more = next, len(page) == importedPage
		}
	}
}
