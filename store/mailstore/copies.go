package mailstore

import (
	"context"

	"bahnpost/store/internal/db"
)

const (
	sqlOrigin   = `SELECT origin FROM messages WHERE account_id=? AND id=?`
	sqlCopiesOf = `SELECT id FROM messages WHERE account_id=? AND origin=? AND origin<>0`
)

// SameEmail returns all messages of the account whose Meta.Email is m: m itself unless it is a
// copy of another, and its copies, whether m is still there or not.
func (b *Box) SameEmail(ctx context.Context, m MessageID) (same []MessageID, err error) {
	if m <= 0 || m > maxMessageID {
		return nil, nil
	}
	key := messageKey(b.account, m)
	err = b.s.view(ctx, func(c *db.Conn) error {
		same = same[:0]
		var origin int64
		found, err := c.Row(sqlOrigin, b.s.scope(b.account), db.Int(key)).Scan(&origin)
		if err != nil {
			return err
		}
		if found && origin == 0 {
			same = append(same, m)
		}
		for q, err := range c.Rows(sqlCopiesOf, b.s.scope(b.account), db.Int(key)) {
			if err != nil {
				return err
			}
			same = append(same, MessageID(q.Int(0)&maxMessageID))
		}
		return nil
	})
	return same, err
}
