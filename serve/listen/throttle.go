package listen

import (
	"hash/maphash"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// maxThrottled bounds a throttle's memory (48 octets an entry). Beyond it old
// entries go first: an attacker with a hundred thousand names or addresses
// within one window is a matter for a firewall.
const maxThrottled = 100_000

// throttle counts failures by key as a leaky bucket: limit failures fill it, it
// runs empty within window. So after the limit one try each window/limit is
// looked at, which is slow for a guesser and bearable for a person; nothing is
// ever shut for good. Keys are hashed with a random seed; a collision throttles
// a stranger, once in 2^44 or so.
type throttle struct {
	limit int
	step  time.Duration // one failure leaks away
	seed  maphash.Seed  // differs per process, so that nobody can compute colliding names
	mu    sync.Mutex
	empty map[uint64]time.Time // when the bucket will be empty
}

func (t *throttle) init(limit int, window time.Duration) {
	t.limit, t.step = limit, max(window/time.Duration(limit), 1)
	t.seed = maphash.MakeSeed()
	t.empty = make(map[uint64]time.Time)
}

// over reports whether the bucket has no room for one more.
func (t *throttle) over(key uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.empty[key]
	return ok && time.Until(e) > t.step*time.Duration(t.limit-1)
}

// hit puts a failure in.
func (t *throttle) hit(key uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	e := t.empty[key]
	if e.Before(now) {
		e = now
		if len(t.empty) >= maxThrottled {
			t.shrink(now)
		}
	}
	// Tries that were under way together may overfill it by their number, not more.
	t.empty[key] = e.Add(t.step)
}

// clear empties the bucket: the right password came.
func (t *throttle) clear(key uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.empty, key)
}

// shrink removes what is empty, and if that is not a tenth, anything.
func (t *throttle) shrink(now time.Time) {
	for k, e := range t.empty {
		if e.Before(now) {
			delete(t.empty, k)
		}
	}
	for k := range t.empty {
		if len(t.empty) < maxThrottled*9/10 {
			return
		}
		delete(t.empty, k)
	}
}

// name is the key of a login name.
func (t *throttle) name(login string) uint64 { return maphash.String(t.seed, strings.ToLower(login)) }

// site is the key of a client's address.
func (t *throttle) site(a netip.Addr) uint64 { return maphash.Comparable(t.seed, a) }
