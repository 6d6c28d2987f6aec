package fts

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// A block is a stretch of a segment's terms in two columns, so that looking
// through the vocabulary does not read the lists:
//
//	terms: for each term, octets shared with the one before (1 octet), octets that follow (1 octet), these
//	posts: for each term, length of its list (uvarint), the list
//
// A list holds ids relative to the segment's base as uvarints gap<<1|run: the
// distance from the id before (the first: from base-1), and with run set a uvarint n: the n ids after it are in it too.
type block struct {
	first []byte // first term
	terms []byte // zstd
	posts []byte // zstd
}

// codec holds the compressor of blocks; safe for concurrent use.
type codec struct {
	fast *zstd.Encoder // for new segments, which are soon merged
	enc  *zstd.Encoder
	dec  *zstd.Decoder
}

func newCodec() *codec {
	// These can fail for wrong options only.
	encoder := func(level zstd.EncoderLevel) *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(256<<10))
		if err != nil {
			panic(err)
		}
		return e
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxBlock), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err)
	}
	return &codec{fast: encoder(zstd.SpeedFastest), enc: encoder(zstd.SpeedDefault), dec: dec}
}

func (c *codec) unpack(z, into []byte) ([]byte, error) {
	b, err := c.dec.DecodeAll(z, into)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	return b, nil
}

// packer builds the blocks of a segment from terms in ascending order.
type packer struct {
	enc          *zstd.Encoder
	terms, posts []byte
	first, prev  []byte
	done         []block
	bytes        int // of done
}

// add appends a term with its list.
func (p *packer) add(term, list []byte) {
	if len(p.terms) >= termsBlock || len(p.posts) >= postsBlock {
		p.flush()
	}
	shared := 0
	if len(p.terms) == 0 {
		p.first = append([]byte(nil), term...)
	} else {
		shared = common(p.prev, term)
	}
	p.terms = append(p.terms, byte(shared), byte(len(term)-shared))
	p.terms = append(p.terms, term[shared:]...)
	p.posts = binary.AppendUvarint(p.posts, uint64(len(list)))
	p.posts = append(p.posts, list...)
	p.prev = append(p.prev[:0], term...)
}

// flush ends the block.
func (p *packer) flush() {
	if len(p.terms) == 0 {
		return
	}
	b := block{first: p.first, terms: p.enc.EncodeAll(p.terms, nil), posts: p.enc.EncodeAll(p.posts, nil)}
	p.done = append(p.done, b)
	p.bytes += len(b.first) + len(b.terms) + len(b.posts)
	p.terms, p.posts = p.terms[:0], p.posts[:0]
}

func common(a, b []byte) int {
	n := min(len(a), len(b))
	for i := 0; i < n; i++ {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// terms walks unpacked terms.
type terms struct {
	b    []byte
	term []byte // the current one; valid until the next step
	buf  [maxTerm]byte
}

// next steps to the next term; false at the end.
func (t *terms) next() (bool, error) {
	if len(t.b) == 0 {
		return false, nil
	}
	if len(t.b) < 2 {
		return false, ErrDamaged
	}
	shared, n := int(t.b[0]), int(t.b[1])
	if shared > len(t.term) || shared+n > maxTerm || 2+n > len(t.b) {
		return false, ErrDamaged
	}
	copy(t.buf[shared:], t.b[2:2+n])
	t.term = t.buf[:shared+n]
	t.b = t.b[2+n:]
	return true, nil
}

// nextList cuts the first list off unpacked posts.
func nextList(posts []byte) (list, rest []byte, err error) {
	n, k := binary.Uvarint(posts)
	if k <= 0 || n > uint64(len(posts)-k) {
		return nil, nil, ErrDamaged
	}
	return posts[k : k+int(n)], posts[k+int(n):], nil
}

// appendRange appends the ids from..to to a list whose last id is last (base-1 for an empty one).
func appendRange(list []byte, last, from, to int64) []byte {
	gap := uint64(from-last) << 1
	if from == to {
		return binary.AppendUvarint(list, gap)
	}
	list = binary.AppendUvarint(list, gap|1)
	return binary.AppendUvarint(list, uint64(to-from))
}

// eachRange calls f with the ranges of a list. Ids beyond max are damage.
func eachRange(list []byte, base, max int64, f func(from, to int64)) error {
	for last := base - 1; len(list) > 0; {
		gap, k := binary.Uvarint(list)
		if k <= 0 || gap>>1 == 0 || gap>>1 > uint64(max-last) {
			return ErrDamaged
		}
		list = list[k:]
		from := last + int64(gap>>1)
		last = from
		if gap&1 != 0 {
			n, k := binary.Uvarint(list)
			if k <= 0 || n > uint64(max-from) {
				return ErrDamaged
			}
			list = list[k:]
			last = from + int64(n)
		}
		f(from, last)
	}
	return nil
}

// addList adds the ids of a list to s.
func (s *Set) addList(list []byte, base, max int64) error {
	return eachRange(list, base, max, func(from, to int64) {
		if from == to {
			s.Add(from)
		} else {
			s.AddRange(from, to)
		}
	})
}

// lister makes a list from ids in ascending order, joining neighbours.
type lister struct {
	list     []byte
	last     int64 // last id written
	from, to int64 // the open range; none if to < from
}

func (l *lister) reset(base int64) { *l = lister{list: l.list[:0], last: base - 1, from: 0, to: -1} }

func (l *lister) add(from, to int64) {
	if l.to >= l.from && from <= l.to+1 {
		l.to = max(l.to, to)
		return
	}
	l.close()
	l.from, l.to = from, to
}

func (l *lister) close() {
	if l.to >= l.from {
		l.list = appendRange(l.list, l.last, l.from, l.to)
		l.last = l.to
		l.from, l.to = 0, -1
	}
}
