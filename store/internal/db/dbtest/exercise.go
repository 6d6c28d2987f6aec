// Package dbtest is the one conformance suite of package db; every engine runs
// it. It is for tests only.
package dbtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"bahnpost/store/internal/db"
)

// Exercise runs the suite; open gives a fresh, empty database for each part
// and closes it at the end of the test.
func Exercise(t *testing.T, open func(t *testing.T) *db.DB) {
	for _, part := range []struct {
		name string
		run  func(t *testing.T, d *db.DB)
	}{
		{"Values", values}, {"NamedKinds", namedKinds}, {"Rows", rows}, {"NestedRows", nestedRows}, {"Portions", portions}, {"Numbers", numbers},
		{"Arguments", arguments}, {"Returning", returning}, {"Unscanned", unscanned},
		{"Failing", failing}, {"FailingAmongMany", failingAmongMany}, {"Panic", panics},
		{"Cancelled", cancelled}, {"Order", order}, {"GroupCommit", groupCommit},
		{"ReadYourWrites", readYourWrites}, {"Snapshot", snapshot}, {"ViewCannotWrite", viewCannotWrite},
		{"ViewCancelled", viewCancelled}, {"NestedView", nestedView}, {"ViewPanic", viewPanic},
		{"Sent", sent}, {"SentMiscounted", sentMiscounted}, {"SentMixed", sentMixed}, {"UpdateFor", updateFor}, {"Hold", hold}, {"Beats", beats},
		{"Closed", closed}, {"CloseDrains", closeDrains}, {"Constraint", constraint}, {"Integrity", integrity}, {"Serials", serials},
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			d := open(t)
			if err := d.Migrate(t.Context(), "test", schema); err != nil {
				t.Fatal(err)
			}
			part.run(t, d)
		})
	}
	t.Run("Migrate", func(t *testing.T) { t.Parallel(); migrate(t, open(t)) })
}

var errTest = errors.New("no")

const (
	sqlPut   = `INSERT INTO t(k, v) VALUES(?,?)`
	sqlGet   = `SELECT v FROM t WHERE k=?`
	sqlCount = `SELECT count(*) FROM t`
	sqlList  = `SELECT k, v FROM t ORDER BY k`
	sqlNext  = `INSERT INTO t(k, v) SELECT coalesce(max(k), 0)+1, 5 FROM t RETURNING k`
)

var schema = []db.Step{`CREATE TABLE t(k INTEGER PRIMARY KEY, v INTEGER NOT NULL)`,
	`CREATE TABLE kinds(n INTEGER PRIMARY KEY, i INTEGER, s TEXT, b BLOB, x INTEGER)`}

func put(k, v int) func(*db.Tx) error {
	return func(tx *db.Tx) error { _, err := tx.Exec(sqlPut, db.Int(k), db.Int(v)); return err }
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, d *db.DB) (n int) {
	t.Helper()
	must(t, d.View(t.Context(), func(c *db.Conn) error {
		_, err := c.Row(sqlCount).Scan(&n)
		return err
	}))
	return n
}

func values(t *testing.T, d *db.DB) {
	must(t, d.Update(t.Context(), func(tx *db.Tx) error {
		n, err := tx.Exec(`INSERT INTO kinds VALUES(1,?,?,?,?),(2,?,?,?,?)`,
			db.Int(int64(-1<<63)), db.Text("Grüße!"), db.Blob([]byte{0, 1, 255}), db.Bool(true),
			db.Null(), db.Text(""), db.Blob([]byte{}), db.Blob(nil))
		if n != 2 {
			t.Errorf("%d rows changed, want 2", n)
		}
		return err
	}, nil))
	must(t, d.View(t.Context(), func(c *db.Conn) error {
		i := 0
		for r, err := range c.Rows(`SELECT i, s, b, x FROM kinds ORDER BY n`) {
			if err != nil {
				return err
			}
			got := fmt.Sprintf("%d %q %q %q %d | %v %v %v %v | %v", r.Int(0), r.Text(1), r.Bytes(2), r.RawBytes(2), r.Int(3),
				r.Null(0), r.Null(1), r.Null(2), r.Null(3), r.Bytes(2) == nil)
			want := [...]string{
				`-9223372036854775808 "Grüße!" "\x00\x01\xff" "\x00\x01\xff" 1 | false false false false | false`,
				`0 "" "" "" 0 | true false false true | false`}[i]
			if got != want {
				t.Errorf("row %d:\n got %s\nwant %s", i, got, want)
			}
			i++
		}
		if i != 2 {
			t.Errorf("%d rows", i)
		}
		return nil
	}))
}

func namedKinds(t *testing.T, d *db.DB) {
	type id uint32
	type name string
	type sum []byte
	type seq uint64
	must(t, d.Update(t.Context(), func(tx *db.Tx) error {
		var (
			a id
			b name
			c sum
			e seq
			f bool
			g uint8
			h uint32
		)
		found, err := tx.Row(`SELECT ?,?,?,?,?`, db.Int(id(7)), db.Text("x"), db.Blob([]byte("y")), db.Int(seq(1<<63)), db.Bool(true)).Scan(&a, &b, &c, &e, &f)
		if !found || err != nil || a != 7 || b != "x" || string(c) != "y" || e != 1<<63 || !f {
			t.Error(found, err, a, b, c, e, f)
		}
		if _, err := tx.Row(`SELECT 300`).Scan(&g); err == nil {
			t.Error("300 went into a uint8")
		}
		if _, err := tx.Row(`SELECT -1`).Scan(&h); err == nil {
			t.Error("-1 went into a uint32")
		}
		if found, err := tx.Row(`SELECT NULL`).Scan(&b); !found || err != nil || b != "" {
			t.Error("NULL:", found, err, b)
		}
		if _, err := tx.Row(`SELECT 1, 2`).Scan(&h); err == nil {
			t.Error("two columns went into one variable")
		}
		if _, err := tx.Row(`SELECT 1`).Scan(h); err == nil {
			t.Error("scanned into something that is no pointer")
		}
		if found, err := tx.Row(`SELECT 1 WHERE 1=0`).Scan(&h); found || err != nil {
			t.Error("no row:", found, err)
		}
		return nil
	}, nil))
}

func rows(t *testing.T, d *db.DB) {
	for k := range 100 {
		must(t, d.Update(t.Context(), put(k, k*k), nil))
	}
	must(t, d.View(t.Context(), func(c *db.Conn) error {
		for range 3 { // breaking out resets the statement
			n := 0
			for r, err := range c.Rows(sqlList) {
				if err != nil || r.Int(0) != int64(n) || r.Int(1) != int64(n*n) {
					t.Fatal(n, err)
				}
				if n++; n == 10 {
					break
				}
			}
		}
		n := 0
		for _, err := range c.Rows(`SELECT nonsense`) {
			if err == nil {
				t.Error("a row of nonsense")
			}
			n++
		}
		if n != 1 {
			t.Errorf("a broken query yielded %d times", n)
		}
		return nil
	}))
}

func nestedRows(t *testing.T, d *db.DB) {
	for k := range 10 {
		must(t, d.Update(t.Context(), put(k, k), nil))
	}
	must(t, d.View(t.Context(), func(c *db.Conn) error {
		n := 0
		for a, err := range c.Rows(sqlList) {
			if err != nil {
				return err
			}
			outer := a.Int(0)
			for b, err := range c.Rows(sqlList) { // the same text inside itself
				if err != nil {
					return err
				}
				n += int(b.Int(1))
			}
			var v int
			if _, err := c.Row(sqlGet, db.Int(outer)).Scan(&v); err != nil || v != int(outer) || a.Int(0) != outer {
				t.Fatal(err, v, a.Int(0), outer)
			}
		}
		if n != 450 {
			t.Errorf("sum %d, want 450", n)
		}
		return nil
	}))
}

// More rows than an engine fetches at once, with other statements run while they come.
func portions(t *testing.T, d *db.DB) {
	const many = 20_000
	must(t, d.Update(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(`INSERT INTO t(k, v) WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<19999) SELECT i, 2*i FROM n`)
		if err != nil {
			return err
		}
		n := 0
		for r, err := range tx.Rows(sqlList) { // the loop sees what was there when it began
			if err != nil || r.Int(0) != int64(n) || r.Int(1) != int64(2*n) {
				return fmt.Errorf("row %d: %d %d: %w", n, r.Int(0), r.Int(1), err)
			}
			if n%997 == 0 {
				var v int
				if _, err := tx.Row(sqlGet, db.Int(n)).Scan(&v); err != nil || v != 2*n || r.Int(0) != int64(n) {
					return fmt.Errorf("row %d within the loop: %d %w", n, v, err)
				}
			}
			n++
		}
		if n != many {
			t.Errorf("%d rows", n)
		}
		return nil
	}, nil))
	must(t, d.View(t.Context(), func(c *db.Conn) error {
		for range 3 {
			n := 0
			for _, err := range c.Rows(sqlList) {
				if err != nil {
					return err
				}
				if n++; n == 9000 {
					break
				}
			}
		}
		var n int
		_, err := c.Row(sqlCount).Scan(&n)
		if n != many {
			t.Errorf("%d rows after loops that were left", n)
		}
		return err
	}))
}

// Sums, truths and counts are integers, whatever an engine calls their type.
func numbers(t *testing.T, d *db.DB) {
	must(t, d.Update(t.Context(), func(tx *db.Tx) error {
		for k, v := range []int64{-1 << 40, 3, 70_000, 1 << 50} {
			if _, err := tx.Exec(sqlPut, db.Int(k), db.Int(v)); err != nil {
				return err
			}
		}
		var sum, low, none, truth, shift int64
		var is bool
		_, err := tx.Row(`SELECT sum(v), sum(CASE WHEN v<0 THEN v ELSE 0 END), coalesce(sum(CASE WHEN k>100 THEN v END), 0), max(v)>?1, count(*)=4, ?1<<32|?2 FROM t`,
			db.Int(1), db.Int(7)).Scan(&sum, &low, &none, &truth, &is, &shift)
		if want := int64(1<<50 - 1<<40 + 70_003); err != nil || sum != want || low != -1<<40 || none != 0 || truth != 1 || !is || shift != 1<<32|7 {
			t.Error(err, sum, low, none, truth, is, shift)
		}
		n, err := tx.Exec(`UPDATE t SET v=v&~?2 WHERE v&?1<>0`, db.Int(1), db.Int(3))
		if err != nil || n != 1 {
			t.Error(n, err)
		}
		return nil
	}, nil))
}

func arguments(t *testing.T, d *db.DB) {
	must(t, d.Update(t.Context(), func(tx *db.Tx) error {
		if _, err := tx.Exec(sqlPut, db.Int(1)); err == nil {
			t.Error("one argument for two parameters gave no error")
		}
		if _, err := tx.Exec(sqlGet, db.Int(1), db.Int(2)); err == nil {
			t.Error("two arguments for one parameter gave no error")
		}
		if _, err := tx.Exec(`SELECT 1; SELECT 2`); err == nil {
			t.Error("two statements gave no error")
		}
		if _, err := tx.Exec(``); err == nil {
			t.Error("no statement gave no error")
		}
		return nil
	}, nil))
}

func returning(t *testing.T, d *db.DB) {
	must(t, d.Update(t.Context(), func(tx *db.Tx) error {
		for want := 1; want <= 3; want++ {
			var got int
			found, err := tx.Row(sqlNext).Scan(&got)
			if !found || err != nil || got != want {
				t.Error(found, err, got)
			}
		}
		n, err := tx.Exec(`UPDATE t SET v=6 WHERE k>1`)
		if n != 2 || err != nil {
			t.Error(n, err)
		}
		found, err := tx.Row(`DELETE FROM t WHERE k=99 RETURNING k`).Scan(new(int))
		if found || err != nil {
			t.Error(found, err)
		}
		return nil
	}, nil))
	if n := count(t, d); n != 3 {
		t.Errorf("%d rows", n)
	}
}

// A row nobody scanned must not hold the transaction or the snapshot.
func unscanned(t *testing.T, d *db.DB) {
	for k := range 50 {
		must(t, d.Update(t.Context(), func(tx *db.Tx) error {
			tx.Row(sqlList)
			tx.Row(sqlList)
			return put(k, k)(tx)
		}, nil))
		must(t, d.View(t.Context(), func(c *db.Conn) error { c.Row(sqlList); return nil }))
	}
	if n := count(t, d); n != 50 {
		t.Errorf("%d rows", n)
	}
}

func failing(t *testing.T, d *db.DB) {
	called := false
	err := d.Update(t.Context(), func(tx *db.Tx) error {
		must(t, put(1, 1)(tx))
		return errTest
	}, func() { called = true })
	if !errors.Is(err, errTest) || called {
		t.Fatal(err, called)
	}
	if n := count(t, d); n != 0 {
		t.Fatalf("%d rows of a failed function stayed", n)
	}
	must(t, d.Update(t.Context(), put(1, 1), nil))
}

func failingAmongMany(t *testing.T, d *db.DB) {
	var wg sync.WaitGroup
	var announced atomic.Int64
	for k := range 200 {
		wg.Go(func() {
			err := d.Update(context.Background(), func(tx *db.Tx) error {
				if err := put(k, k)(tx); err != nil {
					return err
				}
				switch k % 10 {
				case 3:
					return errTest
				case 6:
					panic("seven")
				case 9:
					_, err := tx.Exec(sqlPut, db.Int(k), db.Int(0)) // violates the key
					return err
				}
				return nil
			}, func() { announced.Add(1) })
			if bad := k%10 == 3 || k%10 == 6 || k%10 == 9; bad != (err != nil) {
				t.Errorf("member %d: %v", k, err)
			}
		})
	}
	wg.Wait()
	if n := count(t, d); n != 140 || announced.Load() != 140 {
		t.Fatalf("%d rows and %d callbacks, want 140", n, announced.Load())
	}
}

func panics(t *testing.T, d *db.DB) {
	err := d.Update(t.Context(), func(tx *db.Tx) error { must(t, put(1, 1)(tx)); panic("boom") }, nil)
	if err == nil || !strings.Contains(err.Error(), "boom") {
		t.Fatal(err)
	}
	err = d.Update(t.Context(), put(2, 2), func() { panic("bang") })
	if err == nil || !strings.Contains(err.Error(), "bang") {
		t.Fatal(err)
	}
	if n := count(t, d); n != 1 {
		t.Fatalf("%d rows", n)
	}
}

func cancelled(t *testing.T, d *db.DB) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := d.Update(ctx, func(*db.Tx) error { t.Error("ran after its context ended"); return nil }, nil)
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	// Queued behind another: never runs. Already started: its outcome counts.
	inside, release := make(chan struct{}), make(chan struct{})
	first, second := make(chan error, 1), make(chan error, 1)
	ctx1, cancel1 := context.WithCancel(t.Context())
	ctx2, cancel2 := context.WithCancel(t.Context())
	go func() {
		first <- d.Update(ctx1, func(tx *db.Tx) error { close(inside); <-release; return put(1, 1)(tx) }, nil)
	}()
	<-inside
	go func() {
		second <- d.Update(ctx2, func(*db.Tx) error { t.Error("ran after its context ended"); return nil }, nil)
	}()
	cancel1()
	cancel2()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(release)
	must(t, <-first)
	if n := count(t, d); n != 1 {
		t.Fatalf("%d rows", n)
	}
}

// order: callbacks come in commit order, before Update returns, and a later transaction sees them done.
func order(t *testing.T, d *db.DB) {
	var wg sync.WaitGroup
	var mirror []int64 // only touched by the writer
	for range 300 {
		wg.Go(func() {
			var k int64
			done := false
			err := d.Update(context.Background(), func(tx *db.Tx) error {
				_, err := tx.Row(sqlNext).Scan(&k)
				return err
			}, func() { mirror = append(mirror, k); done = true })
			if err != nil || !done {
				t.Error(err, done)
			}
		})
	}
	wg.Wait()
	if len(mirror) != 300 {
		t.Fatalf("%d callbacks", len(mirror))
	}
	for i, k := range mirror {
		if k != int64(i+1) {
			t.Fatalf("callback %d was for row %d", i, k)
		}
	}
}

func groupCommit(t *testing.T, d *db.DB) {
	before := d.Stats()
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			for i := range 20 {
				if err := d.Update(context.Background(), put(g*1000+i, 0), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s := d.Stats()
	updates, commits := s.Updates-before.Updates, s.Commits-before.Commits
	if updates != 640 || commits*2 > updates {
		t.Fatalf("%d updates in %d commits", updates, commits)
	}
	if s.Waiting != 0 {
		t.Errorf("%d wait", s.Waiting)
	}
}

func readYourWrites(t *testing.T, d *db.DB) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 30 {
				k := g*1000 + i
				err := d.Update(context.Background(), put(k, k+1), nil)
				if err == nil {
					err = d.View(context.Background(), func(c *db.Conn) error {
						var v int
						if found, err := c.Row(sqlGet, db.Int(k)).Scan(&v); !found || err != nil || v != k+1 {
							return fmt.Errorf("row %d: %v %v %d", k, found, err, v)
						}
						return nil
					})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func snapshot(t *testing.T, d *db.DB) {
	must(t, d.Update(t.Context(), put(1, 1), nil))
	must(t, d.View(t.Context(), func(c *db.Conn) error {
		var before, after int
		c.Row(sqlCount).Scan(&before)
		must(t, d.Update(t.Context(), put(2, 2), nil)) // from the reader's goroutine: writers do not wait for readers
		c.Row(sqlCount).Scan(&after)
		if before != 1 || after != 1 {
			t.Errorf("%d rows, then %d: no snapshot", before, after)
		}
		return nil
	}))
	if n := count(t, d); n != 2 {
		t.Errorf("%d rows after the snapshot", n)
	}
}

func viewCannotWrite(t *testing.T, d *db.DB) {
	err := d.View(t.Context(), func(c *db.Conn) error { _, err := c.Exec(sqlPut, db.Int(1), db.Int(1)); return err })
	if err == nil {
		t.Fatal("a View wrote")
	}
	if n := count(t, d); n != 0 {
		t.Fatal(n)
	}
}

func viewCancelled(t *testing.T, d *db.DB) {
	ctx, cancel := context.WithCancel(t.Context())
	err := d.View(ctx, func(c *db.Conn) error {
		n := 0
		for _, err := range c.Rows(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT i FROM n`) {
			if err != nil {
				return err
			}
			if n++; n == 10 {
				cancel()
			}
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if n := count(t, d); n != 0 { // the connection is fit again
		t.Fatal(n)
	}
}

func nestedView(t *testing.T, d *db.DB) {
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			err := d.View(context.Background(), func(c *db.Conn) error {
				if _, err := c.Row(sqlCount).Scan(new(int)); err != nil {
					return err
				}
				return d.View(context.Background(), func(c *db.Conn) error {
					_, err := c.Row(sqlCount).Scan(new(int))
					return err
				})
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func viewPanic(t *testing.T, d *db.DB) {
	for range 20 { // more often than there are readers
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			d.View(t.Context(), func(c *db.Conn) error { c.Row(sqlCount); panic("boom") })
		}()
	}
	if n := count(t, d); n != 0 {
		t.Fatal(n)
	}
}

func closed(t *testing.T, d *db.DB) {
	must(t, d.Close())
	must(t, d.Close())
	if err := d.Update(t.Context(), put(1, 1), nil); !errors.Is(err, db.ErrClosed) {
		t.Error(err)
	}
	if err := d.View(t.Context(), func(*db.Conn) error { return nil }); !errors.Is(err, db.ErrClosed) {
		t.Error(err)
	}
}

func closeDrains(t *testing.T, d *db.DB) {
	inside, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	var done, refused atomic.Int64
	wg.Go(func() {
		d.Update(context.Background(), func(tx *db.Tx) error { close(inside); <-release; return nil }, nil)
	})
	<-inside
	for k := range 50 {
		wg.Go(func() {
			switch err := d.Update(context.Background(), put(k, k), nil); {
			case err == nil:
				done.Add(1)
			case errors.Is(err, db.ErrClosed):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Go(func() { must(t, d.Close()) })
	close(release)
	wg.Wait()
	if done.Load()+refused.Load() != 50 {
		t.Errorf("%d done, %d refused of 50", done.Load(), refused.Load())
	}
}

func constraint(t *testing.T, d *db.DB) {
	must(t, d.Update(t.Context(), put(1, 1), nil))
	if err := d.Update(t.Context(), put(1, 1), nil); !db.IsConstraint(err) {
		t.Errorf("%v is not seen as a constraint", err)
	}
	if db.IsConstraint(errTest) || db.IsConstraint(nil) {
		t.Error("everything is a constraint")
	}
}

func integrity(t *testing.T, d *db.DB) {
	must(t, d.Update(t.Context(), put(1, 1), nil))
	if bad, err := d.IntegrityCheck(t.Context()); err != nil || len(bad) > 0 {
		t.Fatal(bad, err)
	}
}

func migrate(t *testing.T, d *db.DB) {
	must(t, d.Migrate(t.Context(), "engines", []db.Step{db.Expand(db.Engines(`CREATE TABLE lite(x INTEGER)`, `CREATE TABLE pg(x INTEGER)`)),
		db.Engines(``, `DROP TABLE pg; CREATE TABLE lite(x INTEGER)`), db.Contract(`INSERT INTO lite VALUES(1)`)}))
	one := []db.Step{`CREATE TABLE a(x INTEGER); INSERT INTO a VALUES(1);`}
	two := append(one[:1:1], `ALTER TABLE a ADD COLUMN y INTEGER DEFAULT 7`, `INSERT INTO a(x) VALUES(2)`)
	bad := append(two[:3:3], `CREATE TABLE b(x INTEGER)`, `nonsense`)
	must(t, d.Migrate(t.Context(), "a", one))
	must(t, d.Migrate(t.Context(), "a", one))
	must(t, d.Migrate(t.Context(), "wide", append(one[:1:1], db.Expand(`CREATE TABLE wide(x INTEGER)`))[1:]))
	must(t, d.Migrate(t.Context(), "wide", nil)) // the program before
	must(t, d.Migrate(t.Context(), "other", []db.Step{`CREATE TABLE other(x INTEGER)`}))
	if err := d.Migrate(t.Context(), "a", bad); err == nil || !strings.Contains(err.Error(), "step 5") {
		t.Fatalf("%v, want an error that names step 5", err)
	}
	must(t, d.Migrate(t.Context(), "a", two)) // nothing of bad stayed, not even its good steps
	must(t, d.View(t.Context(), func(c *db.Conn) error {
		var n, y int
		if _, err := c.Row(`SELECT count(*), sum(y) FROM a`).Scan(&n, &y); err != nil || n != 2 || y != 14 {
			t.Error(n, y, err)
		}
		if _, err := c.Row(`SELECT count(*) FROM b`).Scan(&n); err == nil {
			t.Error("table b stayed")
		}
		return nil
	}))
	if err := d.Migrate(t.Context(), "a", one); err == nil || !strings.Contains(err.Error(), "version 3") {
		t.Fatalf("%v: newer data was not refused", err)
	}
}
