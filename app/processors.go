package app

import (
	"context"
	"os"
	"runtime"
	"runtime/metrics"
	"syscall"
	"time"
)

// Go's scheduler wakes an idle processor for each goroutine that becomes ready, though the one that woke it mostly does the work itself
// before the other is up: a fourteenth of what a node with hundreds of quiet sessions uses. So a process that
// has little to do runs on one processor, and has the others back a fifth of a second after work came. Work is seen in what is used and
// in what waits: a machine that others keep busy gives us little, and then one processor would be given even less.
const (
	calmEvery = 200 * time.Millisecond // looks while on one processor,
	busyEvery = 2 * time.Second        // while on all
	calmBelow = 4                      // calm begins below a quarter of a processor
	calmAbove = 2                      // and ends above half of one,
	calmWait  = 4                      // or when ready goroutines waited longer, together, than a quarter of the time
	latencies = "/sched/latencies:seconds"
	tracked   = 8 // the runtime counts one wait in so many
)

// effort is what a process has done, and what it had to wait for a processor.
type effort struct{ work, wait time.Duration }

// Processors takes all but one of the processors from the process while it is calm, until ctx ends. It is for the program, not for a node,
// and leaves alone a number that is set by GOMAXPROCS in the environment.
func Processors(ctx context.Context) {
	if os.Getenv("GOMAXPROCS") != "" || runtime.GOMAXPROCS(0) == 1 {
		return
	}
	defer runtime.SetDefaultGOMAXPROCS()
	tick := time.NewTicker(busyEvery)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: latencies}}
	sum, at, calm := effortNow(sample), time.Now(), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		old, since, was := sum, at, calm
		sum, at = effortNow(sample), time.Now()
		calm = isCalm(was, effort{sum.work - old.work, sum.wait - old.wait}, at.Sub(since))
		switch {
		case calm && !was:
			runtime.GOMAXPROCS(1)
			tick.Reset(calmEvery)
		case was && !calm:
			runtime.SetDefaultGOMAXPROCS()
			tick.Reset(busyEvery)
		}
	}
}

// isCalm judges the effort in a span of time.
func isCalm(was bool, e effort, span time.Duration) bool {
	if e.wait > span/calmWait {
		return false
	}
	if was {
		return e.work <= span/calmAbove
	}
	return e.work < span/calmBelow
}

// effortNow is that of the process so far.
func effortNow(sample []metrics.Sample) (e effort) {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil { // else for a wrong address only
		e.work = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	if metrics.Read(sample); sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return e
	}
	h := sample[0].Value.Float64Histogram()
	for i, n := range h.Counts {
		if n > 0 && h.Buckets[i] > 0 { // the lower end
			e.wait += time.Duration(h.Buckets[i] * float64(n*tracked) * float64(time.Second))
		}
	}
	return e
}
