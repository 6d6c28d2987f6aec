package imapd

import (
	"sync"
	"time"

	"bahnpost/store/mailstore"
)

const (
	// pushHands is how many goroutines say news at once while none is stuck.
	pushHands = 4
	// pushStuck is when a push counts as stuck in a client that does not
	// read: then one more hand may work, up to maxPushHands.
	pushStuck    = 50 * time.Millisecond
	maxPushHands = 4096
	// pushPatience is how long a client may refuse to read news: the kernel
	// holds hundreds of them, so whoever comes here has not read for long.
	pushPatience = 20 * time.Second
)

// pusher says news to idling clients on few goroutines, in the order of the commits.
type pusher struct {
	crew *crew

	mu    sync.Mutex
	queue []*session
	head  int
	hands int
	moved time.Time // when a hand last took a session
}

func newPusher(c *crew) *pusher { return &pusher{crew: c} }

// add queues s. It is called from the committer's goroutine and does not block.
func (p *pusher) add(s *session) {
	p.mu.Lock()
	p.queue = append(p.queue, s)
	hire := p.hands < pushHands || p.hands < maxPushHands && time.Since(p.moved) > pushStuck
	if hire {
		p.hands++
	}
	p.mu.Unlock()
	if hire {
		p.crew.run(p)
	}
}

// do implements job: a hand works until the queue is empty.
func (p *pusher) do() {
	for {
		s := p.next()
		if s == nil {
			return
		}
		s.push()
	}
}

func (p *pusher) next() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moved = time.Now()
	if p.head == len(p.queue) {
		p.queue, p.head = p.queue[:0], 0
		if cap(p.queue) > 4096 {
			p.queue = nil
		}
		p.hands--
		return nil
	}
	s := p.queue[p.head]
	p.queue[p.head] = nil
	p.head++
	return s
}

// wake is called by the store at each commit in the selected mailbox.
func (s *session) wake(changes []mailstore.Change) {
	if !s.news.Swap(true) && s.idling.Load() {
		s.srv.pusher.add(s)
	}
}

// push says what is new, if the client waits for it. Whoever holds the lock
// meanwhile calls push after giving it back, so no news is lost.
func (s *session) push() {
	for s.idling.Load() && s.news.Load() {
		if !s.mu.TryLock() {
			return
		}
		s.pushLocked()
		s.mu.Unlock()
	}
}

func (s *session) pushLocked() {
	defer s.recover()
	s.news.Store(false)
	if !s.wantsPush() || s.state == loggedOut {
		return
	}
	begun := time.Now()
	s.cmd.row = nil // no command is being answered
	if s.mbox != nil {
		s.sayNews(s.pushExpunges())
	}
	s.pushOthers()
	s.out.flush()
	s.out.rest()
	if f := s.srv.cfg.Metrics.Pushed; f != nil {
		f(time.Since(begun))
	}
	if s.out.err != nil && s.state != loggedOut {
		s.end("client does not read: " + reasonOf(s.out.err))
	}
	if s.state == loggedOut {
		s.conn.SetReadDeadline(time.Unix(1, 0)) // wakes the waiting goroutine, which ends the session
	}
}
