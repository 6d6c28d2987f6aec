package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bahnpost/store/internal/db"
)

// The tables of a delivery, once with the body in the database and once with a reference.
const inlineSchema = `
CREATE TABLE accounts(account_id INTEGER PRIMARY KEY, modseq INTEGER NOT NULL, used_bytes INTEGER NOT NULL, used_msgs INTEGER NOT NULL, next_msg INTEGER NOT NULL);
CREATE TABLE mailboxes(account_id INTEGER, mailbox_id INTEGER, uidnext INTEGER NOT NULL, modseq INTEGER NOT NULL, msgs INTEGER NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY(account_id, mailbox_id)) WITHOUT ROWID;
CREATE TABLE msgidx(account_id INTEGER, mailbox_id INTEGER, uid INTEGER, modseq INTEGER, flags INTEGER, size INTEGER, date INTEGER, msg_id INTEGER, PRIMARY KEY(account_id, mailbox_id, uid)) WITHOUT ROWID;
CREATE TABLE messages(account_id INTEGER, msg_id INTEGER, body TEXT, env BLOB, PRIMARY KEY(account_id, msg_id)) WITHOUT ROWID;
CREATE TABLE bodies(body_id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE changelog(account_id INTEGER, modseq INTEGER, mailbox_id INTEGER, kind INTEGER, uid INTEGER, PRIMARY KEY(account_id, modseq)) WITHOUT ROWID;
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<999) INSERT INTO accounts SELECT i,0,0,0,1 FROM n;
INSERT INTO mailboxes SELECT account_id,1,1,0,0,0 FROM accounts;`

// deliverRows writes the rows of one delivery; inline, if not nil, goes into the database.
func deliverRows(tx *db.Tx, acct int64, env, inline []byte, ref string, size int64) error {
	var modseq, msg, uid int64
	if inline != nil {
		var id int64
		if _, err := tx.Row(`INSERT INTO bodies(data) VALUES(?) RETURNING body_id`, db.Blob(inline)).Scan(&id); err != nil {
			return err
		}
		ref = fmt.Sprint("i", id)
	}
	if _, err := tx.Row(`UPDATE accounts SET modseq=modseq+1, used_bytes=used_bytes+?1, used_msgs=used_msgs+1, next_msg=next_msg+1 WHERE account_id=?2 RETURNING modseq, next_msg-1`,
		db.Int(size), db.Int(acct)).Scan(&modseq, &msg); err != nil {
		return err
	}
	if _, err := tx.Row(`UPDATE mailboxes SET uidnext=uidnext+1, modseq=?1, msgs=msgs+1, bytes=bytes+?2 WHERE account_id=?3 AND mailbox_id=1 RETURNING uidnext-1`,
		db.Int(modseq), db.Int(size), db.Int(acct)).Scan(&uid); err != nil {
		return err
	}
	if _, err := tx.Exec(`INSERT INTO messages VALUES(?,?,?,?)`, db.Int(acct), db.Int(msg), db.Text(ref), db.Blob(env)); err != nil {
		return err
	}
	if _, err := tx.Exec(`INSERT INTO msgidx VALUES(?,1,?,?,0,?,?,?)`, db.Int(acct), db.Int(uid), db.Int(modseq), db.Int(size), db.Int(1), db.Int(msg)); err != nil {
		return err
	}
	_, err := tx.Exec(`INSERT INTO changelog VALUES(?,?,1,1,?)`, db.Int(acct), db.Int(modseq), db.Int(uid))
	return err
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkBody compares bodies in the database with bodies in packs
// (docs/decisions/0002-bodies-in-packs.md).
func BenchmarkBody(b *testing.B) {
	for _, size := range []int{1_500, 3_000, 6_000, 20_000, 60_000} {
		for _, c := range []int{1, 8, 32} {
			for _, where := range []string{"inline", "pack", "stage"} {
				b.Run(fmt.Sprintf("size=%d/c=%d/%s", size, c, where), func(b *testing.B) { benchBody(b, size, c, where) })
			}
		}
	}
}

func benchBody(b *testing.B, size, c int, where string) {
	s, err := Open(b.Context(), Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.DB.Migrate(b.Context(), "bench", []db.Step{inlineSchema}); err != nil {
		b.Fatal(err)
	}
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(data)
	env := data[:600]
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	cpu := cpuTime()
	for range c {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				var in []byte
				ref := ""
				if where == "inline" {
					in = data
				} else {
					put := s.Bodies.Put
					if where == "stage" {
						put = s.Bodies.Stage
					}
					r, err := put(context.Background(), data)
					if err != nil {
						b.Error(err)
						return
					}
					ref = string(r)
				}
				err := s.DB.Update(context.Background(), func(tx *db.Tx) error {
					return deliverRows(tx, i*7919%1000, env, in, ref, int64(size))
				}, nil)
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64(cpuTime()-cpu)/1e3/float64(b.N), "cpu-µs/msg")
}
