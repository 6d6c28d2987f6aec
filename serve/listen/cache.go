package listen

import "time"

// cache remembers values for a time, a bounded number of them. The zero value
// must be init-ed. Its owner locks.
type cache[V any] struct {
	size int
	ttl  time.Duration
	m    map[loginKey]cached[V]
}

type cached[V any] struct {
	until time.Time
	v     V
}

func (c *cache[V]) init(size int, ttl time.Duration) {
	c.size, c.ttl, c.m = size, ttl, make(map[loginKey]cached[V])
}

func (c *cache[V]) get(k loginKey) (v V, ok bool) {
	e, ok := c.m[k]
	if !ok {
		return v, false
	}
	if time.Now().After(e.until) {
		delete(c.m, k)
		return v, false
	}
	return e.v, true
}

// put stores v. In a full cache it first drops what is over, then, if nothing
// is, some entries at random: map order is random enough, and a dropped login
// costs one slow hash. A tenth goes at once, so the sweep is paid rarely.
func (c *cache[V]) put(k loginKey, v V) {
	now := time.Now()
	if len(c.m) >= c.size {
		for k, e := range c.m {
			if now.After(e.until) {
				delete(c.m, k)
			}
		}
		for k := range c.m {
			if len(c.m) < c.size-c.size/10 {
				break
			}
			delete(c.m, k)
		}
	}
	c.m[k] = cached[V]{now.Add(c.ttl), v}
}
