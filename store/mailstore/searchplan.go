package mailstore

import (
	"context"
	"slices"
	"strings"

	"bahnpost/store/internal/db"
	"bahnpost/store/internal/fts"
	"bahnpost/wire/message"
)

// verdict is what is known of a criterion and a message.
type verdict uint8

const (
	no verdict = iota
	yes
	unknown // needs more than what is at hand
)

func (v verdict) not() verdict {
	switch v {
	case no:
		return yes
	case yes:
		return no
	}
	return unknown
}

func decided(b bool) verdict {
	if b {
		return yes
	}
	return no
}

// searchPlan is a Query made ready: keywords and texts resolved, cheap criteria first.
type searchPlan struct {
	root   *criterion
	leaves []*textLeaf
	sent   []*sentLeaf
	meta   bool // has criteria on what Meta holds
	thread bool // the thread is among them
	fuzzy  bool
}

// criterion is a node of the plan.
type criterion struct {
	op       QueryOp
	subs     []*criterion
	uids     UIDSet
	flags    Flags
	keyword  KeywordID // beyond the bits, if flags is 0
	number   int64
	from, to int64
	leaf     *textLeaf
	sent     *sentLeaf // nil: not whole days
	cost     int       // 0: row, 1: Meta, 2: text
}

// evaluation is a message under evaluation.
type evaluation struct {
	row   Row
	more  map[UID][]KeywordID
	facts *metaFacts // nil: not read
	texts []verdict  // by leaf part; nil: not read
}

// metaFacts are what criteria want of Meta.
type metaFacts struct {
	sent   int64 // local date and time, as if it were UTC
	sentOK bool
	thread ThreadID
}

func factsOf(m *Meta) *metaFacts {
	k := m.Summary.SortKeys()
	return &metaFacts{sent: k.SentDate + int64(k.SentZone)*60, sentOK: k.SentDateOK, thread: m.Thread}
}

// planSearch makes q ready.
func planSearch(q *Query, keywords []string) *searchPlan {
	p := new(searchPlan)
	p.root = p.node(q, keywords)
	return p
}

func (p *searchPlan) node(q *Query, keywords []string) *criterion {
	c := &criterion{op: q.Op, uids: q.UIDs, flags: q.Flags, number: q.Number, from: q.From, to: q.To}
	for _, s := range q.Subs {
		sub := p.node(s, keywords)
		c.subs = append(c.subs, sub)
		c.cost = max(c.cost, sub.cost)
	}
	slices.SortStableFunc(c.subs, func(a, b *criterion) int { return a.cost - b.cost })
	switch q.Op {
	case QKeyword:
		i := slices.IndexFunc(keywords, func(k string) bool { return strings.EqualFold(k, q.Keyword) })
		if i < 0 {
			return &criterion{op: QOr} // nobody has it
		}
		c.keyword, c.flags = KeywordID(i), Keyword(KeywordID(i))
	case QHeader, QBody, QText:
		if q.Text == "" && q.Op != QHeader {
			return &criterion{op: QAll}
		}
		c.cost, c.leaf = 2, p.text(q)
	case QSent:
		c.cost, c.sent = 1, p.days(q)
		p.meta = p.meta || c.sent == nil
	case QThread:
		c.cost, p.meta, p.thread = 1, true, true
	}
	return c
}

// eval says what is known of the message.
func (c *criterion) eval(e *evaluation) verdict {
	switch c.op {
	case QAll:
		return yes
	case QAnd, QOr:
		return c.join(e)
	case QNot:
		for _, s := range c.subs {
			return s.eval(e).not()
		}
		return no
	case QInUIDs:
		return decided(c.uids.Contains(e.row.UID))
	case QFlag:
		return decided(e.row.Flags&c.flags == c.flags)
	case QKeyword:
		if c.flags != 0 {
			return decided(e.row.Flags&c.flags != 0)
		}
		return decided(e.row.HasMore && slices.Contains(e.more[e.row.UID], c.keyword))
	case QHeader, QBody, QText:
		return c.leaf.eval(e)
	case QLarger:
		return decided(int64(e.row.Size) > c.number)
	case QSmaller:
		return decided(int64(e.row.Size) < c.number)
	}
	return c.evalMore(e)
}

// evalMore is for dates and ids.
func (c *criterion) evalMore(e *evaluation) verdict {
	within := func(t int64) verdict { return decided(c.from <= t && t < c.to) }
	switch c.op {
	case QInternal:
		return within(e.row.Internal + int64(e.row.Zone)*60)
	case QInternalExact:
		return within(e.row.Internal)
	case QSaved:
		return within(e.row.Saved)
	case QModSeq:
		return decided(c.number <= 0 || e.row.ModSeq >= ModSeq(c.number))
	case QMessage:
		return decided(int64(e.row.Message) == c.number)
	case QSent, QThread:
		if e.facts == nil {
			return c.sent.eval(e)
		}
		if c.op == QThread {
			return decided(int64(e.facts.thread) == c.number)
		}
		if !e.facts.sentOK {
			return no
		}
		return within(e.facts.sent)
	}
	return no
}

// join is And and Or.
func (c *criterion) join(e *evaluation) verdict {
	out, stop := yes, no
	if c.op == QOr {
		out, stop = no, yes
	}
	for _, s := range c.subs {
		switch s.eval(e) {
		case stop:
			return stop
		case unknown:
			out = unknown
		}
	}
	return out
}

// sentLeaf is QSent over whole days, which the index knows.
type sentLeaf struct {
	from, to int64 // days since 1970
	hits     *fts.Hits
}

// days makes the leaf of a QSent that begins and ends at midnight or never.
func (p *searchPlan) days(q *Query) *sentLeaf {
	const day, never = 86400, 1 << 40 // some 35,000 years
	whole := func(t int64) bool { return t%day == 0 || t < -never || t > never }
	if !whole(q.From) || !whole(q.To) {
		return nil
	}
	l := &sentLeaf{from: q.From / day, to: q.To / day}
	p.sent = append(p.sent, l)
	return l
}

// eval says what the index knows.
func (l *sentLeaf) eval(e *evaluation) verdict {
	if l == nil {
		return unknown
	}
	return hitVerdict(l.hits, int64(e.row.Message))
}

// hitVerdict says what an answer of the index means for a message.
func hitVerdict(h *fts.Hits, id int64) verdict {
	switch {
	case h == nil || id > h.High:
		return unknown
	case h.Sure.Has(id):
		return yes
	case h.All || h.Maybe.Has(id):
		return unknown
	}
	return no
}

// textLeaf is a criterion on text: all of its needed parts.
type textLeaf struct {
	op    QueryOp
	field string // QHeader: lower-case name
	parts []textPart
	first int // number of parts[0] among all of the plan
}

// textPart is a needle to be found in the leaf's scope.
type textPart struct {
	needle []byte // folded; empty: presence of the field
	extra  bool   // only for the score
	weight int    // of an extra one
	hits   *fts.Hits
}

// text makes the leaf of q.
func (p *searchPlan) text(q *Query) *textLeaf {
	l := &textLeaf{op: q.Op, field: q.Field}
	folded := message.Fold(nil, q.Text)
	l.parts = []textPart{{needle: folded}}
	if words := strings.Fields(string(folded)); q.Fuzzy && len(words) > 0 {
		p.fuzzy = true
		l.parts = nil
		for _, w := range words {
			l.parts = append(l.parts, textPart{needle: []byte(stem(w))}, textPart{needle: []byte(w), extra: true, weight: 35 / len(words)})
		}
		l.parts = append(l.parts, textPart{needle: folded, extra: true, weight: 25})
	}
	for _, o := range p.leaves {
		l.first = o.first + len(o.parts)
	}
	p.leaves = append(p.leaves, l)
	return l
}

// stem cuts a common ending off a folded word (RFC 6203 §3 leaves the method open).
func stem(w string) string {
	const least = 4 // octets that must stay
	for _, end := range [...]string{"INGS", "ING", "EN", "ED", "ES", "ER", "S", "E", "N"} {
		if len(w) >= least+len(end) && strings.HasSuffix(w, end) {
			return w[:len(w)-len(end)]
		}
	}
	return w
}

// parts is the number of parts of all leaves.
func (p *searchPlan) parts() (n int) {
	for _, l := range p.leaves {
		n += len(l.parts)
	}
	return n
}

// eval says what is known of the leaf.
func (l *textLeaf) eval(e *evaluation) verdict {
	out := yes
	for i := range l.parts {
		if l.parts[i].extra {
			continue
		}
		switch l.part(e, i) {
		case no:
			return no
		case unknown:
			out = unknown
		}
	}
	return out
}

// part says what is known of part i.
func (l *textLeaf) part(e *evaluation, i int) verdict {
	if e.texts != nil {
		if v := e.texts[l.first+i]; v != unknown {
			return v
		}
	}
	return hitVerdict(l.parts[i].hits, int64(e.row.Message))
}

// score is the relevancy of a message that matches (RFC 6203 §4): whole words and the words in their order count.
func (p *searchPlan) score(e *evaluation) int {
	best := 0
	for _, l := range p.leaves {
		if l.eval(e) != yes {
			continue
		}
		n := 40
		for i := range l.parts {
			if x := &l.parts[i]; x.extra && l.part(e, i) == yes {
				n += x.weight
			}
		}
		if len(l.parts) == 1 {
			n = 100 // an exact criterion beside fuzzy ones
		}
		best = max(best, n)
	}
	return min(max(best, 1), 100)
}

// query is what the index is asked for a part.
func (l *textLeaf) query(i int) fts.Query {
	q := fts.Query{Needle: l.parts[i].needle}
	switch l.op {
	case QBody:
		q.Fields = fts.InBody
	case QText:
		q.Fields = fts.InAll
	default:
		f := fts.FieldOf(l.field)
		if len(q.Needle) == 0 {
			f = fts.Name
		}
		q.Fields = fts.In(f)
		q.Header = message.Fold(nil, l.field)
	}
	return q
}

// look asks the index for all parts. Each is a snapshot of its own, as a thousand of them may take seconds.
func (p *searchPlan) look(ctx context.Context, d *db.DB, x *fts.Index, account int64) error {
	lookup := func(q fts.Query) (h *fts.Hits, err error) {
		err = d.View(ctx, func(c *db.Conn) (err error) {
			h, err = x.Lookup(ctx, c, account, q)
			return err
		})
		return h, err
	}
	for _, l := range p.leaves {
		for i := range l.parts {
			h, err := lookup(l.query(i))
			if err != nil {
				return err
			}
			l.parts[i].hits = h
		}
	}
	for _, l := range p.sent {
		var err error
		if l.hits, err = lookup(fts.Query{Fields: fts.In(fts.Sent), From: l.from, To: l.to}); err != nil {
			return err
		}
	}
	return nil
}

// forget drops what the index said.
func (p *searchPlan) forget() {
	for _, l := range p.leaves {
		for i := range l.parts {
			l.parts[i].hits = nil
		}
	}
	for _, l := range p.sent {
		l.hits = nil
	}
}
