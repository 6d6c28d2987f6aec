package imapd

import "sync"

// maxIdleHands is how many goroutines with a warm stack are kept waiting for
// work: enough for the cores of a large machine, 8–32 KB each.
const maxIdleHands = 64

// crew runs jobs on goroutines that keep their grown stacks, so that the
// goroutine of a session, which waits most of its life, never grows one.
type crew struct {
	mu       sync.Mutex
	resting  []chan job // the hand that rested last works next: its stack is in the cache
	sessions int64      // while there are any, hands may rest
}

type job interface{ do() }

// run starts j at once: on a resting hand, or a new one.
func (c *crew) run(j job) {
	c.mu.Lock()
	n := len(c.resting)
	if n == 0 {
		c.mu.Unlock()
		go c.hand(j)
		return
	}
	ch := c.resting[n-1]
	c.resting[n-1] = nil
	c.resting = c.resting[:n-1]
	c.mu.Unlock()
	ch <- j
}

func (c *crew) hand(j job) {
	ch := make(chan job, 1)
	for j != nil {
		j.do()
		c.mu.Lock()
		if c.sessions == 0 || len(c.resting) >= maxIdleHands {
			c.mu.Unlock()
			return
		}
		c.resting = append(c.resting, ch)
		c.mu.Unlock()
		j = <-ch
	}
}

// count adds to the number of sessions. When none is left the hands go home.
func (c *crew) count(d int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions += d; c.sessions > 0 {
		return
	}
	for _, ch := range c.resting {
		ch <- nil
	}
	c.resting = nil
}
