package fts

import (
	"bytes"
	"context"

	"bahnpost/store/internal/db"
)

// Live says which messages of an account exist among the ids from..to. Nil means all.
type Live func(ctx context.Context, from, to int64) (*Set, error)

// Merge does one piece of the account's housekeeping: it sweeps what a merge or
// a crash left over, else merges neighbours if there are enough of a
// level, leaving out messages that are gone. more reports whether to call again.
func (x *Index) Merge(ctx context.Context, d *db.DB, account int64, alive Live, pace Pace) (more bool, err error) {
	var segs []segment
	var leftover bool
	err = d.View(ctx, func(c *db.Conn) (err error) {
		var seg int64
		if leftover, err = c.Row(sqlDead, db.Int(account)).Scan(&seg); err != nil {
			return err
		}
		segs, _, err = liveSegs(c, account)
		return err
	})
	if err != nil {
		return false, err
	}
	if leftover {
		return true, x.sweep(ctx, d, account, pace)
	}
	in := mergeable(segs)
	if in == nil {
		return false, nil
	}
	if alive != nil && in[0].level > 0 { // often enough: each time after fanout*fanout writes
		for i := range segs {
			s := &segs[i]
			if s.base >= in[0].base {
				break
			}
			keep, err := alive(ctx, s.base, s.last)
			if err != nil {
				return false, err
			}
			if int64(keep.Len())*wasteful < s.docs {
				return true, x.merge(ctx, d, account, segs[i:i+1], s.level, alive, pace)
			}
		}
	}
	return true, x.merge(ctx, d, account, in, in[0].level+1, alive, pace)
}

// wasteful is how many times the living the messages of an old segment must be for it to be rewritten without the dead.
const wasteful = 2

// mergeable picks the oldest fanout neighbours of the least level that has so many. Levels fall with age by that.
func mergeable(segs []segment) (best []segment) {
	for i, from := 0, 0; i < len(segs); i++ {
		if segs[i].level != segs[from].level {
			from = i
		}
		if i-from == fanout-1 && (best == nil || segs[i].level < best[0].level) {
			best = segs[from : i+1]
		}
	}
	return best
}

// sweep deletes all segments that are not live. One that is being built is first said to be dead: who builds it, on a node
// that has not noticed that we took over, must not go on when a part of it is gone.
func (x *Index) sweep(ctx context.Context, d *db.DB, account int64, pace Pace) error {
	for {
		var left bool
		err := x.update(ctx, d, account, func(tx *db.Tx) (err error) {
			var seg int64
			if left, err = tx.Row(sqlDead, db.Int(account)).Scan(&seg); err != nil || !left {
				return err
			}
			if _, err = tx.Exec(sqlGiveUp, db.Int(account), db.Int(seg)); err == nil {
				_, err = dropSome(tx, account, seg)
			}
			return err
		})
		if err != nil || !left {
			return err
		}
		if pace != nil {
			if err := pace(ctx); err != nil {
				return err
			}
		}
	}
}

// merge makes one segment of segs, which follow each other.
func (x *Index) merge(ctx context.Context, d *db.DB, account int64, segs []segment, level int, alive Live, pace Pace) error {
	lo, hi := &segs[0], &segs[len(segs)-1]
	var keep *Set
	var err error
	if alive != nil {
		if keep, err = alive(ctx, lo.base, hi.last); err != nil {
			return err
		}
	}
	w := writer{x: x, d: d, account: account, seg: segment{level: level, base: lo.base, last: hi.last}}
	for i := range segs {
		w.seg.docs += segs[i].docs
		w.seg.over = w.seg.over || segs[i].over
	}
	if keep != nil {
		if n := int64(keep.Len()); n == w.seg.docs {
			keep = nil // nothing to leave out
		} else {
			w.seg.docs = n
		}
	}
	retire := func(tx *db.Tx) error {
		for i := range segs {
			n, err := tx.Exec(sqlRetire, db.Int(account), db.Int(segs[i].id))
			if err == nil && n == 0 {
				err = ErrChanged
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	m := merger{x: x, ctx: ctx, d: d, account: account, keep: keep, base: lo.base}
	for i := range segs {
		m.in = append(m.in, &cursor{seg: &segs[i]})
	}
	p := packer{enc: x.codec.enc}
	for {
		more, err := m.run(&p)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if err := w.step(ctx, p.done, nil); err != nil {
			return err
		}
		p.done, p.bytes = p.done[:0], 0
		if pace != nil {
			if err := pace(ctx); err != nil {
				return err
			}
		}
	}
	p.flush()
	if len(p.done) == 0 && w.seg.id == 0 { // nothing lives
		return x.update(ctx, d, account, retire)
	}
	return w.write(ctx, p.done, retire, pace)
}

// merger joins the terms of several segments.
type merger struct {
	x       *Index
	ctx     context.Context
	d       *db.DB
	account int64
	keep    *Set
	base    int64
	in      []*cursor
	started bool
	list    lister
	term    []byte
}

// run fills p until a step's worth of blocks is done; more is false at the end.
func (m *merger) run(p *packer) (more bool, err error) {
	if !m.started {
		m.started = true
		for _, c := range m.in {
			if err := m.next(c); err != nil {
				return false, err
			}
		}
	}
	for p.bytes < stepBytes {
		var least *cursor
		for _, c := range m.in {
			if !c.end && (least == nil || bytes.Compare(c.terms.term, least.terms.term) < 0) {
				least = c
			}
		}
		if least == nil {
			return false, nil
		}
		m.term = append(m.term[:0], least.terms.term...)
		m.list.reset(m.base)
		for _, c := range m.in { // in the order of their ids
			if c.end || !bytes.Equal(c.terms.term, m.term) {
				continue
			}
			if err := eachRange(c.list, c.seg.base, c.seg.last, m.alive); err != nil {
				return false, err
			}
			if err := m.next(c); err != nil {
				return false, err
			}
		}
		if m.list.close(); len(m.list.list) > 0 {
			p.add(m.term, m.list.list)
		}
	}
	return true, nil
}

func (m *merger) alive(from, to int64) {
	if m.keep == nil {
		m.list.add(from, to)
		return
	}
	for id := from; id <= to; id++ {
		if m.keep.Has(id) {
			m.list.add(id, id)
		}
	}
}

// cursor walks the terms of a segment with their lists.
type cursor struct {
	seg   *segment
	terms terms
	list  []byte // of the current term
	posts []byte // of the terms to come in this block
	end   bool

	queue      []block // read, not yet unpacked
	read       int     // blocks read in all
	bufT, bufP []byte
	nextFirst  []byte // the least term the next block may begin with
}

func (m *merger) next(c *cursor) error {
	for {
		ok, err := c.terms.next()
		if err != nil {
			return err
		}
		if ok {
			c.list, c.posts, err = nextList(c.posts)
			return err
		}
		if len(c.queue) == 0 {
			if c.read == c.seg.blocks {
				c.end = true
				return nil
			}
			if err := m.fetch(c); err != nil {
				return err
			}
		}
		b := c.queue[0]
		c.queue = c.queue[1:]
		if c.bufT, err = m.x.codec.unpack(b.terms, c.bufT[:0]); err != nil {
			return err
		}
		if c.bufP, err = m.x.codec.unpack(b.posts, c.bufP[:0]); err != nil {
			return err
		}
		c.terms = terms{b: c.bufT}
		c.posts = c.bufP
	}
}

// fetch reads the next few blocks. The segment does not change, so a snapshot each time will do.
func (m *merger) fetch(c *cursor) error {
	const blocks = 8
	if c.nextFirst == nil {
		c.nextFirst = []byte{}
	}
	return m.d.View(m.ctx, func(conn *db.Conn) error {
		for r, err := range conn.Rows(sqlBlocks, db.Int(m.account), db.Int(c.seg.id), db.Blob(c.nextFirst), db.Int(blocks)) {
			if err != nil {
				return err
			}
			c.queue = append(c.queue, block{first: r.Bytes(0), terms: r.Bytes(1), posts: r.Bytes(2)})
		}
		if len(c.queue) == 0 {
			return ErrDamaged
		}
		c.read += len(c.queue)
		c.nextFirst = append(append(c.nextFirst[:0], c.queue[len(c.queue)-1].first...), 0)
		return nil
	})
}
