package db

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTranslate(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		in, want string
		params   int
	}{
		{`SELECT a FROM t WHERE b=? AND c=?`, `SELECT a FROM t WHERE b=$1 AND c=$2`, 2},
		{`SELECT ?2, ?1, '?', "?" -- ?`, `SELECT $2, $1, '?', "?" `, 2},
		{`UPDATE t SET f=f&~?5`, `UPDATE t SET f=f& ~$5`, 5},
		{`SELECT ~f, 'it''s', x'00FF', X''`, `SELECT ~f, 'it''s', '\x00FF'::bytea, '\x'::bytea`, 0},
		{`SELECT maxx, x FROM INTEGER`, `SELECT maxx, x FROM INTEGER`, 0},
		{`DELETE FROM t; `, `DELETE FROM t; `, 0},
	} {
		text, params, err := translate(x.in)
		if text != x.want || params != x.params || err != nil {
			t.Errorf("%s\n got %s (%d, %v)\nwant %s (%d)", x.in, text, params, err, x.want, x.params)
		}
	}
	script := `CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB, c TEXT NOT NULL) WITHOUT ROWID; -- TEXT
		UPDATE t SET c='BLOB';ALTER TABLE t ADD COLUMN d INTEGER`
	want := `CREATE TABLE t(a bigint PRIMARY KEY, b bytea, c text COLLATE "C" NOT NULL) ; 
		UPDATE t SET c='BLOB';ALTER TABLE t ADD COLUMN d bigint`
	if text, _, err := translateScript(script); text != want || err != nil {
		t.Errorf("got %s (%v)\nwant %s", text, err, want)
	}
	for _, bad := range []string{``, ` `, `SELECT 1; SELECT 2`, `SELECT 'a`, `SELECT ?99`, `SELECT ?0`, `SELECT x'`} {
		if text, _, err := translate(bad); err == nil {
			t.Errorf("%q became %q", bad, text)
		}
	}
}

// What runs as one statement for many.
func TestMany(t *testing.T) {
	t.Parallel()
	two, hole := []Value{Int(1), Text("a")}, []Value{Int(1), Null()}
	const rows = `unnest($1::bigint[],$2::text[])`
	for _, x := range []struct {
		in   string
		args []Value
		want string // "": runs singly
	}{
		{`INSERT INTO t (a, b) VALUES ($1,$2)`, two, `INSERT INTO t (a, b) SELECT v.p1,v.p2 FROM ` + rows + ` AS v(p1,p2) `},
		{`INSERT INTO t (a, b) VALUES ($1,$2)`, hole, `INSERT INTO t (a, b) SELECT v.p1,NULL FROM unnest($1::bigint[]) AS v(p1) `},
		{"INSERT INTO t (a, b)\n\tVALUES ($1,lower($2))", two, `INSERT INTO t (a, b) SELECT v.p1,lower(v.p2) FROM ` + rows + ` AS v(p1,p2) `},
		{`INSERT INTO t (a, b) VALUES ($1,1),($1,2) ON CONFLICT DO NOTHING`, two,
			`INSERT INTO t (a, b) SELECT x.* FROM ` + rows + ` AS v(p1,p2) CROSS JOIN LATERAL (VALUES (v.p1,1),(v.p1,2)) AS x ON CONFLICT DO NOTHING`},
		{`INSERT INTO t (a, b) VALUES ($1,$2) ON CONFLICT (a) DO UPDATE SET b=$2`, two,
			`INSERT INTO t (a, b) SELECT v.p1,v.p2 FROM ` + rows + ` AS v(p1,p2) ON CONFLICT (a) DO UPDATE SET b=excluded.b`},
		{`INSERT INTO t (a, b) VALUES ($1,lower($2)) ON CONFLICT (a) DO UPDATE SET b=$2`, two, ``}, // $2 is nowhere as it came
		{`INSERT INTO t (a, b) VALUES ($1,1),($1,2)`, hole, ``},
		{`INSERT INTO t (a) SELECT $1`, two[:1], ``},
		{`INSERT INTO t (a) VALUES ($1) RETURNING a`, two[:1], ``},
		{`INSERT INTO t (a, b) VALUES ($1,'x')`, two[:1], ``},
		{`UPDATE t SET b=$2 WHERE a=$1`, two, `UPDATE t SET b=v.p2 FROM ` + rows + ` AS v(p1,p2) WHERE a=v.p1`},
		{`UPDATE t SET b=$2`, two, ``},
		{`DELETE FROM t WHERE a=$1`, two[:1], `DELETE FROM t USING unnest($1::bigint[]) AS v(p1) WHERE a=v.p1`},
		{`DELETE FROM t WHERE a IN (SELECT $1)`, two[:1], ``},
		{`DELETE FROM t WHERE a=1`, nil, ``},
		{`SELECT a FROM t WHERE a=$1`, two[:1], `SELECT v.n,q.* FROM unnest($1::bigint[]) WITH ORDINALITY AS v(p1,n) CROSS JOIN LATERAL (SELECT a FROM t WHERE a=v.p1) AS q`},
	} {
		s, _ := many(x.in, x.args)
		got := ""
		if s != nil {
			got = s.text
		}
		if got != x.want {
			t.Errorf("%s\n got %s\nwant %s", x.in, got, x.want)
		}
	}
}

func FuzzTranslate(f *testing.F) {
	f.Add(`SELECT ?2, x'00' || "a" FROM t -- c`)
	f.Add(`CREATE TABLE t(a BLOB) WITHOUT ROWID; '`)
	f.Fuzz(func(t *testing.T, sql string) {
		text, params, err := translateScript(sql)
		if err == nil && (params < 0 || params > maxPgParams && strings.Count(sql, "?") <= maxPgParams) {
			t.Errorf("%q: %d parameters, %q", sql, params, text)
		}
	})
}

// An engine that takes no more statements after a failed one must not pretend
// to commit: an update that ignores such an error fails, alone.
func postgresSwallowed(t *testing.T, d *DB) {
	var wg sync.WaitGroup
	for k := range 40 {
		wg.Go(func() {
			err := d.Update(context.Background(), func(tx *Tx) error {
				if _, err := tx.Exec(`INSERT INTO t VALUES(?)`, Int(k)); err != nil {
					return err
				}
				if k%8 == 0 {
					tx.Exec(`INSERT INTO t VALUES(?)`, Int(k)) // violates the key
				}
				return nil
			}, nil)
			if (err != nil) != (k%8 == 0) {
				t.Errorf("member %d: %v", k, err)
			}
		})
	}
	wg.Wait()
	if n := postgresCount(t, d); n != 35 {
		t.Errorf("%d rows, want 35", n)
	}
}

// A connection that dies between two updates is made anew; one that dies
// within an update fails its members, and nothing of them stays.
func postgresCut(t *testing.T, d *DB) {
	kill := func() {
		pid := d.writer.tx.pg.h.PID()
		if err := d.View(t.Context(), func(c *Conn) error {
			_, err := c.Row(`SELECT pg_terminate_backend(CAST(? AS int))`, Int(pid)).Scan(new(bool))
			return err
		}); err != nil {
			t.Error(err)
		}
	}
	insert := func(k int, then func()) error {
		return d.Update(t.Context(), func(tx *Tx) error {
			_, err := tx.Exec(`INSERT INTO t VALUES(?)`, Int(k))
			if then != nil {
				then()
				for end := time.Now().Add(time.Minute); err == nil && time.Now().Before(end); {
					_, err = tx.Row(`SELECT count(*) FROM t`).Scan(new(int))
				}
			}
			return err
		}, nil)
	}
	if err := insert(1, nil); err != nil {
		t.Fatal(err)
	}
	if err := insert(2, kill); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("an update whose connection was cut: %v", err)
	}
	if err := insert(3, nil); err != nil {
		t.Errorf("after the cut: %v", err)
	}
	if n := postgresCount(t, d); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
}

// A server that went away and came back, or another in its place, is not noticed
// by who begins something: neither a View nor an Update fails.
func postgresRestarted(t *testing.T, d *DB) {
	for round := range 3 {
		d.View(t.Context(), func(c *Conn) error {
			return d.View(t.Context(), func(c *Conn) error { // two readers, to be found dead
				_, err := c.Row(`SELECT count(*) FROM t`).Scan(new(int))
				return err
			})
		})
		if err := d.Update(t.Context(), func(tx *Tx) error {
			_, err := tx.Exec(`INSERT INTO t VALUES(?)`, Int(round))
			return err
		}, nil); err != nil {
			t.Error(err)
		}
		other, err := Open(t.Context(), Config{Postgres: d.cfg.Postgres + " application_name=other"})
		if err != nil {
			t.Fatal(err)
		}
		if err := other.View(t.Context(), func(c *Conn) error {
			_, err := c.Row(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid<>pg_backend_pid() AND application_name=?`,
				Text(t.Name())).Scan(new(int))
			return err
		}); err != nil {
			t.Error(err)
		}
		other.Close()
		if round == 1 {
			if err := d.Update(t.Context(), func(*Tx) error { return nil }, nil); err != nil {
				t.Error("an empty update: ", err)
			}
		}
		if n := postgresCount(t, d); n != round+1 {
			t.Errorf("%d rows after %d rounds", n, round+1)
		}
	}
}

// Two nodes lock the same few rows, in any order, each many at a time: nothing
// is lost, nobody deadlocks, and a row that is not there is not waited for.
func postgresLock(t *testing.T, d *DB) {
	other, err := Open(t.Context(), Config{Postgres: d.cfg.Postgres})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := d.Migrate(t.Context(), "counters", []Step{`CREATE TABLE counters(k INTEGER PRIMARY KEY, v INTEGER); INSERT INTO counters SELECT generate_series(0,4), 0`}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 16 {
		node := [...]*DB{d, other}[i%2]
		wg.Go(func() {
			for n := range 50 {
				k := (i + n*n) % 6 // 5 is not there
				err := node.Update(context.Background(), func(tx *Tx) error {
					var v int
					found, err := tx.Lock(`SELECT v FROM counters WHERE k=?`, Int(k)).Scan(&v)
					if err != nil || found != (k < 5) {
						return cmp.Or(err, fmt.Errorf("row %d: found %v", k, found))
					}
					_, err = tx.Exec(`UPDATE counters SET v=? WHERE k=?`, Int(v+1), Int(k))
					return err
				}, nil)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var sum, want int
	for i := range 16 {
		for n := range 50 {
			if (i+n*n)%6 < 5 {
				want++
			}
		}
	}
	if err := d.View(t.Context(), func(c *Conn) error { _, err := c.Row(`SELECT sum(v) FROM counters`).Scan(&sum); return err }); err != nil || sum != want {
		t.Errorf("%d counted, want %d (%v)", sum, want, err)
	}
	s := d.Stats()
	t.Logf("%d updates in %d commits", s.Updates, s.Commits)
}

// A text that PostgreSQL cannot hold is refused, not changed.
func postgresText(t *testing.T, d *DB) {
	for _, s := range []string{"a\x00b", "a\xffb"} {
		err := d.View(t.Context(), func(c *Conn) error {
			var got string
			_, err := c.Row(`SELECT ?`, Text(s)).Scan(&got)
			if err == nil {
				t.Errorf("%q became %q", s, got)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// A node finds out that the database has gone back, or has forgotten it.
func postgresRewound(t *testing.T, d *DB) {
	rows := 0
	for _, sql := range []string{`UPDATE db_nodes SET commits=commits-1 WHERE node=?`, `DELETE FROM db_nodes WHERE node=?`} {
		node, err := Open(t.Context(), Config{Postgres: d.cfg.Postgres})
		if err != nil {
			t.Fatal(err)
		}
		insert := func(d *DB) error {
			rows++
			return d.Update(t.Context(), func(tx *Tx) error { _, err := tx.Exec(`INSERT INTO t VALUES(?)`, Int(rows)); return err }, nil)
		}
		for range 3 {
			if err := insert(node); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Update(t.Context(), func(tx *Tx) error { _, err := tx.Exec(sql, Int(node.writer.tx.pg.marker.node)); return err }, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case <-node.Rewound():
			t.Error("before the node could know")
		default:
		}
		for range 2 {
			if err := insert(node); !errors.Is(err, ErrAway) || !errors.Is(err, ErrRewound) {
				t.Errorf("after %q: %v", sql, err)
			}
		}
		select {
		case <-node.Rewound():
		default:
			t.Error("the node has not noticed: ", sql)
		}
		node.Close()
		if err := insert(d); err != nil {
			t.Error(err)
		}
	}
	if n := postgresCount(t, d); n != 8 {
		t.Errorf("%d rows, want 8", n)
	}
}

func postgresCount(t *testing.T, d *DB) (n int) {
	t.Helper()
	if err := d.View(t.Context(), func(c *Conn) error { _, err := c.Row(`SELECT count(*) FROM t`).Scan(&n); return err }); err != nil {
		t.Fatal(err)
	}
	return n
}

// PostgresParts are the tests of the second engine that look inside; db_test runs them where a server is at hand.
var PostgresParts = map[string]func(*testing.T, *DB){"Swallowed": postgresSwallowed, "Cut": postgresCut, "Restarted": postgresRestarted, "Lock": postgresLock, "Outcome": postgresOutcome, "Text": postgresText, "Rewound": postgresRewound}

// A DSN of a server that could lose mail, or is not there, is refused.
func TestPostgresRefused(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{"host=" + t.TempDir() + " connect_timeout=1", "nonsense"} {
		if d, err := Open(t.Context(), Config{Postgres: dsn}); err == nil {
			d.Close()
			t.Errorf("%s was opened", dsn)
		}
	}
}
