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
// late. tidy gives the memory back once it is quiet; that costs one collection,
// and what is needed again is made of new pages.
const (
	tidyEvery = 3 * time.Second
	tidyQuiet = 16 << 20 // octets allocated within tidyEvery that still count as quiet
	tidyWorth = 24 << 20 // octets of garbage and of free pages that make one worth it
	tidyGone  = 500      // or so many goroutines that ended since
)

func tidy(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/sched/goroutines:goroutines"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	var last, most uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(sample)
		is := func(i int) uint64 { return sample[i].Value.Uint64() }
		now, alive := is(0), is(1)
		worth := max(is(2), is(3)) - is(3) + is(4)
		most = max(most, alive)
		if now-last < tidyQuiet && (worth > tidyWorth || most-alive > tidyGone) {
			debug.FreeOSMemory()
			most = alive
		}
		last = now
	}
}
