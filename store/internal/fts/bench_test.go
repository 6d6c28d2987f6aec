package fts

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"bahnpost/store/internal/db"
)

// vocabulary makes Zipf-distributed words and messages of them.
type vocabulary struct {
	r     *rand.Rand
	words []string
	cum   []float64
}

func newVocabulary(n int) *vocabulary {
	v := &vocabulary{r: rand.New(rand.NewPCG(1, 7))}
	syl := []string{"VER", "CON", "DE", "LA", "TI", "ON", "MENT", "SCH", "ER", "IN", "GO", "RA", "TE", "UM", "PRO", "S", "FI", "NA", "BO", "KE"}
	sum := 0.0
	for i := range n {
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

func (v *vocabulary) text(b []byte, n int) []byte {
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

// message feeds message id to b and returns the octets of its text.
func (v *vocabulary) message(b *Builder, id int64, buf []byte) int {
	b.Message(id)
	size := 0
	put := func(f Field, name, value string) {
		b.Text(Name, []byte(name), nil)
		b.Text(f, []byte(name), []byte(value))
		b.EndText()
		size += len(name) + len(value) + 4
	}
	put(From, "FROM", fmt.Sprintf("SENDER %d <SENDER%05d@EXAMPLE.ORG>", id%1000, id%1000))
	put(To, "TO", "BENCH@EXAMPLE.ORG")
	put(Subject, "SUBJECT", fmt.Sprintf("%sTAG-%02d %d", v.text(buf[:0], 30), id%100, id))
	put(Header, "DATE", time.Unix(1.7e9+id*97, 0).UTC().Format("MON, 2 JAN 2006 15:04:05 +0000"))
	put(Header, "MESSAGE-ID", fmt.Sprintf("<%X.%X@MAIL.EXAMPLE.ORG>", v.r.Uint64(), id))
	put(Header, "RECEIVED", fmt.Sprintf("FROM MX%d.EXAMPLE.NET (MX%d.EXAMPLE.NET [192.0.2.%d]) BY MAIL.EXAMPLE.ORG WITH ESMTPS ID %X; MON, 2 JAN 2006 15:%02d:05 +0000", id%7, id%7, id%250, v.r.Uint32(), id%60))
	put(Header, "MIME-VERSION", "1.0")
	put(Header, "CONTENT-TYPE", "TEXT/PLAIN; CHARSET=UTF-8")
	body := v.text(buf[:0], 3900)
	body = fmt.Appendf(body, "NEEDLE-%03d REF%X %X", id%1000, v.r.Uint64(), v.r.Uint32())
	if id%500 == 0 {
		body = append(body, " ZEBRAFINK"...)
	}
	b.Text(Body, nil, body)
	b.EndText()
	return size + len(body)
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

type benchData struct {
	d   *db.DB
	x   *Index
	dir string
	n   int64
}

// benchIndex indexes the messages once for all benchmarks and prints what it cost.
var benchIndex = sync.OnceValue(func() *benchData {
	n := int64(100_000)
	if s, err := strconv.ParseInt(os.Getenv("FTS_BENCH_MESSAGES"), 10, 64); err == nil {
		n = s
	}
	dir, err := os.MkdirTemp("", "ftsbench")
	if err != nil {
		panic(err)
	}
	d, err := db.Open(context.Background(), db.Config{Path: filepath.Join(dir, "fts.db")})
	if err != nil {
		panic(err)
	}
	if err := d.Migrate(context.Background(), Component, Steps()); err != nil {
		panic(err)
	}
	out := &benchData{d: d, x: New(Config{}), dir: dir, n: n}
	v := newVocabulary(60000)
	b := NewBuilder()
	var size int
	var took, slowest time.Duration
	buf := make([]byte, 0, 8192)
	for id := int64(1); id <= n; {
		b.Reset()
		for range 100 {
			size += v.message(b, id, buf)
			id++
		}
		start := cpu()
		if err := out.x.Write(context.Background(), d, 1, b, id-101, id-1, nil); err != nil {
			panic(err)
		}
		for more := true; more; {
			began := time.Now()
			if more, err = out.x.Merge(context.Background(), d, 1, nil, nil); err != nil {
				panic(err)
			}
			slowest = max(slowest, time.Since(began))
		}
		took += cpu() - start
	}
	var s Size
	d.View(context.Background(), func(c *db.Conn) (err error) { s, err = Measure(c, 1); return err })
	fi, _ := os.Stat(filepath.Join(dir, "fts.db"))
	fmt.Printf("%d messages, %.0f MB of text: write and merge %.0f µs CPU a message, index %.1f MB = %.1f%% of the text (%d segments, %d blocks), file %.1f MB; longest merge %v\n",
		n, float64(size)/1e6, float64(took.Microseconds())/float64(n), float64(s.Bytes)/1e6, 100*float64(s.Bytes)/float64(size), s.Segments, s.Blocks, float64(fi.Size())/1e6, slowest)
	return out
})

func BenchmarkLookup(b *testing.B) {
	data := benchIndex()
	for _, c := range []struct {
		name   string
		fields Fields
		needle string
	}{
		{"from", In(From), "SENDER00042@"},
		{"subject", In(Subject), "TAG-42"},
		{"body", InBody, "NEEDLE-123"},
		{"body-rare", InBody, "ZEBRAFINK"},
		{"body-substring", InBody, "VERCONDE"},
		{"body-common", InBody, "E"},
		{"body-two", InBody, "NEEDLE-123 REF"},
		{"text", InAll, "ZEBRAFINK"},
		{"text-miss", InAll, "QUARKTASCHE"},
		{"from-miss", In(From), "QUARKTASCHE"},
	} {
		b.Run(c.name, func(b *testing.B) {
			q := Query{Fields: c.fields, Needle: []byte(c.needle)}
			x := New(Config{})
			began := time.Now()
			lookupIn(b, data.d, x, 1, q)
			first := time.Since(began)
			var h *Hits
			for b.Loop() {
				h = lookupIn(b, data.d, x, 1, q)
			}
			b.ReportMetric(float64(first.Microseconds())/1000, "first-ms")
			b.ReportMetric(float64(h.Sure.Len()), "sure")
			b.ReportMetric(float64(h.Maybe.Len()), "maybe")
			b.ReportMetric(float64(x.cache.size)/1e6, "cacheMB")
		})
	}
}

// BenchmarkBuild is what taking in and cutting a message costs, without writing.
func BenchmarkBuild(b *testing.B) {
	v := newVocabulary(60000)
	var texts [100][]byte
	for i := range texts {
		texts[i] = v.text(nil, 4000)
	}
	bu := NewBuilder()
	c := newCodec()
	id := int64(0)
	for b.Loop() {
		id++
		bu.Message(id)
		bu.Text(Body, nil, texts[id%100])
		bu.EndText()
		if bu.Len() == 100 {
			p := packer{enc: c.fast}
			bu.pack(&p, id)
			bu.Reset()
		}
	}
}
