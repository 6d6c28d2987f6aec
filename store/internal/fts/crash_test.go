package fts

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"bahnpost/store/internal/db"
)

// TestCrash: a process that dies between any two steps of writing or merging leaves an index that answers right,
// and the next Merge sweeps what it left.
func TestCrash(t *testing.T) {
	t.Parallel()
	died := errors.New("died")
	r := rand.New(rand.NewPCG(5, 5))
	for n := 1; ; n++ {
		d := openDB(t)
		m := mailbox{}
		b := NewBuilder()
		var high int64
		left := n
		guard := func() error {
			if left--; left < 0 {
				return died
			}
			return nil
		}
		err := func() error {
			for range fanout {
				b.Reset()
				for id := high + 1; id <= high+3; id++ {
					m[id] = randomMessage(r)
					for k := range 4000 { // enough for several steps
						m[id] = append(m[id], text{field: Body, value: fmt.Sprintf("W%X", r.Uint64()+uint64(k))})
					}
					m.feed(r, b, id)
				}
				own := func(*db.Tx, int64) error { return guard() }
				if err := New(Config{Own: own}).Write(t.Context(), d, 1, b, high, high+3, nil); err != nil {
					return err
				}
				high += 3
			}
			for more := true; more; {
				var err error
				if more, err = New(Config{}).Merge(t.Context(), d, 1, nil, func(context.Context) error { return guard() }); err != nil {
					return err
				}
			}
			return nil
		}()
		if err != nil && err != died {
			t.Fatal(err)
		}
		x := New(Config{})
		for k := range 5 {
			q := m.randomQuery(r)
			h := lookupIn(t, d, x, 1, q)
			if h.High != high {
				t.Fatalf("step %d: high %d, want %d", n, h.High, high)
			}
			m.compare(t, h, q, high)
			if k == 2 {
				for more := true; more; {
					if more, err2 := x.Merge(t.Context(), d, 1, nil, nil); err2 != nil || !more {
						if err2 != nil {
							t.Fatal(err2)
						}
						break
					}
				}
				if err := x.Check(t.Context(), d, 1); err != nil {
					t.Fatal(err)
				}
			}
		}
		var stray int
		d.View(t.Context(), func(c *db.Conn) error {
			_, err := c.Row("SELECT count(*) FROM fts_block b WHERE NOT EXISTS (SELECT 1 FROM fts_seg s WHERE s.account_id=b.account_id AND s.seg=b.seg AND s.state=1)").Scan(&stray)
			return err
		})
		if stray > 0 {
			t.Errorf("step %d: %d stray blocks", n, stray)
		}
		if t.Failed() {
			return
		}
		if err == nil {
			if n < 20 {
				t.Fatalf("only %d steps", n)
			}
			t.Logf("%d steps", n)
			return
		}
		n += r.IntN(3)
	}
}
