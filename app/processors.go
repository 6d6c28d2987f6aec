package app

import (
	"context"
	"os"
	"runtime"
	"syscall"
	"time"
)

// Go's scheduler wakes an idle processor for each goroutine that becomes ready, though the one that woke it mostly does the work itself
// before the other is up: a fourteenth of what a node with hundreds of quiet sessions uses. So a process that
// has little to do runs on one processor, and has the others back a quarter of a second after work came.
const (
	calmEvery = 200 * time.Millisecond // looks while on one processor,
	busyEvery = 2 * time.Second        // while on all
	calmBelow = 4                      // calm begins below a quarter of a processor
	calmAbove = 2                      // and ends above half of one
)

// Processors takes all but one of the processors from the process while it is calm, until ctx ends. It is for the program, not for a node,
// and leaves alone a number that is set by GOMAXPROCS in the environment.
func Processors(ctx context.Context) {
	if os.Getenv("GOMAXPROCS") != "" || runtime.GOMAXPROCS(0) == 1 {
		return
	}
	defer runtime.SetDefaultGOMAXPROCS()
	tick := time.NewTicker(busyEvery)
	defer tick.Stop()
	used, at, calm := processTime(), time.Now(), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		sum, now := processTime(), time.Now()
		was := calm
		calm = isCalm(was, sum-used, now.Sub(at))
		used, at = sum, now
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

// isCalm judges the work done in a span of time.
func isCalm(was bool, work, span time.Duration) bool {
	if was {
		return work <= span/calmAbove
	}
	return work < span/calmBelow
}

// processTime is the processor time that the process used so far.
func processTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil { // for a wrong address only
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
