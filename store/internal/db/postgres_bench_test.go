package db_test

import (
	"context"
	"testing"

	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"
)

// What a round trip costs: an update of five statements, and a view of one.
func BenchmarkPostgres(b *testing.B) {
	d, err := db.Open(b.Context(), db.Config{Postgres: dbtest.Schema(b, dbtest.Postgres(b), b.Name())})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	if err := d.Migrate(b.Context(), "test", []db.Step{`CREATE TABLE t(k INTEGER PRIMARY KEY, v INTEGER)`}); err != nil {
		b.Fatal(err)
	}
	k := 0
	b.Run("Update", func(b *testing.B) {
		for b.Loop() {
			if err := d.Update(b.Context(), func(tx *db.Tx) error {
				for range 5 {
					k++
					if _, err := tx.Exec(`INSERT INTO t VALUES(?, 1)`, db.Int(k)); err != nil {
						return err
					}
				}
				return nil
			}, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, ctx := range map[string]context.Context{"View": b.Context(), "ViewBackground": context.Background()} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := d.View(ctx, func(c *db.Conn) error {
					_, err := c.Row(`SELECT v FROM t WHERE k=?`, db.Int(1)).Scan(new(int))
					return err
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
