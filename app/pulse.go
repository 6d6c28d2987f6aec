package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"bahnpost/serve/admin"
)

// Times of a node's beats.
const (
	beatEvery   = 3 * time.Second  // also how soon a wish is found
	beatTimeout = 2 * time.Second  // a beat that takes longer is left out
	byeTimeout  = 2 * time.Second  // to leave the list when the node stops
	lookEvery   = 5                // beats between two looks at the list, for metrics
	nodeSilent  = 15 * time.Second // age of a beat from which a node counts as silent
)

// wishDrain is what "node drain" leaves for a node.
const wishDrain = "drain"

// pulse tells the other nodes that this one lives, and does what is wished of it.
type pulse struct {
	n       *Node
	name    string
	info    admin.NodeInfo // what does not change
	now     chan struct{}  // beat at once
	drained atomic.Bool    // out of service by a wish
	back    context.CancelFunc

	away     bool // the last beat failed
	at       time.Time
	appended int64 // at that time
	beats    int

	alive, leases atomic.Int64 // of the last look at the list
}

// run beats until ctx ends, then says goodbye.
func (p *pulse) run(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		p.beat(ctx)
		select {
		case <-ctx.Done():
			if p.back != nil {
				p.back()
			}
			p.bye(context.WithoutCancel(ctx))
			return
		case <-tick.C:
		case <-p.now:
		}
	}
}

// bye takes the node off the list.
func (p *pulse) bye(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, byeTimeout)
	defer cancel()
	if err := p.n.floor.store.DB.Bye(ctx, p.name); err != nil {
		p.n.log.Warn("the node stays on the list for a while", "node", p.name, "err", err)
	}
}

// beat tells once, and looks whether something is wished.
func (p *pulse) beat(ctx context.Context) {
	b, err := json.Marshal(p.describe())
	if err != nil {
		panic(err) // numbers and texts always can
	}
	try, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	if p.beats%lookEvery == 1 {
		p.look(try)
	}
	wish, err := p.n.floor.store.DB.Beat(try, p.name, b)
	switch {
	case err != nil && ctx.Err() == nil && !p.away:
		p.n.log.Warn("the other nodes can't be told that this one lives", "node", p.name, "err", err)
	case err == nil && p.away:
		p.n.log.Info("the other nodes hear of this one again", "node", p.name)
	}
	if p.away = err != nil; p.away {
		return
	}
	p.obey(ctx, wish)
	p.beats++
}

// look counts the nodes, for metrics, and finds out whether another one beats under this one's name.
func (p *pulse) look(ctx context.Context) {
	list, err := p.n.floor.nodes(ctx)
	if err != nil {
		return // the next look finds them
	}
	alive := 0
	for _, x := range list {
		if x.State != admin.NodeSilent {
			alive++
		}
		if x.Name == p.name {
			p.leases.Store(int64(len(x.Leases)))
			if x.Run != p.info.Run {
				p.n.log.Error("another node has this one's name: its directory is a copy; remove the file "+identityFile+" from one of the two and restart it", "node", p.name)
			}
		}
	}
	p.alive.Store(int64(alive))
}

// obey takes the node out of service or back in.
func (p *pulse) obey(ctx context.Context, wish string) {
	switch {
	case p.n.draining.Load():
	case wish == wishDrain && !p.drained.Load():
		p.drained.Store(true)
		grace := p.n.cfg.Load().Node.DrainGrace.D()
		p.n.log.Info("out of service by an administrator's wish; sessions are asked to end", "node", p.name, "over", grace)
		var pausing context.Context
		pausing, p.back = context.WithCancel(context.WithoutCancel(ctx))
		go p.n.server.Pause(pausing, grace)
		p.soon()
	case wish != wishDrain && p.drained.Load():
		p.back()
		if err := p.n.server.Resume(); err != nil {
			p.n.log.Error("not all addresses are served again; the next beat tries again", "node", p.name, "err", err)
			return
		}
		p.drained.Store(false)
		p.n.log.Info("in service again", "node", p.name)
		p.soon()
	}
}

// describe is the node as it is now.
func (p *pulse) describe() admin.NodeInfo {
	i := p.info
	i.Sessions = map[string]int64{}
	var left int64
	for _, s := range p.n.server.Stats() {
		if !late(s.Protocol) {
			i.Sessions[s.Protocol] += s.Open
			left += s.Open
		}
	}
	appended, now := p.n.floor.mailstore.Stats().Appended, time.Now()
	if took := now.Sub(p.at).Seconds(); !p.at.IsZero() && took > 0 {
		i.Deliveries = float64(appended-p.appended) / took
	}
	p.at, p.appended = now, appended
	i.Deaf = p.n.floor.store.DB.SharedStats().Deaf.Seconds()
	switch {
	case p.n.draining.Load():
		i.State = admin.NodeStopping
	case p.drained.Load() && left > 0:
		i.State = admin.NodeDraining
	case p.drained.Load():
		i.State = admin.NodeDrained
	default:
		i.State = admin.NodeServing
	}
	return i
}

// begin makes the first beat, before anybody is served: a node that was drained when it died stays so.
func (n *Node) begin(ctx context.Context, o Options) {
	c := n.cfg.Load()
	n.pulse = &pulse{n: n, name: n.name, now: make(chan struct{}, 1), info: admin.NodeInfo{
		Run: rand.Text(), Hostname: c.Node.Hostname, Version: o.Version, Commit: o.Commit, Started: time.Now().UTC().Truncate(time.Second)}}
	n.pulse.beat(ctx)
	if v := n.floor.versions(ctx); strings.Contains(v, " ") {
		n.log.Info("nodes of several versions serve the cell: an upgrade is under way", "versions", v)
	}
}

// versions are those of the nodes that are heard of, "" if there are none.
func (f *floor) versions(ctx context.Context) string {
	list, _ := f.nodes(ctx) // none: nothing to add to what is said anyway
	all := map[string]bool{}
	for _, x := range list {
		if x.State != admin.NodeSilent {
			all[x.Version] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(all)), ", ")
}

// nodes lists the cell's nodes for the admin API.
func (f *floor) nodes(ctx context.Context) ([]admin.Node, error) {
	list, err := f.store.DB.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]admin.Node, 0, len(list))
	for _, x := range list {
		n := admin.Node{Name: x.Name, Age: x.Age.Seconds(), Wish: x.Wish, Leases: x.Leases}
		_ = json.Unmarshal(x.Info, &n.NodeInfo) // of a version that says it otherwise: what can be read
		if x.Age > nodeSilent {
			n.State = admin.NodeSilent
		}
		out = append(out, n)
	}
	return out, nil
}

// wish leaves a wish for a node; this one finds it at once.
func (n *Node) wish(ctx context.Context, name, wish string) error {
	err := n.floor.store.DB.Wish(ctx, name, wish)
	if err == nil && name == n.pulse.name {
		n.pulse.soon()
	}
	return err
}

// soon makes the next beat come at once.
func (p *pulse) soon() {
	select {
	case p.now <- struct{}{}:
	default: // it comes already
	}
}

// late reports whether an endpoint answers while the node drains: it tells how the node is.
func late(protocol string) bool { return protocol == "http" || protocol == "https" }
