package fts

import (
	"container/list"
	"context"
	"errors"
	"time"

	"bahnpost/store/internal/db"
)

// Config has a working zero value; the default is in brackets.
type Config struct {
	Memory int64 // octets of unpacked terms kept for the next lookups [32 MiB]
	Texts  int64 // version of what the caller feeds: an index of another version is Old [1]

	// Own runs first in each transaction that writes for an account: it keeps other nodes from that until the transaction
	// ends, or refuses (the account may be going away). [nothing: no other node writes]
	Own func(tx *db.Tx, account int64) error
}

// Index reads and writes the segments of all accounts of a database.
type Index struct {
	texts int64
	own   func(tx *db.Tx, account int64) error
	codec *codec
	cache cache
}

// New returns an Index. The caller migrates Component with Steps.
func New(cfg Config) *Index {
	if cfg.Memory == 0 {
		cfg.Memory = 32 << 20
	}
	if cfg.Texts == 0 {
		cfg.Texts = 1
	}
	if cfg.Own == nil {
		cfg.Own = func(*db.Tx, int64) error { return nil }
	}
	return &Index{texts: cfg.Texts, own: cfg.Own, codec: newCodec(), cache: cache{limit: cfg.Memory, m: map[cacheKey]*list.Element{}}}
}

// ErrChanged says that the account's index was reset or removed meanwhile. Start over.
var ErrChanged = errors.New("fts: index changed under the writer")

// segment is a live segment.
type segment struct {
	id         int64
	level      int
	base, last int64
	docs       int64
	blocks     int
	over       bool
}

// High returns the id up to which the account's messages are indexed.
func High(c *db.Conn, account int64) (high int64, err error) {
	_, err = c.Row(sqlHigh, db.Int(account)).Scan(&high)
	return high, err
}

func liveSegs(c *db.Conn, account int64) (segs []segment, high int64, err error) {
	if high, err = High(c, account); err != nil {
		return nil, 0, err
	}
	for r, err := range c.Rows(sqlLive, db.Int(account)) {
		if err != nil {
			return nil, 0, err
		}
		segs = append(segs, segment{id: r.Int(0), level: int(r.Int(1)), base: r.Int(2), last: r.Int(3), docs: r.Int(4), blocks: int(r.Int(5)), over: r.Int(6) != 0})
	}
	return segs, high, nil
}

// Pace is called between the steps of a longer work: it may wait. An error ends the work.
type Pace func(ctx context.Context) error

// Write indexes what b holds and moves the account's mark from high, which must be what it is now, to
// newHigh: all messages in between are in b or gone. An empty b only moves the mark.
func (x *Index) Write(ctx context.Context, d *db.DB, account int64, b *Builder, high, newHigh int64, pace Pace) error {
	mark := func(tx *db.Tx) error { return x.setHigh(tx, account, high, newHigh) }
	if b.Len() == 0 {
		return x.update(ctx, d, account, mark)
	}
	p := packer{enc: x.codec.fast}
	base := b.ids[0]
	b.pack(&p, base)
	w := writer{x: x, d: d, account: account, seg: segment{base: base, last: b.ids[len(b.ids)-1], docs: int64(b.Len()), over: len(b.over) > 0}}
	return w.write(ctx, p.done, mark, pace)
}

// update runs fn in a transaction in which nobody else writes for the account.
func (x *Index) update(ctx context.Context, d *db.DB, account int64, fn func(*db.Tx) error) error {
	return d.Update(ctx, func(tx *db.Tx) error {
		if err := x.own(tx, account); err != nil {
			return err
		}
		return fn(tx)
	}, nil)
}

func (x *Index) setHigh(tx *db.Tx, account, high, newHigh int64) error {
	n, err := tx.Exec(sqlSetHigh, db.Int(account), db.Int(high), db.Int(newHigh))
	if err == nil && n == 0 && high == 0 {
		n, err = tx.Exec(sqlFirstHigh, db.Int(account), db.Int(newHigh), db.Int(x.texts), db.Int(firstSeg()))
	}
	if err == nil && n == 0 {
		err = ErrChanged
	}
	return err
}

// firstSeg is the number of an account's first segment: above all that an account of the same id, since
// removed, can have had, as nobody writes a segment every microsecond. The cache counts on that.
func firstSeg() int64 { return time.Now().UnixMicro() }

// writer writes a segment in steps.
type writer struct {
	x       *Index
	d       *db.DB
	account int64
	seg     segment
	bytes   int64
}

// write writes the last blocks and makes the segment live together with last's work.
func (w *writer) write(ctx context.Context, blocks []block, last func(*db.Tx) error, pace Pace) error {
	for {
		n := 0
		for size := 0; n < len(blocks) && (n == 0 || size < stepBytes); n++ {
			size += len(blocks[n].terms) + len(blocks[n].posts)
		}
		end := last
		if n < len(blocks) {
			end = nil
		}
		if err := w.step(ctx, blocks[:n], end); err != nil || n == len(blocks) {
			return err
		}
		blocks = blocks[n:]
		if pace != nil {
			if err := pace(ctx); err != nil {
				return err
			}
		}
	}
}

// step writes blocks in one transaction, which with last not nil makes the segment live.
func (w *writer) step(ctx context.Context, blocks []block, last func(*db.Tx) error) error {
	size := w.bytes
	for _, b := range blocks {
		size += int64(len(b.first) + len(b.terms) + len(b.posts))
	}
	n := w.seg.blocks + len(blocks)
	id := w.seg.id
	err := w.x.update(ctx, w.d, w.account, func(tx *db.Tx) error {
		id = w.seg.id
		if err := w.begin(tx, &id); err != nil {
			return err
		}
		for i := range blocks {
			b := &blocks[i]
			if _, err := tx.Exec(sqlAddBlock, db.Int(w.account), db.Int(id), db.Blob(b.first), db.Blob(b.terms), db.Blob(b.posts)); err != nil {
				return err
			}
		}
		if last == nil {
			return nil
		}
		changed, err := tx.Exec(sqlGoLive, db.Int(w.account), db.Int(id), db.Int(w.seg.docs), db.Int(n), db.Int(size), db.Bool(w.seg.over))
		if err == nil && changed == 0 {
			err = ErrChanged
		}
		if err != nil {
			return err
		}
		return last(tx)
	})
	if err == nil {
		w.seg.id, w.seg.blocks, w.bytes = id, n, size
	}
	return err
}

func (w *writer) begin(tx *db.Tx, id *int64) error {
	if *id != 0 {
		// Reset and Remove take building segments away, and so does the indexer of another node that took over from us.
		var state int64
		ok, err := tx.Row(sqlState, db.Int(w.account), db.Int(*id)).Scan(&state)
		if err == nil && (!ok || state != building) {
			err = ErrChanged
		}
		return err
	}
	if _, err := tx.Row(sqlTakeSeg, db.Int(w.account), db.Int(w.x.texts), db.Int(firstSeg())).Scan(id); err != nil {
		return err
	}
	s := &w.seg
	_, err := tx.Exec(sqlAddSeg, db.Int(w.account), db.Int(*id), db.Int(s.level), db.Int(s.base), db.Int(s.last), db.Int(s.docs), db.Int(0), db.Int(0), db.Int(0))
	return err
}

// Reset makes the account's index empty: all will be indexed again. The old segments go with the next Merge.
func (x *Index) Reset(ctx context.Context, d *db.DB, account int64) error {
	return x.update(ctx, d, account, func(tx *db.Tx) error {
		if _, err := tx.Exec(sqlRenew, db.Int(account), db.Int(x.texts)); err != nil {
			return err
		}
		_, err := tx.Exec(sqlRetireAll, db.Int(account))
		return err
	})
}

// Remove deletes up to a few hundred KB of an account's index; call it until done.
func Remove(tx *db.Tx, account int64) (done bool, err error) {
	var seg int64
	ok, err := tx.Row(sqlAnySeg, db.Int(account)).Scan(&seg)
	if err != nil {
		return false, err
	}
	if !ok {
		_, err = tx.Exec(sqlDropHigh, db.Int(account))
		return err == nil, err
	}
	if _, err = tx.Exec(sqlZeroHigh, db.Int(account)); err != nil {
		return false, err
	}
	_, err = dropSome(tx, account, seg)
	return false, err
}

// dropSome deletes some of a segment's blocks, and with the last its row.
func dropSome(tx *db.Tx, account, seg int64) (done bool, err error) {
	const blocks = 32 // a quarter of a MB: a few ms
	n, err := tx.Exec(sqlDropBlocks, db.Int(account), db.Int(seg), db.Int(blocks))
	if err != nil || n == blocks {
		return false, err
	}
	_, err = tx.Exec(sqlDropSeg, db.Int(account), db.Int(seg))
	return err == nil, err
}

// Size describes an account's index.
type Size struct {
	Segments, Blocks, Bytes int64 // Bytes as stored, without the database's overhead
	Docs                    int64 // messages, including those expunged since
}

// Measure returns the size of an account's index.
func Measure(c *db.Conn, account int64) (s Size, err error) {
	_, err = c.Row(sqlSizes, db.Int(account)).Scan(&s.Segments, &s.Blocks, &s.Bytes, &s.Docs)
	return s, err
}
