package mailstore

import (
	"testing"

	"bahnpost/store/internal/db/dbtest"
)

// The tests once more, on the second engine; but for those that break SQLite's file or look into it.
func TestPostgres(t *testing.T) {
	t.Parallel()
	dbtest.Again(t, "TestOlderStores|TestStagedBodyLost|TestRowFaults|TestSpaceComesBack", "TestSearchCorpus|TestCopyPortions|TestConcurrentSessions")
}
