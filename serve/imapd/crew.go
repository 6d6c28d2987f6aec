package imapd

import "sync/atomic"

// maxIdleHands is how many goroutines with a warm stack are kept waiting for
// work: enough for the cores of a large machine, 8–32 KB each.
const maxIdleHands = 64

// crew runs jobs on goroutines that keep their grown stacks, so that the
// goroutine of a session, which waits most of its life, never grows one.
type crew struct {
	jobs chan job
	idle atomic.Int32
}

type job interface{ do() }

func newCrew() *crew { return &crew{jobs: make(chan job)} }

// run starts j at once: on an idle hand, or a new one.
func (c *crew) run(j job) {
	select {
	case c.jobs <- j:
	default:
		go c.hand(j)
	}
}

func (c *crew) hand(j job) {
	for j != nil {
		j.do()
		j = nil
		if c.idle.Add(1) <= maxIdleHands {
			j = <-c.jobs
		}
		c.idle.Add(-1)
	}
}

// dismiss sends the idle hands home: nobody is left who could give them work.
func (c *crew) dismiss() {
	for {
		select {
		case c.jobs <- nil:
		default:
			return
		}
	}
}
