package db

// Hint says that an account has changed: its modseq is at least so. Account 0 is the directory.
type Hint struct{ Account, ModSeq int64 }

// Hint tells the other nodes of a change that is committed. It never blocks:
// hints are collected for some milliseconds, the greatest modseq of each account
// counts, and they may be lost. With nobody to tell (SQLite) it does nothing.
func (d *DB) Hint(account, modseq int64) {}

// OnHint says who hears of the hints of other nodes. Both functions run on one
// goroutine of its own, must not block, and may call Hint. lost is called whenever hints may
// have been missed: after the connection that listens was made, anew too. Who hears it
// looks at the tables. Several may call it (the directory and the mail store do, each when it is opened on a DB that was used already): each
// hears all hints. Without a call nobody listens.
func (d *DB) OnHint(fn func([]Hint), lost func()) {}
