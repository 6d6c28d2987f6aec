package db_test

import (
	"path/filepath"
	"testing"

	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"
)

func TestExercise(t *testing.T) {
	t.Parallel()
	dbtest.Exercise(t, func(t *testing.T) *db.DB {
		d, err := db.Open(t.Context(), db.Config{Path: filepath.Join(t.TempDir(), "mail.db")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	})
}
