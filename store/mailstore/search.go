package mailstore

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
	"bahnpost/store/internal/fts"
)

// Query is a search criterion over the messages of a view: a tree. RFC 9051 §6.4.4
// and its extensions are mapped onto it by the protocols.
type Query struct {
	Op   QueryOp
	Subs []*Query // And, Or, Not (one)

	UIDs     UIDSet // InUIDs
	Flags    Flags  // HasFlag: all of these system flags set
	Keyword  string // HasKeyword
	Field    string // Header: lower-case name; "" text matches mere presence
	Text     string // Header, Body, Text: UTF-8; substring, i;unicode-casemap
	Fuzzy    bool   // RFC 6203: word match with stemming-like prefix is enough, result may be ranked
	Number   int64  // Larger, Smaller: octets; ModSeq; Message and Thread ids
	From, To int64  // date ranges as Unix seconds: From <= t < To
}

// QueryOp is the kind of a Query node.
type QueryOp uint8

// Operators.
const (
	QAll QueryOp = iota
	QAnd
	QOr
	QNot
	QInUIDs
	QFlag
	QKeyword
	QHeader
	QBody // text of the body: no header field, of no part
	QText // header, MIME headers, file names or body
	QLarger
	QSmaller
	QInternal      // INTERNALDATE disregarding zone as RFC 9051 says: compare local date; From/To are computed on Internal+Zone
	QInternalExact // WITHIN: absolute time
	QSent          // the Date header likewise; a message without a usable one never matches
	QSaved
	QModSeq // >= Number
	QMessage
	QThread
)

// Found is the answer of Search.
type Found struct {
	UIDs   []UID       // ascending
	ModSeq ModSeq      // highest modseq among them (RFC 7162 §3.1.5)
	Scores map[UID]int // RFC 6203 relevancy 1..100, only for Fuzzy queries
}

// Search evaluates q over v. The search index trails the mail; what it does not
// cover yet is read directly, so the answer is always exact.
func (s *Store) Search(ctx context.Context, v *View, q *Query) (Found, error) {
	p, err := s.Prepare(ctx, v.Box().Account(), q)
	if err != nil {
		return Found{}, err
	}
	return p.In(ctx, v)
}

// Match tells whether one stored message matches q (CONTEXT, NOTIFY, Sieve later). A message that is gone does not.
func (s *Store) Match(ctx context.Context, v *View, uid UID, q *Query) (bool, error) {
	p, err := s.Prepare(ctx, v.Box().Account(), q)
	if err != nil {
		return false, err
	}
	p.direct = true
	f, err := p.in(ctx, v, uid, uid)
	return len(f.UIDs) > 0, err
}

// Prepared is a query over an account's mail, looked up in the index once for
// any number of its mailboxes (MULTISEARCH). Not safe for concurrent use.
type Prepared struct {
	s       *Store
	account mail.AccountID
	plan    *searchPlan
	direct  bool // do not use the index
	looked  bool // hits are filled in
	verify  []*verifier
}

// Prepare plans q for the mailboxes of account a.
func (s *Store) Prepare(ctx context.Context, a mail.AccountID, q *Query) (*Prepared, error) {
	keywords, err := s.Keywords(ctx, a)
	if err != nil {
		return nil, err
	}
	return &Prepared{s: s, account: a, plan: planSearch(q, keywords)}, nil
}

// In evaluates the query over v, a view of a mailbox of the account.
func (p *Prepared) In(ctx context.Context, v *View) (Found, error) {
	return p.in(ctx, v, 1, maxUID)
}

const (
	// fewRows is how many messages are rather read than looked up: walking a large vocabulary takes as long.
	fewRows = 16
	// searchStride is how many rows are evaluated under one hold of the box's lock, 0.2 ms, and how many may wait
	// for verification in memory.
	searchStride = 4096
)

// in evaluates the query over the UIDs lo..hi of v.
func (p *Prepared) in(ctx context.Context, v *View, lo, hi UID) (f Found, err error) {
	hi = min(hi, v.UIDNext()-1)
	if len(p.plan.leaves)+len(p.plan.sent) > 0 && !p.direct && !p.looked {
		if err := p.look(ctx, v, lo, hi); err != nil {
			return f, err
		}
	}
	var rows []Row
	for lo <= hi && lo != 0 {
		if err := ctx.Err(); err != nil {
			return f, err
		}
		n := len(f.UIDs)
		rows = rows[:0]
		lo, err = p.stride(ctx, v, lo, hi, searchStride, &f, &rows)
		if err != nil {
			return f, err
		}
		if len(rows) > 0 {
			if err := p.settle(ctx, v.Box(), rows, &f); err != nil {
				return f, err
			}
			slices.Sort(f.UIDs[n:])
		}
	}
	return f, nil
}

// stride evaluates up to n rows from lo on, adds those that match to f and those that are undecided to rows, and returns where to go on (0: done).
func (p *Prepared) stride(ctx context.Context, v *View, lo, hi UID, n int, f *Found, rows *[]Row) (next UID, err error) {
	if err := v.enter(ctx, true); err != nil {
		return 0, err
	}
	b := v.box
	defer b.mu.RUnlock()
	e := evaluation{more: b.more}
	b.rows.each(lo, hi, func(r *row) bool {
		if n == 0 {
			next = r.uid
			return false
		}
		n--
		e.row = r.row()
		switch p.plan.root.eval(&e) {
		case yes:
			p.found(f, &e)
		case unknown:
			*rows = append(*rows, e.row)
		}
		return true
	})
	return next, nil
}

// found adds the message at hand.
func (p *Prepared) found(f *Found, e *evaluation) {
	f.UIDs = append(f.UIDs, e.row.UID)
	f.ModSeq = max(f.ModSeq, e.row.ModSeq)
	if p.plan.fuzzy {
		if f.Scores == nil {
			f.Scores = make(map[UID]int)
		}
		f.Scores[e.row.UID] = p.plan.score(e)
	}
}

// look fills in what the index knows, unless few messages are in question anyway.
func (p *Prepared) look(ctx context.Context, v *View, lo, hi UID) error {
	var f Found
	var rows []Row
	for next := lo; next != 0 && next <= hi && len(rows) <= fewRows; {
		var err error
		if next, err = p.stride(ctx, v, next, hi, searchStride, &f, &rows); err != nil {
			return err
		}
		f = Found{}
	}
	if len(rows) <= fewRows {
		return nil
	}
	p.looked = true
	err := p.plan.look(ctx, p.s.db, p.s.search.index, int64(p.account))
	if errors.Is(err, fts.ErrDamaged) {
		p.plan.forget() // reading everything is slow, but right
		p.s.search.news.reset(p.account, time.Now())
		return nil
	}
	return err
}

// settle decides rows by what is stored beyond the index of the mailbox: first the date and the thread, then the text.
func (p *Prepared) settle(ctx context.Context, b *Box, rows []Row, f *Found) error {
	if p.plan.meta || len(p.plan.sent) > 0 && !p.looked {
		var err error
		if rows, err = p.settleMeta(ctx, b, rows, f); err != nil {
			return err
		}
	}
	workers := min(runtime.GOMAXPROCS(0), maxVerifiers, (len(rows)+fewRows-1)/fewRows)
	for len(p.verify) < workers {
		p.verify = append(p.verify, newVerifier(p.s, p.account))
	}
	var wg sync.WaitGroup
	var next atomic.Int64
	var mu sync.Mutex
	var fault error
	for _, x := range p.verify[:workers] {
		wg.Go(func() {
			for {
				to := int(next.Add(verifyPage))
				from := to - verifyPage
				if from >= len(rows) {
					return
				}
				err := x.page(ctx, p.plan, rows[from:min(to, len(rows))], b, func(e *evaluation) {
					mu.Lock()
					p.found(f, e)
					mu.Unlock()
				})
				if err != nil {
					mu.Lock()
					fault = err
					mu.Unlock()
					next.Store(int64(len(rows)))
				}
			}
		})
	}
	wg.Wait()
	return fault
}

// verifyPage is how many messages a verifier takes at a time.
const verifyPage = 16

// maxVerifiers bounds how many messages one search reads at a time: no more than there are readers of the database.
const maxVerifiers = 4

// settleMeta returns the rows that need their text read.
func (p *Prepared) settleMeta(ctx context.Context, b *Box, rows []Row, f *Found) ([]Row, error) {
	left := rows[:0:0]
	i := 0
	for m, err := range b.Metas(ctx, rows) {
		if err != nil {
			return nil, err
		}
		for i < len(rows) && rows[i].Message != m.Message {
			i++
		}
		if i == len(rows) {
			break
		}
		e := evaluation{row: rows[i], more: moreOf(b, &rows[i]), facts: factsOf(m)}
		switch p.plan.root.eval(&e) {
		case yes:
			p.found(f, &e)
		case unknown:
			left = append(left, rows[i])
			// The facts are read again with the text: keeping them would cost more memory than the rows.
		}
	}
	return left, nil
}

func moreOf(b *Box, r *Row) map[UID][]KeywordID {
	if !r.HasMore {
		return nil
	}
	return map[UID][]KeywordID{r.UID: b.More(r.UID)}
}

// search is the Store's part for searching.
type search struct {
	index *fts.Index
	news  indexQueue
	done  atomic.Int64 // messages indexed since the start
}

// init makes the tables and the index. Called by New.
func (x *search) init(ctx context.Context, s *Store) error {
	if err := s.db.Migrate(ctx, fts.Component, fts.Steps()); err != nil {
		return err
	}
	x.index = fts.New(fts.Config{Memory: s.cfg.SearchMemory, Texts: textsVersion, Own: ownForIndex})
	x.news.init(cmp.Or(s.cfg.IndexDelay, defaultIndexDelay))
	return nil
}

// removeSearchIndex deletes some of an account's index, a few ms of work. RemoveAccount calls it in one step after another until done.
func removeSearchIndex(tx *db.Tx, a mail.AccountID) (done bool, err error) {
	return fts.Remove(tx, int64(a))
}
