package db

import (
	"sync/atomic"
	"time"
)

// SharedStats are the figures of a database that nodes share.
type SharedStats struct {
	Away       bool          // no server that takes writes can be reached now
	Losses     int64         // times that it went away
	Patient    int           // Updates and Views that wait for its return now
	HintsTold  int64         // accounts of which the others were told
	HintsHeard int64         // of which they told us
	HintsLost  int64         // times that some may have been missed, so that everybody looks at the tables
	Deaf       time.Duration // since hints are no longer heard; 0: they are
}

// sharedCounters is the live form of a part of SharedStats.
type sharedCounters struct {
	losses, told, heard, lost atomic.Int64
	deaf                      atomic.Int64 // Unix nanoseconds since when; 0: not
}

// SharedStats returns the figures; the zero value for SQLite.
func (d *DB) SharedStats() SharedStats {
	g := d.gate
	if g == nil {
		return SharedStats{}
	}
	n := &g.counted
	s := SharedStats{Losses: n.losses.Load(), HintsTold: n.told.Load(), HintsHeard: n.heard.Load(), HintsLost: n.lost.Load()}
	if at := n.deaf.Load(); at != 0 {
		s.Deaf = max(time.Since(time.Unix(0, at)), 1)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	s.Away, s.Patient = g.down != nil, g.waiting
	return s
}
