package db_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// awayTest is a database, a server that can be harmed, and what was acknowledged.
type awayTest struct {
	t      *testing.T
	server *dbtest.Server
	d      *db.DB
	next   atomic.Int64
	mu     sync.Mutex
	yes    map[int64]bool
	no     map[int64]bool
}

func newAway(t *testing.T) *awayTest {
	x := &awayTest{t: t, server: dbtest.Start(t), yes: map[int64]bool{}, no: map[int64]bool{}}
	x.d = open(t, db.Config{Postgres: x.server.DSN})
	if err := x.d.Migrate(t.Context(), "test", []db.Step{`CREATE TABLE t(k INTEGER PRIMARY KEY)`}); err != nil {
		t.Fatal(err)
	}
	return x
}

// put inserts a row and keeps a journal of what was answered.
func (x *awayTest) put(ctx context.Context) error {
	k := x.next.Add(1)
	err := x.d.UpdateFor(ctx, k, []db.Question{db.Ask(`SELECT k FROM t WHERE k=?`, db.Int(k))}, func(tx *db.Tx) error {
		found, err := tx.Row(`SELECT k FROM t WHERE k=?`, db.Int(k)).Scan(new(int64))
		if err != nil || found {
			return fmt.Errorf("row %d: %v %w", k, found, err)
		}
		tx.Send(1, `INSERT INTO t VALUES(?)`, db.Int(k))
		return nil
	}, nil)
	x.mu.Lock()
	defer x.mu.Unlock()
	if err == nil {
		x.yes[k] = true
	} else if !errors.Is(err, db.ErrUnknown) {
		x.no[k] = true
	}
	return err
}

// check compares the table with the journal.
func (x *awayTest) check() {
	x.t.Helper()
	there := map[int64]bool{}
	err := x.d.View(db.Patient(x.t.Context(), time.Minute), func(c *db.Conn) error {
		clear(there)
		for r, err := range c.Rows(`SELECT k FROM t ORDER BY k`) {
			if err != nil {
				return err
			}
			there[r.Int(0)] = true
		}
		return nil
	})
	if err != nil {
		x.t.Fatal(err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for k := range x.yes {
		if !there[k] {
			x.t.Errorf("row %d was acknowledged and is not there", k)
		}
	}
	for k := range x.no {
		if there[k] {
			x.t.Errorf("row %d was refused and is there", k)
		}
	}
	x.t.Logf("%d acknowledged, %d refused, %d there", len(x.yes), len(x.no), len(there))
}

// load writes from 20 callers, half of them patient, until the returned function is called.
func (x *awayTest) load() (stop func()) {
	var wg sync.WaitGroup
	var end atomic.Bool
	for i := range 20 {
		wg.Go(func() {
			ctx := context.Background()
			if i%2 == 0 {
				ctx = db.Patient(ctx, time.Minute)
			}
			for !end.Load() {
				if err := x.put(ctx); err != nil && (i%2 == 0 || !errors.Is(err, db.ErrAway)) {
					x.t.Errorf("caller %d: %v", i, err)
				} else if err != nil {
					<-time.After(10 * time.Millisecond) // a client that comes again
				}
			}
		})
	}
	return func() { end.Store(true); wg.Wait() }
}

// A server that is killed and comes back: whoever is not patient hears at once, the others wait; nobody who heard yes has lost anything.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	x := newAway(t)
	stop := x.load()
	for range 3 {
		n := x.next.Load()
		await(x.t, "load", func() bool { return x.next.Load() > n+200 })
		x.server.Kill()
		await(x.t, "away", func() bool { return errors.Is(x.put(t.Context()), db.ErrAway) })
		begin := time.Now()
		for range 50 {
			if err := x.put(t.Context()); !errors.Is(err, db.ErrAway) {
				t.Errorf("while it was away: %v", err)
			}
			if err := x.d.View(t.Context(), func(*db.Conn) error { return nil }); !errors.Is(err, db.ErrAway) {
				t.Errorf("a View while it was away: %v", err)
			}
		}
		t.Logf("100 refusals in %v", time.Since(begin))
		if p := x.d.Paths(); len(p) != 1 || p[0].Up || p[0].Err == nil {
			t.Errorf("paths: %+v", p)
		}
		x.server.Run()
		t.Logf("back after %v", await(x.t, "back", func() bool { return x.put(t.Context()) == nil }))
	}
	stop()
	x.check()
	if p := x.d.Paths(); len(p) != 1 || !p[0].Up || !p[0].Primary || p[0].Err != nil {
		t.Errorf("paths: %+v", p)
	}
}

// Of several hosts the one that serves is found, wherever it stands, and the others are told of.
func TestSeveralHosts(t *testing.T) {
	t.Parallel()
	server := dbtest.Start(t)
	for place := range 3 {
		dir := strings.TrimPrefix(strings.Fields(server.DSN)[0], "host=")
		hosts := strings.Join(slices.Insert([]string{"/nowhere", "/elsewhere"}, place, dir), ",")
		d := open(t, db.Config{Postgres: strings.Replace(server.DSN, dir, hosts, 1)})
		ask := func(ctx context.Context) error { return d.Update(ctx, func(*db.Tx) error { return nil }, nil) }
		if err := ask(t.Context()); err != nil {
			t.Error(err)
		}
		server.Kill()
		await(t, "away", func() bool { return errors.Is(ask(t.Context()), db.ErrAway) })
		server.Run()
		if err := ask(db.Patient(t.Context(), time.Minute)); err != nil {
			t.Error(err)
		}
		p := d.Paths()
		if len(p) != 3 || !p[place].Primary || p[(place+1)%3].Up || p[(place+1)%3].Err == nil {
			t.Errorf("%+v", p)
		}
	}
}

// A server that hangs is noticed; when it goes on, what it had read is there or not, as was said.
func TestServerPaused(t *testing.T) {
	t.Parallel()
	x := newAway(t)
	stop := x.load()
	for range 2 {
		n := x.next.Load()
		await(x.t, "load", func() bool { return x.next.Load() > n+200 })
		x.server.Signal(syscall.SIGSTOP)
		t.Logf("noticed after %v", await(x.t, "away", func() bool { return errors.Is(x.put(t.Context()), db.ErrAway) }))
		x.server.Signal(syscall.SIGCONT)
		t.Logf("back after %v", await(x.t, "back", func() bool { return x.put(t.Context()) == nil }))
	}
	stop()
	x.check()
}

// A commit that is on the primary's disk and was not waited for to be on the standby's is not said to be durable.
func TestStandbyNotAwaited(t *testing.T) {
	t.Parallel()
	x := newAway(t)
	if err := x.put(t.Context()); err != nil {
		t.Fatal(err)
	}
	admin, err := pgconn.Connect(t.Context(), x.server.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	do := func(sql string) {
		if _, err := admin.Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Error(err)
		}
	}
	do(`ALTER SYSTEM SET synchronous_standby_names='nobody'`)
	do(`SELECT pg_reload_conf()`)
	waiting := func() bool {
		r, err := admin.Exec(t.Context(), `SELECT pid FROM pg_stat_activity WHERE wait_event='SyncRep' AND application_name='bahnpost'`).ReadAll()
		return err == nil && len(r[0].Rows) > 0
	}
	done := make(chan error, 1)
	await(t, "the setting", func() bool { // it comes to the server's processes by and by
		go func() { done <- x.put(context.Background()) }()
		for end := time.Now().Add(time.Second); time.Now().Before(end); <-time.After(time.Millisecond) {
			if waiting() {
				return true
			}
			if len(done) > 0 {
				<-done
				return false
			}
		}
		return false
	})
	for end := time.Now().Add(time.Minute); len(done) == 0 && time.Now().Before(end); <-time.After(time.Millisecond) {
		do(`SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event='SyncRep' AND application_name='bahnpost'`)
	}
	if err := <-done; !errors.Is(err, db.ErrUnknown) {
		t.Errorf("said of a commit that is on no standby: %v", err)
	}
	do(`ALTER SYSTEM RESET synchronous_standby_names`)
	do(`SELECT pg_reload_conf()`)
	if err := x.put(db.Patient(t.Context(), time.Minute)); err != nil {
		t.Error(err)
	}
	x.check()
}
