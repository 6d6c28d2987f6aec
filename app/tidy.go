package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A mail node lives for months with long quiet times. After a wave (a login
// storm, a mail wave) Go's heap stays as large as the wave left it until the
// next collection, which idle processes reach late. tidy gives the memory back
// once it is quiet; it costs one collection per wave.
const (
	tidyEvery    = 3 * time.Second
	tidyQuiet    = 4 << 20 // octets allocated within tidyEvery that still count as quiet
	tidyWorth    = 8 << 20 // octets allocated since the last tidying that make one worth it
	allocsMetric = "/gc/heap/allocs:bytes"
)

func tidy(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: allocsMetric}}
	var last, tidied uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(sample)
		now := sample[0].Value.Uint64()
		if now-last < tidyQuiet && now-tidied > tidyWorth {
			debug.FreeOSMemory()
			tidied = now
		}
		last = now
	}
}
