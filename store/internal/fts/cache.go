package fts

import (
	"container/list"
	"sync"
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
