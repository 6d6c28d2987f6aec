package mailstore

import (
	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// catchUp makes an account ours until the transaction ends, where other nodes
// write too, and forgets what the cache knew of it if they have: its row is the
// lock of all that belongs to it.
func (s *Store) catchUp(c *db.Tx, id mail.AccountID) error {
	if !c.Shared() {
		return nil
	}
	var now ModSeq
	if _, err := c.Lock(sqlModSeq, db.Int(id)).Scan(&now); err != nil {
		return err
	}
	if a := s.cache.peek(id); a != nil && a.wrk.modseq != now {
		s.cache.drop(a)
	}
	return nil
}
