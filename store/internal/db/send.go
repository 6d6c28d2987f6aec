package db

import (
	"context"
	"errors"
	"fmt"
)

// ErrCount: a statement that was sent changed another number of rows than it was to.
var ErrCount = errors.New("db: a statement changed another number of rows than it was to")

// AnyCount is Send's want for a statement that may change any number of rows.
const AnyCount = -1

// Send is Exec that nobody waits for: where a statement costs a round trip it is
// queued, and runs before the next one that waits, or with the commit. It fails fn as a
// whole, alone, if it cannot run or if it changes another number of rows than want
// (an error that wraps ErrCount); AnyCount does not ask. So an fn that wants to know
// what became of a statement uses Exec. What args hold must stay as it is until fn's
// transaction has ended.
//
// Sent statements of one fn run in their order. Those of functions with different
// keys (UpdateFor) may run in any, and several of the same text as one.
func (tx *Tx) Send(want int64, sql string, args ...Value) {
	if tx.sent != nil {
		return
	}
	if tx.pg != nil {
		tx.sent = tx.pg.queueUp(want, sql, args)
		return
	}
	n, err := tx.Exec(sql, args...)
	if err == nil && want >= 0 && n != want {
		err = fmt.Errorf("%w (%d, not %d): %s", ErrCount, n, want, sql)
	}
	tx.sent = err
}

// Question is a statement that fn will very probably ask first.
type Question struct {
	sql  string
	args []Value
	lock bool
}

// Ask is the Question for Tx.Row or Tx.Rows with the same text and arguments.
func Ask(sql string, args ...Value) Question { return Question{sql: sql, args: args} }

// AskLock is the Question for Tx.Lock. It comes before all others of its function.
func AskLock(sql string, args ...Value) Question { return Question{sql: sql, args: args, lock: true} }

// UpdateFor is Update for what belongs to key, an account. Where a statement costs
// a round trip, ask is sent ahead, together with the questions of all functions that
// wait, and Lock, Row and Rows take their answers from there; a question that is not
// in ask goes to the server by itself. So fn may ask what it likes; what it asks first
// and what stands in ask should be the same, before anything is written: each answer is given once,
// and none after fn has run a statement that changes rows. Of several functions with one key in a
// transaction only the first has its questions sent ahead: the others' answers are of its making.
// Key 0 belongs to nobody and has no questions.
//
// ask may be nil, and on SQLite is not looked at: Shared tells who would rather not build it.
func (d *DB) UpdateFor(ctx context.Context, key int64, ask []Question, fn func(*Tx) error, committed func()) error {
	return d.update(ctx, key, ask, fn, committed)
}

// Shared reports whether other processes may write to the database: what memory knows may be out of date.
func (d *DB) Shared() bool { return d.cfg.Postgres != "" }
