package fts

import (
	"iter"
	"math/bits"
	"slices"
)

const (
	chunkBits  = 12
	chunkWords = 1 << chunkBits / 64
)

type chunk [chunkWords]uint64

// Set is a set of message ids: bitmaps for the stretches that have any. The zero value is empty.
// Reading is safe for concurrent use.
type Set struct {
	keys   []int64 // ascending; id >> chunkBits
	chunks []*chunk
	last   int // index that at used last
}

// find returns the chunk of key, nil if there is none.
func (s *Set) find(key int64) *chunk {
	if len(s.keys) == 0 {
		return nil
	}
	if i := key - s.keys[0]; i >= 0 && i < int64(len(s.keys)) && s.keys[i] == key { // the usual case: no gaps
		return s.chunks[i]
	}
	if i, ok := slices.BinarySearch(s.keys, key); ok {
		return s.chunks[i]
	}
	return nil
}

// at returns the chunk of key, making it if there is none.
func (s *Set) at(key int64) *chunk {
	if s.last < len(s.keys) && s.keys[s.last] == key {
		return s.chunks[s.last]
	}
	i, ok := slices.BinarySearch(s.keys, key)
	if !ok {
		s.keys = slices.Insert(s.keys, i, key)
		s.chunks = slices.Insert(s.chunks, i, new(chunk))
	}
	s.last = i
	return s.chunks[i]
}

// Add adds id.
func (s *Set) Add(id int64) {
	s.at(id >> chunkBits)[id>>6&(chunkWords-1)] |= 1 << (id & 63)
}

// AddRange adds from..to inclusive.
func (s *Set) AddRange(from, to int64) {
	for from <= to {
		c := s.at(from >> chunkBits)
		end := min(to, from|(1<<chunkBits-1))
		for from <= end {
			w := &c[from>>6&(chunkWords-1)]
			n := min(end, from|63) - from + 1
			*w |= (^uint64(0) >> (64 - n)) << (from & 63)
			from += n
		}
	}
}

// Has reports whether id is in s. A nil Set is empty.
func (s *Set) Has(id int64) bool {
	if s == nil {
		return false
	}
	c := s.find(id >> chunkBits)
	return c != nil && c[id>>6&(chunkWords-1)]&(1<<(id&63)) != 0
}

// Len counts the members.
func (s *Set) Len() (n int) {
	for _, c := range s.chunks {
		for _, w := range c {
			n += bits.OnesCount64(w)
		}
	}
	return n
}

// Empty reports whether there are none.
func (s *Set) Empty() bool {
	for _, c := range s.chunks {
		for _, w := range c {
			if w != 0 {
				return false
			}
		}
	}
	return true
}

// Or adds the members of o.
func (s *Set) Or(o *Set) {
	for i, key := range o.keys {
		c := s.at(key)
		for j, w := range o.chunks[i] {
			c[j] |= w
		}
	}
}

// And keeps what is in o too.
func (s *Set) And(o *Set) {
	s.each(o, func(c, d *chunk) {
		if d == nil {
			clear(c[:])
			return
		}
		for j := range c {
			c[j] &= d[j]
		}
	})
}

// Sub removes the members of o.
func (s *Set) Sub(o *Set) {
	s.each(o, func(c, d *chunk) {
		if d == nil {
			return
		}
		for j := range c {
			c[j] &^= d[j]
		}
	})
}

func (s *Set) each(o *Set, f func(c, d *chunk)) {
	for i, key := range s.keys {
		f(s.chunks[i], o.find(key))
	}
}

// All yields the members in ascending order.
func (s *Set) All() iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for i, key := range s.keys {
			for j, w := range s.chunks[i] {
				for ; w != 0; w &= w - 1 {
					if !yield(key<<chunkBits | int64(j)<<6 | int64(bits.TrailingZeros64(w))) {
						return
					}
				}
			}
		}
	}
}
