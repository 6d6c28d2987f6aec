package mailstore

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bahnpost/mail"
	"bahnpost/store/blob"
	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"
)

// durable is a site that really syncs.
func durable(b *testing.B, cfg Config) *site {
	s := &site{t: b, dir: b.TempDir(), cfg: cfg}
	ctx := context.Background()
	var err error
	on := dbtest.Config(b, filepath.Join(s.dir, "mail.db")) // on PostgreSQL, if BAHNPOST_TEST_POSTGRES says where
	on.NoSync, on.Unordered = false, false
	if s.d, err = db.Open(ctx, on); err != nil {
		b.Fatal(err)
	}
	if s.b, err = blob.OpenDir(filepath.Join(s.dir, "bodies"), blob.DirConfig{}); err != nil {
		b.Fatal(err)
	}
	if s.Store, err = New(ctx, s.d, s.b, cfg); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.close)
	return s
}

func cpu() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// measure reports CPU per operation beside the time.
func measure(b *testing.B, fn func()) {
	runtime.GC()
	before := cpu()
	b.ResetTimer()
	fn()
	b.StopTimer()
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

var benchCorpus = flag.String("bench.corpus", "", "directory of .eml files to deliver in benchmarks")

func mailsIn(b *testing.B, dir string) (out [][]byte) {
	n := 0
	filepath.Walk(dir, func(p string, fi os.FileInfo, err error) error {
		if err == nil && fi.Mode().IsRegular() && filepath.Ext(p) == ".eml" && len(out) < 2000 {
			if d, err := os.ReadFile(p); err == nil {
				out = append(out, bytes.ReplaceAll(bytes.ReplaceAll(d, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n")))
				n += len(d)
			}
		}
		return nil
	})
	if len(out) > 0 {
		b.Logf("%d messages, mean %d octets", len(out), n/len(out))
	}
	return out
}

// corpusMails are real messages if the corpus is there, else made-up ones.
func corpusMails(b *testing.B) [][]byte {
	if *benchCorpus != "" {
		return mailsIn(b, *benchCorpus)
	}
	dir, _ := os.Getwd()
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if out := mailsIn(b, filepath.Join(dir, "shared", "corpus")); len(out) > 0 {
			return out
		}
	}
	return [][]byte{[]byte(big(1, 3000)), []byte(big(2, 10000)), []byte(big(3, 60000))}
}

func (s *site) finish(m []byte) *Body {
	w := s.NewBody(context.Background())
	w.Write(m)
	b, err := w.Finish()
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *site) accounts(n int) []MailboxID {
	ids := make([]MailboxID, n+1)
	var wg sync.WaitGroup
	for i := 1; i <= n; i++ {
		wg.Go(func() {
			s.account(mail.AccountID(i), Quota{})
			ids[i] = s.box(mail.AccountID(i), Inbox).ID
		})
	}
	wg.Wait()
	return ids
}

func BenchmarkDelivery(b *testing.B) {
	mails := corpusMails(b)
	for _, mode := range []string{"auto", "off"} {
		for _, c := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("zstd=%s/c=%d", mode, c), func(b *testing.B) { deliver(b, mails, Config{Compression: mode}, c) })
		}
	}
}

// BenchmarkInline compares values of InlineMax.
func BenchmarkInline(b *testing.B) {
	mails := corpusMails(b)
	for _, limit := range []int{1024, 4096, 16384, 65536} {
		b.Run(fmt.Sprint(limit), func(b *testing.B) { deliver(b, mails, Config{InlineMax: limit}, 32) })
	}
}

// deliver stores body as home/cell does.
func (s *site) deliver(tk Ticket, box MailboxID, body *Body) {
	var expect []Expect
	if s.Shared() {
		expect = []Expect{{Body: body}}
	}
	if err := s.UpdateWith(context.Background(), tk, expect, func(t *Tx) error {
		_, err := t.Append(box, NewMessage{Body: body})
		return err
	}); err != nil {
		s.t.Error(err)
	}
}

// deliver stores mails in 200 accounts with c in flight.
func deliver(b *testing.B, mails [][]byte, cfg Config, c int) {
	s := durable(b, cfg)
	ids := s.accounts(200)
	var next atomic.Int64
	measure(b, func() {
		var wg sync.WaitGroup
		for range c {
			wg.Go(func() {
				for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
					body := s.finish(mails[i%int64(len(mails))])
					a := mail.AccountID(1 + i%200)
					s.deliver(Ticket{a, 1}, ids[a], body)
					body.Release()
				}
			})
		}
		wg.Wait()
	})
	st := s.Stats()
	b.ReportMetric(float64(st.DB.Updates)/float64(st.DB.Commits), "batch")
}

// BenchmarkUpdate is the writer's part of a delivery alone: 64 in flight, one shared small body text.
func BenchmarkUpdate(b *testing.B) {
	s := durable(b, Config{})
	ids := s.accounts(200)
	body := s.finish([]byte(text(1)))
	var next atomic.Int64
	measure(b, func() {
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
					a := mail.AccountID(1 + i%200)
					s.deliver(Ticket{a, 1}, ids[a], body)
				}
			})
		}
		wg.Wait()
	})
}

// BenchmarkTenRecipients delivers each mail to ten accounts at once.
func BenchmarkTenRecipients(b *testing.B) {
	mails := corpusMails(b)
	s := durable(b, Config{})
	ids := s.accounts(200)
	var next atomic.Int64
	measure(b, func() {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for i := next.Add(10); i <= int64(b.N)+9; i = next.Add(10) {
					body := s.finish(mails[(i/10)%int64(len(mails))])
					var rs sync.WaitGroup
					for k := range int64(10) {
						rs.Go(func() {
							a := mail.AccountID(1 + (i*7+k)%200)
							s.deliver(Ticket{a, 1}, ids[a], body)
						})
					}
					rs.Wait()
					body.Release()
				}
			})
		}
		wg.Wait()
	})
}

// BenchmarkBody is reading, hashing, parsing, compressing of one message, without disk.
func BenchmarkBody(b *testing.B) {
	mails := corpusMails(b)
	for _, mode := range []string{"auto", "off"} {
		b.Run("zstd="+mode, func(b *testing.B) {
			s := newSite(b, Config{Compression: mode, InlineMax: 64 << 20})
			measure(b, func() {
				for i := range b.N {
					s.finish(mails[i%len(mails)]).Release()
				}
			})
		})
	}
}

// filled makes a mailbox of n messages quickly, all with one body.
func filled(b *testing.B, s *site, a mail.AccountID, n int) MailboxID {
	tk := s.account(a, Quota{})
	id := s.box(a, Inbox).ID
	body := s.finish([]byte(big(1, 2000)))
	defer body.Release()
	for done := 0; done < n; {
		k := min(n-done, 5000)
		s.must(tk, func(t *Tx) error {
			for range k {
				if _, err := t.Append(id, NewMessage{Body: body}); err != nil {
					return err
				}
			}
			return nil
		})
		done += k
	}
	return id
}

func BenchmarkStoreFlag(b *testing.B) {
	for _, loaded := range []bool{true, false} {
		b.Run(fmt.Sprintf("loaded=%v", loaded), func(b *testing.B) {
			s := durable(b, Config{})
			var ids [9]MailboxID
			for i := 1; i <= 8; i++ {
				ids[i] = filled(b, s, mail.AccountID(i), 10000)
				if box, _ := s.OpenBox(b.Context(), mail.AccountID(i), ids[i]); loaded {
					box.Load(b.Context())
				}
			}
			var next atomic.Int64
			measure(b, func() {
				var wg sync.WaitGroup
				for w := 1; w <= 8; w++ {
					wg.Go(func() {
						for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
							s.must(Ticket{mail.AccountID(w), 1}, func(t *Tx) error {
								_, err := t.StoreFlags(ids[w], UIDs(UID(1+i*7%10000)), FlagOp(1+i/10000%2), Seen, nil, false, 0)
								return err
							})
						}
					})
				}
				wg.Wait()
			})
		})
	}
}

func BenchmarkBulk100k(b *testing.B) {
	s := durable(b, Config{})
	id := filled(b, s, 1, 100_000)
	ctx := b.Context()
	box, _ := s.OpenBox(ctx, 1, id)
	b.Run("load", func(b *testing.B) {
		measure(b, func() {
			for range b.N {
				box.unload()
				if err := box.Load(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("store", func(b *testing.B) {
		box.Load(ctx)
		measure(b, func() {
			for i := range b.N {
				s.must(Ticket{1, 1}, func(t *Tx) error {
					_, err := t.StoreFlags(id, Range(1, maxUID), FlagOp(1+i%2), Seen, nil, false, 0)
					return err
				})
			}
		})
	})
	b.Run("store-cold", func(b *testing.B) {
		box.unload()
		measure(b, func() {
			for i := range b.N {
				s.must(Ticket{1, 1}, func(t *Tx) error {
					_, err := t.StoreFlags(id, Range(1, maxUID), FlagOp(1+i%2), Flagged, nil, false, 0)
					return err
				})
			}
		})
	})
	b.Run("entries", func(b *testing.B) {
		v := box.NewView()
		measure(b, func() {
			for range b.N {
				n := 0
				for range v.Entries(ctx, nil) {
					n++
				}
				if n != 100_000 {
					b.Fatal(n)
				}
			}
		})
	})
	b.Run("metas", func(b *testing.B) {
		var rows []Row
		for e := range box.NewView().Entries(ctx, nil) {
			rows = append(rows, e.Row)
		}
		measure(b, func() {
			for range b.N {
				n := 0
				for m, err := range box.Metas(ctx, rows) {
					if err != nil || len(m.Summary.Envelope()) == 0 {
						b.Fatal(err)
					}
					n++
				}
				if n != 100_000 {
					b.Fatal(n)
				}
			}
		})
	})
}

// BenchmarkGrowth shows that cost does not grow with the mailbox.
func BenchmarkGrowth(b *testing.B) {
	for _, n := range []int{100, 10_000, 1_000_000} {
		if n > 100_000 && testing.Short() {
			b.Log("1,000,000 messages skipped with -short")
			continue
		}
		s := durable(b, Config{})
		id := filled(b, s, 1, n)
		tk := Ticket{1, 1}
		ctx := context.Background()
		box, _ := s.OpenBox(ctx, 1, id)
		box.Load(ctx)
		body := s.finish([]byte(text(5)))
		run := func(name string, fn func(i int)) {
			b.Run(fmt.Sprintf("%s/n=%d", name, n), func(b *testing.B) {
				measure(b, func() {
					for i := range b.N {
						fn(i)
					}
				})
			})
		}
		run("open", func(int) {
			x, _ := s.OpenBox(ctx, 1, id)
			x.NewView()
			x.Close()
		})
		run("fetch", func(i int) {
			v := box.NewView()
			uid, _ := v.UID(ctx, 1+i%n)
			r, _ := box.Row(uid)
			m, err := s.OpenMessage(ctx, 1, r.Message)
			if err != nil {
				b.Fatal(err)
			}
			m.CopyRange(io.Discard, 0, m.Size())
			m.Close()
		})
		run("store", func(i int) {
			s.must(tk, func(t *Tx) error {
				_, err := t.StoreFlags(id, UIDs(UID(1+i%n)), FlagOp(1+i/n%2), Seen, nil, false, 0)
				return err
			})
		})
		run("append", func(int) {
			s.must(tk, func(t *Tx) error { _, err := t.Append(id, NewMessage{Body: body}); return err })
		})
	}
}

func BenchmarkIdleView(b *testing.B) {
	s := newSite(b, Config{})
	id := filled(b, s, 1, 10)
	box, _ := s.OpenBox(b.Context(), 1, id)
	keep := make([]any, 0, 2*b.N)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		v := box.NewView()
		keep = append(keep, v, s.Notify(1, id, func([]Change) { _ = v }))
	}
	runtime.KeepAlive(keep)
}

// BenchmarkIdleAccounts shows what an account costs in memory whose INBOX is open with a view and a watcher.
func BenchmarkIdleAccounts(b *testing.B) {
	const n = 2000
	s := newSite(b, Config{})
	ids := s.accounts(n)
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	keep := make([]any, 0, 2*n)
	for _, a := range s.cache.accts {
		s.cache.drop(a)
	}
	base := heap()
	for a := 1; a <= n; a++ {
		s.box(mail.AccountID(a), Inbox)
	}
	cached := heap()
	for a := 1; a <= n; a++ {
		box, _ := s.OpenBox(b.Context(), mail.AccountID(a), ids[a])
		v := box.NewView()
		keep = append(keep, v, s.Notify(mail.AccountID(a), ids[a], func([]Change) { _ = v }))
	}
	open := heap()
	b.ReportMetric(float64(cached-base)/n, "B/account")
	b.ReportMetric(float64(open-cached)/n, "B/open")
	runtime.KeepAlive(keep)
}

// BenchmarkTransfer copies and moves 10,000 messages at once.
func BenchmarkTransfer(b *testing.B) {
	s := durable(b, Config{})
	id := filled(b, s, 1, 10_000)
	tk := Ticket{1, 1}
	archive := s.box(1, "Archive").ID
	b.Run("copy", func(b *testing.B) {
		measure(b, func() {
			for range b.N {
				s.must(tk, func(t *Tx) error { _, err := t.Copy(id, Range(1, maxUID), archive); return err })
			}
		})
	})
	b.Run("move", func(b *testing.B) {
		trash := s.box(1, "Trash").ID
		measure(b, func() {
			for i := range b.N {
				from, to := id, trash
				if i%2 == 1 {
					from, to = to, from
				}
				s.must(tk, func(t *Tx) error { _, err := t.Move(from, Range(1, maxUID), to); return err })
			}
		})
	})
	b.Run("expunge", func(b *testing.B) {
		measure(b, func() {
			for range b.N {
				s.must(tk, func(t *Tx) error { _, err := t.Expunge(archive, Range(1, maxUID), false); return err })
			}
		})
	})
}

// BenchmarkRead streams bodies.
func BenchmarkRead(b *testing.B) {
	for _, mode := range []string{"auto", "off"} {
		for _, size := range []int{3000, 60000, 5 << 20} {
			b.Run(fmt.Sprintf("zstd=%s/%d", mode, size), func(b *testing.B) {
				s := newSite(b, Config{Compression: mode})
				tk := s.account(1, Quota{})
				a := s.append(tk, s.box(1, Inbox).ID, big(1, size), 0)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				measure(b, func() {
					for range b.N {
						r, err := s.OpenMessage(context.Background(), 1, a.Message)
						if err != nil {
							b.Fatal(err)
						}
						if err := r.CopyRange(io.Discard, 0, r.Size()); err != nil {
							b.Fatal(err)
						}
						r.Close()
					}
				})
			})
		}
	}
}
