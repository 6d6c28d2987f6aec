package db

import (
	"context"
	"iter"
)

// CONTRACT STUB, to be replaced by the owner of this package.

type sqlite struct{}
type conn struct{}

func open(context.Context, Config) (*DB, error)                         { panic("contract") }
func (s *sqlite) migrate(context.Context, string, []Step) error         { panic("contract") }
func (s *sqlite) update(context.Context, func(*Tx) error, func()) error { panic("contract") }
func (s *sqlite) view(context.Context, func(*Conn) error) error         { panic("contract") }

// Close drains the writer, checkpoints and closes all connections.
func (d *DB) Close() error { panic("contract") }

// Stats is a snapshot of counters since Open, for metrics.
type Stats struct {
	Commits, Updates, Failed   int64 // Updates/Commits is the mean batch
	CommitNanos                int64 // sum over commits, fsync included
	WALBytes, FreePages, Pages int64
	Waiting                    int // functions queued now
}

// Stats returns the counters; cheap.
func (d *DB) Stats() Stats { panic("contract") }

// IncrementalVacuum gives up to pages free pages back to the file system; it
// is called in idle time and stops no one for longer than one small commit.
func (d *DB) IncrementalVacuum(ctx context.Context, pages int) (freed int, err error) {
	panic("contract")
}

// IntegrityCheck runs the engine's own check and returns its complaints.
func (d *DB) IntegrityCheck(ctx context.Context) ([]string, error) { panic("contract") }

// Exec runs a statement that returns no rows and says how many rows changed.
func (c *Conn) Exec(sql string, args ...Value) (changed int64, err error) { panic("contract") }

// Row runs a query for at most one row.
func (c *Conn) Row(sql string, args ...Value) *Row { panic("contract") }

// Rows runs a query. Breaking out of the loop resets the statement. The Row
// and the slices RawBytes returns are valid until the next step only.
func (c *Conn) Rows(sql string, args ...Value) iter.Seq2[*Row, error] { panic("contract") }

// LastInsertID is the rowid of the last INSERT on this connection.
func (c *Conn) LastInsertID() int64 { panic("contract") }

// Row is the current row.
type Row struct{}

// Int returns column i as an integer, 0 for NULL.
func (r *Row) Int(i int) int64 { panic("contract") }

// Text returns a copy of column i, "" for NULL.
func (r *Row) Text(i int) string { panic("contract") }

// Bytes returns a copy of column i, nil for NULL.
func (r *Row) Bytes(i int) []byte { panic("contract") }

// RawBytes returns column i without copying; valid until the next step.
func (r *Row) RawBytes(i int) []byte { panic("contract") }

// Null reports whether column i is NULL.
func (r *Row) Null(i int) bool { panic("contract") }

// Scan copies the columns into pointers (*int64 *int *uint32 *string *[]byte
// *bool and named kinds of them where the owner supports it) and reports whether there was a row.
// It may be called only on the result of Conn.Row.
func (r *Row) Scan(dest ...any) (found bool, err error) { panic("contract") }
