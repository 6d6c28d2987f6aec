package mailstore

import (
	"context"
	"syscall"
	"time"
)

// The indexer works in short steps with pauses between them. While nobody else does anything it takes most of a
// processor; while others do, a twentieth of one. What others do is seen in the pauses, when the indexer
// does nothing itself: what CPU time the process uses then, and what is written.

const (
	stepTime    = 10 * time.Millisecond // work after which to pause at the next occasion
	freeShare   = 4                     // work is so many times the pause while the machine is free
	busyShare   = 19                    // the pause is so many times the work while it is not
	shortPause  = time.Millisecond
	longPause   = 2 * time.Second
	lookTime    = 100 * time.Millisecond // of pauses that are judged together: a collection or a checkpoint that we caused does not count as others' work
	busyFor     = time.Second            // how long others come first after they were seen
	busyCPU     = 20                     // others are at work if they use more than the 20th part of a processor,
	ownCPU      = 200 * time.Microsecond // what falling asleep and waking up takes of it, in each pause
	busyUpdates = 100                    // or write more often than this a second
)

// pacer decides on the pauses of the indexer.
type pacer struct {
	began time.Time // of the work since the last pause
	busy  time.Time // until then others come first
	seen  effort    // in pauses since the last judgement
}

// effort is what a process did in a span of time.
type effort struct {
	time, cpu time.Duration
	updates   int64
}

// begin notes that work begins; others: somebody else is likely to be at work.
func (p *pacer) begin(others bool) {
	p.began = time.Now()
	if others {
		p.busy = p.began.Add(busyFor)
	}
}

// pause says how long to pause after work until now.
func (p *pacer) pause(now time.Time, waiting bool) time.Duration {
	worked := now.Sub(p.began)
	if waiting || now.Before(p.busy) {
		return min(max(busyShare*worked, shortPause), longPause)
	}
	return min(max(worked/freeShare, shortPause), longPause)
}

// paused takes in what was done during a pause that ends now; work begins again.
func (p *pacer) paused(now time.Time, done effort) {
	p.began = now
	done.cpu = max(done.cpu-ownCPU, 0)
	p.seen = p.seen.plus(done)
	busy := p.seen.busy()
	if busy {
		p.busy = now.Add(busyFor)
	}
	if busy || p.seen.time >= lookTime {
		p.seen = effort{}
	}
}

func (e effort) plus(o effort) effort {
	return effort{e.time + o.time, e.cpu + o.cpu, e.updates + o.updates}
}

func (e effort) busy() bool {
	span := max(e.time, lookTime)
	return e.cpu*busyCPU > span || float64(e.updates) > busyUpdates*span.Seconds()
}

// cpuTime is what the process used so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil { // for a wrong address only
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// breathe pauses if it is time to.
func (ix *indexer) breathe(ctx context.Context) error {
	if time.Since(ix.pacer.began) < stepTime {
		return ctx.Err()
	}
	return ix.pace(ctx)
}

// pace pauses after a step of work.
func (ix *indexer) pace(ctx context.Context) error {
	stats := ix.s.db.Stats()
	cpu, now := cpuTime(), time.Now()
	t := time.NewTimer(ix.pacer.pause(now, stats.Waiting > 0))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
	}
	ix.pacer.paused(time.Now(), effort{time: time.Since(now), cpu: cpuTime() - cpu, updates: ix.s.db.Stats().Updates - stats.Updates})
	return nil
}
