package db_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"

	"github.com/jackc/pgx/v5/pgconn"
)

// ear collects what a node hears.
type ear struct {
	mu   sync.Mutex
	max  map[int64]int64
	lost atomic.Int64
}

func listen(d *db.DB) *ear {
	e := &ear{max: map[int64]int64{}}
	d.OnHint(func(list []db.Hint) {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, h := range list {
			e.max[h.Account] = max(e.max[h.Account], h.ModSeq)
		}
	}, func() { e.lost.Add(1) })
	return e
}

func (e *ear) heard(account int64) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.max[account]
}

func await(t *testing.T, what string, is func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for tick := time.NewTicker(time.Millisecond); !is(); <-tick.C {
		if time.Since(begin) > time.Minute {
			t.Fatal("in vain: ", what)
		}
	}
	return time.Since(begin)
}

// Nodes hear each other's hints and not their own; more hints than can be told, and a connection that is made anew, mean: look.
func TestHints(t *testing.T) {
	t.Parallel()
	server := dbtest.Start(t)
	one, two := open(t, db.Config{Postgres: server.DSN}), open(t, db.Config{Postgres: server.DSN})
	stranger := open(t, db.Config{Postgres: dbtest.Schema(t, server.DSN, "another")})
	a, b, c := listen(one), listen(two), listen(stranger)
	await(t, "listening", func() bool { return a.lost.Load() == 1 && b.lost.Load() == 1 && c.lost.Load() == 1 })
	second := listen(two) // the directory and the mail store both listen
	for n := range int64(20) {
		one.Hint(7, 100+n)
		one.Hint(0, n)
		t.Logf("heard after %v", await(t, "hint", func() bool { return b.heard(7) == 100+n }))
	}
	for k := range int64(3000) {
		two.Hint(1000+k, 1<<62+k)
	}
	await(t, "many hints", func() bool {
		for k := range int64(3000) {
			if a.heard(1000+k) != 1<<62+k {
				return false
			}
		}
		return true
	})
	await(t, "the second who listens", func() bool { return second.heard(7) == 119 && second.heard(0) == 19 })
	if a.heard(7) != 0 || b.heard(1000) != 0 || c.heard(7) != 0 || a.lost.Load() != 1 {
		t.Error("a node heard itself, or a stranger")
	}
	for k := range int64(30_000) {
		two.Hint(1_000_000+k, 1)
	}
	await(t, "too many hints", func() bool { return a.lost.Load() > 1 })
	if s := one.SharedStats(); s.Away || s.Deaf != 0 || s.HintsTold < 2 || s.HintsHeard < 3000 || s.HintsLost < 2 {
		t.Errorf("%+v", s)
	}
	before := b.lost.Load()
	secondBefore := second.lost.Load()
	server.Kill()
	await(t, "deaf", func() bool { s := one.SharedStats(); return s.Deaf > 0 })
	server.Run()
	await(t, "listening anew", func() bool { return b.lost.Load() > before && second.lost.Load() > secondBefore })
	await(t, "a hint after that", func() bool { one.Hint(8, 8); return b.heard(8) == 8 })
}

// A holder that cannot reach the database stops before another may begin; one that died is succeeded.
func TestLeaseLost(t *testing.T) {
	t.Parallel()
	server := dbtest.Start(t)
	one, two := open(t, db.Config{Postgres: server.DSN}), open(t, db.Config{Postgres: server.DSN})
	const ttl = 2 * time.Second
	begun := make(chan struct{})
	var ended atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		held, err := one.Hold(t.Context(), "x", ttl, func(ctx context.Context) error {
			close(begun)
			<-ctx.Done()
			ended.Store(time.Now().UnixNano())
			return context.Cause(ctx)
		})
		if !held || !errors.Is(err, db.ErrLeaseLost) {
			t.Error(held, err)
		}
	})
	<-begun
	for end := time.Now().Add(2 * ttl); time.Now().Before(end); { // it is renewed
		if held, err := two.Hold(t.Context(), "x", ttl, func(context.Context) error { return nil }); held || err != nil {
			t.Error("two holders: ", held, err)
		}
		<-time.After(100 * time.Millisecond)
	}
	server.Signal(syscall.SIGSTOP)
	wg.Wait()
	server.Signal(syscall.SIGCONT)
	await(t, "succession", func() bool {
		held, _ := two.Hold(t.Context(), "x", ttl, func(context.Context) error {
			if e := ended.Load(); e == 0 || time.Now().UnixNano() < e {
				t.Error("the holder before has not ended")
			}
			return nil
		})
		return held
	})
	// Somebody else's hand on the row ends the lease too.
	held, err := one.Hold(db.Patient(t.Context(), time.Minute), "y", ttl, func(ctx context.Context) error {
		if err := two.Update(t.Context(), func(tx *db.Tx) error {
			_, err := tx.Exec(`UPDATE db_leases SET owner=owner+1 WHERE name=?`, db.Text("y"))
			return err
		}, nil); err != nil {
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if !held || !errors.Is(err, db.ErrLeaseLost) {
		t.Error(held, err)
	}
}

// Nodes see each other.
func TestNodes(t *testing.T) {
	t.Parallel()
	dsn := dbtest.Postgres(t)
	var nodes []*db.DB
	for i := range 3 {
		d := open(t, db.Config{Postgres: dsn})
		nodes = append(nodes, d)
		if _, err := d.Beat(t.Context(), fmt.Sprintf("mx%d", i), fmt.Appendf(nil, `{"n":%d}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	held, err := nodes[1].Hold(t.Context(), "reaper", time.Minute, func(ctx context.Context) error {
		list, err := nodes[2].Nodes(ctx)
		if err != nil || len(list) != 3 || list[1].Name != "mx1" || string(list[1].Info) != `{"n":1}` || len(list[1].Leases) != 1 || list[1].Leases[0] != "reaper" || len(list[0].Leases) != 0 {
			t.Errorf("%+v %v", list, err)
		}
		return nodes[0].Wish(ctx, "mx2", "drain")
	})
	if !held || err != nil {
		t.Error(held, err)
	}
	if wish, err := nodes[2].Beat(t.Context(), "mx2", nil); wish != "drain" || err != nil {
		t.Error(wish, err)
	}
	if err := nodes[0].Wish(t.Context(), "mx2", ""); err != nil {
		t.Error(err)
	}
	if wish, err := nodes[2].Beat(t.Context(), "mx2", nil); wish != "" || err != nil {
		t.Error(wish, err)
	}
}

// Nodes of two versions run side by side: what is new comes first, what is old goes when nobody needs it.
func TestMigrateOnline(t *testing.T) {
	t.Parallel()
	dsn := dbtest.Postgres(t)
	node := func() *db.DB { return open(t, db.Config{Postgres: dsn}) }
	has := func(d *db.DB, what string, want bool) {
		t.Helper()
		err := d.View(t.Context(), func(c *db.Conn) error {
			_, err := c.Row(`SELECT count(` + what + `) FROM t`).Scan(new(int))
			return err
		})
		if (err == nil) != want {
			t.Errorf("column %s: %v", what, err)
		}
	}
	one := []db.Step{`CREATE TABLE t(old INTEGER)`}
	two := append(one[:1:1], db.Expand(`ALTER TABLE t ADD COLUMN new INTEGER NOT NULL DEFAULT 5`))
	three := append(two[:2:2], db.Contract(`ALTER TABLE t DROP COLUMN old`))
	hard := append(two[:2:2], `ALTER TABLE t DROP COLUMN new`)
	a, b := node(), node()
	for _, x := range []struct {
		d     *db.DB
		steps []db.Step
	}{{a, one}, {b, two}, {a, one}, {b, three}} {
		if err := x.d.Migrate(t.Context(), "c", x.steps); err != nil {
			t.Fatal(err)
		}
	}
	has(a, "new", true)
	has(a, "old", true) // a knows it only
	if err := b.Migrate(t.Context(), "c", hard); err == nil || !strings.Contains(err.Error(), "stop them first") {
		t.Errorf("a step that a cannot work with: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Migrate(t.Context(), "c", three); err != nil {
		t.Fatal(err)
	}
	has(b, "old", false)
	c := node()
	if err := c.Migrate(t.Context(), "c", one); err == nil || !strings.Contains(err.Error(), "version 3, this program knows up to 1") {
		t.Errorf("a program that needs what is gone: %v", err)
	}
	if err := c.Migrate(t.Context(), "c", two); err != nil {
		t.Errorf("a program that does not: %v", err)
	}
}

// A node that hangs with locks held holds up those who want the same account, not the others; and not for ever.
func TestHangingNode(t *testing.T) {
	t.Parallel()
	server := dbtest.Start(t)
	one := open(t, db.Config{Postgres: server.DSN})
	if err := one.Migrate(t.Context(), "t", []db.Step{`CREATE TABLE t(k INTEGER PRIMARY KEY, v INTEGER NOT NULL); INSERT INTO t SELECT generate_series(1,50), 0`}); err != nil {
		t.Fatal(err)
	}
	const sqlGet = `SELECT v FROM t WHERE k=?`
	add := func(d *db.DB, k int64, ask []db.Question) error {
		return d.UpdateFor(context.Background(), k, ask, func(tx *db.Tx) error {
			var v int
			if _, err := tx.Lock(sqlGet, db.Int(k)).Scan(&v); err != nil {
				return err
			}
			tx.Send(1, `UPDATE t SET v=? WHERE k=?`, db.Int(v+1), db.Int(k))
			return nil
		}, nil)
	}
	hung, err := pgconn.Connect(t.Context(), server.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close(context.Background())
	if _, err := hung.Exec(t.Context(), `BEGIN; SELECT v FROM t WHERE k<3 FOR UPDATE`).ReadAll(); err != nil {
		t.Fatal(err)
	}
	var stuck, free sync.WaitGroup
	for i := range 6 {
		stuck.Go(func() {
			k := int64(i%2 + 1)
			var ask []db.Question
			if i < 3 {
				ask = []db.Question{db.AskLock(sqlGet, db.Int(k))}
			}
			if err := add(one, k, ask); err != nil {
				t.Error(err)
			}
		})
	}
	begin := time.Now()
	for k := range int64(40) {
		free.Go(func() {
			if err := add(one, 10+k, []db.Question{db.AskLock(sqlGet, db.Int(10+k))}); err != nil {
				t.Error(err)
			}
		})
	}
	free.Wait() // before the lock is let go
	t.Logf("the others after %v", time.Since(begin))
	if _, err := hung.Exec(t.Context(), `ROLLBACK`).ReadAll(); err != nil {
		t.Fatal(err)
	}
	stuck.Wait()
	var sum int
	if err := one.View(t.Context(), func(c *db.Conn) error { _, err := c.Row(`SELECT sum(v) FROM t`).Scan(&sum); return err }); err != nil || sum != 46 {
		t.Errorf("%d counted, want 46 (%v)", sum, err)
	}
}
