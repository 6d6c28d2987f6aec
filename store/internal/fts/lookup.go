package fts

import (
	"bytes"
	"context"
	"slices"

	"bahnpost/store/internal/db"
)

// Fields is a set of fields.
type Fields uint16

// In makes a set.
func In(f ...Field) (s Fields) {
	for _, x := range f {
		s |= 1 << x
	}
	return s
}

// Sets of fields as IMAP's BODY and TEXT want them.
const (
	InBody = Fields(1 << Body)
	InAll  = Fields(1<<fieldEnd - 1<<Name)
)

// Query asks for the messages that have Needle in one text of Fields.
//
// With Name among them a header field is the text "name: value", and its name alone; otherwise its value.
type Query struct {
	Fields Fields
	Header []byte // folded name: with Header in Fields only this field; with Fields Name and no Needle: where it is present
	Needle []byte // folded

	// With Fields Sent: days From <= day < To since 1970, and no Needle.
	From, To int64
}

// Hits is the answer to a Query; Sure and Maybe have no id in common.
type Hits struct {
	High  int64 // messages above are not in the index
	All   bool  // the index cannot help: every message up to High is a Maybe
	Sure  Set   // has the needle
	Maybe Set   // may have it
}

// Lookup finds the messages of an account that q may mean.
func (x *Index) Lookup(ctx context.Context, c *db.Conn, account int64, q Query) (*Hits, error) {
	h := new(Hits)
	segs, high, err := liveSegs(c, account)
	if err != nil {
		return nil, err
	}
	h.High = high
	steps := q.steps()
	if steps == nil {
		h.All = true
		return h, nil
	}
	l := lookup{x: x, c: c, account: account, hits: h}
	for i := range segs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		l.seg = &segs[i]
		if err := l.segment(steps); err != nil {
			return nil, err
		}
	}
	h.Maybe.Sub(&h.Sure)
	return h, nil
}

// scope is a range of terms: those that begin with prefix.
type scope struct {
	prefix []byte
	field  Field
}

// open reports whether header names stand between prefix and token.
func (s *scope) open() bool { return s.field == Header && len(s.prefix) == 1 }

// step is a part of a lookup: messages that have all of plan in one of scopes,
// and, for a needle that begins in a header's name, such a name.
type step struct {
	scopes []scope
	plan   plan
	name   *matcher
}

// steps plans q; nil if the index cannot help.
func (q *Query) steps() []step {
	if q.Fields == 1<<Name && len(q.Needle) == 0 {
		m := matcher{core: q.Header, alts: []alt{{exact, q.Header, true}}}
		return []step{{scopes: []scope{q.scope(Name)}, plan: plan{m}}}
	}
	if q.Fields == 1<<Sent {
		m := matcher{alts: []alt{{within, dayTerm(dayTerm(nil, q.From), q.To), true}}}
		return []step{{scopes: []scope{q.scope(Sent)}, plan: plan{m}}}
	}
	var words, text []scope
	for f := From; f < fieldEnd; f++ {
		if q.Fields&(1<<f) != 0 {
			if f.words() {
				words = append(words, q.scope(f))
			} else {
				text = append(text, q.scope(f))
			}
		}
	}
	var out []step
	for _, s := range []step{{scopes: words, plan: planWords(q.Needle)}, {scopes: text, plan: planText(q.Needle)}} {
		if len(s.scopes) > 0 {
			if len(s.plan) == 0 {
				return nil
			}
			out = append(out, s)
		}
	}
	if q.Fields&(1<<Name) != 0 {
		return q.nameSteps(out)
	}
	return out
}

// nameSteps adds what it takes to find a needle in "name: value" that is not all in the value.
func (q *Query) nameSteps(out []step) []step {
	left, right, colon := bytes.Cut(q.Needle, []byte{':'})
	if len(left) > maxName {
		return out // no name is so long, except in messages that are always a Maybe
	}
	if !colon {
		m := matcher{core: q.Needle, alts: []alt{{contains, q.Needle, true}}}
		return append(out, step{scopes: []scope{q.scope(Name)}, plan: plan{m}})
	}
	if len(right) > 0 && right[0] != ' ' {
		return out
	}
	name := &matcher{core: left, alts: []alt{{suffix, left, false}}}
	if len(bytes.TrimLeft(right, " ")) == 0 {
		return append(out, step{scopes: []scope{q.scope(Name)}, plan: plan{*name}})
	}
	var words []scope
	for f := From; f <= Subject; f++ {
		words = append(words, q.scope(f))
	}
	for _, s := range []step{{words, planWords(right), name}, {[]scope{q.scope(Header)}, planText(right), name}} {
		if len(s.plan) == 0 {
			return nil
		}
		out = append(out, s)
	}
	return out
}

func (q *Query) scope(f Field) scope {
	s := scope{prefix: []byte{byte(f)}, field: f}
	if f == Header && q.Header != nil {
		s.prefix = append(append(s.prefix, q.Header...), 0)
	}
	return s
}

// lookup is one Lookup under way.
type lookup struct {
	x        *Index
	c        *db.Conn
	account  int64
	seg      *segment
	hits     *Hits
	admitted int64 // octets it put into the cache
	buf      []byte
	posts    []byte
	found    []found // of the block at hand
}

type found struct {
	term int
	sure bool
}

// segment adds the hits of one segment.
func (l *lookup) segment(steps []step) error {
	if l.seg.over {
		m := matcher{core: nil, alts: []alt{{exact, nil, false}}}
		if err := l.walk(scope{prefix: []byte{byte(fieldOver)}, field: fieldOver}, &m, &l.hits.Maybe, &l.hits.Maybe); err != nil {
			return err
		}
	}
	for i := range steps {
		s := &steps[i]
		var in *Set
		if s.name != nil {
			in = new(Set)
			if err := l.walk(scope{prefix: []byte{byte(Name)}, field: Name}, s.name, in, in); err != nil {
				return err
			}
			if in.Empty() {
				continue
			}
		}
		for _, sc := range s.scopes {
			if err := l.scoped(sc, s.plan, in); err != nil {
				return err
			}
		}
	}
	return nil
}

// scoped adds the messages that have all of p within sc, and are in in if that is not nil. They have to be
// read in any case, so it stops where that costs less than looking for the rest of p.
func (l *lookup) scoped(sc scope, p plan, in *Set) error {
	if len(p) == 1 && in == nil {
		return l.walk(sc, &p[0], &l.hits.Sure, &l.hits.Maybe)
	}
	for i := range p {
		s := new(Set)
		if err := l.walk(sc, &p[i], s, s); err != nil {
			return err
		}
		if in != nil {
			s.And(in)
		}
		if s.Empty() {
			return nil
		}
		if in = s; s.Len() <= fewHits+l.seg.blocks/4 {
			break
		}
	}
	l.hits.Maybe.Or(in)
	return nil
}

// fewHits messages are read in about the time that a look into a small segment takes; looking through four blocks takes as long as reading one.
const fewHits = 4

// walk adds to sure and maybe the messages with a token within sc that m finds.
func (l *lookup) walk(sc scope, m *matcher, sure, maybe *Set) error {
	lo := sc.prefix
	seek := m.anchored() && !sc.open()
	if seek {
		lo = append(slices.Clip(lo), m.core...)
	}
	firsts, err := l.firsts()
	if err != nil {
		return err
	}
	i, ok := slices.BinarySearchFunc(firsts, lo, bytes.Compare)
	if !ok && i > 0 {
		i--
	}
	var d *dfa
	if !seek && len(m.core) > 0 {
		d = newDFA(m.core)
	}
	for end := after(lo); i < len(firsts) && (end == nil || bytes.Compare(firsts[i], end) < 0); {
		n := 1
		if e := l.cached(i); e != nil {
			if d == nil || e.mayHave(m.core) {
				err = l.block(i, e.terms, firsts, lo, sc, m, d, sure, maybe)
			}
		} else {
			n, err = l.load(i, firsts, end, func(i int, b []byte) error {
				return l.block(i, b, firsts, lo, sc, m, d, sure, maybe)
			})
		}
		if err != nil {
			return err
		}
		i += n
	}
	return nil
}

// after returns the first term after all that begin with prefix, nil if there is none.
func after(prefix []byte) []byte {
	p := slices.Clone(prefix)
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] < 0xFF {
			p[i]++
			return p[:i+1]
		}
	}
	return nil
}

// block looks through one block and adds the lists of the tokens found.
func (l *lookup) block(i int, b []byte, firsts [][]byte, lo []byte, sc scope, m *matcher, d *dfa, sure, maybe *Set) (err error) {
	l.found = l.found[:0]
	if d != nil {
		err = d.scan(b, func(n int, term []byte) { l.check(n, term, lo, sc, m) })
	} else {
		t := terms{b: b}
		for n := 0; ; n++ {
			ok, e := t.next()
			if err = e; !ok {
				break
			}
			if l.check(n, t.term, lo, sc, m) > 0 {
				break
			}
		}
	}
	if err != nil || len(l.found) == 0 {
		return err
	}
	return l.lists(firsts[i], sure, maybe)
}

// check notes term number n if it is meant. It returns 1 if this and later terms are beyond the range from lo.
func (l *lookup) check(n int, term, lo []byte, sc scope, m *matcher) int {
	if !bytes.HasPrefix(term, lo) {
		return bytes.Compare(term, lo)
	}
	tok := term[len(sc.prefix):]
	if sc.open() {
		tok = tok[bytes.IndexByte(tok, 0)+1:]
	}
	if hit, sure := m.match(tok); hit {
		l.found = append(l.found, found{n, sure})
	}
	return 0
}

// lists adds the lists of the found terms of the block that begins with first.
func (l *lookup) lists(first []byte, sure, maybe *Set) error {
	ok := false
	for r, err := range l.c.Rows(sqlPosts, db.Int(l.account), db.Int(l.seg.id), db.Blob(first)) {
		if err == nil {
			l.posts, err = l.x.codec.unpack(r.RawBytes(0), l.posts[:0])
		}
		if err != nil {
			return err
		}
		ok = true
	}
	if !ok {
		return ErrDamaged
	}
	rest := l.posts
	at := 0
	for _, f := range l.found {
		var list []byte
		var err error
		for ; at <= f.term; at++ {
			if list, rest, err = nextList(rest); err != nil {
				return err
			}
		}
		to := maybe
		if f.sure {
			to = sure
		}
		if err := to.addList(list, l.seg.base, l.seg.last); err != nil {
			return err
		}
	}
	return nil
}

// firsts returns the first terms of the segment's blocks.
func (l *lookup) firsts() ([][]byte, error) {
	k := cacheKey{l.account, l.seg.id, -1}
	if e := l.x.cache.get(k); e != nil {
		return e.firsts, nil
	}
	e := &cacheEntry{key: k}
	for r, err := range l.c.Rows(sqlFirsts, db.Int(l.account), db.Int(l.seg.id)) {
		if err != nil {
			return nil, err
		}
		e.firsts = append(e.firsts, r.Bytes(0))
	}
	if len(e.firsts) != l.seg.blocks {
		return nil, ErrDamaged
	}
	l.x.cache.put(e, &l.admitted)
	return e.firsts, nil
}

func (l *lookup) cached(i int) *cacheEntry {
	return l.x.cache.get(cacheKey{l.account, l.seg.id, int32(i)})
}

// load reads blocks from i on as far as they are not cached and before end, and calls f with each.
func (l *lookup) load(i int, firsts [][]byte, end []byte, f func(i int, b []byte) error) (n int, err error) {
	const stride = 64 // blocks a statement reads
	limit := 1
	for i+limit < len(firsts) && limit < stride && (end == nil || bytes.Compare(firsts[i+limit], end) < 0) && l.cached(i+limit) == nil {
		limit++
	}
	for r, err := range l.c.Rows(sqlTerms, db.Int(l.account), db.Int(l.seg.id), db.Blob(firsts[i]), db.Int(limit)) {
		if err != nil {
			return 0, err
		}
		if l.buf, err = l.x.codec.unpack(r.RawBytes(0), l.buf[:0]); err != nil {
			return 0, err
		}
		l.x.cache.put(&cacheEntry{key: cacheKey{l.account, l.seg.id, int32(i + n)}, terms: bytes.Clone(l.buf)}, &l.admitted)
		if err := f(i+n, l.buf); err != nil {
			return 0, err
		}
		n++
	}
	if n != limit {
		return 0, ErrDamaged
	}
	return n, nil
}
