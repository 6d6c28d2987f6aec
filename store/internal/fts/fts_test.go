package fts

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"
)

// openDB returns an empty database with the tables of the index.
func openDB(t testing.TB) *db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), dbtest.Config(t, filepath.Join(t.TempDir(), "fts.db")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Migrate(t.Context(), Component, Steps()); err != nil {
		t.Fatal(err)
	}
	return d
}

// text is one text of a message in a test.
type text struct {
	field Field
	name  string
	value string
}

// mailbox is the truth that lookups are compared with.
type mailbox map[int64][]text

// has is the definition of a hit.
func (m mailbox) has(id int64, q Query) bool {
	needle := string(q.Needle)
	for _, t := range m[id] {
		name := t.name
		switch {
		case q.Fields == 1<<Name && needle == "":
			if name != "" && name == string(q.Header) {
				return true
			}
			continue
		case q.Fields&(1<<t.field) == 0 || t.field == Header && q.Header != nil && name != string(q.Header):
			continue
		}
		value := t.value
		if q.Fields&(1<<Name) != 0 && name != "" {
			value = name + ": " + value
		}
		if strings.Contains(value, needle) {
			return true
		}
	}
	return false
}

func sentDay(id int64) int64 { return id*37%200 - 100 }

// feed adds a message to b in chunks cut at random.
func (m mailbox) feed(r *rand.Rand, b *Builder, id int64) {
	b.Message(id)
	b.Sent(sentDay(id))
	for _, t := range m[id] {
		if t.name != "" {
			b.Text(Name, []byte(t.name), nil)
		}
		v := []byte(t.value)
		for len(v) > 0 {
			n := len(v)
			if r.IntN(2) == 0 {
				n = 1 + r.IntN(len(v))
				for n < len(v) && !utf8.RuneStart(v[n]) {
					n++
				}
			}
			b.Text(t.field, []byte(t.name), v[:n])
			v = v[n:]
		}
		b.EndText()
	}
}

var alphabets = []string{"AB", "ABC0", "É\u0301ÖßЖД", "日本語会議", "かナー", "한국", "-._@'", " ", " ,:;", "\t\n", "\u2014\u00a0", "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"}

func randomText(r *rand.Rand, n int) string {
	var b strings.Builder
	for b.Len() < n {
		a := []rune(alphabets[r.IntN(len(alphabets))])
		for range 1 + r.IntN(4) {
			b.WriteRune(a[r.IntN(len(a))])
		}
		if r.IntN(100) == 0 { // a long run
			for range 100 + r.IntN(400) {
				b.WriteByte("ABCD"[r.IntN(4)])
			}
		}
	}
	return b.String()
}

func randomMessage(r *rand.Rand) (out []text) {
	for _, f := range []Field{From, To, Subject, Body, File, Header, Header} {
		n := r.IntN(40)
		if f == Body {
			n = r.IntN(400)
		}
		x := text{field: f, value: randomText(r, n)}
		switch f {
		case From, To, Subject:
			x.name = map[Field]string{From: "FROM", To: "TO", Subject: "SUBJECT"}[f]
		case Header:
			x.name = []string{"X-A", "X-AB", "RECEIVED", "AB", "A.B@C"}[r.IntN(5)]
		}
		out = append(out, x)
	}
	return out
}

func (m mailbox) randomQuery(r *rand.Rand) (q Query) {
	switch r.IntN(8) {
	case 0:
		q.Fields = In(From)
	case 1:
		q.Fields = In(Subject)
	case 2:
		q.Fields, q.Header = In(Header), []byte([]string{"X-A", "AB"}[r.IntN(2)])
	case 3:
		q.Fields = InBody
	case 4:
		q.Fields, q.Header = In(Name), []byte([]string{"X-A", "AB", "FROM", "Q"}[r.IntN(4)])
		return q
	case 5, 6, 7:
		q.Fields = InAll
	}
	if r.IntN(4) == 0 {
		q.Needle = []byte(randomText(r, 1+r.IntN(5)))
		return q
	}
	for q.Needle == nil {
		ts := m[1+r.Int64N(int64(len(m)))]
		if len(ts) == 0 {
			continue
		}
		t := ts[r.IntN(len(ts))]
		v := []rune(t.value)
		if q.Fields == InAll && t.name != "" {
			v = []rune(t.name + ": " + t.value)
		}
		if len(v) == 0 {
			continue
		}
		i := r.IntN(len(v))
		n := 1 + r.IntN(min(len(v)-i, []int{2, 6, 20, 300}[r.IntN(4)]))
		q.Needle = []byte(string(v[i : i+n]))
	}
	return q
}

func lookupIn(t testing.TB, d *db.DB, x *Index, account int64, q Query) *Hits {
	t.Helper()
	var h *Hits
	err := d.View(t.Context(), func(c *db.Conn) (err error) {
		h, err = x.Lookup(context.Background(), c, account, q)
		return err
	})
	if err != nil {
		t.Fatalf("%q in %b: %v", q.Needle, q.Fields, err)
	}
	return h
}

// compare checks one query against the truth for messages up to high.
func (m mailbox) compare(t *testing.T, h *Hits, q Query, high int64) (sure, maybe int) {
	t.Helper()
	for id := int64(1); id <= high; id++ {
		want, got := m.has(id, q), h.Sure.Has(id)
		if h.All {
			continue
		}
		if m[id] != nil && got && !want {
			t.Errorf("%q in %b %q: %d is no hit: %q", q.Needle, q.Fields, q.Header, id, m[id])
		}
		if want && !got && !h.Maybe.Has(id) {
			t.Errorf("%q in %b %q: %d is missing: %q", q.Needle, q.Fields, q.Header, id, m[id])
		}
		if got && h.Maybe.Has(id) {
			t.Errorf("%q: %d is both", q.Needle, id)
		}
	}
	return h.Sure.Len(), h.Maybe.Len()
}

// TestLookup compares with brute force over random messages, batches, merges and deletions.
func TestLookup(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			d := openDB(t)
			x := New(Config{Memory: []int64{0, 20000}[seed%2]})
			m := mailbox{}
			b := NewBuilder()
			var high, next int64
			for round := range 40 {
				b.Reset()
				for range 1 + r.IntN(6) {
					next++
					m[next] = randomMessage(r)
					m.feed(r, b, next)
				}
				if err := x.Write(t.Context(), d, 7, b, high, next, nil); err != nil {
					t.Fatal(err)
				}
				high = next
				if r.IntN(4) == 0 {
					m[1+r.Int64N(next)] = nil // expunged
				}
				alive := func(_ context.Context, from, to int64) (*Set, error) {
					s := new(Set)
					for id := from; id <= to; id++ {
						if m[id] != nil {
							s.Add(id)
						}
					}
					return s, nil
				}
				for more := true; more; {
					var err error
					if more, err = x.Merge(t.Context(), d, 7, alive, nil); err != nil {
						t.Fatal(err)
					}
				}
				if err := x.Check(t.Context(), d, 7); err != nil {
					t.Fatal(err)
				}
				from, to := r.Int64N(200)-100, r.Int64N(200)-100
				h := lookupIn(t, d, x, 7, Query{Fields: In(Sent), From: from, To: to})
				for id := int64(1); id <= high; id++ {
					if day := sentDay(id); m[id] != nil && h.Sure.Has(id) != (from <= day && day < to) {
						t.Fatalf("day %d of %d, wanted %d to %d", day, id, from, to)
					}
				}
				for range 10 * (1 + round/10) {
					q := m.randomQuery(r)
					h := lookupIn(t, d, x, 7, q)
					if h.High != high {
						t.Fatalf("high %d, want %d", h.High, high)
					}
					m.compare(t, h, q, high)
				}
				if t.Failed() {
					return
				}
			}
			if h := lookupIn(t, d, x, 8, Query{Fields: InAll, Needle: []byte("A")}); !h.Sure.Empty() || !h.Maybe.Empty() {
				t.Error("another account sees hits")
			}
		})
	}
}

// TestProof pins which needles need no verification.
func TestProof(t *testing.T) {
	t.Parallel()
	d := openDB(t)
	x := New(Config{})
	m := mailbox{
		1: {{From, "FROM", `"DOE, JOHN" <JOHN.DOE@EXAMPLE.ORG>`}, {Subject, "SUBJECT", "TAG-42 HELLO WORLD"}, {Body, "", "THE NEEDLE-123 IS HERE. 日本語のテスト ABC-"}},
		2: {{From, "FROM", "X@Y"}, {Subject, "SUBJECT", "OTHER"}, {Body, "", "ANEEDLE-1234X AND STRASSE. 日 ABC"}},
	}
	b := NewBuilder()
	r := rand.New(rand.NewPCG(1, 2))
	m.feed(r, b, 1)
	m.feed(r, b, 2)
	if err := x.Write(t.Context(), d, 1, b, 0, 2, nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		f           Fields
		needle      string
		sure, maybe int
	}{
		{In(From), "DOE@EXAMPLE", 1, 0},
		{In(From), "DOE@", 1, 0},
		{In(From), "<JOHN", 1, 0},
		{In(From), "DOE, JOHN", 0, 1},
		{In(Subject), "TAG-4", 1, 0},
		{In(Subject), "HELLO WORLD", 0, 1},
		{In(Subject), "HELLO ORLD", 0, 0},
		{InBody, "NEEDLE-123", 2, 0},
		{InBody, "NEEDLE-123 ", 0, 1},
		{InBody, "日本", 1, 0},
		{InBody, "日", 2, 0},
		{InBody, "本語の", 0, 1},
		{InBody, "ABC-", 0, 2},
		{InBody, "MISSING", 0, 0},
		{InAll, "SUBJ", 2, 0},
		{InAll, "SUBJECT: TAG", 0, 1},
		{InAll, "SUBJECT:", 0, 2},
		{InAll, "NOBODY: TAG", 0, 1}, // one is rather read
	} {
		q := Query{Fields: c.f, Needle: []byte(c.needle)}
		h := lookupIn(t, d, x, 1, q)
		sure, maybe := m.compare(t, h, q, 2)
		if sure != c.sure || maybe != c.maybe {
			t.Errorf("%q: sure %d maybe %d, want %d %d", c.needle, sure, maybe, c.sure, c.maybe)
		}
	}
}

// TestOver: a message with more terms than we keep is always a Maybe, also after a merge.
func TestOver(t *testing.T) {
	t.Parallel()
	d := openDB(t)
	x := New(Config{})
	b := NewBuilder()
	b.Message(1)
	var junk strings.Builder
	for i := range maxTerms / 5 {
		fmt.Fprintf(&junk, "T%X ", i)
	}
	b.Text(Body, nil, []byte(junk.String()))
	b.EndText()
	b.Message(2)
	b.Text(Header, []byte(strings.Repeat("N", maxName+1)), []byte("VALUE"))
	b.EndText()
	b.Message(3)
	b.Text(Body, nil, []byte("PLAIN"))
	b.EndText()
	if err := x.Write(t.Context(), d, 1, b, 0, 3, nil); err != nil {
		t.Fatal(err)
	}
	high := int64(3)
	check := func() {
		t.Helper()
		h := lookupIn(t, d, x, 1, Query{Fields: InAll, Needle: []byte("PLAIN")})
		if !h.Sure.Has(3) || !h.Maybe.Has(1) || !h.Maybe.Has(2) || h.Sure.Len()+h.Maybe.Len() != 3 {
			t.Errorf("sure %d maybe %d", h.Sure.Len(), h.Maybe.Len())
		}
	}
	check()
	for range fanout {
		b.Reset()
		b.Message(high + 1)
		b.Text(Body, nil, []byte("FILLER"))
		b.EndText()
		if err := x.Write(t.Context(), d, 1, b, high, high+1, nil); err != nil {
			t.Fatal(err)
		}
		high++
	}
	for more := true; more; {
		var err error
		if more, err = x.Merge(t.Context(), d, 1, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	check()
	var s Size
	if err := d.View(t.Context(), func(c *db.Conn) (err error) { s, err = Measure(c, 1); return err }); err != nil || s.Segments != 2 || s.Docs != 11 {
		t.Errorf("%+v %v", s, err)
	}
}

// TestTakenOver: an indexer that was cut off in the middle of a segment, and goes on after another has begun to clear it away, fails.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	d := openDB(t)
	b := NewBuilder()
	const messages = 20
	r := rand.New(rand.NewPCG(1, 2))
	for id := range int64(messages) {
		b.Message(id + 1)
		for range 10_000 {
			b.Text(Body, nil, fmt.Appendf(nil, "W%X", r.Uint64()))
			b.EndText()
		}
	}
	died := errors.New("died")
	steps, swept := 0, false
	err := New(Config{}).Write(t.Context(), d, 1, b, 0, messages, func(ctx context.Context) error {
		if steps++; steps != 6 { // by then there is more than one step of clearing away to do
			return nil
		}
		swept = true
		_, err := New(Config{}).Merge(ctx, d, 1, nil, func(context.Context) error { return died })
		if !errors.Is(err, died) {
			t.Errorf("the other had nothing to clear away, or all of it in one step: %v", err)
		}
		return nil
	})
	if !swept || err != ErrChanged {
		t.Errorf("cleared away: %v; the writer: %v", swept, err)
	}
	if err := New(Config{}).Check(t.Context(), d, 1); err != nil {
		t.Error(err)
	}
}

// TestRaces: the mark does not move when the index was reset under the writer, and Remove leaves nothing.
func TestRaces(t *testing.T) {
	t.Parallel()
	d := openDB(t)
	x := New(Config{})
	b := NewBuilder()
	b.Message(1)
	b.Text(Body, nil, []byte("A"))
	b.EndText()
	write := func(high, to int64) error { return x.Write(t.Context(), d, 1, b, high, to, nil) }
	if err := write(0, 1); err != nil {
		t.Fatal(err)
	}
	if err := write(0, 1); err != ErrChanged {
		t.Errorf("second write: %v", err)
	}
	if h := lookupIn(t, d, x, 1, Query{Fields: InAll, Needle: []byte("A")}); !h.Sure.Has(1) {
		t.Error("no hit")
	}
	if err := x.Reset(t.Context(), d, 1); err != nil {
		t.Fatal(err)
	}
	if h := lookupIn(t, d, x, 1, Query{Fields: InAll, Needle: []byte("A")}); h.High != 0 || !h.Sure.Empty() {
		t.Errorf("after reset: high %d, %d hits", h.High, h.Sure.Len())
	}
	if err := write(1, 2); err != ErrChanged {
		t.Errorf("write after reset: %v", err)
	}
	if err := write(0, 1); err != nil {
		t.Fatal(err)
	}
	for done := false; !done; {
		if err := d.Update(t.Context(), func(tx *db.Tx) (err error) { done, err = Remove(tx, 1); return err }, nil); err != nil {
			t.Fatal(err)
		}
	}
	err := d.View(t.Context(), func(c *db.Conn) error {
		for _, sql := range []string{"SELECT count(*) FROM fts_account", "SELECT count(*) FROM fts_seg", "SELECT count(*) FROM fts_block"} {
			var n int
			if _, err := c.Row(sql).Scan(&n); err != nil || n != 0 {
				t.Errorf("%s: %d %v", sql, n, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Reset() // the same id again: nothing of the old account may come out of the cache
	b.Message(1)
	b.Text(Body, nil, []byte("B"))
	b.EndText()
	if err := write(0, 1); err != nil {
		t.Fatal(err)
	}
	if h := lookupIn(t, d, x, 1, Query{Fields: InAll, Needle: []byte("B")}); !h.Sure.Has(1) {
		t.Error("new account: no hit")
	}
}

// TestMergeable: a backlog of new segments is merged from the oldest on, so that each message is rewritten once a level.
func TestMergeable(t *testing.T) {
	t.Parallel()
	var segs []segment
	for i := range 1000 {
		segs = append(segs, segment{base: int64(i), last: int64(i), docs: 1})
	}
	rewritten := int64(0)
	for {
		in := mergeable(segs)
		if in == nil {
			break
		}
		m := segment{level: in[0].level + 1, base: in[0].base, last: in[fanout-1].last}
		for i, s := range in {
			m.docs += s.docs
			if s.level != in[0].level || i > 0 && s.base != in[i-1].last+1 {
				t.Fatalf("merge of %+v", in)
			}
		}
		rewritten += m.docs
		i := int(slices.IndexFunc(segs, func(s segment) bool { return s.base == m.base }))
		segs = slices.Replace(segs, i, i+fanout, m)
	}
	if len(segs) > 4*fanout || rewritten > 3000 {
		t.Errorf("%d segments, %d messages rewritten", len(segs), rewritten)
	}
	if !slices.IsSortedFunc(segs, func(a, b segment) int { return b.level - a.level }) {
		t.Errorf("%+v", segs)
	}
}

// TestWaste: old segments lose the messages that are gone, though nothing merges them any more.
func TestWaste(t *testing.T) {
	t.Parallel()
	d := openDB(t)
	x := New(Config{})
	b := NewBuilder()
	gone := int64(0)
	alive := func(_ context.Context, from, to int64) (*Set, error) {
		s := new(Set)
		s.AddRange(max(from, gone+1), to)
		return s, nil
	}
	write := func(from, to int64) {
		for id := from; id <= to; id++ {
			b.Reset()
			b.Message(id)
			b.Text(Body, nil, fmt.Appendf(nil, "WORD%d COMMON", id))
			b.EndText()
			if err := x.Write(t.Context(), d, 1, b, id-1, id, nil); err != nil {
				t.Fatal(err)
			}
			for more := true; more; {
				var err error
				if more, err = x.Merge(t.Context(), d, 1, alive, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	const old = fanout * fanout * fanout
	write(1, old)
	gone = old - 10
	write(old+1, old+fanout*fanout)
	var s Size
	if err := d.View(t.Context(), func(c *db.Conn) (err error) { s, err = Measure(c, 1); return err }); err != nil || s.Docs != 10+fanout*fanout {
		t.Errorf("%+v %v", s, err)
	}
	if h := lookupIn(t, d, x, 1, Query{Fields: InBody, Needle: []byte("COMMON")}); h.Sure.Len() != 10+fanout*fanout {
		t.Errorf("%d hits", h.Sure.Len())
	}
	if err := x.Check(t.Context(), d, 1); err != nil {
		t.Error(err)
	}
}

// A block is passed over only if none of its terms has the needle.
func TestGrams(t *testing.T) {
	t.Parallel()
	p := packer{enc: newCodec().fast}
	r := rand.New(rand.NewPCG(5, 1))
	letters := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte('A' + r.IntN(26))
		}
		return string(b)
	}
	var words []string
	for range 1000 {
		words = append(words, letters(1+r.IntN(12)))
	}
	sorted := slices.Clone(words)
	slices.Sort(sorted)
	for _, w := range slices.Compact(sorted) {
		p.add([]byte("\x0A"+w), []byte{2})
	}
	b := p.terms
	e := cacheEntry{terms: b}
	passed := 0
	for i := range 3000 {
		core := []byte(words[i%len(words)])
		if i%2 == 0 {
			core = []byte(letters(1 + i%12))
		}
		core = core[len(core)*(i%3)/4:]
		found := false
		if err := newDFA(core).scan(b, func(int, []byte) { found = true }); err != nil {
			t.Fatal(err)
		}
		if !e.mayHave(core) {
			passed++
			if found {
				t.Fatalf("%q is in the block", core)
			}
		}
	}
	if passed < 800 {
		t.Errorf("passed over %d times only", passed)
	}
	if damaged := (&cacheEntry{terms: []byte{9, 9, 9}}); !damaged.mayHave([]byte("ABCDEF")) {
		t.Error("a damaged block is passed over")
	}
}
