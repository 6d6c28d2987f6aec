package db

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func openTest(t testing.TB, cfg Config) *DB {
	t.Helper()
	if cfg.Path == "" {
		cfg.Path = filepath.Join(t.TempDir(), "mail.db")
	}
	d, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestPragmas(t *testing.T) {
	t.Parallel()
	d := openTest(t, Config{CacheKB: 4096})
	err := d.Update(t.Context(), func(tx *Tx) error {
		for _, want := range [][2]string{{"journal_mode", "wal"}, {"synchronous", "2"}, {"auto_vacuum", "2"}, {"page_size", "4096"},
			{"cache_size", "-4096"}, {"temp_store", "2"}, {"busy_timeout", "10000"}, {"trusted_schema", "0"}, {"journal_size_limit", "67108864"}} {
			var got string
			if _, err := tx.Row("PRAGMA " + want[0]).Scan(&got); err != nil || got != want[1] {
				t.Errorf("%s = %q, want %q (%v)", want[0], got, want[1], err)
			}
		}
		return nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = d.View(t.Context(), func(c *Conn) error {
		var got string
		if _, err := c.Row("PRAGMA cache_size").Scan(&got); err != nil || got != "-1024" {
			t.Errorf("reader's cache %q (%v)", got, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A deferred constraint speaks at COMMIT only: the guilty member fails, its neighbours do not.
func TestDeferredConstraint(t *testing.T) {
	t.Parallel()
	d := openTest(t, Config{})
	if err := d.Migrate(t.Context(), "x", []Step{`CREATE TABLE p(k INTEGER PRIMARY KEY);
		CREATE TABLE c(k INTEGER PRIMARY KEY, p INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED)`}); err != nil {
		t.Fatal(err)
	}
	d.writer.tx.h.Exec("PRAGMA foreign_keys=1")
	inside, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		d.Update(context.Background(), func(*Tx) error {
			select {
			case <-inside: // replayed
			default:
				close(inside)
			}
			<-release
			return nil
		}, nil)
	})
	<-inside
	runs := [20]int{}
	for k := range 20 {
		wg.Go(func() {
			err := d.Update(context.Background(), func(tx *Tx) error {
				runs[k]++
				parent := Null()
				if k == 7 {
					parent = Int(99)
				}
				_, err := tx.Exec(`INSERT INTO c VALUES(?,?)`, Int(k), parent)
				return err
			}, nil)
			if (err != nil) != (k == 7) {
				t.Errorf("member %d: %v", k, err)
			}
		})
	}
	for d.Stats().Waiting < 20 {
		runtime.Gosched()
	}
	close(release)
	wg.Wait()
	if d.Stats().Replays == 0 || runs[3] != 2 {
		t.Errorf("%d replays, %d runs: the members did not share a commit", d.Stats().Replays, runs[3])
	}
	var n int
	d.View(t.Context(), func(c *Conn) error { _, err := c.Row(`SELECT count(*) FROM c`).Scan(&n); return err })
	if n != 19 {
		t.Errorf("%d rows, want 19", n)
	}
}

// TestBeforeCommit: when what the rows refer to cannot be made durable nothing
// is committed; the functions run again, singly, and find out whose fault it is.
func TestBeforeCommit(t *testing.T) {
	t.Parallel()
	var fail atomic.Bool
	calls := 0
	d := openTest(t, Config{BeforeCommit: func() error {
		calls++
		if fail.Swap(false) {
			return errors.New("disk")
		}
		return nil
	}})
	if err := d.Migrate(t.Context(), "x", crashSchema); err != nil {
		t.Fatal(err)
	}
	runs := 0
	add := func(tx *Tx) error {
		runs++
		_, err := tx.Exec(`INSERT INTO mb VALUES(1, 1)`)
		return err
	}
	fail.Store(true)
	if err := d.Update(t.Context(), add, nil); err != nil || runs != 2 {
		t.Fatalf("%v after %d runs", err, runs)
	}
	before := calls
	d.Update(t.Context(), func(tx *Tx) error { return errors.New("no") }, nil)
	if calls != before {
		t.Error("called although there was nothing to commit")
	}
	always := errors.New("always")
	d.writer.cfg.BeforeCommit = func() error { return always }
	if err := d.Update(t.Context(), func(tx *Tx) error { _, err := tx.Exec(`DELETE FROM mb`); return err }, nil); !errors.Is(err, always) {
		t.Errorf("%v", err)
	}
	d.writer.cfg.BeforeCommit = nil
	var n int
	d.View(t.Context(), func(c *Conn) error { _, err := c.Row(`SELECT count(*) FROM mb`).Scan(&n); return err })
	if n != 1 {
		t.Errorf("%d rows", n)
	}
}

// t.Fatal inside a function ends the writer's goroutine; the database goes on.
func TestGoexit(t *testing.T) {
	t.Parallel()
	d := openTest(t, Config{})
	if err := d.Update(t.Context(), func(*Tx) error { runtime.Goexit(); return nil }, nil); err == nil {
		t.Fatal("no error")
	}
	if err := d.Update(t.Context(), func(tx *Tx) error { _, err := tx.Exec(`CREATE TABLE t(x)`); return err }, nil); err != nil {
		t.Fatal(err)
	}
}

// BEGIN and COMMIT inside a function are refused with an error, not believed.
func TestTransactionInside(t *testing.T) {
	t.Parallel()
	d := openTest(t, Config{})
	for _, sql := range []string{"COMMIT", "ROLLBACK"} {
		if err := d.Update(t.Context(), func(tx *Tx) error { _, err := tx.Exec(sql); return err }, nil); err == nil {
			t.Errorf("%s inside an update gave no error", sql)
		}
	}
}

// TestWALBounded keeps readers with snapshots running all the time while the
// writer writes far more than the checkpoint size.
func TestWALBounded(t *testing.T) { // not in parallel: its readers must not be starved
	d := openTest(t, Config{CheckpointKB: 256, NoSync: true})
	if err := d.Migrate(t.Context(), "x", crashSchema); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for !stop.Load() {
				err := d.View(context.Background(), func(c *Conn) error {
					for _, err := range c.Rows(`SELECT id, acct FROM b ORDER BY id LIMIT 50`) {
						if err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	resets, last, largest := 0, 0, int64(0)
	buf := make([]byte, 8000)
	const wanted = 5
	end := time.Now().Add(time.Minute) // a busy machine may keep readers from ending in time, but not for ever
	for i := 0; resets < wanted && time.Now().Before(end); i++ {
		var pages int
		err := d.Update(t.Context(), func(tx *Tx) error {
			pages = d.writer.walPages // of the commit before
			_, err := deliverSmall(tx, int64(i%10), buf)
			return err
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if pages < last {
			resets++
		}
		last = pages
		largest = max(largest, d.Stats().WALBytes)
	}
	stop.Store(true)
	wg.Wait()
	if resets < wanted {
		t.Fatalf("the WAL began anew %d times only, and grew to %d octets", resets, largest)
	}
	t.Logf("largest WAL %d KB, %d checkpoints, %v", largest>>10, d.Stats().Checkpoints, time.Duration(d.Stats().CheckpointNanos))
}

func TestIncrementalVacuum(t *testing.T) {
	t.Parallel()
	d := openTest(t, Config{NoSync: true, CheckpointKB: 64})
	if err := d.Migrate(t.Context(), "x", crashSchema); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if err := d.Update(t.Context(), func(tx *Tx) error { _, err := deliverSmall(tx, int64(i%10), make([]byte, 8000)); return err }, nil); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := os.Stat(d.cfg.Path)
	if err := d.Update(t.Context(), func(tx *Tx) error { _, err := tx.Exec(`DELETE FROM b`); return err }, nil); err != nil {
		t.Fatal(err)
	}
	freed, err := d.IncrementalVacuum(t.Context(), 1000)
	if err != nil || freed < 1000 {
		t.Fatalf("freed %d pages, %v", freed, err)
	}
	if freed, err = d.IncrementalVacuum(t.Context(), 1<<30); err != nil || freed < 900 {
		t.Fatalf("freed %d pages, %v", freed, err)
	}
	path := d.cfg.Path
	d.Close()
	if after, _ := os.Stat(path); after.Size() > before.Size()/4 {
		t.Fatalf("the file shrank from %d to %d only", before.Size(), after.Size())
	}
}

// Close leaves no goroutine and no file of SQLite's but the database.
func TestCloseLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	before := runtime.NumGoroutine()
	d, err := Open(t.Context(), Config{Path: filepath.Join(dir, "mail.db")})
	if err != nil {
		t.Fatal(err)
	}
	d.Update(t.Context(), func(tx *Tx) error { _, err := tx.Exec(`CREATE TABLE t(x)`); return err }, nil)
	d.View(t.Context(), func(c *Conn) error { return nil })
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	// A goroutine that Close waited for has said that it is done, but may be still on its way out.
	for end := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
	}
	list, _ := os.ReadDir(dir)
	if len(list) != 1 {
		t.Errorf("left behind: %v", list)
	}
}

// The statement cache forgets before it fills the memory.
func TestManyTexts(t *testing.T) {
	t.Parallel()
	d := openTest(t, Config{})
	err := d.View(t.Context(), func(c *Conn) error {
		for i := range 3 * maxStmts {
			var got int
			if _, err := c.Row(fmt.Sprintf("SELECT %d", i)).Scan(&got); err != nil || got != i {
				return fmt.Errorf("%d %w", got, err)
			}
		}
		if len(c.stmts) > maxStmts {
			return fmt.Errorf("%d statements", len(c.stmts))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	if _, err := Open(t.Context(), Config{}); err == nil {
		t.Error("no path gave no error")
	}
	dir := t.TempDir()
	if _, err := Open(t.Context(), Config{Path: filepath.Join(dir, "no", "such", "x.db")}); err == nil {
		t.Error("a missing directory gave no error")
	}
	bad := filepath.Join(dir, "bad.db")
	os.WriteFile(bad, []byte(strings.Repeat("this is not a database ", 500)), 0o600)
	if _, err := Open(t.Context(), Config{Path: bad}); err == nil {
		t.Error("a text file was opened as a database")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Config{Path: filepath.Join(dir, "x.db")}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestAllocations pins the cost of the hot calls.
func TestAllocations(t *testing.T) {
	d := openTest(t, Config{NoSync: true})
	if err := d.Migrate(t.Context(), "x", crashSchema); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 100)
	check := func(name string, limit float64, f func()) {
		if got := testing.AllocsPerRun(200, f); got > limit {
			t.Errorf("%s: %v allocations, want at most %v", name, got, limit)
		}
	}
	d.View(t.Context(), func(c *Conn) error {
		check("Row", 0, func() {
			var a, b int64
			c.Row(`SELECT ?, ?`, Int(1), Int(2)).Scan(&a, &b)
		})
		check("Rows", 0, func() {
			for r := range c.Rows(`SELECT ?1, ?2`, Int(1), Blob(data)) {
				r.Int(0)
				r.RawBytes(1)
			}
		})
		return nil
	})
	d.Update(t.Context(), func(tx *Tx) error {
		check("Exec", 0, func() { tx.Exec(`INSERT INTO b(acct, data) VALUES(?,?)`, Int(1), Blob(data)) })
		check("Send", 0, func() { tx.Send(1, `INSERT INTO b(acct, data) VALUES(?,?)`, Int(1), Blob(data)) })
		return nil
	}, nil)
	check("Update", 1, func() {
		d.Update(context.Background(), func(*Tx) error { return nil }, nil)
	})
}

// ---- benchmarks: a delivery of five rows ----

const benchSchema = `
CREATE TABLE accounts(account_id INTEGER PRIMARY KEY, modseq INTEGER NOT NULL, used_bytes INTEGER NOT NULL, used_msgs INTEGER NOT NULL, next_msg INTEGER NOT NULL);
CREATE TABLE mailboxes(account_id INTEGER, mailbox_id INTEGER, uidnext INTEGER NOT NULL, modseq INTEGER NOT NULL, msgs INTEGER NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY(account_id, mailbox_id)) WITHOUT ROWID;
CREATE TABLE msgidx(account_id INTEGER, mailbox_id INTEGER, uid INTEGER, modseq INTEGER, flags INTEGER, size INTEGER, date INTEGER, msg_id INTEGER, PRIMARY KEY(account_id, mailbox_id, uid)) WITHOUT ROWID;
CREATE TABLE messages(account_id INTEGER, msg_id INTEGER, body TEXT, env BLOB, PRIMARY KEY(account_id, msg_id)) WITHOUT ROWID;
CREATE TABLE changelog(account_id INTEGER, modseq INTEGER, mailbox_id INTEGER, kind INTEGER, uid INTEGER, PRIMARY KEY(account_id, modseq)) WITHOUT ROWID;
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<999) INSERT INTO accounts SELECT i,0,0,0,1 FROM n;
INSERT INTO mailboxes SELECT account_id,1,1,0,0,0 FROM accounts;`

func deliverFive(tx *Tx, acct int64, env []byte, size int64) error {
	var modseq, msg, uid int64
	if _, err := tx.Row(`UPDATE accounts SET modseq=modseq+1, used_bytes=used_bytes+?1, used_msgs=used_msgs+1, next_msg=next_msg+1 WHERE account_id=?2 RETURNING modseq, next_msg-1`,
		Int(size), Int(acct)).Scan(&modseq, &msg); err != nil {
		return err
	}
	if _, err := tx.Row(`UPDATE mailboxes SET uidnext=uidnext+1, modseq=?1, msgs=msgs+1, bytes=bytes+?2 WHERE account_id=?3 AND mailbox_id=1 RETURNING uidnext-1`,
		Int(modseq), Int(size), Int(acct)).Scan(&uid); err != nil {
		return err
	}
	if _, err := tx.Exec(`INSERT INTO messages VALUES(?,?,?,?)`, Int(acct), Int(msg), Text("p1.abcdef.4xy"), Blob(env)); err != nil {
		return err
	}
	if _, err := tx.Exec(`INSERT INTO msgidx VALUES(?,1,?,?,0,?,?,?)`, Int(acct), Int(uid), Int(modseq), Int(size), Int(1), Int(msg)); err != nil {
		return err
	}
	_, err := tx.Exec(`INSERT INTO changelog VALUES(?,?,1,1,?)`, Int(acct), Int(modseq), Int(uid))
	return err
}

func BenchmarkDeliver(b *testing.B) {
	for _, c := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("c=%d", c), func(b *testing.B) {
			d := openTest(b, Config{})
			if err := d.Migrate(b.Context(), "bench", []Step{benchSchema}); err != nil {
				b.Fatal(err)
			}
			env := make([]byte, 600)
			var next atomic.Int64
			var wg sync.WaitGroup
			before := d.Stats()
			b.ResetTimer()
			cpu := cpuTime()
			for range c {
				wg.Go(func() {
					for {
						i := next.Add(1)
						if i > int64(b.N) {
							return
						}
						if err := d.Update(context.Background(), func(tx *Tx) error { return deliverFive(tx, i*7%1000, env, 6000) }, nil); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			s := d.Stats()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			b.ReportMetric(float64(cpuTime()-cpu)/1e3/float64(b.N), "cpu-µs/msg")
			b.ReportMetric(float64(s.Updates-before.Updates)/float64(s.Commits-before.Commits), "batch")
		})
	}
}

func BenchmarkView(b *testing.B) {
	d := openTest(b, Config{})
	if err := d.Migrate(b.Context(), "bench", []Step{benchSchema}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		err := d.View(context.Background(), func(c *Conn) error {
			var n int64
			_, err := c.Row(`SELECT uidnext FROM mailboxes WHERE account_id=? AND mailbox_id=1`, Int(i%1000)).Scan(&n)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScan(b *testing.B) {
	d := openTest(b, Config{NoSync: true})
	if err := d.Migrate(b.Context(), "bench", []Step{benchSchema}); err != nil {
		b.Fatal(err)
	}
	const n = 100_000
	err := d.Update(b.Context(), func(tx *Tx) error {
		_, err := tx.Exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<100000) INSERT INTO msgidx SELECT 1,1,i,i,0,5000,i,i FROM n`)
		return err
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		d.View(context.Background(), func(c *Conn) error {
			k := 0
			for r, err := range c.Rows(`SELECT uid, modseq, flags, size, date, msg_id FROM msgidx WHERE account_id=? AND mailbox_id=?`, Int(1), Int(1)) {
				if err != nil {
					return err
				}
				k += int(r.Int(0)&1 + r.Int(1)&1 + r.Int(2)&1 + r.Int(3)&1 + r.Int(4)&1 + r.Int(5)&1)
			}
			return nil
		})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
