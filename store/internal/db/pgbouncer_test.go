package db_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"
)

// With a PgBouncer in between that pools by session everything holds; one that pools by transaction is refused.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	server := dbtest.Start(t)
	t.Run("Transaction", func(t *testing.T) {
		d, err := db.Open(t.Context(), db.Config{Postgres: server.Bouncer("transaction")})
		if err == nil {
			d.Close()
			t.Fatal("it was accepted")
		}
		if !strings.Contains(err.Error(), "session") {
			t.Error(err)
		}
	})
	dsn := server.Bouncer("session")
	t.Run("Session", func(t *testing.T) {
		dbtest.Exercise(t, func(t *testing.T) *db.DB { return open(t, db.Config{Postgres: dbtest.Schema(t, dsn, t.Name())}) })
	})
	one, two := open(t, db.Config{Postgres: dsn}), open(t, db.Config{Postgres: dsn})
	e := listen(two)
	await(t, "listening", func() bool { return e.lost.Load() > 0 })
	one.Hint(5, 6)
	await(t, "hint", func() bool { return e.heard(5) == 6 })
	if held, err := one.Hold(t.Context(), "x", time.Minute, func(ctx context.Context) error {
		held, err := two.Hold(ctx, "x", time.Minute, func(context.Context) error { return nil })
		if held {
			t.Error("held twice")
		}
		return err
	}); !held || err != nil {
		t.Error(held, err)
	}
	// The server behind it is killed and comes back.
	server.Kill()
	await(t, "away", func() bool { return one.Update(t.Context(), func(*db.Tx) error { return nil }, nil) != nil })
	server.Run()
	if err := one.Update(db.Patient(t.Context(), time.Minute), func(*db.Tx) error { return nil }, nil); err != nil {
		t.Error(err)
	}
}
