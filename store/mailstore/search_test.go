package mailstore

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
	"bahnpost/store/internal/fts"
	"bahnpost/wire/message"
)

// corpusFiles returns the messages of the corpus beside the repository, at most n, evenly chosen.
func corpusFiles(t testing.TB, n int, limit int64) [][]byte {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		c := filepath.Join(dir, "shared", "corpus")
		if fi, err := os.Stat(c); err == nil && fi.IsDir() {
			dir = c
			break
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Skip("no shared/corpus directory beside the repository")
		}
		dir = up
	}
	var paths []string
	filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		switch filepath.Ext(p) {
		case ".eml", ".msg", ".raw", ".txt", ".inner", "":
			if fi, err := d.Info(); err == nil && fi.Size() > 0 && fi.Size() < limit {
				paths = append(paths, p)
			}
		}
		return nil
	})
	r := rand.New(rand.NewPCG(uint64(n), 3))
	r.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	var out [][]byte
	for _, p := range paths[:min(n, len(paths))] {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n")))
	}
	return out
}

// plainMessage is a message as the brute-force evaluator sees it.
type plainMessage struct {
	uid    UID
	parts  []string // folded header lines of parts and file names
	names  []string
	values []string // folded header values
	body   []string // folded texts
	size   int64
	flags  Flags
	kw     string
	date   time.Time
	sent   int64
	sentOK bool
}

// truth reads the texts of a message without any of the code under test.
func truth(t testing.TB, raw, prefix []byte) *plainMessage {
	t.Helper()
	m := &plainMessage{size: int64(len(raw) + len(prefix))}
	read := func(b []byte) {
		s, err := message.Parse(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		whole := true
		err = message.Texts(bytes.NewReader(b), s.Root, func(k message.TextKind, field string, text []byte) bool {
			f := string(message.Fold(nil, string(text)))
			switch {
			case k == message.HeaderText:
				m.names, m.values = append(m.names, field), append(m.values, string(message.Fold(nil, strings.Trim(string(text), " \t"))))
			case k == message.PartHeader:
				m.parts = append(m.parts, string(message.Fold(nil, field))+": "+string(message.Fold(nil, strings.Trim(string(text), " \t"))))
			case k == message.FileName:
				m.parts = append(m.parts, f)
			case whole:
				m.body = append(m.body, f)
			default:
				m.body[len(m.body)-1] += f
			}
			if k == message.BodyText {
				whole = len(text) > 0 && len(text) < 1024 && text[len(text)-1] > ' '
			} else {
				whole = true
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if s.SentDateOK {
			m.sent, m.sentOK = s.SentDate+int64(s.SentZone)*60, true
		}
	}
	read(prefix)
	m.body, m.parts = nil, nil
	read(raw)
	return m
}

// matches is RFC 9051 §6.4.4 by hand.
func (m *plainMessage) matches(q *Query) bool {
	needle := string(message.Fold(nil, q.Text))
	anyBody := slices.ContainsFunc(m.body, func(s string) bool { return strings.Contains(s, needle) })
	switch q.Op {
	case QAll:
		return true
	case QAnd:
		return !slices.ContainsFunc(q.Subs, func(s *Query) bool { return !m.matches(s) })
	case QOr:
		return slices.ContainsFunc(q.Subs, m.matches)
	case QNot:
		return !m.matches(q.Subs[0])
	case QInUIDs:
		return q.UIDs.Contains(m.uid)
	case QFlag:
		return m.flags&q.Flags == q.Flags
	case QKeyword:
		return m.kw != "" && strings.EqualFold(m.kw, q.Keyword)
	case QHeader:
		for i, v := range m.values {
			if m.names[i] == q.Field && strings.Contains(v, needle) {
				return true
			}
		}
		return false
	case QBody:
		return anyBody
	case QText:
		for i, v := range m.values {
			if strings.Contains(string(message.Fold(nil, m.names[i]))+": "+v, needle) {
				return true
			}
		}
		return anyBody || slices.ContainsFunc(m.parts, func(s string) bool { return strings.Contains(s, needle) })
	case QLarger:
		return m.size > q.Number
	case QSmaller:
		return m.size < q.Number
	case QInternal:
		y, mo, d := m.date.Date()
		day := time.Date(y, mo, d, 0, 0, 0, 0, time.UTC).Unix()
		return q.From <= day && day < q.To
	case QSent:
		return m.sentOK && q.From <= m.sent && m.sent < q.To
	}
	panic("not covered")
}

// searchSite is a mailbox with its truth.
type searchSite struct {
	*site
	tk   Ticket
	box  MailboxID
	msgs []*plainMessage
}

func newSearchSite(t testing.TB) *searchSite {
	s := &searchSite{site: newSite(t, Config{})}
	s.tk = s.account(1, Quota{})
	s.box = s.site.box(1, "INBOX").ID
	return s
}

func (s *searchSite) add(r *rand.Rand, raw []byte) {
	s.t.Helper()
	var prefix []byte
	if r.IntN(2) == 0 {
		prefix = fmt.Appendf(nil, "Delivered-To: user%d@example.org\r\nReturn-Path: <bounce-%d@example.net>\r\n", r.IntN(5), r.IntN(50))
	}
	m := truth(s.t, raw, prefix)
	m.flags = Flags(r.Uint64()) & SystemFlags
	m.date = time.Unix(1_700_000_000+r.Int64N(20*86400), 0).In(time.FixedZone("", (r.IntN(27)-13)*3600+1800))
	n := NewMessage{Prefix: prefix, Flags: m.flags, Internal: m.date}
	if k := r.IntN(100); k < 90 {
		m.kw = fmt.Sprintf("kw%d", k) // more than fit the bits
		n.Keywords = []string{m.kw}
	}
	n.Body = s.body(string(raw))
	defer n.Body.Release()
	s.must(s.tk, func(tx *Tx) error {
		a, err := tx.Append(s.box, n)
		m.uid = a.UID
		return err
	})
	s.msgs = append(s.msgs, m)
}

// index brings the search index up to date.
func (s *searchSite) index() {
	s.t.Helper()
	ix := indexer{s: s.Store, b: fts.NewBuilder()}
	if err := ix.account(context.Background(), s.tk.Account, false); err != nil {
		s.t.Fatal(err)
	}
}

// find returns what the store finds.
func (s *searchSite) find(q *Query) Found {
	s.t.Helper()
	b, err := s.OpenBox(context.Background(), s.tk.Account, s.box)
	if err != nil {
		s.t.Fatal(err)
	}
	defer b.Close()
	f, err := s.Search(context.Background(), b.NewView(), q)
	if err != nil {
		s.t.Fatalf("%s: %v", show(q), err)
	}
	return f
}

// check compares with brute force.
func (s *searchSite) check(q *Query, state string) {
	s.t.Helper()
	var want []UID
	for _, m := range s.msgs {
		if m.matches(q) {
			want = append(want, m.uid)
		}
	}
	if f := s.find(q); !slices.Equal(f.UIDs, want) {
		s.t.Errorf("%s (%s):\n got %v\nwant %v", show(q), state, f.UIDs, want)
		for _, sub := range q.Subs { // which of them is it?
			s.check(sub, state)
		}
	}
}

func show(q *Query) string {
	switch q.Op {
	case QAnd, QOr, QNot:
		var subs []string
		for _, s := range q.Subs {
			subs = append(subs, show(s))
		}
		return fmt.Sprintf("%d(%s)", q.Op, strings.Join(subs, ", "))
	}
	return fmt.Sprintf("{op %d field %q text %q flags %b keyword %q uids %v number %d %d..%d}", q.Op, q.Field, q.Text, q.Flags, q.Keyword, q.UIDs, q.Number, q.From, q.To)
}

// cut takes a random piece of s, at rune boundaries.
func cut(r *rand.Rand, s string) string {
	v := []rune(s)
	if len(v) == 0 {
		return ""
	}
	i := r.IntN(len(v))
	return string(v[i : i+1+r.IntN(min(len(v)-i, []int{3, 8, 30, 200}[r.IntN(4)]))])
}

// leaf makes a random criterion, texts mostly from the mail itself.
func (s *searchSite) leaf(r *rand.Rand) *Query {
	for {
		m := s.msgs[r.IntN(len(s.msgs))]
		day := m.date.Unix() / 86400 * 86400
		switch r.IntN(12) {
		case 0:
			return &Query{Op: QFlag, Flags: 1 << r.IntN(5)}
		case 1:
			return &Query{Op: QKeyword, Keyword: fmt.Sprintf("KW%d", r.IntN(100))}
		case 2:
			return &Query{Op: QInUIDs, UIDs: Range(m.uid, m.uid+UID(r.IntN(50)))}
		case 3:
			return &Query{Op: []QueryOp{QLarger, QSmaller}[r.IntN(2)], Number: m.size}
		case 4:
			return &Query{Op: QInternal, From: day, To: day + 86400*int64(r.IntN(4))}
		case 5:
			return &Query{Op: QSent, From: m.sent / 86400 * 86400, To: m.sent/86400*86400 + 86400*int64(r.IntN(100))}
		case 6, 7, 8:
			if len(m.names) == 0 {
				continue
			}
			i := r.IntN(len(m.names))
			switch r.IntN(6) {
			case 0:
				return &Query{Op: QHeader, Field: m.names[i]}
			case 1:
				return &Query{Op: QText, Text: cut(r, m.names[i]+": "+m.values[i])}
			case 2:
				if len(m.parts) > 0 {
					return &Query{Op: []QueryOp{QBody, QText, QText}[r.IntN(3)], Text: cut(r, m.parts[r.IntN(len(m.parts))])}
				}
			}
			return &Query{Op: QHeader, Field: m.names[i], Text: cut(r, m.values[i])}
		default:
			if len(m.body) == 0 {
				continue
			}
			text := cut(r, m.body[r.IntN(len(m.body))])
			if utf8.ValidString(text) {
				return &Query{Op: []QueryOp{QBody, QText}[r.IntN(2)], Text: text}
			}
		}
	}
}

func (s *searchSite) tree(r *rand.Rand, depth int) *Query {
	if depth == 0 || r.IntN(3) == 0 {
		return s.leaf(r)
	}
	q := &Query{Op: []QueryOp{QAnd, QOr, QNot}[r.IntN(3)]}
	n := 2
	if q.Op == QNot {
		n = 1
	}
	for range n {
		q.Subs = append(q.Subs, s.tree(r, depth-1))
	}
	return q
}

// TestSearchCorpus: the answers are the same with, without and with half of an index (RFC 9051 §6.4.4).
func TestSearchCorpus(t *testing.T) {
	t.Parallel()
	files := corpusFiles(t, 400, 60<<10)
	s := newSearchSite(t)
	seed, _ := strconv.ParseUint(os.Getenv("SEARCH_SEED"), 10, 64)
	t.Logf("again: SEARCH_SEED=%d go test -run TestSearchCorpus ./store/mailstore", seed)
	r := rand.New(rand.NewPCG(seed, 9))
	third := len(files) / 3
	for _, f := range files[:third] {
		s.add(r, f)
	}
	var asked []*Query
	ask := func(state string, leaves, trees int) {
		for range leaves {
			asked = append(asked, s.leaf(r))
		}
		for range trees {
			asked = append(asked, s.tree(r, 3))
		}
		for _, q := range asked {
			s.check(q, state)
			if t.Failed() {
				t.FailNow()
			}
		}
	}
	ask("no index", 20, 10)
	s.index()
	ask("indexed", 200, 100)
	for _, f := range files[third : 2*third] {
		s.add(r, f)
	}
	ask("half indexed", 20, 10)
	var left []*plainMessage
	var gone UIDSet
	for _, m := range s.msgs {
		if r.IntN(5) == 0 {
			gone.Add(m.uid)
		} else {
			left = append(left, m)
		}
	}
	s.must(s.tk, func(tx *Tx) error { _, err := tx.Expunge(s.box, gone, false); return err })
	s.msgs = left
	for i, f := range files[2*third:] {
		s.add(r, f)
		if i%7 == 0 {
			s.index()
		}
	}
	s.index()
	ask("expunged, merged", 200, 100)
	s.reopen()
	ask("reopened", 50, 20)
}

const simpleMail = "From: Grün <gruen@example.org>\r\nTo: you@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= aus Köln\r\nX-Empty:\r\nDate: Mon, 1 Jan 2024 23:30:00 -0500\r\n\r\nRunning dogs, 日本語 text.\r\n"

// TestSearchMeaning pins single criteria by hand.
func TestSearchMeaning(t *testing.T) {
	t.Parallel()
	s := newSearchSite(t)
	r := rand.New(rand.NewPCG(2, 2))
	for range 40 { // more than are read instead of looked up
		s.add(r, []byte("Subject: other\r\n\r\nnothing here\r\n"))
	}
	s.add(r, []byte(simpleMail))
	uid := s.msgs[40].uid
	day := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	for round := range 2 {
		for _, c := range []struct {
			q   Query
			hit bool
		}{
			{Query{Op: QHeader, Field: "from", Text: "GRÜN"}, true},
			{Query{Op: QHeader, Field: "from", Text: "gruen@EXAMPLE"}, true},
			{Query{Op: QHeader, Field: "subject", Text: "grüße AUS"}, true},
			{Query{Op: QHeader, Field: "subject", Text: "grüsse"}, false},
			{Query{Op: QHeader, Field: "subject", Text: "ko\u0308ln"}, true},
			{Query{Op: QHeader, Field: "x-empty"}, true},
			{Query{Op: QHeader, Field: "x-absent"}, false},
			{Query{Op: QBody, Text: "本"}, true},
			{Query{Op: QBody, Text: "日本語 "}, true},
			{Query{Op: QBody, Text: "köln"}, false},
			{Query{Op: QText, Text: "köln"}, true},
			{Query{Op: QText, Text: "subject: gr"}, true},
			{Query{Op: QText, Text: "x-emp"}, true},
			{Query{Op: QBody, Text: "dog runs"}, false},
			{Query{Op: QBody, Text: "dog runs", Fuzzy: true}, false},
			{Query{Op: QBody, Text: "dogs runner", Fuzzy: true}, true},
			{Query{Op: QSent, From: day, To: day + 86400}, true}, // 2 January in UTC
			{Query{Op: QSent, From: day + 86400, To: day + 2*86400}, false},
		} {
			f := s.find(&c.q)
			if got := slices.Contains(f.UIDs, uid); got != c.hit {
				t.Errorf("round %d: %s: %v", round, show(&c.q), f.UIDs)
			}
			if c.q.Fuzzy && c.hit && (f.Scores[uid] < 1 || f.Scores[uid] > 100) {
				t.Errorf("scores %v", f.Scores)
			}
			b, err := s.OpenBox(t.Context(), 1, s.box)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := s.Match(t.Context(), b.NewView(), uid, &c.q); err != nil || got != c.hit {
				t.Errorf("round %d: match %s: %v %v", round, show(&c.q), got, err)
			}
			b.Close()
		}
		s.index()
	}
}

const nestedMail = "Subject: outer\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=outerbound\r\n\r\nprologue\r\n" +
	"--outerbound\r\nContent-Type: text/plain; charset=utf-8\r\nContent-ID: <cid-one@example.org>\r\nX-Part: =?utf-8?q?K=C3=B6rper?=\r\n\r\nfirst text\r\n" +
	"--outerbound\r\nContent-Type: message/rfc822\r\nContent-Description: forwarded\r\n\r\n" +
	"Subject: =?utf-8?q?Weitergel=C3=A4ssen?=\r\nFrom: deep@example.net\r\nContent-Type: multipart/alternative; boundary=innerbound\r\n\r\n" +
	"--innerbound\r\nContent-Type: text/html\r\nContent-Language: de-AT\r\n\r\n<p>second text</p>\r\n--innerbound--\r\n" +
	"--outerbound\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n" +
	"Content-Disposition: attachment; filename*=utf-8''rechnung-%C3%A4.pdf\r\n\r\nAAAA\r\n--outerbound--\r\nepilogue\r\n"

// RFC 9051 §6.4.4: TEXT looks into "the header (including MIME header fields) or body", BODY "doesn't match any header
// fields", HEADER is about the message's own header.
func TestSearchPartHeaders(t *testing.T) {
	t.Parallel()
	s := newSearchSite(t)
	r := rand.New(rand.NewPCG(3, 3))
	for range 40 {
		s.add(r, []byte("Subject: other\r\n\r\nnothing here\r\n"))
	}
	s.add(r, []byte(nestedMail))
	uid := s.msgs[40].uid
	for round := range 2 {
		for _, c := range []struct {
			text       string
			text1, bod bool
		}{
			{"first text", true, true},
			{"second text", true, true},
			{"cid-one@example", true, false},
			{"content-id: <cid", true, false},
			{"tent-language: de-at", true, false},
			{"KÖRPER", true, false},
			{"weitergeläss", true, false},
			{"subject: weiter", true, false},
			{"from: deep@", true, false},
			{"content-description: forw", true, false},
			{"base64", true, false},
			{"innerbound", true, false},
			{"rechnung-ä.pdf", true, false},
			{"message/rfc822", true, false},
			{"prologue", false, false}, // belongs to no part (RFC 2046 §5.1.1)
			{"epilogue", false, false},
		} {
			if got := slices.Contains(s.find(&Query{Op: QText, Text: c.text}).UIDs, uid); got != c.text1 {
				t.Errorf("round %d: TEXT %q: %v", round, c.text, got)
			}
			if got := slices.Contains(s.find(&Query{Op: QBody, Text: c.text}).UIDs, uid); got != c.bod {
				t.Errorf("round %d: BODY %q: %v", round, c.text, got)
			}
		}
		for _, c := range [][2]string{{"subject", "weiter"}, {"content-id", ""}, {"from", "deep"}, {"content-type", "pdf"}} {
			if got := s.find(&Query{Op: QHeader, Field: c[0], Text: c[1]}).UIDs; slices.Contains(got, uid) {
				t.Errorf("round %d: HEADER %q matches a part", round, c)
			}
		}
		s.index()
	}
}

// TestSearchDamaged: a broken index costs time, not answers, and is built anew.
func TestSearchDamaged(t *testing.T) {
	t.Parallel()
	s := newSearchSite(t)
	r := rand.New(rand.NewPCG(2, 2))
	for i := range 40 {
		s.add(r, fmt.Appendf(nil, "Subject: number %d\r\n\r\nbody%d\r\n", i, i%3))
	}
	s.index()
	q := &Query{Op: QBody, Text: "ody1"}
	s.check(q, "whole")
	if p := s.problems(); len(p) > 0 {
		t.Errorf("%v", p)
	}
	s.must(s.tk, func(tx *Tx) error {
		_, err := tx.c.Exec("UPDATE fts_block SET terms=x'28B52FFD00000000'")
		return err
	})
	s.reopen() // forget the cache
	s.check(q, "damaged")
	if p := s.problems(); len(p) != 1 || p[0].Fatal {
		t.Errorf("%v", p)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error)
	go func() { done <- s.indexer(ctx) }()
	s.indexed(done, 40)
	stop()
	<-done
	s.check(q, "again")
	p, err := s.Prepare(t.Context(), 1, q)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := s.OpenBox(t.Context(), 1, s.box)
	defer b.Close()
	if _, err := p.In(t.Context(), b.NewView()); err != nil || p.plan.leaves[0].parts[0].hits == nil {
		t.Errorf("the index was not used: %v", err)
	}
}

// indexer is what Run does of it.
func (s *searchSite) indexer(ctx context.Context) error {
	if err := s.findUnindexed(ctx, time.Now()); err != nil {
		return err
	}
	return s.runIndexer(ctx)
}

// indexed waits until n messages were indexed since the start.
func (s *searchSite) indexed(indexer chan error, n int64) {
	s.t.Helper()
	for s.Store.search.done.Load() < n {
		select {
		case err := <-indexer:
			s.t.Fatal(err)
		case <-time.After(time.Millisecond): // there is no other sign of it
		}
	}
}

// problems is what Check says of the search index.
func (s *searchSite) problems() (out []Problem) {
	s.t.Helper()
	for p, err := range s.Check(context.Background(), CheckOptions{}) {
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

// TestIndexer: mail is indexed some time after its commit, and after a restart what was left.
func TestIndexer(t *testing.T) {
	t.Parallel()
	s := newSearchSite(t)
	s.cfg.IndexDelay = 2 * time.Millisecond
	s.reopen()
	run := func(n int64, during func()) {
		t.Helper()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.indexer(ctx) }()
		during()
		s.indexed(done, n)
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	some := func(n int) {
		for i := range n {
			s.add(r, fmt.Appendf(nil, "Subject: s%d\r\n\r\nbody %d\r\n", i, i%7))
		}
	}
	run(130, func() { some(130) })
	some(5)
	s.reopen()
	run(5, func() {})
	s.check(&Query{Op: QBody, Text: "ody 3"}, "indexed")
	if p := s.problems(); len(p) > 0 {
		t.Errorf("%v", p)
	}
	s.must(s.tk, func(tx *Tx) error { _, err := tx.c.Exec("UPDATE fts_account SET texts=0"); return err }) // of an older program
	s.reopen()
	run(135, func() {})
	high := int64(0)
	if err := s.d.View(t.Context(), func(c *db.Conn) (err error) { high, err = fts.High(c, 1); return err }); err != nil || high != 135 {
		t.Errorf("indexed up to %d: %v", high, err)
	}
	if err := s.RemoveAccount(t.Context(), 1, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.d.View(t.Context(), func(c *db.Conn) error {
		size, err := fts.Measure(c, 1)
		if size != (fts.Size{}) {
			t.Errorf("left after removal: %+v", size)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestPrepared: one plan serves several mailboxes; copies and moves are found where they are (RFC 7377).
func TestPrepared(t *testing.T) {
	t.Parallel()
	s := newSearchSite(t)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 50 {
		s.add(r, fmt.Appendf(nil, "Subject: s%d\r\n\r\nbody %d\r\n", i, i%7))
	}
	other := s.site.box(1, "Archive").ID
	s.index()
	s.must(s.tk, func(tx *Tx) error {
		if _, err := tx.Move(s.box, Range(1, 20), other); err != nil {
			return err
		}
		_, err := tx.Copy(s.box, Range(30, 40), other) // not indexed yet
		return err
	})
	p, err := s.Prepare(t.Context(), 1, &Query{Op: QBody, Text: "dy 3"})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[MailboxID][]UID{s.box: {25, 32, 39, 46}, other: {4, 11, 18, 23, 30}} {
		b, err := s.OpenBox(t.Context(), 1, id)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		f, err := p.In(t.Context(), b.NewView())
		if err != nil || !slices.Equal(f.UIDs, want) {
			t.Errorf("%d: %v %v, want %v", id, f.UIDs, err, want)
		}
	}
}

// TestSearchCancel: a long search ends with its context.
func TestSearchCancel(t *testing.T) {
	t.Parallel()
	s := newSearchSite(t)
	s.append(s.tk, s.box, simpleMail, 0)
	b, err := s.OpenBox(t.Context(), 1, s.box)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	v := b.NewView()
	if err := b.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := s.Search(ctx, v, &Query{Op: QText, Text: "x"}); err == nil {
		t.Error("no error")
	}
	if _, err := s.Store.Account(t.Context(), 2); mail.KindOf(err) != mail.NoSuchAccount {
		t.Error(err)
	}
}
