// Package storetest gives tests above the store what a cell of many nodes
// stands on: a PostgreSQL of the test's own. Only tests import it; those of
// package store and below use store/internal/db/dbtest itself.
package storetest

import (
	"testing"

	"bahnpost/store/internal/db/dbtest"
)

// Postgres starts a PostgreSQL server for a test and returns its DSN. It ends with the test. Where none is
// installed, and with -short, the test is skipped, saying so.
func Postgres(t testing.TB) (dsn string) { return dbtest.Postgres(t) }
