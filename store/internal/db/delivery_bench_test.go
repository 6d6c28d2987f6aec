package db_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"
)

// A delivery as mailstore makes it: three questions, eight statements that change rows.
const deliverySchema = `
CREATE TABLE accounts(account_id INTEGER PRIMARY KEY, modseq INTEGER NOT NULL, used_bytes INTEGER NOT NULL, used_msgs INTEGER NOT NULL, next_msg INTEGER NOT NULL, next_thread INTEGER NOT NULL);
CREATE TABLE mailboxes(account_id INTEGER, mailbox_id INTEGER, uidnext INTEGER NOT NULL, modseq INTEGER NOT NULL, msgs INTEGER NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY(account_id, mailbox_id)) WITHOUT ROWID;
CREATE TABLE msgidx(account_id INTEGER, mailbox_id INTEGER, uid INTEGER, msg_id INTEGER, modseq INTEGER, flags INTEGER, size INTEGER, idate INTEGER, kw_more BLOB, PRIMARY KEY(account_id, mailbox_id, uid)) WITHOUT ROWID;
CREATE TABLE messages(account_id INTEGER, id INTEGER, mailbox_id INTEGER, uid INTEGER, thread_id INTEGER, body_id INTEGER, uidl TEXT, prefix BLOB, PRIMARY KEY(account_id, id)) WITHOUT ROWID;
CREATE TABLE bodies(account_id INTEGER, body_id INTEGER, refs INTEGER, codec INTEGER, rawsize INTEGER, sha256 BLOB, ref TEXT, data BLOB, PRIMARY KEY(account_id, body_id)) WITHOUT ROWID;
CREATE TABLE summaries(account_id INTEGER, body_id INTEGER, summary BLOB, PRIMARY KEY(account_id, body_id)) WITHOUT ROWID;
CREATE TABLE thread_ref(account_id INTEGER, ref INTEGER, thread_id INTEGER NOT NULL, PRIMARY KEY(account_id, ref)) WITHOUT ROWID;
CREATE TABLE dedup(account_id INTEGER, token BLOB, mailbox_id INTEGER, uid INTEGER, msg_id INTEGER, expires INTEGER, PRIMARY KEY(account_id, token)) WITHOUT ROWID;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1000) INSERT INTO accounts SELECT i,1,0,0,1,1 FROM n;
INSERT INTO mailboxes SELECT account_id,1,1,1,0,0 FROM accounts;`

const (
	sqlBenchAccount = `SELECT modseq FROM accounts WHERE account_id=?`
	sqlBenchDedup   = `SELECT mailbox_id, uid, msg_id FROM dedup WHERE account_id=? AND token=? AND expires>?`
	sqlBenchThread  = `SELECT thread_id FROM thread_ref WHERE account_id=? AND ref=?`
)

// delivery is one mail to one account whose counters, as in mailstore, memory knows.
type delivery struct {
	acct   int64
	n      *[1001]int64 // messages of each account
	token  []byte
	now    int64
	body   []byte
	key    int64
	queued bool // Send, not Exec
}

func (m *delivery) ask() []db.Question {
	return []db.Question{db.AskLock(sqlBenchAccount, db.Int(m.acct)), db.Ask(sqlBenchDedup, db.Int(m.acct), db.Blob(m.token), db.Int(m.now)),
		db.Ask(sqlBenchThread, db.Int(m.acct), db.Int(m.key))}
}

func (m *delivery) run(tx *db.Tx) error {
	var modseq, thread int64
	if found, err := tx.Lock(sqlBenchAccount, db.Int(m.acct)).Scan(&modseq); err != nil || !found {
		return fmt.Errorf("account %d: %v %w", m.acct, found, err)
	}
	if found, err := tx.Row(sqlBenchDedup, db.Int(m.acct), db.Blob(m.token), db.Int(m.now)).Scan(new(int64), new(int64), new(int64)); found || err != nil {
		return fmt.Errorf("dedup: %v %w", found, err)
	}
	if _, err := tx.Row(sqlBenchThread, db.Int(m.acct), db.Int(m.key)).Scan(&thread); err != nil {
		return err
	}
	uid := modseq
	var fault error
	do := func(want int64, sql string, args ...db.Value) {
		if m.queued {
			tx.Send(want, sql, args...)
		} else if n, err := tx.Exec(sql, args...); fault == nil && (err != nil || want >= 0 && n != want) {
			fault = fmt.Errorf("%d: %w: %s", n, err, sql)
		}
	}
	a := db.Int(m.acct)
	do(1, `INSERT INTO bodies (account_id, body_id, refs, codec, rawsize, sha256, ref, data) VALUES (?,?,1,?,?,?,?,?)`,
		a, db.Int(uid), db.Int(1), db.Int(10_000), db.Blob(m.token), db.Text(""), db.Blob(m.body))
	do(1, `INSERT INTO summaries (account_id, body_id, summary) VALUES (?,?,?)`, a, db.Int(uid), db.Blob(m.body[:600]))
	do(db.AnyCount, `INSERT INTO thread_ref (account_id, ref, thread_id) VALUES (?1,?3,?2),(?1,?4,?2),(?1,?5,?2) ON CONFLICT DO NOTHING`,
		a, db.Int(uid), db.Int(m.key), db.Int(m.key+1), db.Int(m.key+2))
	do(1, `INSERT INTO msgidx (account_id, mailbox_id, uid, msg_id, modseq, flags, size, idate, kw_more) VALUES (?,?,?,?,?,?,?,?,?)`,
		a, db.Int(1), db.Int(uid), db.Int(uid), db.Int(modseq+1), db.Int(0), db.Int(10_000), db.Int(m.now), db.Null())
	do(1, `INSERT INTO messages (account_id, id, mailbox_id, uid, thread_id, body_id, uidl, prefix) VALUES (?,?,?,?,?,?,?,?)`,
		a, db.Int(uid), db.Int(1), db.Int(uid), db.Int(uid), db.Int(uid), db.Text(""), db.Blob(m.body[:300]))
	do(1, `INSERT INTO dedup (account_id, token, mailbox_id, uid, msg_id, expires) VALUES (?1,?2,?3,?4,?5,?6)
		ON CONFLICT (account_id, token) DO UPDATE SET mailbox_id=?3, uid=?4, msg_id=?5, expires=?6`, a, db.Blob(m.token), db.Int(1), db.Int(uid), db.Int(uid), db.Int(m.now+1))
	do(1, `UPDATE accounts SET modseq=?3, used_bytes=?4, used_msgs=?5, next_msg=?6, next_thread=?6 WHERE account_id=?1 AND modseq=?2`,
		a, db.Int(modseq), db.Int(modseq+1), db.Int(10_000*uid), db.Int(uid), db.Int(uid+1))
	do(1, `UPDATE mailboxes SET uidnext=?3, modseq=?4, msgs=?5, bytes=?6 WHERE account_id=?1 AND mailbox_id=?2`,
		a, db.Int(1), db.Int(uid+1), db.Int(modseq+1), db.Int(uid), db.Int(10_000*uid))
	return fault
}

// deliver runs b.N deliveries by c callers and reports what they cost whom.
func deliver(b *testing.B, d *db.DB, server, c int, queued bool) {
	if err := d.Migrate(b.Context(), "bench", []db.Step{deliverySchema}); err != nil {
		b.Fatal(err)
	}
	body := make([]byte, 1500)
	for i := range body {
		body[i] = byte(i * i >> 3)
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	before, client, srv := d.Stats(), processCPU(), serverCPU(server)
	b.ResetTimer()
	for range c {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				m := &delivery{acct: i*7%1000 + 1, token: binary.BigEndian.AppendUint64(nil, uint64(i)), now: 1_800_000_000, body: body, key: 10 * i, queued: queued}
				var err error
				if queued {
					err = d.UpdateFor(context.Background(), m.acct, m.ask(), m.run, nil)
				} else {
					err = d.Update(context.Background(), m.run, nil)
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	s, n := d.Stats(), float64(b.N)
	b.ReportMetric(n/b.Elapsed().Seconds(), "members/s")
	b.ReportMetric(float64((processCPU()-client).Microseconds())/n, "client-µs")
	b.ReportMetric(float64((serverCPU(server)-srv).Microseconds())/n, "server-µs")
	b.ReportMetric(float64(s.Updates-before.Updates)/float64(s.Commits-before.Commits), "batch")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkDelivery(b *testing.B) {
	for _, c := range []int{1, 32} {
		b.Run(fmt.Sprintf("SQLite/c=%d", c), func(b *testing.B) {
			deliver(b, open(b, db.Config{Path: filepath.Join(b.TempDir(), "mail.db")}), 0, c, true)
		})
	}
	server := dbtest.Start(b)
	for _, c := range []int{1, 32} {
		for name, queued := range map[string]bool{"Exec": false, "Send": true} {
			b.Run(fmt.Sprintf("PostgreSQL%s/c=%d", name, c), func(b *testing.B) {
				d := open(b, db.Config{Postgres: dbtest.Schema(b, server.DSN, b.Name()+strconv.Itoa(b.N))})
				deliver(b, d, server.PID(), c, queued)
			})
		}
	}
}

func processCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serverCPU is the time that the server's living processes have used, where /proc tells.
func serverCPU(postmaster int) (sum time.Duration) {
	if postmaster == 0 {
		return 0
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", postmaster, postmaster))
	if err != nil {
		return 0
	}
	for pid := range strings.FieldsSeq(string(children)) {
		text, err := os.ReadFile("/proc/" + pid + "/schedstat")
		if err != nil {
			continue
		}
		ns, _ := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		sum += time.Duration(ns)
	}
	return sum
}
