package directory

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"
)

// sqlCrowd makes accounts by the thousand, each with a credential of its own length.
var sqlCrowd = []string{
	`INSERT INTO directory_accounts (account_id, domain, local_key, local, name, quota_bytes, quota_count, disabled, uidl_format, role, created, home, epoch, phase, moving_to)
		SELECT i, 'example.org', 'user'||i, 'user'||i, 'User '||i, 0, 0, 0, '', 'user', 0, 'cell:local', 1, 0, '' FROM
		(WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i+1 FROM n WHERE i<?2) SELECT i FROM n) AS crowd`,
	`INSERT INTO directory_credentials (account_id, hash, salt, iterations, stored_key, server_key, changed)
		SELECT account_id, '{ARGON2ID}$argon2id$v=19$m=7168,t=5,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g', x'00112233445566778899aabbccddeeff', 10000,
		x'00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff', x'00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff', 0
		FROM directory_accounts WHERE account_id BETWEEN ?1 AND ?2`,
}

// BenchmarkGrowth is what a lookup and a change cost that no cache helps, with 10,000 to 1,000,000 accounts.
func BenchmarkGrowth(b *testing.B) {
	for _, engine := range []string{"SQLite", "PostgreSQL"} {
		b.Run(engine, func(b *testing.B) {
			dsn := ""
			if engine == "PostgreSQL" {
				dsn = dbtest.Postgres(b)
			}
			path := filepath.Join(b.TempDir(), "d.sqlite")
			cfg := db.Config{Path: path, NoSync: true}
			if dsn != "" {
				cfg.Postgres = dbtest.Schema(b, dsn, path)
			}
			var two [2]*Directory
			for i := range two {
				d, err := db.Open(b.Context(), cfg)
				must(b, err)
				b.Cleanup(func() { d.Close() })
				two[i], err = New(b.Context(), d, Config{Argon2: cheap, CacheSize: 1})
				must(b, err)
			}
			must(b, two[0].AddDomain(b.Context(), "example.org"))
			have := 0
			for _, n := range []int{10_000, 100_000, 1_000_000} {
				crowd(b, two[0], have+1, n)
				have = n
				b.Run(fmt.Sprint(n), func(b *testing.B) { growth(b, two[0], two[1], n) })
			}
		})
	}
}

// crowd adds accounts first to last.
func crowd(b *testing.B, d *Directory, first, last int) {
	for ; first <= last; first += 10_000 {
		must(b, d.db.Update(b.Context(), func(tx *db.Tx) error {
			for _, sql := range sqlCrowd {
				if _, err := tx.Exec(sql, db.Int(first), db.Int(min(first+9_999, last))); err != nil {
					return err
				}
			}
			return nil
		}, nil))
	}
}

func growth(b *testing.B, d, other *Directory, n int) {
	ctx := context.Background()
	someone := func() mail.Address {
		return mail.Address{Local: fmt.Sprintf("user%d", 1+rand.IntN(n)), Domain: "example.org"}
	}
	for name, op := range map[string]func() error{
		"account by address": func() error { _, err := d.AccountByAddress(ctx, someone()); return err },
		"resolve":            func() error { _, err := d.Resolve(ctx, someone()); return err },
		"resolve nobody": func() error {
			_, err := d.Resolve(ctx, mail.Address{Local: "nobody", Domain: "example.org"})
			if mail.KindOf(err) != mail.NoSuchAccount {
				return fmt.Errorf("nobody: %w", err)
			}
			return nil
		},
		"page of 500":   func() error { _, err := d.page(ctx, mail.AccountID(rand.IntN(n))); return err },
		"SCRAM for all": func() error { _, err := d.SCRAMForAll(ctx); return err },
		"poll":          func() error { return other.catchUp(ctx) },
		"change and follow": func() error {
			if err := d.SetPassword(ctx, mail.AccountID(1+rand.IntN(n)), hashOfNobody); err != nil {
				return err
			}
			return other.catchUp(ctx)
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				must(b, op())
			}
		})
	}
}

const hashOfNobody = "{SSHA512}" + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
