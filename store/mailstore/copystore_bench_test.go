package mailstore

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"bahnpost/mail"
	"bahnpost/store/internal/db/dbtest"
)

// BenchmarkCopyStore copies 20 accounts with 500 messages each, every second body above the inline limit.
func BenchmarkCopyStore(b *testing.B) {
	dsn := dbtest.Postgres(b)
	lite := fullSite(b, "")
	for name, side := range map[string][2]string{"SQLite-PostgreSQL": {"", dsn}, "SQLite-SQLite": {"", ""}, "PostgreSQL-SQLite": {dsn, ""}} {
		b.Run(name, func(b *testing.B) {
			from := lite
			if side[0] != "" {
				from = siteOn(b, side[0], Config{})
				from.copyFrom(lite, true)
			}
			messages, used := int64(0), time.Duration(0)
			for b.Loop() {
				b.StopTimer()
				to := siteOn(b, side[1], Config{})
				before := processCPU(b)
				b.StartTimer()
				messages += to.copyFrom(from, true).Messages
				used += processCPU(b) - before
			}
			b.ReportMetric(float64(messages)/b.Elapsed().Seconds(), "messages/s")
			b.ReportMetric(float64(used.Microseconds())/float64(messages), "µs-CPU/message")
		})
	}
}

func fullSite(b *testing.B, dsn string) *site {
	s := siteOn(b, dsn, Config{})
	for a := range mail.AccountID(20) {
		tk := s.account(a+1, Quota{})
		inbox := s.box(a+1, Inbox).ID
		for n := range 50 {
			var bodies []*Body
			for k := range 10 {
				bodies = append(bodies, s.body(fmt.Sprintf("Message-ID: <%d.%d.%d@x>\r\n%s", a, n, k, big(n, 1000+19000*(k&1)))))
			}
			s.must(tk, func(t *Tx) error {
				for _, body := range bodies {
					if _, err := t.Append(inbox, NewMessage{Body: body}); err != nil {
						return err
					}
				}
				return nil
			})
			for _, body := range bodies {
				body.Release()
			}
		}
	}
	return s
}

func processCPU(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
