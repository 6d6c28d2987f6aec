package db

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
)

var crashSchema = []Step{`
	CREATE TABLE b(id INTEGER PRIMARY KEY, acct INTEGER, data BLOB);
	CREATE TABLE m(acct INTEGER, uid INTEGER, bid INTEGER, PRIMARY KEY(acct, uid)) WITHOUT ROWID;
	CREATE TABLE mb(acct INTEGER PRIMARY KEY, n INTEGER)`}

// deliverSmall is a delivery in small: counter, body, row.
func deliverSmall(tx *Tx, acct int64, buf []byte) (uid int64, err error) {
	if _, err = tx.Row(`INSERT INTO mb VALUES(?,1) ON CONFLICT DO UPDATE SET n=n+1 RETURNING n`, Int(acct)).Scan(&uid); err != nil {
		return 0, err
	}
	for i := range buf {
		buf[i] = byte(uid)
	}
	var body int64
	if _, err = tx.Row(`INSERT INTO b(acct, data) VALUES(?,?) RETURNING id`, Int(acct), Blob(buf)).Scan(&body); err != nil {
		return 0, err
	}
	_, err = tx.Exec(`INSERT INTO m VALUES(?,?,?)`, Int(acct), Int(uid), Int(body))
	return uid, err
}

// crashRound delivers from 16 goroutines, cuts the power after some promises
// and says how many of them the reopened database has broken.
func crashRound(t *testing.T, level string, seed uint64) (promised, lost int, problem string) {
	name := fmt.Sprintf("lossy-%s-%d", level, seed)
	v := newLossy(t, name)
	dir := t.TempDir()
	d, err := Open(t.Context(), Config{Path: "/mail.db", vfs: name, syncLevel: level, CheckpointKB: 800})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Migrate(t.Context(), "crash", crashSchema); err != nil {
		t.Fatal(err)
	}
	if level != "FULL" { // let the schema itself be there
		if _, _, err := d.writer.tx.h.WALCheckpoint("main", 3); err != nil {
			t.Fatal(err)
		}
	}
	r := rand.New(rand.NewPCG(seed, 99))
	limit := 50 + r.IntN(400)
	var mu sync.Mutex
	acks := map[[2]int64]int{}
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(g)))
			buf := make([]byte, 10_000)
			for {
				acct, n, uid := int64(r.IntN(50)), 1000+r.IntN(9000), int64(0)
				err := d.Update(context.Background(), func(tx *Tx) (err error) {
					uid, err = deliverSmall(tx, acct, buf[:n])
					return err
				}, nil)
				mu.Lock()
				if err != nil || len(acks) >= limit {
					mu.Unlock()
					return
				}
				acks[[2]int64{acct, uid}] = n // a promise that left before the cut
				if len(acks) == limit {
					v.cut(t, dir, r)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	d.Close()
	lost, problem = crashCheck(t, filepath.Join(dir, "mail.db"), acks)
	return len(acks), lost, problem
}

func crashCheck(t *testing.T, path string, acks map[[2]int64]int) (lost int, problem string) {
	d, err := Open(t.Context(), Config{Path: path, NoSync: true})
	if err != nil {
		return len(acks), err.Error()
	}
	defer d.Close()
	bad, err := d.IntegrityCheck(t.Context())
	if err != nil || len(bad) > 0 {
		return len(acks), fmt.Sprint(bad, err)
	}
	have := map[[2]int64]int{}
	err = d.View(t.Context(), func(c *Conn) error {
		for r, err := range c.Rows(`SELECT m.acct, m.uid, b.data FROM m JOIN b ON b.id=m.bid`) {
			if err != nil {
				return err
			}
			data := r.RawBytes(2)
			for _, x := range data {
				if x != byte(r.Int(1)) {
					return fmt.Errorf("torn body of %d/%d", r.Int(0), r.Int(1))
				}
			}
			have[[2]int64{r.Int(0), r.Int(1)}] = len(data)
		}
		var wrong int
		_, err := c.Row(`SELECT count(*) FROM mb WHERE n<>(SELECT count(*) FROM m WHERE m.acct=mb.acct)`).Scan(&wrong)
		if wrong > 0 {
			return fmt.Errorf("%d counters differ from their rows", wrong)
		}
		return err
	})
	if err != nil {
		return len(acks), err.Error()
	}
	for k, n := range acks {
		if have[k] != n {
			lost++
		}
	}
	return lost, ""
}

// TestPowerCut cuts the power again and again: no acknowledged Update is lost.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	total := 0
	for seed := range uint64(15) {
		n, lost, problem := crashRound(t, "FULL", seed)
		if lost > 0 || problem != "" {
			t.Fatalf("seed %d: %d of %d lost; %s", seed, lost, n, problem)
		}
		total += n
	}
	t.Logf("15 power cuts, %d acknowledged, none lost", total)
}

// TestPowerCutControl shows that the simulator can lose: synchronous=NORMAL does.
func TestPowerCutControl(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		if _, lost, _ := crashRound(t, "NORMAL", seed); lost > 0 {
			return
		}
	}
	t.Fatal("synchronous=NORMAL lost nothing: the simulator proves nothing")
}

// TestFaults lets one write or sync fail in the middle of concurrent work, at
// every place in turn: whoever got nil has a row, whoever got an error has
// none, and the writer goes on.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"sync", "write"} {
		replays, failed := int64(0), 0
		for n := int64(1); n <= 25; n++ {
			name := fmt.Sprintf("faulty-%s-%d", kind, n)
			v := newLossy(t, name)
			d, err := Open(t.Context(), Config{Path: "/mail.db", vfs: name, CheckpointKB: 400})
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Migrate(t.Context(), "crash", crashSchema); err != nil {
				t.Fatal(err)
			}
			if kind == "sync" {
				v.failSync.Store(n)
			} else {
				v.failWrite.Store(n * 7)
			}
			failed += faultyWork(t, d)
			replays += d.Stats().Replays
			d.Close()
		}
		if replays == 0 {
			t.Errorf("%s: no shared commit was ever replayed", kind)
		}
		t.Logf("%s: %d members replayed, %d heard an error", kind, replays, failed)
	}
}

func faultyWork(t *testing.T, d *DB) (failed int) {
	var mu sync.Mutex
	want := map[int64]bool{}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 12 {
				k, called := int64(g*100+i), false
				err := d.Update(context.Background(), func(tx *Tx) error {
					_, err := tx.Exec(`INSERT INTO b VALUES(?,?,?)`, Int(k), Int(k), Blob(make([]byte, 3000)))
					return err
				}, func() { called = true })
				mu.Lock()
				want[k] = err == nil
				if err != nil {
					failed++
				}
				mu.Unlock()
				if called != (err == nil) {
					t.Errorf("row %d: callback %v, error %v", k, called, err)
				}
			}
		})
	}
	wg.Wait()
	err := d.Update(context.Background(), func(tx *Tx) error { // the disk has no shared memory: no readers
		for k, ok := range want {
			found, err := tx.Row(`SELECT 1 FROM b WHERE id=?`, Int(k)).Scan(new(int))
			if err != nil {
				return err
			}
			if found != ok {
				t.Errorf("row %d: there %v, acknowledged %v", k, found, ok)
			}
		}
		return nil
	}, nil)
	if err != nil {
		t.Error("after the fault:", err)
	}
	return failed
}
