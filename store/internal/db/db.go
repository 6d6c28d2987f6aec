// Package db is the SQL seam: the only package that knows which engine runs
// below (SQLite or PostgreSQL), how commits are grouped and how
// schemas grow. It knows nothing of mail.
//
// Writers hand a function to Update. One goroutine runs all waiting functions
// in one SQL transaction, commits once (one fsync)
// and then answers them all: group commit. A function that fails is rolled
// back alone. Functions must be short (no I/O but SQL, no blocking): they run
// one after another. Where a statement is a round trip to a server, those that say
// what they will ask (UpdateFor) and send what they need no answer of (Tx.Send) share a few.
//
// Readers use View: a read-only connection from a small pool with a snapshot
// for the length of the call. Long scans page, so that the WAL can reset.
//
// Nodes that share a database hear of each other by Hint, take turns by Hold and
// are listed by Nodes. ErrAway says that the database cannot be reached and nothing was done;
// ErrUnknown that a commit's outcome is not known; Patient waits for the former to pass.
package db

import "context"

// Config chooses the engine and its named limits. The zero value of each field
// means the default in brackets.
type Config struct {
	Path          string // file of the SQLite database; "" is not allowed
	Readers       int    // read connections, opened when first needed [4]
	CacheKB       int    // page cache of the writer in KiB [8192]; each reader has a quarter
	BatchMax      int    // functions in one commit at most [256]
	CheckpointKB  int    // WAL size at which the writer checkpoints, in KiB [16384]
	BusyTimeoutMS int    // wait for locks of another process, in ms [10000]
	NoSync        bool   // tests only: synchronous=OFF

	// Unordered gives the rows of queries without ORDER BY in an order that nobody may rely on: the one that an engine
	// happens to have is not the other's. Tests only.
	Unordered bool

	// Postgres is the DSN of a PostgreSQL 14 or later to use instead of Path. Of several hosts the one that takes
	// writes is found. A PgBouncer in between must pool by session.
	Postgres string

	// BeforeCommit, if set, runs on the writer's goroutine before each COMMIT:
	// the place to make durable what the rows refer to. If it fails the
	// transaction is rolled back and its functions run again, singly.
	BeforeCommit func() error

	// Fault, for tests of what stands on db: asked before each "write" and "sync" of the WAL, and before each "read"
	// of it by the writer; its error is the call's.
	Fault func(op string) error

	vfs       string // tests only: name of a registered SQLite VFS without shared memory; no readers then
	syncLevel string // tests only: "NORMAL" for the negative control
}

// DB is an open database. Safe for concurrent use.
type DB struct{ core }

// Open opens or creates the database, sets the pragmas of storage.md §9.3 and
// starts the writer. Close drains it.
func Open(ctx context.Context, cfg Config) (*DB, error) { return open(ctx, cfg) }

// Migrate brings component's tables from their recorded version to
// len(steps), all in one transaction. Tables that need a newer program are
// an error; newer ones that this program can work with (Expand) are left as they are. A step that
// other living nodes cannot work with is an error or, if it can wait (Contract), left to a later start.
func (d *DB) Migrate(ctx context.Context, component string, steps []Step) error {
	return d.migrate(ctx, component, steps)
}

// Update runs fn in the writer. It returns nil only when the transaction that
// holds fn's work is durable. If committed is not nil the writer calls it
// after the durable commit, before any later transaction begins and before
// Update returns, in commit order: the place to update memory that mirrors
// the tables. fn and committed run on the writer's goroutine and must not
// call Update or View. If ctx ends before fn has started, fn never runs; once
// it has started, Update waits for the outcome.
//
// fn may run again: when the commit of a shared transaction fails, its members
// are run singly. So fn sets what it captures and never adds to it. An error
// of fn rolls back fn's work alone; it is reported after the commit of the
// neighbours whose rows fn may have seen, so "already there" is durable too. A
// panic in fn is such an error. An error that comes from the commit means: the
// outcome is not known before the next start.
func (d *DB) Update(ctx context.Context, fn func(*Tx) error, committed func()) error {
	return d.update(ctx, 0, nil, fn, committed)
}

// View runs fn with a read-only connection and one snapshot, taken by the
// first statement. When ctx ends, the running statement stops with an error
// that wraps ctx.Err(). A View inside a View takes a second connection: it
// works (after a short wait a spare connection is opened), but don't.
func (d *DB) View(ctx context.Context, fn func(*Conn) error) error { return d.view(ctx, fn) }

// Tx is a Conn that may write. Valid only during fn.
type Tx struct {
	Conn
	sent   error // of the first Send that went wrong
	serial int64 // of the running transaction
}

// Shared reports whether other processes may write to the database, so that what fn knows from before may be out of date.
func (tx *Tx) Shared() bool { return tx.pg != nil }

// Serial numbers the transactions of this process: functions that run in one share it, and what one of them did the
// next one finds. A new number means that the work of those before is durable, or lost.
func (tx *Tx) Serial() int64 { return tx.serial }

// Lock is Row, and keeps other nodes from changing that row until the
// transaction ends. fn calls it before all else, once, and returns its error.
//
// Nobody waits for a lock who holds one: a row that another node holds sends fn
// back to the queue, to run again as the first of the next transaction. So
// nodes cannot deadlock, whatever rows they lock, as long as fn changes no row
// that is not guarded by the one it locked.
func (tx *Tx) Lock(sql string, args ...Value) *Row {
	if tx.pg != nil {
		return tx.pg.lock(sql, args)
	}
	return tx.Row(sql, args...)
}

// Conn runs statements. Statements are prepared once per connection and cached
// by their text, so SQL must be a constant. Not safe for concurrent use.
//
//	found, err := c.Row(sqlFind, db.Int(acct), db.Text(name)).Scan(&id, &blob)
//	for r, err := range c.Rows(sqlList, db.Int(acct)) { r.Int(0); r.Text(1); r.Bytes(2) }
//	n, err := c.Exec(sqlDelete, db.Int(acct))
type Conn struct {
	conn
	pg *pgConn // instead of conn
}

// Value is one bound argument. Int, Text, Blob, Null and Bool make them; they do not allocate.
type Value struct {
	kind uint8
	i    int64
	s    string
	b    []byte
}

// Int binds an integer.
func Int[T ~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64](v T) Value {
	return Value{kind: 1, i: int64(v)}
}

// Text binds a string.
func Text(s string) Value { return Value{kind: 2, s: s} }

// Blob binds bytes; nil binds NULL, an empty non-nil slice an empty blob.
func Blob(b []byte) Value {
	if b == nil {
		return Value{}
	}
	return Value{kind: 3, b: b}
}

// Null binds NULL.
func Null() Value { return Value{} }

// Bool binds 0 or 1.
func Bool(v bool) Value {
	if v {
		return Value{kind: 1, i: 1}
	}
	return Value{kind: 1}
}
