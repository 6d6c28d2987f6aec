package mailstore

import (
	"testing"
	"time"
)

// The indexer takes most of a processor while it is alone, and a tenth while others were seen within the last second.
func TestPacer(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	var p pacer
	p.begin(false)
	now := p.began
	written := 0.0
	work := func(d time.Duration, load, rate float64) time.Duration { // load: of a processor; rate: writes a second
		now = now.Add(d)
		pause := p.pause(now, false)
		now = now.Add(pause)
		before := int64(written)
		written += rate * pause.Seconds()
		p.paused(now, effort{time: pause, cpu: time.Duration(load * float64(pause)), updates: int64(written) - before})
		return pause
	}
	share := func(d time.Duration, load, rate float64) float64 {
		from, worked := now, time.Duration(0)
		for range 1000 {
			work(d, load, rate)
			worked += d
		}
		return float64(worked) / float64(now.Sub(from))
	}
	if got := share(8*ms, 0, 0); got < 0.7 {
		t.Errorf("alone it gets %.2f of a processor", got)
	}
	if got := share(8*ms, 0.2, 0); got > 0.11 {
		t.Errorf("beside others that compute it gets %.2f", got)
	}
	if got := share(8*ms, 0.07, 0); got > 0.11 {
		t.Errorf("beside others that go on with less it gets %.2f", got)
	}
	work(8*ms, 0, 0)
	if got := work(8*ms, 0, 0); got != busyShare*8*ms {
		t.Errorf("just after others were seen it pauses %v", got)
	}
	now = now.Add(2 * busyFor)
	p.paused(now, effort{})
	if got := share(8*ms, 0, 0); got < 0.7 {
		t.Errorf("alone again it gets %.2f", got)
	}
	if got := share(8*ms, 0, 300); got > 0.11 {
		t.Errorf("beside others that write it gets %.2f", got)
	}
	p.paused(now, effort{})
	if got := p.pause(now.Add(10*time.Second), true); got != longPause {
		t.Errorf("longest pause %v", got)
	}
}
