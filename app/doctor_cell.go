package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"bahnpost/serve/admin"
	"bahnpost/store"
)

// What the doctor thinks healthy in a cell of many nodes.
const (
	slowCommit      = 25 * time.Millisecond // each delivery waits for one
	maxSkew         = 2 * time.Second       // between our clock and the database's
	resolverTimeout = 2 * time.Second
	examineNodes    = 5 * time.Second
	resolverFile    = "/etc/resolv.conf"
)

// doctorCell looks at what a cell of many nodes stands on: database, standbys, resolvers.
func doctorCell(ctx context.Context, dir string, c *Config) []Finding {
	dsn, err := c.Store.dsn(dir)
	if err != nil {
		return []Finding{{Bad, "database", err.Error()}}
	}
	place, err := store.ParseDatabase(dsn)
	if err != nil {
		return []Finding{{Bad, "database", err.Error()}}
	}
	hosts, err := store.ExamineDatabase(ctx, dsn)
	if err != nil {
		return []Finding{{Bad, "database", err.Error()}}
	}
	var fs []Finding
	primaries := 0
	for _, h := range hosts {
		fs = append(fs, doctorHost(h))
		if h.Err == nil && h.Primary {
			primaries++
			fs = append(fs, doctorReplication(h), doctorCommit(h), doctorSkew(h))
		}
	}
	switch {
	case primaries == 0:
		fs = append(fs, Finding{Bad, "database", "no host takes writes: deliveries are put off, sessions wait"})
	case primaries > 1:
		fs = append(fs, Finding{Bad, "database", fmt.Sprintf("%d hosts take writes: are they one server behind several addresses? Else mail goes to one here, to another there", primaries)})
	}
	if c.Store.inRows() {
		fs = append(fs, Finding{Note, "bodies", fmt.Sprintf("have no place of their own ([store] bodies): mail above %d KiB is refused", store.RowMax>>10)})
	}
	fs = append(fs, doctorBodies(ctx, c)...)
	return append(fs, doctorResolvers(ctx, cellNames(place, c))...)
}

// doctorHost is about one host of the database.
func doctorHost(h store.DatabaseHost) Finding {
	switch {
	case h.Err != nil:
		return Finding{Bad, "database", fmt.Sprintf("%s can't be used: %s", h.Host, strings.Join(strings.Fields(h.Err.Error()), " "))}
	case h.Version < store.MinPostgres:
		return Finding{Bad, "database", fmt.Sprintf("%s is PostgreSQL %d, %d is needed", h.Host, h.Version/10000, store.MinPostgres/10000)}
	case h.Encoding != "UTF8":
		return Finding{Bad, "database", fmt.Sprintf("%s: the encoding is %s, UTF8 is needed", h.Host, h.Encoding)}
	}
	if h.Clear {
		return Finding{Note, "database", h.Host + " is reached without TLS: passwords and mail cross the network in clear; add sslmode=verify-full"}
	}
	role := "a standby"
	if h.Primary {
		role = "the primary"
	}
	return Finding{Good, "database", fmt.Sprintf("%s is %s, PostgreSQL %d.%d, and answers in %.2f ms", h.Host, role, h.Version/10000, h.Version%10000, ms(h.Answers))}
}

// doctorReplication says whether what is acknowledged is on two machines.
func doctorReplication(h store.DatabaseHost) Finding {
	var sync, other []string
	hidden := false
	for _, s := range h.Standbys {
		hidden = hidden || !s.Known
		if s.Sync {
			sync = append(sync, s.Name)
		} else {
			other = append(other, s.Name)
		}
	}
	count := fmt.Sprintf("%d of %d standbys are synchronous", len(sync), len(h.Standbys))
	switch {
	case h.Durable == "off":
		return Finding{Bad, "replication", "synchronous_commit is off: acknowledged mail can be lost"}
	case h.Durable == "local":
		return Finding{Bad, "replication", "synchronous_commit is local: commits wait for no standby, and what is acknowledged is lost with one machine"}
	case len(sync) > 0:
		return Finding{Good, "replication", fmt.Sprintf("%s (%s): what is acknowledged is on two machines", count, strings.Join(sync, ", "))}
	case hidden && h.Wanted != "" && h.Durable != "local" && h.NoCommit == nil:
		return Finding{Good, "replication", fmt.Sprintf("commits wait for a standby (synchronous_standby_names is %q) and one answers: what is acknowledged is on two machines", h.Wanted)}
	case hidden:
		return Finding{Note, "replication", fmt.Sprintf("there are %d standbys, but this user may not see what they do: GRANT pg_monitor to it", len(h.Standbys))}
	case h.Wanted != "":
		return Finding{Bad, "replication", fmt.Sprintf("commits wait for a standby (synchronous_standby_names is %q) and none is there: nothing can be stored", h.Wanted)}
	case len(other) > 0:
		return Finding{Bad, "replication", fmt.Sprintf("%s (%s): what is acknowledged is on one machine, and lost with it", count, strings.Join(other, ", "))}
	}
	return Finding{Note, "replication", "there is no standby: what is acknowledged is on one machine, and lost with it"}
}

func doctorCommit(h store.DatabaseHost) Finding {
	if h.NoCommit != nil {
		return Finding{Bad, "commit", "was tried and did not end well: " + h.NoCommit.Error()}
	}
	text := fmt.Sprintf("median %.2f ms", ms(h.Commit))
	if len(h.Standbys) > 0 {
		text += ", standbys included"
	}
	if h.Commit > slowCommit {
		return Finding{Bad, "commit", text + ": slow; each delivery waits for one"}
	}
	return Finding{Good, "commit", text}
}

func doctorSkew(h store.DatabaseHost) Finding {
	if h.Skew.Abs() > maxSkew {
		return Finding{Note, "clock", fmt.Sprintf("the database's is %v off this machine's: no harm to leases, which go by the database's, but dates in mail and logs are wrong on one of them", h.Skew.Round(100*time.Millisecond))}
	}
	return Finding{Good, "clock", fmt.Sprintf("agrees with the database's within %.0f ms", max(ms(h.Skew.Abs()), ms(h.Answers)))}
}

// cellNames are the host names that the node must be able to resolve.
func cellNames(p store.DatabaseAddress, c *Config) (names []string) {
	add := func(hostPort string) {
		host, _, err := net.SplitHostPort(hostPort)
		if err != nil {
			host = hostPort
		}
		if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" && !strings.HasPrefix(host, "/") && !slices.Contains(names, host) {
			names = append(names, host)
		}
	}
	for _, h := range p.Hosts {
		add(h)
	}
	for _, b := range c.Store.Bodies {
		u, err := url.Parse(b)
		if err != nil {
			continue
		}
		for _, e := range u.Query()["endpoint"] {
			for one := range strings.SplitSeq(e, ",") {
				if u, err := url.Parse(one); err == nil {
					add(u.Host)
				}
			}
		}
	}
	return names
}

// nameServer is one name server of this machine.
type nameServer struct{ addr string }

// nameServers are those of resolv.conf(5).
func nameServers() (list []nameServer) {
	b, _ := os.ReadFile(resolverFile) // none: Go asks the one on this machine
	for l := range strings.Lines(string(b)) {
		if f := strings.Fields(l); len(f) >= 2 && f[0] == "nameserver" {
			list = append(list, nameServer{net.JoinHostPort(f[1], "53")})
		}
	}
	return list
}

// find asks this server, and no other, for each name.
func (s nameServer) find(ctx context.Context, names []string) error {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, s.addr)
	}}
	for _, n := range names {
		ctx, cancel := context.WithTimeout(ctx, resolverTimeout)
		_, err := r.LookupHost(ctx, n)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func doctorResolvers(ctx context.Context, names []string) (fs []Finding) {
	if len(names) == 0 {
		return nil
	}
	for _, s := range nameServers() {
		if err := s.find(ctx, names); err != nil {
			fs = append(fs, Finding{Bad, "resolver", fmt.Sprintf("%s does not find what the cell stands on: %v", s.addr, err)})
			continue
		}
		fs = append(fs, Finding{Good, "resolver", fmt.Sprintf("%s knows %s", s.addr, strings.Join(names, ", "))})
	}
	return fs
}

// doctorNodes asks the running node for the others.
func doctorNodes(ctx context.Context, dir string) []Finding {
	list, err := askNodes(ctx, dir)
	if err != nil {
		return []Finding{{Bad, "nodes", "the cell's nodes can't be listed: " + err.Error()}}
	}
	var fs []Finding
	versions := map[string]int{}
	alive := 0
	for _, n := range list {
		switch n.State {
		case admin.NodeSilent:
			fs = append(fs, Finding{Note, "nodes", fmt.Sprintf("%s has been silent for %v: dead, or cut off from the database", n.Name, time.Duration(n.Age*float64(time.Second)).Round(time.Second))})
			continue
		case admin.NodeDraining, admin.NodeDrained:
			fs = append(fs, Finding{Note, "nodes", n.Name + " is out of service by an administrator's wish: bahnpost node undrain " + n.Name})
		}
		alive++
		versions[n.Version]++
	}
	if len(versions) > 1 {
		fs = append(fs, Finding{Note, "nodes", "run different versions: " + strings.Join(slices.Sorted(maps.Keys(versions)), ", ") + "; finish the upgrade"})
	}
	return append(fs, Finding{Good, "nodes", fmt.Sprintf("%d in the cell", alive)})
}

func askNodes(ctx context.Context, dir string) (list []admin.Node, err error) {
	c := http.Client{Timeout: examineNodes, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", SocketPath(dir))
	}}}
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://node/v1/nodes", nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New("the node answers " + resp.Status)
	}
	return list, json.NewDecoder(resp.Body).Decode(&list)
}
