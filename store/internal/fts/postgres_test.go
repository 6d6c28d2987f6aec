package fts

import (
	"testing"

	"bahnpost/store/internal/db/dbtest"
)

// The tests once more, on the second engine.
func TestPostgres(t *testing.T) {
	t.Parallel()
	dbtest.Again(t, "", "TestCrash")
}
