package mailstore

import (
	"sync/atomic"

	"bahnpost/store/internal/db"
)

// Stats is a snapshot of counters since New, for metrics.
type Stats struct {
	Updates                    int64 // committed steps that changed something
	Appended, AppendedBytes    int64 // messages that arrived, copies included
	Expunged, Reaped           int64 // messages; Reaped: rows and bodies given back
	AccountHits, AccountMisses int64 // account cache, readers only
	CachedMailboxes            int
	BoxHits, BoxMisses         int64 // OpenBox found the box open or warm
	Loads, LoadedRows          int64
	OpenBoxes                  int
	IndexBytes                 int64 // of unused boxes kept warm
	CaughtUp, Overrun          int64 // times that memory learnt what other nodes did, and of these: without the particulars
	Followed                   int   // accounts that other nodes may change, of which something is in memory
	DB                         db.Stats
}

type counters struct {
	updates, appended, appendedBytes, expunged, reaped, caughtUp, overrun atomic.Int64
}

// changed counts a committed step.
func (c *counters) changed(t *tx) {
	c.updates.Add(1)
	for i := range t.events {
		switch e := &t.events[i]; e.kind {
		case Added:
			c.appended.Add(int64(len(e.rows)))
			for j := range e.rows {
				c.appendedBytes.Add(int64(e.rows[j].size))
			}
		case Expunged:
			c.expunged.Add(int64(e.uids.Count()))
		}
	}
}

// Stats returns the counters.
func (s *Store) Stats() Stats {
	c, b := &s.cache, &s.boxes
	out := Stats{Updates: s.stats.updates.Load(), Appended: s.stats.appended.Load(), AppendedBytes: s.stats.appendedBytes.Load(),
		Expunged: s.stats.expunged.Load(), Reaped: s.stats.reaped.Load(), AccountHits: c.hits.Load(), AccountMisses: c.misses.Load(),
		BoxHits: b.hits.Load(), BoxMisses: b.misses.Load(), Loads: b.loads.Load(), LoadedRows: b.loadedRows.Load(),
		CaughtUp: s.stats.caughtUp.Load(), Overrun: s.stats.overrun.Load(), Followed: s.follows.count(), DB: s.db.Stats()}
	c.mu.Lock()
	out.CachedMailboxes = c.weight
	c.mu.Unlock()
	b.mu.Lock()
	out.OpenBoxes, out.IndexBytes = len(b.byKey), b.unused
	b.mu.Unlock()
	return out
}
