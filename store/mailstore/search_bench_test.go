package mailstore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"bahnpost/store/blob"
	"bahnpost/store/internal/db"
	"bahnpost/store/internal/fts"
	"bahnpost/wire/message"
)

// benchWords makes text of Zipf-distributed words.
type benchWords struct {
	r     *rand.Rand
	words []string
	cum   []float64
}

func newBenchWords() *benchWords {
	v := &benchWords{r: rand.New(rand.NewPCG(1, 7))}
	syl := []string{"ver", "con", "de", "la", "ti", "on", "ment", "sch", "er", "in", "go", "ra", "te", "um", "pro", "s", "fi", "na", "bo", "ke"}
	sum := 0.0
	for i := range 60000 {
		w := ""
		for k := 1 + v.r.IntN(5); k > 0; k-- {
			w += syl[v.r.IntN(len(syl))]
		}
		v.words = append(v.words, w)
		sum += 1 / math.Pow(float64(i+5), 1.05)
		v.cum = append(v.cum, sum)
	}
	return v
}

func (v *benchWords) text(b []byte, n int) []byte {
	for n += len(b); len(b) < n; {
		x := v.r.Float64() * v.cum[len(v.cum)-1]
		lo, hi := 0, len(v.cum)-1
		for lo < hi {
			if m := (lo + hi) / 2; v.cum[m] < x {
				lo = m + 1
			} else {
				hi = m
			}
		}
		b = append(append(b, v.words[lo]...), ' ')
		if v.r.IntN(12) == 0 {
			b = append(b[:len(b)-1], ",. "[v.r.IntN(2)], '\r', '\n')
		}
	}
	return b
}

func (v *benchWords) message(b []byte, i int) []byte {
	b = fmt.Appendf(b, "Return-Path: <sender%05d@example.org>\r\nReceived: from mx%d.example.net (mx%d.example.net [192.0.2.%d])\r\n\tby mail.example.org with ESMTPS id %x;\r\n\tMon, 2 Jan 2006 15:%02d:05 +0000\r\n",
		i%1000, i%7, i%7, i%250, v.r.Uint32(), i%60)
	b = fmt.Appendf(b, "From: Sender %d <sender%05d@example.org>\r\nTo: bench@example.org\r\nSubject: ", i%1000, i%1000)
	n := len(b)
	b = v.text(b, 30)
	for j := n; j < len(b); j++ {
		if b[j] == '\r' || b[j] == '\n' {
			b[j] = ' '
		}
	}
	b = fmt.Appendf(b, "tag-%02d %d\r\nDate: %s\r\nMessage-ID: <%x.%x@mail.example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
		i%100, i, time.Unix(1.7e9+int64(i)*97, 0).UTC().Format(time.RFC1123Z), v.r.Uint64(), i)
	b = v.text(b, 3900)
	b = fmt.Appendf(b, "needle-%03d ref%x %x", i%1000, v.r.Uint64(), v.r.Uint32())
	if i%500 == 0 {
		b = append(b, " zebrafink"...)
	}
	return append(b, "\r\n"...)
}

func benchCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

type benchMail struct {
	s   *Store
	tk  Ticket
	box MailboxID
	n   int
}

// benchMailbox makes a mailbox of 100,000 messages (or SEARCH_BENCH_MESSAGES), indexed, once for all benchmarks.
var benchMailbox = sync.OnceValue(func() *benchMail {
	n := 100_000
	if k, err := strconv.Atoi(os.Getenv("SEARCH_BENCH_MESSAGES")); err == nil {
		n = k
	}
	ctx := context.Background()
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	dir, err := os.MkdirTemp("", "searchbench")
	check(err)
	d, err := db.Open(ctx, db.Config{Path: filepath.Join(dir, "mail.db"), NoSync: true})
	check(err)
	bodies, err := blob.OpenDir(filepath.Join(dir, "bodies"), blob.DirConfig{NoSync: true})
	check(err)
	s, err := New(ctx, d, bodies, Config{})
	check(err)
	check(s.CreateAccount(ctx, 1, 1, Quota{}))
	m, err := s.MailboxByName(ctx, 1, "INBOX")
	check(err)
	out := &benchMail{s: s, tk: Ticket{1, 1}, box: m.ID, n: n}
	v := newBenchWords()
	size, began := 0, time.Now()
	var raw []byte
	for i := 0; i < n; {
		var batch []*Body
		for range min(200, n-i) {
			raw = v.message(raw[:0], i)
			size += len(raw)
			w := s.NewBody(ctx)
			_, err := w.Write(raw)
			check(err)
			b, err := w.Finish()
			check(err)
			batch = append(batch, b)
			i++
		}
		check(s.Update(ctx, out.tk, func(t *Tx) error {
			for k, b := range batch {
				if _, err := t.Append(out.box, NewMessage{Body: b, Flags: Flags(k) & SystemFlags}); err != nil {
					return err
				}
			}
			return nil
		}))
		for _, b := range batch {
			b.Release()
		}
	}
	fmt.Printf("%d messages, %.0f MB stored in %v\n", n, float64(size)/1e6, time.Since(began))
	began = time.Now()
	used := benchCPU()
	ix := indexer{s: s, b: fts.NewBuilder()}
	check(ix.account(ctx, 1, false))
	used = benchCPU() - used
	var z fts.Size
	check(d.View(ctx, func(c *db.Conn) (err error) { z, err = fts.Measure(c, 1); return err }))
	fmt.Printf("indexed in %v, %.0f µs CPU a message, index %.1f MB = %.1f%% of the text\n", time.Since(began), float64(used.Microseconds())/float64(n), float64(z.Bytes)/1e6, 100*float64(z.Bytes)/float64(size))
	return out
})

func BenchmarkSearch(b *testing.B) {
	m := benchMailbox()
	ctx := context.Background()
	none := Query{Op: QAnd}
	for i := range 900 {
		none.Subs = append(none.Subs, &Query{Op: QNot, Subs: []*Query{{Op: QText, Text: fmt.Sprintf("quark%03dtasche", i)}}})
	}
	for _, c := range []struct {
		name string
		q    Query
	}{
		{"flags", Query{Op: QFlag, Flags: Flagged}},
		{"unseen-large", Query{Op: QAnd, Subs: []*Query{{Op: QNot, Subs: []*Query{{Op: QFlag, Flags: Seen}}}, {Op: QLarger, Number: 5000}}}},
		{"from", Query{Op: QHeader, Field: "from", Text: "sender00042@"}},
		{"from-name", Query{Op: QHeader, Field: "from", Text: "Sender 42 <"}},
		{"subject", Query{Op: QHeader, Field: "subject", Text: "tag-42"}},
		{"body", Query{Op: QBody, Text: "needle-123"}},
		{"body-rare", Query{Op: QBody, Text: "zebrafink"}},
		{"body-part", Query{Op: QBody, Text: "verconde"}},
		{"body-phrase", Query{Op: QBody, Text: "needle-123 ref"}},
		{"body-common-phrase", Query{Op: QBody, Text: "on ment"}},
		{"text", Query{Op: QText, Text: "zebrafink"}},
		{"text-miss", Query{Op: QText, Text: "quarktasche"}},
		{"not-text-900", none},
		{"header-miss", Query{Op: QHeader, Field: "x-absent", Text: "quarktasche"}},
		{"sent", Query{Op: QSent, From: 19675 * 86400, To: 19676 * 86400}},
	} {
		b.Run(c.name, func(b *testing.B) {
			box, err := m.s.OpenBox(ctx, 1, m.box)
			if err != nil {
				b.Fatal(err)
			}
			defer box.Close()
			if err := box.Load(ctx); err != nil {
				b.Fatal(err)
			}
			m.s.search.index = fts.New(fts.Config{}) // cold
			v := box.NewView()
			began := time.Now()
			f, err := m.s.Search(ctx, v, &c.q)
			if err != nil {
				b.Fatal(err)
			}
			first := time.Since(began)
			for b.Loop() {
				if f, err = m.s.Search(ctx, v, &c.q); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(first.Microseconds())/1000, "first-ms")
			b.ReportMetric(float64(len(f.UIDs)), "hits")
		})
	}
}

// BenchmarkSearchDirect is what a message costs that the index does not cover yet, or cannot decide.
func BenchmarkSearchDirect(b *testing.B) {
	m := benchMailbox()
	ctx := context.Background()
	box, err := m.s.OpenBox(ctx, 1, m.box)
	if err != nil {
		b.Fatal(err)
	}
	defer box.Close()
	const stretch = 2000
	used := benchCPU()
	for b.Loop() {
		p, err := m.s.Prepare(ctx, 1, &Query{Op: QBody, Text: "zebrafink"})
		if err != nil {
			b.Fatal(err)
		}
		p.direct = true
		if _, err := p.in(ctx, box.NewView(), 1, stretch); err != nil {
			b.Fatal(err)
		}
	}
	used = benchCPU() - used
	b.ReportMetric(float64(used.Microseconds())/float64(b.N)/stretch, "µsCPU/msg")
}

// BenchmarkIndexCorpus says what indexing real mail costs: CPU and share of its text.
func BenchmarkIndexCorpus(b *testing.B) {
	files := corpusFiles(b, 1000, 1<<20)
	s := newSite(b, Config{})
	tk := s.account(1, Quota{})
	box := s.box(1, "INBOX").ID
	text, raw := 0, 0
	for _, f := range files {
		s.append(tk, box, string(f), 0)
		sum, err := message.Parse(bytes.NewReader(f))
		if err != nil {
			b.Fatal(err)
		}
		raw += len(f)
		if err := message.Texts(bytes.NewReader(f), sum.Root, func(_ message.TextKind, name string, t []byte) bool {
			text += len(name) + len(t)
			return true
		}); err != nil && err != io.EOF {
			b.Fatal(err)
		}
	}
	used := benchCPU()
	for b.Loop() {
		ix := indexer{s: s.Store, b: fts.NewBuilder()}
		if err := ix.account(context.Background(), 1, true); err != nil {
			b.Fatal(err)
		}
	}
	used = benchCPU() - used
	b.ReportMetric(float64(used.Microseconds())/float64(b.N*len(files)), "µsCPU/msg")
	var z fts.Size
	if err := s.d.View(context.Background(), func(c *db.Conn) (err error) { z, err = fts.Measure(c, 1); return err }); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(100*float64(z.Bytes)/float64(text), "%text")
	b.ReportMetric(100*float64(z.Bytes)/float64(raw), "%raw")
	b.ReportMetric(float64(text)/float64(len(files)), "text/msg")
}
