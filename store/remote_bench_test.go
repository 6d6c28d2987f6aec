package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"bahnpost/store/blob"
	"bahnpost/store/blob/s3/s3test"
	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"
)

const clusterSchema = `
CREATE TABLE accounts(account_id INTEGER PRIMARY KEY, modseq INTEGER NOT NULL);
CREATE TABLE bodies(account_id INTEGER NOT NULL, body_id INTEGER NOT NULL, ref TEXT NOT NULL, data BLOB, PRIMARY KEY(account_id, body_id));
CREATE TABLE msgidx(account_id INTEGER NOT NULL, uid INTEGER NOT NULL, modseq INTEGER NOT NULL, env BLOB NOT NULL, PRIMARY KEY(account_id, uid));
INSERT INTO accounts VALUES (0,0),(1,0),(2,0),(3,0),(4,0),(5,0),(6,0),(7,0),(8,0),(9,0);`

// BenchmarkBodyCluster compares bodies in PostgreSQL's rows with bodies on S3
// (docs/decisions/0008-bodies-on-s3.md): a delivery of three statements, and reading a body.
// Processor time is told for the node, PostgreSQL and the S3 server apart; WAL is what a standby gets.
func BenchmarkBodyCluster(b *testing.B) {
	for _, size := range []int{2_000, 8_000, 16_000, 32_000, 64_000, 128_000, 512_000} {
		for _, where := range []string{"inline", "s3"} {
			b.Run(fmt.Sprintf("deliver/size=%d/%s", size, where), func(b *testing.B) { benchCluster(b, size, where, false) })
			b.Run(fmt.Sprintf("read/size=%d/%s", size, where), func(b *testing.B) { benchCluster(b, size, where, true) })
		}
	}
}

func benchCluster(b *testing.B, size int, where string, read bool) {
	const senders = 16
	server := s3test.Start(b)
	s, err := Open(b.Context(), Config{Dir: b.TempDir(), Database: dbtest.Schema(b, dbtest.Postgres(b), b.TempDir()), Bodies: []string{server.URL()}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.DB.Migrate(b.Context(), "bench", []db.Step{clusterSchema}); err != nil {
		b.Fatal(err)
	}
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(data)
	deliver := func(i int64) error {
		in, ref := db.Blob(data), ""
		if where == "s3" {
			r, err := s.Bodies.Stage(context.Background(), data)
			if err != nil {
				return err
			}
			in, ref = db.Value{}, string(r)
		}
		return s.DB.Update(context.Background(), func(tx *db.Tx) error {
			a := db.Int(i % 10)
			tx.Send(1, `UPDATE accounts SET modseq=modseq+1 WHERE account_id=?`, a)
			tx.Send(1, `INSERT INTO bodies VALUES(?,?,?,?)`, a, db.Int(i), db.Text(ref), in)
			tx.Send(1, `INSERT INTO msgidx VALUES(?,?,?,?)`, a, db.Int(i), db.Int(i), db.Blob(data[:600]))
			return nil
		}, nil)
	}
	fetch := func(i int64) error {
		return s.DB.View(context.Background(), func(c *db.Conn) error {
			var ref string
			var in []byte
			_, err := c.Row(`SELECT ref, data FROM bodies WHERE account_id=? AND body_id=?`, db.Int(i%10), db.Int(i)).Scan(&ref, &in)
			if err != nil || ref == "" {
				return err
			}
			r, err := s.Bodies.Open(context.Background(), blob.Ref(ref))
			if err != nil {
				return err
			}
			defer r.Close()
			_, err = r.ReadAt(make([]byte, size), 0)
			return err
		})
	}
	run := func(n int64, f func(int64) error) {
		var next atomic.Int64
		var wg sync.WaitGroup
		for range senders {
			wg.Go(func() {
				for i := next.Add(1); i <= n; i = next.Add(1) {
					if err := f(i); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	work := deliver
	if read {
		run(int64(b.N), deliver)
		work = fetch
	}
	pg := serverOf(b, s)
	wal, node, pgCPU, s3CPU := walOf(b, s), cpuTime(), ticks(pg), ticks(server.PID())
	b.ResetTimer()
	run(int64(b.N), work)
	b.StopTimer()
	n := float64(b.N)
	b.ReportMetric(n/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64(cpuTime()-node)/1e3/n, "node-µs")
	b.ReportMetric(float64(ticks(pg)-pgCPU)*1e4/n, "pg-µs")
	b.ReportMetric(float64(ticks(server.PID())-s3CPU)*1e4/n, "s3-µs")
	b.ReportMetric(float64(walOf(b, s)-wal)/n, "wal-B")
}

func ask(b *testing.B, s *Store, sql string) (out string) {
	b.Helper()
	err := s.DB.View(b.Context(), func(c *db.Conn) error {
		_, err := c.Row(sql).Scan(&out)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return out
}

func walOf(b *testing.B, s *Store) int64 {
	n, err := strconv.ParseInt(ask(b, s, `SELECT CAST(CAST(pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS BIGINT) AS TEXT)`), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// serverOf is the pid of the postmaster.
func serverOf(b *testing.B, s *Store) int {
	pid, err := os.ReadFile(filepath.Join(ask(b, s, `SELECT current_setting('data_directory')`), "postmaster.pid"))
	if err != nil {
		b.Fatal(err)
	}
	n, _ := strconv.Atoi(strings.SplitN(string(pid), "\n", 2)[0])
	return n
}

// ticks is the processor time of a process and its children, dead or alive, in hundredths of a second.
func ticks(pid int) (sum int64) {
	entries, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, e := range entries {
		b, err := os.ReadFile(e)
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if parent, _ := strconv.Atoi(f[1]); parent != pid && filepath.Base(filepath.Dir(e)) != strconv.Itoa(pid) {
			continue
		}
		for _, x := range f[11:15] { // utime, stime, cutime, cstime
			n, _ := strconv.ParseInt(x, 10, 64)
			sum += n
		}
	}
	return sum
}
