package fts

import (
	"bytes"
	"context"
	"fmt"

	"bahnpost/store/internal/db"
)

// Check reads an account's whole index and says what is wrong with it. Whatever it is, Reset heals it.
func (x *Index) Check(ctx context.Context, d *db.DB, account int64) error {
	var segs []segment
	var high int64
	err := d.View(ctx, func(c *db.Conn) (err error) { segs, high, err = liveSegs(c, account); return err })
	if err != nil {
		return err
	}
	before := int64(0)
	for i := range segs {
		s := &segs[i]
		if s.base <= before || s.last < s.base || s.last > high {
			return fmt.Errorf("%w: segment %d has messages %d to %d, after %d and up to %d", ErrDamaged, s.id, s.base, s.last, before, high)
		}
		before = s.last
		if err := x.checkSegment(ctx, d, account, s); err != nil {
			return fmt.Errorf("segment %d: %w", s.id, err)
		}
	}
	return nil
}

func (x *Index) checkSegment(ctx context.Context, d *db.DB, account int64, s *segment) error {
	m := merger{x: x, ctx: ctx, d: d, account: account}
	c := &cursor{seg: s}
	var last []byte
	for {
		if err := m.next(c); err != nil || c.end {
			return err
		}
		if last != nil && bytes.Compare(last, c.terms.term) >= 0 {
			return fmt.Errorf("%w: terms out of order", ErrDamaged)
		}
		last = append(last[:0], c.terms.term...)
		if err := eachRange(c.list, s.base, s.last, func(int64, int64) {}); err != nil {
			return err
		}
	}
}
