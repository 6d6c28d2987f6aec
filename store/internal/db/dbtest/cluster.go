package dbtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"bahnpost/store/internal/db"
)

// What is sent is there after the commit, in order, and what asks in between sees it.
func sent(t *testing.T, d *db.DB) {
	must(t, d.Update(t.Context(), func(tx *db.Tx) error {
		for k := range 10 {
			tx.Send(1, sqlPut, db.Int(k), db.Int(k))
		}
		tx.Send(db.AnyCount, `DELETE FROM t WHERE k>?`, db.Int(6))
		var n int
		if _, err := tx.Row(sqlCount).Scan(&n); err != nil || n != 7 {
			t.Error("in the middle: ", n, err)
		}
		tx.Send(3, `UPDATE t SET v=v+100 WHERE k<?`, db.Int(3))
		tx.Send(1, `DELETE FROM t WHERE v=?`, db.Int(101))
		n = 0
		for r, err := range tx.Rows(sqlList) {
			if err != nil || r.Int(0) == 1 {
				t.Error(r, err)
			}
			n++
		}
		tx.Send(0, `DELETE FROM t WHERE v=?`, db.Int(101))
		tx.Send(1, sqlPut, db.Int(1), db.Int(1))
		return nil
	}, nil))
	if n := count(t, d); n != 7 {
		t.Errorf("%d rows", n)
	}
	const many = 2500 // more than an engine sends before it listens
	for _, key := range []int64{0, 5} {
		must(t, d.UpdateFor(t.Context(), key, nil, func(tx *db.Tx) error {
			for k := range many {
				tx.Send(1, sqlPut, db.Int(1000+k), db.Int(0))
			}
			for k := range many {
				tx.Send(1, `UPDATE t SET v=v+1 WHERE k=?`, db.Int(1000+k))
			}
			for k := range many {
				tx.Send(1, `DELETE FROM t WHERE k=? AND v=1`, db.Int(1000+k))
			}
			return nil
		}, nil))
	}
	if n := count(t, d); n != 7 {
		t.Errorf("%d rows after many", n)
	}
}

// A statement that was sent and cannot run, or changes too much or too little, fails
// its function alone, whatever else is in the transaction and whether it was asked about in between.
func sentMiscounted(t *testing.T, d *db.DB) {
	must(t, d.Update(t.Context(), put(999, 0), nil))
	var wg sync.WaitGroup
	for k := range 120 {
		wg.Go(func() {
			err := d.UpdateFor(context.Background(), int64(k), nil, func(tx *db.Tx) error {
				if k%20 == 7 {
					tx.Send(1, sqlPut, db.Int(-k), db.Int(k)) // must not stay
				}
				if k%3 == 0 {
					var n int
					if _, err := tx.Row(sqlCount).Scan(&n); err != nil {
						return err
					}
				}
				switch k % 20 {
				case 7:
					tx.Send(1, `UPDATE t SET v=1 WHERE k=?`, db.Int(-5000))
				case 8:
					tx.Send(1, sqlPut, db.Int(999), db.Int(0))
				case 9:
					tx.Send(1, sqlPut, db.Int(5000+k), db.Int(0))
					return errTest
				}
				tx.Send(1, sqlPut, db.Int(k), db.Int(k))
				return nil
			}, nil)
			var want bool
			switch k % 20 {
			case 7:
				want = errors.Is(err, db.ErrCount)
			case 8:
				want = db.IsConstraint(err)
			case 9:
				want = errors.Is(err, errTest)
			default:
				want = err == nil
			}
			if !want {
				t.Errorf("member %d: %v", k, err)
			}
		})
	}
	wg.Wait()
	if n := count(t, d); n != 120-18+1 {
		t.Errorf("%d rows, want 103", n)
	}
}

// Statements of many keys, however they are put together, do what they would have done one after another.
func sentMixed(t *testing.T, d *db.DB) {
	must(t, d.Migrate(t.Context(), "mixed", []db.Step{`CREATE TABLE mixed(a INTEGER, k INTEGER, v INTEGER NOT NULL, s TEXT, b BLOB, PRIMARY KEY(a, k)) WITHOUT ROWID`}))
	var wg sync.WaitGroup
	for a := range int64(24) {
		wg.Go(func() {
			rnd, rows := rand.New(rand.NewPCG(uint64(a), 1)), map[int64]string{}
			for range 40 {
				next := map[int64]string{}
				err := d.UpdateFor(context.Background(), a+1, []db.Question{db.Ask(`SELECT count(*) FROM mixed WHERE a=?`, db.Int(a))}, func(tx *db.Tx) error {
					clear(next)
					maps.Copy(next, rows)
					var n int
					if _, err := tx.Row(`SELECT count(*) FROM mixed WHERE a=?`, db.Int(a)).Scan(&n); err != nil || n != len(rows) {
						return fmt.Errorf("%d rows, not %d: %w", n, len(rows), err)
					}
					for range rnd.IntN(8) {
						mix(tx, rnd, a, next)
					}
					return nil
				}, nil)
				if err != nil {
					t.Error(err)
					return
				}
				rows = next
			}
			must(t, d.View(t.Context(), func(c *db.Conn) error {
				n := 0
				for r, err := range c.Rows(`SELECT k, v, s, b FROM mixed WHERE a=? ORDER BY k`, db.Int(a)) {
					if err != nil {
						return err
					}
					if n++; rows[r.Int(0)] != fmt.Sprint(r.Int(1), r.Text(2), r.Bytes(3)) {
						t.Errorf("row %d/%d is %d %q %v, not %s", a, r.Int(0), r.Int(1), r.Text(2), r.Bytes(3), rows[r.Int(0)])
					}
				}
				if n != len(rows) {
					t.Errorf("%d rows of %d, not %d", n, a, len(rows))
				}
				return nil
			}))
		})
	}
	wg.Wait()
	if n := d.Stats().Replays; n != 0 {
		t.Errorf("%d functions were run again", n)
	}
}

// mix sends one statement and does the same to rows.
func mix(tx *db.Tx, rnd *rand.Rand, a int64, rows map[int64]string) {
	k, v := rnd.Int64N(12), rnd.Int64N(1000)
	text, octets := fmt.Sprint("é", v), db.Blob(nil)
	var raw []byte
	if rnd.IntN(2) == 0 {
		raw = []byte{0, byte(v), 255}
		octets = db.Blob(raw)
	}
	_, there := rows[k]
	row, count := fmt.Sprint(v, text, raw), int64(0)
	if there {
		count = 1
	}
	switch rnd.IntN(5) {
	case 0:
		if !there {
			tx.Send(1, `INSERT INTO mixed (a, k, v, s, b) VALUES (?,?,?,?,?)`, db.Int(a), db.Int(k), db.Int(v), db.Text(text), octets)
			rows[k] = row
		}
	case 1:
		tx.Send(1, `INSERT INTO mixed (a, k, v, s, b) VALUES (?1,?2,?3,?4,?5)
			ON CONFLICT (a, k) DO UPDATE SET v=?3, s=?4, b=?5`, db.Int(a), db.Int(k), db.Int(v), db.Text(text), octets)
		rows[k] = row
	case 2:
		tx.Send(count, `UPDATE mixed SET v=?3, s=?4, b=?5 WHERE a=?1 AND k=?2`, db.Int(a), db.Int(k), db.Int(v), db.Text(text), octets)
		if there {
			rows[k] = row
		}
	case 3:
		tx.Send(count, `DELETE FROM mixed WHERE a=? AND k=?`, db.Int(a), db.Int(k))
		delete(rows, k)
	case 4:
		n := int64(0)
		for _, i := range [...]int64{k, 100 + k} {
			if _, there := rows[i]; !there {
				rows[i] = fmt.Sprint(7, text, []byte(nil))
				n++
			}
		}
		tx.Send(n, `INSERT INTO mixed (a, k, v, s) VALUES (?1,?2,7,?4),(?1,?3,7,?4) ON CONFLICT DO NOTHING`, db.Int(a), db.Int(k), db.Int(100+k), db.Text(text))
	}
}

// Functions that said what they would ask, many for each key: each adds one to the number it was told.
func updateFor(t *testing.T, d *db.DB) {
	for k := range 8 {
		must(t, d.Update(t.Context(), put(k, 0), nil))
	}
	const sqlSet = `UPDATE t SET v=?2 WHERE k=?1 AND v<?2`
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			for i := range 20 {
				k, told := g%8+1, false
				if k == 8 {
					k = 0 // nobody's
				}
				ask := []db.Question{db.AskLock(sqlGet, db.Int(k)), db.Ask(sqlGet, db.Int(-1)), db.Ask(`SELECT v FROM t WHERE k<? ORDER BY k`, db.Int(2))}
				err := d.UpdateFor(context.Background(), int64(k), ask, func(tx *db.Tx) error {
					var v int
					if found, err := tx.Lock(sqlGet, db.Int(k)).Scan(&v); !found || err != nil {
						return fmt.Errorf("%v: %w", found, err)
					}
					if i%4 == 0 { // another one than was said
						if found, err := tx.Row(sqlGet, db.Int(k)).Scan(&v); !found || err != nil {
							return fmt.Errorf("%v: %w", found, err)
						}
					}
					if found, err := tx.Row(sqlGet, db.Int(-1)).Scan(new(int)); found || err != nil {
						return fmt.Errorf("%v: %w", found, err)
					}
					tx.Send(1, sqlSet, db.Int(k), db.Int(v+1))
					n := 0
					for r, err := range tx.Rows(`SELECT v FROM t WHERE k<? ORDER BY k`, db.Int(2)) {
						if err != nil {
							return err
						}
						if n == k && r.Int(0) != int64(v+1) {
							t.Errorf("row %d is %d, not %d: an answer from before what was sent", k, r.Int(0), v+1)
						}
						n++
					}
					if n != 2 {
						t.Errorf("%d rows", n)
					}
					return nil
				}, func() { told = true })
				if err != nil || !told {
					t.Error(err, told)
				}
			}
		})
	}
	wg.Wait()
	var sum int
	must(t, d.View(t.Context(), func(c *db.Conn) error { _, err := c.Row(`SELECT sum(v) FROM t`).Scan(&sum); return err }))
	if sum != 32*20 {
		t.Errorf("%d counted, want %d", sum, 32*20)
	}
}

// One holds a lease at a time; who fails has let go of it.
func hold(t *testing.T, d *db.DB) {
	held, err := d.Hold(t.Context(), "reaper", time.Minute, func(ctx context.Context) error {
		for range 3 {
			if held, err := d.Hold(ctx, "reaper", time.Minute, func(context.Context) error { t.Error("ran"); return nil }); held || err != nil {
				t.Error("a second holder: ", held, err)
			}
		}
		if held, err := d.Hold(ctx, "indexer", time.Minute, func(context.Context) error { return nil }); !held || err != nil {
			t.Error("another lease: ", held, err)
		}
		if ctx.Err() != nil {
			t.Error(ctx.Err())
		}
		return errTest
	})
	if !held || !errors.Is(err, errTest) {
		t.Error(held, err)
	}
	var wg sync.WaitGroup
	inside, most, got := 0, 0, 0
	var mu sync.Mutex
	note := func(n int) { mu.Lock(); inside += n; most = max(most, inside); got += max(n, 0); mu.Unlock() }
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if _, err := d.Hold(context.Background(), "reaper", time.Minute, func(context.Context) error { note(1); note(-1); return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if most != 1 || got == 0 {
		t.Errorf("%d held it at once, %d in all", most, got)
	}
}

func beats(t *testing.T, d *db.DB) {
	if wish, err := d.Beat(t.Context(), "mx1", []byte(`{"version":"1"}`)); wish != "" || err != nil {
		t.Error(wish, err)
	}
	must(t, d.Wish(t.Context(), "mx1", "drain"))
	if err := d.Wish(t.Context(), "mx9", "drain"); !errors.Is(err, db.ErrNoNode) {
		t.Error(err)
	}
	if wish, err := d.Beat(t.Context(), "mx1", []byte(`{"version":"2"}`)); wish != "drain" || err != nil {
		t.Error(wish, err)
	}
	list, err := d.Nodes(t.Context())
	if err != nil || len(list) != 1 || list[0].Name != "mx1" || string(list[0].Info) != `{"version":"2"}` || list[0].Wish != "drain" || list[0].Age < 0 || list[0].Age > time.Minute {
		t.Errorf("%+v %v", list, err)
	}
	if _, err := d.Hold(t.Context(), "b", time.Minute, func(ctx context.Context) error {
		_, err := d.Hold(ctx, "a", time.Minute, func(ctx context.Context) error {
			list, err := d.Nodes(ctx)
			if err == nil && (len(list) != 1 || strings.Join(list[0].Leases, " ") != "a b") {
				t.Errorf("%+v", list)
			}
			return err
		})
		return err
	}); err != nil {
		t.Error(err)
	}
	must(t, d.Bye(t.Context(), "mx1"))
	if list, err := d.Nodes(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%+v %v", list, err)
	}
}

// Functions of one transaction share its number, others do not.
func serials(t *testing.T, d *db.DB) {
	var first, second, third int64
	must(t, d.Update(t.Context(), func(tx *db.Tx) error { first = tx.Serial(); return put(1, 1)(tx) }, nil))
	inside, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		must(t, d.Update(context.Background(), func(tx *db.Tx) error { close(inside); <-release; second = tx.Serial(); return put(2, 2)(tx) }, nil))
	})
	<-inside
	queued := make(chan error, 1)
	go func() {
		queued <- d.Update(context.Background(), func(tx *db.Tx) error { third = tx.Serial(); return put(3, 3)(tx) }, nil)
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for d.Stats().Waiting == 0 {
		<-tick.C
	}
	close(release)
	wg.Wait()
	must(t, <-queued)
	if first == 0 || second == first || third != second {
		t.Errorf("transactions %d, %d, %d: the last two are one", first, second, third)
	}
}
