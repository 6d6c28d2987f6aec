package dbtest

import (
	"context"
	"errors"
	"fmt"
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
