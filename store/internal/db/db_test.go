package db_test

import (
	"path/filepath"
	"testing"

	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"
)

func TestExercise(t *testing.T) {
	t.Parallel()
	dbtest.Exercise(t, func(t *testing.T) *db.DB { return open(t, db.Config{Path: filepath.Join(t.TempDir(), "mail.db")}) })
}

func TestExercisePostgres(t *testing.T) {
	t.Parallel()
	dsn := dbtest.Postgres(t)
	fresh := func(t *testing.T) *db.DB {
		return open(t, db.Config{Postgres: dbtest.Schema(t, dsn, t.Name()) + " application_name=" + t.Name()})
	}
	dbtest.Exercise(t, fresh)
	for name, part := range db.PostgresParts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := fresh(t)
			if err := d.Migrate(t.Context(), "test", []db.Step{`CREATE TABLE t(k INTEGER PRIMARY KEY)`}); err != nil {
				t.Fatal(err)
			}
			part(t, d)
		})
	}
	t.Run("NotDurable", func(t *testing.T) {
		t.Parallel()
		if d, err := db.Open(t.Context(), db.Config{Postgres: dsn + " synchronous_commit=off"}); err == nil {
			d.Close()
			t.Error("a server that does not sync was accepted")
		}
	})
}

func open(t testing.TB, cfg db.Config) *db.DB {
	d, err := db.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}
