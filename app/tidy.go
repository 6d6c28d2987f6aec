package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A mail node lives for months with long quiet times. After a wave (a login
// storm, a mail wave) Go's heap and the stacks of ended sessions stay as large
// as the wave left them until the next collection, which idle processes reach
// late. tidy gives the memory back once it is quiet. That costs one collection,
// and what is needed again is made of new pages: so a node that works calmly on
// is tidied now and then only.
const (
	tidyEvery = 3 * time.Second
	tidyQuiet = 16 << 20         // octets allocated within tidyEvery that still count as quiet,
	tidyStill = 1 << 20          // as nothing going on at all
	tidyWorth = 24 << 20         // octets allocated since the last tidying that make one worth it
	tidyPause = 30 * time.Second // at least since the last one, unless nothing goes on
	tidyGone  = 500              // or so many goroutines that ended since
)

func tidy(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/sched/goroutines:goroutines"}}
	var last, tidied, most uint64
	var at time.Time // of the last tidying
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(sample)
		now, alive := sample[0].Value.Uint64(), sample[1].Value.Uint64()
		most = max(most, alive)
		due := now-tidied > tidyWorth && (now-last < tidyStill || time.Since(at) > tidyPause)
		if now-last < tidyQuiet && (due || most-alive > tidyGone) {
			debug.FreeOSMemory()
			tidied, most, at = now, alive, time.Now()
		}
		last = now
	}
}
