package directory

import (
	"testing"

	"bahnpost/store/internal/db/dbtest"
)

// The tests once more, on the second engine; but for one that takes long there.
func TestPostgres(t *testing.T) {
	t.Parallel()
	dbtest.Again(t, "^Test", "^TestCacheNeverGoesBack$")
}
