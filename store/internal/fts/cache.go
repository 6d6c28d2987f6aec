package fts

import (
	"container/list"
	"math"
	"sync"
	"sync/atomic"
	"unsafe"
)

// cacheKey names an unpacked block's terms, or with block -1 the first terms of a segment's blocks. Segments
// never change and their numbers are never used again, so nothing in the cache goes stale.
type cacheKey struct {
	account, seg int64
	block        int32
}

type cacheEntry struct {
	key    cacheKey
	terms  []byte
	firsts [][]byte
	size   int64
	grams  atomic.Pointer[grams] // of terms; nil: not asked for
}

// mayHave reports whether a term of the block can contain core. A block that is looked at again and again,
// by one search with many needles or by many searches, is mostly passed over by that.
func (e *cacheEntry) mayHave(core []byte) bool {
	g := e.grams.Load()
	if g == nil {
		g = gramsOf(e.terms)
		e.grams.Store(g)
	}
	for ; len(core) >= 3; core = core[1:] {
		if h := gram(core[0], core[1], core[2]); g[h>>6]&(1<<(h&63)) == 0 {
			return false
		}
	}
	return true
}

// grams has a bit for each three octets that follow each other in terms; several may share one.
type grams [256]uint64

func gram(a, b, c byte) uint32 {
	const bits = 14 // of a number of grams
	return (uint32(a)<<16 | uint32(b)<<8 | uint32(c)) * 0x9E3779B1 >> (32 - bits)
}

// gramsOf is for an unpacked block. Of a damaged one all bits are set: whoever scans it learns of the damage.
func gramsOf(b []byte) *grams {
	g := new(grams)
	t := terms{b: b}
	for {
		shared := 0
		if len(t.b) > 0 {
			shared = int(t.b[0])
		}
		ok, err := t.next()
		if err != nil {
			for i := range g {
				g[i] = math.MaxUint64
			}
		}
		if !ok {
			return g
		}
		for i := max(shared, 2); i < len(t.term); i++ { // those of the shared octets are there
			h := gram(t.term[i-2], t.term[i-1], t.term[i])
			g[h>>6] |= 1 << (h & 63)
		}
	}
}

// cache keeps what was used last up to a limit.
type cache struct {
	mu    sync.Mutex
	limit int64
	size  int64
	m     map[cacheKey]*list.Element
	lru   list.List // front: used last
}

func (c *cache) get(k cacheKey) *cacheEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.m[k]
	if e == nil {
		return nil
	}
	c.lru.MoveToFront(e)
	return e.Value.(*cacheEntry)
}

// put keeps e; admitted is what the same lookup has put already. A lookup may renew half of the cache only:
// walking a vocabulary that does not fit would otherwise push out everything just before its next use.
func (c *cache) put(e *cacheEntry, admitted *int64) {
	const overhead = 200
	e.size = int64(cap(e.terms)) + overhead
	if e.terms != nil {
		e.size += int64(unsafe.Sizeof(grams{}))
	}
	for _, f := range e.firsts {
		e.size += int64(cap(f)) + 24
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m[e.key] != nil || c.size+e.size > c.limit && *admitted+e.size > c.limit/2 {
		return
	}
	*admitted += e.size
	c.m[e.key] = c.lru.PushFront(e)
	c.size += e.size
	for c.size > c.limit {
		old := c.lru.Remove(c.lru.Back()).(*cacheEntry)
		delete(c.m, old.key)
		c.size -= old.size
	}
}
