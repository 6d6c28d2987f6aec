package app

import (
	"bahnpost/store"
	"bahnpost/store/blob"
)

// observeRemote registers the figures of bodies that live outside this machine.
func (n *Node) observeRemote(r *blob.Remote) {
	m := n.metrics
	read := func(f func(blob.RemoteStats) float64) func() float64 { return func() float64 { return f(r.Stats()) } }
	for call, f := range map[string]func(blob.RemoteStats) int64{
		"put":    func(s blob.RemoteStats) int64 { return s.S3.Puts },
		"get":    func(s blob.RemoteStats) int64 { return s.S3.Gets },
		"delete": func(s blob.RemoteStats) int64 { return s.S3.Deletes },
		"list":   func(s blob.RemoteStats) int64 { return s.S3.Lists },
	} {
		m.Counter("bahnpost_s3_calls_total", "Calls of S3.", map[string]string{"call": call}, read(func(s blob.RemoteStats) float64 { return float64(f(s)) }))
	}
	for _, x := range []struct {
		name, help string
		gauge      bool
		f          func(blob.RemoteStats) float64
	}{
		{"bahnpost_s3_faults_total", "Attempts at S3 that failed on their way.", false, func(s blob.RemoteStats) float64 { return float64(s.S3.Faults) }},
		{"bahnpost_s3_busy_total", "Times S3 asked for patience.", false, func(s blob.RemoteStats) float64 { return float64(s.S3.Busy) }},
		{"bahnpost_s3_away_total", "Calls that failed because no endpoint answered.", false, func(s blob.RemoteStats) float64 { return float64(s.S3.Away) }},
		{"bahnpost_bodies_put_total", "Bodies written.", false, func(s blob.RemoteStats) float64 { return float64(s.Puts) }},
		{"bahnpost_bodies_opened_total", "Bodies opened.", false, func(s blob.RemoteStats) float64 { return float64(s.Opens) }},
		{"bahnpost_bodies_cache_hits_total", "Bodies read from this node's copy.", false, func(s blob.RemoteStats) float64 { return float64(s.CacheHits) }},
		{"bahnpost_bodies_cache_misses_total", "Bodies that this node had no copy of.", false, func(s blob.RemoteStats) float64 { return float64(s.CacheMisses) }},
		{"bahnpost_bodies_cache_damaged_total", "Copies whose checksum failed: look at the disk.", false, func(s blob.RemoteStats) float64 { return float64(s.CacheDamaged) }},
		{"bahnpost_bodies_cache_refused_total", "Copies that could not be made: look at the disk.", false, func(s blob.RemoteStats) float64 { return float64(s.CacheRefused) }},
		{"bahnpost_bodies_cache_bytes", "Octets of copies.", true, func(s blob.RemoteStats) float64 { return float64(s.CacheBytes) }},
		{"bahnpost_bodies_spool_bodies", "Bodies that wait on this node for their place.", true, func(s blob.RemoteStats) float64 { return float64(s.SpoolBodies) }},
		{"bahnpost_bodies_spool_bytes", "Octets of these.", true, func(s blob.RemoteStats) float64 { return float64(s.SpoolBytes) }},
		{"bahnpost_bodies_mirror_owed", "Bodies that one side of the mirror has yet to get.", true, func(s blob.RemoteStats) float64 { return float64(s.MirrorOwed) }},
		{"bahnpost_bodies_mirror_repaired_total", "Bodies that a side of the mirror got from the other.", false, func(s blob.RemoteStats) float64 { return float64(s.MirrorRepaired) }},
	} {
		if x.gauge {
			m.Gauge(x.name, x.help, nil, read(x.f))
		} else {
			m.Counter(x.name, x.help, nil, read(x.f))
		}
	}
	for _, p := range r.Paths() {
		m.Gauge("bahnpost_bodies_path_seconds", "Time to answer of a way to the bodies, a sliding mean.", map[string]string{"name": p.Name}, func() float64 {
			for _, now := range r.Paths() {
				if now.Name == p.Name {
					return now.Latency.Seconds()
				}
			}
			return 0
		})
	}
}

// observeShared registers the figures of a database that other nodes share.
func (n *Node) observeShared() {
	m := n.metrics
	for _, x := range []struct {
		name, help string
		gauge      bool
		f          func(store.SharedStats) float64
	}{
		{"bahnpost_database_away", "1 while no server that takes writes can be reached.", true, func(s store.SharedStats) float64 { return number(s.Away) }},
		{"bahnpost_database_losses_total", "Times that it went away.", false, func(s store.SharedStats) float64 { return float64(s.Losses) }},
		{"bahnpost_database_patient", "Reads and writes of sessions that wait for its return.", true, func(s store.SharedStats) float64 { return float64(s.Patient) }},
		{"bahnpost_hints_told_total", "Changed accounts of which the other nodes were told.", false, func(s store.SharedStats) float64 { return float64(s.HintsTold) }},
		{"bahnpost_hints_heard_total", "Changed accounts of which other nodes told us.", false, func(s store.SharedStats) float64 { return float64(s.HintsHeard) }},
		{"bahnpost_hints_lost_total", "Times that hints may have been missed.", false, func(s store.SharedStats) float64 { return float64(s.HintsLost) }},
		{"bahnpost_hints_deaf_seconds", "Since when hints are not heard and other nodes' changes are found by looking; 0: they are heard.", true, func(s store.SharedStats) float64 { return s.Deaf.Seconds() }},
	} {
		read := func() float64 { return x.f(n.floor.store.DB.SharedStats()) }
		if x.gauge {
			m.Gauge(x.name, x.help, nil, read)
		} else {
			m.Counter(x.name, x.help, nil, read)
		}
	}
	d := n.floor.directory
	m.Gauge("bahnpost_directory_modseq", "The last change of accounts, aliases and domains that holds on this node.", nil, func() float64 { return float64(d.Stats().ModSeq) })
	m.Counter("bahnpost_directory_followed_total", "Changes of the directory by other nodes that hold here.", nil, func() float64 { return float64(d.Stats().Followed) })
	m.Counter("bahnpost_directory_forgotten_total", "Times that all of the directory was dropped from memory, being too far behind.", nil, func() float64 { return float64(d.Stats().Forgotten) })
	m.Gauge("bahnpost_nodes", "Nodes of the cell whose beats are heard.", nil, func() float64 { return float64(n.pulse.alive.Load()) })
	m.Gauge("bahnpost_leases_held", "Background work of the cell that this node has.", nil, func() float64 { return float64(n.pulse.leases.Load()) })
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
