package app

import (
	"bahnpost/serve/listen"
	"bahnpost/store/blob"
	"bahnpost/store/mailstore"
)

// observe registers the figures that rooms keep themselves; they are read when somebody looks.
func (n *Node) observe() {
	m := n.metrics
	n.observePorts()
	gate := func(f func(listen.GateStats) int64) func() float64 {
		return func() float64 { return float64(f(n.gate.Stats())) }
	}
	for result, f := range map[string]func(listen.GateStats) int64{
		"cached":    func(s listen.GateStats) int64 { return s.CacheHits },
		"verified":  func(s listen.GateStats) int64 { return s.Verified },
		"failed":    func(s listen.GateStats) int64 { return s.Failed },
		"throttled": func(s listen.GateStats) int64 { return s.Throttled },
		"busy":      func(s listen.GateStats) int64 { return s.Busy },
	} {
		m.Counter("bahnpost_gate_total", "Login attempts by how they ended.", map[string]string{"result": result}, gate(f))
	}
	store := func(f func(mailstore.Stats) float64) func() float64 {
		return func() float64 { return f(n.floor.mailstore.Stats()) }
	}
	body := func(f func(blob.Stats) int64) func() float64 {
		return func() float64 { s, _ := n.floor.store.BodyStats(); return float64(f(s)) }
	}
	if _, here := n.floor.store.BodyStats(); here {
		m.Counter("bahnpost_bodies_put_total", "Bodies written to packs.", nil, body(func(s blob.Stats) int64 { return s.Puts }))
		m.Counter("bahnpost_bodies_syncs_total", "Syncs of packs; bodies put by syncs is the mean batch.", nil, body(func(s blob.Stats) int64 { return s.Flushes }))
		m.Counter("bahnpost_bodies_lost_syncs_total", "Syncs of packs that failed: look at the disk.", nil, body(func(s blob.Stats) int64 { return s.Lost }))
	}
	if r := n.floor.store.Remote(); r != nil {
		n.observeRemote(r)
	}
	if n.cfg.Load().Store.shared() {
		n.observeShared()
	}
	for _, x := range []struct {
		name, help string
		gauge      bool
		f          func(mailstore.Stats) float64
	}{
		{"bahnpost_store_readers", "Reading connections open now.", true, func(s mailstore.Stats) float64 { return float64(s.DB.Readers) }},
		{"bahnpost_store_reader_waits_total", "Reads that found no connection free.", false, func(s mailstore.Stats) float64 { return float64(s.DB.ReaderWaits) }},
		{"bahnpost_store_reader_wait_seconds_total", "Time they waited.", false, func(s mailstore.Stats) float64 { return float64(s.DB.WaitNanos) / 1e9 }},
		{"bahnpost_store_commits_total", "Durable commits.", false, func(s mailstore.Stats) float64 { return float64(s.DB.Commits) }},
		{"bahnpost_store_updates_total", "Updates; by commits it is the mean batch.", false, func(s mailstore.Stats) float64 { return float64(s.DB.Updates) }},
		{"bahnpost_store_failed_total", "Updates that were rolled back.", false, func(s mailstore.Stats) float64 { return float64(s.DB.Failed) }},
		{"bahnpost_store_commit_seconds_total", "Time in commits, fsync included.", false, func(s mailstore.Stats) float64 { return float64(s.DB.CommitNanos) / 1e9 }},
		{"bahnpost_store_checkpoints_total", "Checkpoints of the write-ahead log.", false, func(s mailstore.Stats) float64 { return float64(s.DB.Checkpoints) }},
		{"bahnpost_store_checkpoint_seconds_total", "Time in checkpoints; commits wait meanwhile.", false, func(s mailstore.Stats) float64 { return float64(s.DB.CheckpointNanos) / 1e9 }},
		{"bahnpost_store_waiting", "Updates queued now.", true, func(s mailstore.Stats) float64 { return float64(s.DB.Waiting) }},
		{"bahnpost_store_wal_bytes", "Size of the write-ahead log; alarm above 256 MB.", true, func(s mailstore.Stats) float64 { return float64(s.DB.WALBytes) }},
		{"bahnpost_store_pages", "Pages of the database.", true, func(s mailstore.Stats) float64 { return float64(s.DB.Pages) }},
		{"bahnpost_store_free_pages", "Free pages of the database.", true, func(s mailstore.Stats) float64 { return float64(s.DB.FreePages) }},
		{"bahnpost_messages_appended_total", "Messages stored.", false, func(s mailstore.Stats) float64 { return float64(s.Appended) }},
		{"bahnpost_messages_appended_bytes_total", "Octets of messages stored.", false, func(s mailstore.Stats) float64 { return float64(s.AppendedBytes) }},
		{"bahnpost_messages_expunged_total", "Messages expunged.", false, func(s mailstore.Stats) float64 { return float64(s.Expunged) }},
		{"bahnpost_index_hits_total", "Mailbox opens that found the index in memory.", false, func(s mailstore.Stats) float64 { return float64(s.BoxHits) }},
		{"bahnpost_index_misses_total", "Mailbox opens that did not.", false, func(s mailstore.Stats) float64 { return float64(s.BoxMisses) }},
		{"bahnpost_index_loads_total", "Indexes loaded from the store.", false, func(s mailstore.Stats) float64 { return float64(s.Loads) }},
		{"bahnpost_index_open", "Mailbox indexes in memory.", true, func(s mailstore.Stats) float64 { return float64(s.OpenBoxes) }},
		{"bahnpost_caught_up_total", "Times that memory learnt what another node did to an account.", false, func(s mailstore.Stats) float64 { return float64(s.CaughtUp) }},
		{"bahnpost_overrun_total", "Of these, times that sessions have to look for themselves: the history was trimmed, or not known from where.", false, func(s mailstore.Stats) float64 { return float64(s.Overrun) }},
		{"bahnpost_followed_accounts", "Accounts in memory that other nodes may change.", true, func(s mailstore.Stats) float64 { return float64(s.Followed) }},
		{"bahnpost_index_bytes", "Octets of indexes nobody uses, kept warm.", true, func(s mailstore.Stats) float64 { return float64(s.IndexBytes) }},
	} {
		if x.gauge {
			m.Gauge(x.name, x.help, nil, store(x.f))
		} else {
			m.Counter(x.name, x.help, nil, store(x.f))
		}
	}
}

// observePorts registers the figures of the listening addresses that have none yet.
func (n *Node) observePorts() {
	m := n.metrics
	for i, s := range n.server.Stats() {
		if i < n.observed {
			continue
		}
		n.observed++
		labels := map[string]string{"protocol": s.Protocol, "addr": s.Addr}
		one := func(f func(listen.Stats) int64) func() float64 {
			return func() float64 { return float64(f(n.server.Stats()[i])) }
		}
		m.Gauge("bahnpost_connections", "Connections open now.", labels, one(func(s listen.Stats) int64 { return s.Open }))
		m.Gauge("bahnpost_sessions", "Connections with a login, now.", labels, one(func(s listen.Stats) int64 { return s.LoggedIn }))
		m.Counter("bahnpost_accepted_total", "Connections accepted.", labels, one(func(s listen.Stats) int64 { return s.Accepted }))
		m.Counter("bahnpost_refused_total", "Connections over a limit.", labels, one(func(s listen.Stats) int64 { return s.Refused }))
		m.Counter("bahnpost_crowded_total", "Logins refused because the account has too many sessions.", labels, one(func(s listen.Stats) int64 { return s.Crowded }))
		m.Counter("bahnpost_tls_failures_total", "TLS handshakes that failed.", labels, one(func(s listen.Stats) int64 { return s.TLSFailed }))
		m.Counter("bahnpost_panics_total", "Bugs that cost a session.", labels, one(func(s listen.Stats) int64 { return s.Panics }))
	}
}
