package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"bahnpost/obs"
	"bahnpost/store"
)

// Times of the look at the ways in and out.
const (
	pathsEvery   = 2 * time.Second
	resolveEvery = time.Minute
)

// paths knows the ways to what the node stands on and from its clients: hosts of the database, name servers,
// listening addresses. One that is lost is a line in the log and a metric, no outage as long as there is another.
type paths struct {
	log *slog.Logger
	m   *obs.Metrics

	mu  sync.Mutex
	all map[pathName]*pathState
}

type pathName struct{ kind, name string }

type pathState struct {
	up    bool
	since time.Time
}

// is says how a path is now.
func (p *paths) is(kind, name string, up bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[pathName]*pathState{}
	}
	s, known := p.all[pathName{kind, name}]
	if !known {
		s = &pathState{up: up, since: time.Now()}
		p.all[pathName{kind, name}] = s
		p.m.Gauge("bahnpost_path_up", "1 while this way to the database, to S3, to a name server or from the clients works.",
			map[string]string{"kind": kind, "name": name}, func() float64 { return p.value(s) })
	}
	switch {
	case known && up == s.up, !known && up:
		return
	case up:
		p.log.Info("path is back", "kind", kind, "name", name, "down", time.Since(s.since).Round(time.Second))
	default:
		p.log.Warn("path lost", "kind", kind, "name", name, "err", err)
	}
	s.up, s.since = up, time.Now()
}

func (p *paths) value(s *pathState) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.up {
		return 1
	}
	return 0
}

// watchPaths looks at the paths until ctx ends.
func (n *Node) watchPaths(ctx context.Context) {
	tick := time.NewTicker(pathsEvery)
	defer tick.Stop()
	var resolved time.Time
	for {
		n.lookStore()
		n.lookListening()
		if time.Since(resolved) >= resolveEvery {
			resolved = time.Now()
			n.lookResolvers(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (n *Node) lookStore() {
	for _, x := range n.floor.store.DB.Paths() {
		n.paths.is("database", x.Host, x.Up, x.Err)
	}
	if r := n.floor.store.Remote(); r != nil {
		for _, x := range r.Paths() {
			n.paths.is("bodies", x.Name, x.Up, errors.New(x.Err))
		}
	}
}

// lookResolvers asks each name server for what the cell stands on.
func (n *Node) lookResolvers(ctx context.Context) {
	c := n.cfg.Load()
	if !c.Store.shared() {
		return
	}
	place, err := store.ParseDatabase(c.Store.Database)
	if err != nil {
		return // checked by LoadConfig
	}
	names := cellNames(place, c)
	if len(names) == 0 {
		return
	}
	for _, s := range nameServers() {
		if err := s.find(ctx, names); ctx.Err() == nil {
			n.paths.is("resolver", s.addr, err == nil, err)
		}
	}
}

var errAddressGone = errors.New("this machine does not have the address now")

// lookListening binds addresses that this machine did not have when it started, and tells whether it has those that are bound.
// Loopback and wildcard addresses are no paths: the configuration names both families, which not every machine has.
func (n *Node) lookListening() {
	left := n.unbound[:0]
	for _, e := range n.unbound {
		if !isPath(e.addr) {
			continue
		}
		if err := n.listen(e); err != nil {
			n.paths.is("listen", e.protocol+" "+e.addr, false, err)
			left = append(left, e)
			continue
		}
		n.log.Info("address is served now", "protocol", e.protocol, "addr", e.addr)
		n.observePorts()
	}
	n.unbound = left
	have, err := net.InterfaceAddrs()
	if err != nil {
		return
	}
	for _, l := range n.Listening() {
		if isPath(l.Addr) {
			n.paths.is("listen", l.Protocol+" "+l.Addr, has(have, l.Addr), errAddressGone)
		}
	}
}

func isPath(addr string) bool {
	ap, err := netip.ParseAddrPort(addr)
	return err == nil && !ap.Addr().IsLoopback() && !ap.Addr().IsUnspecified()
}

// has reports whether the machine has the address.
func has(have []net.Addr, addr string) bool {
	want := netip.MustParseAddrPort(addr).Addr().Unmap().WithZone("")
	for _, a := range have {
		if p, err := netip.ParsePrefix(fmt.Sprint(a)); err == nil && p.Addr().Unmap().WithZone("") == want {
			return true
		}
	}
	return false
}
