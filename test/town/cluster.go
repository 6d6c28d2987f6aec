package town

import (
	"context"
	"path/filepath"
	"testing"

	"bahnpost/app"
	"bahnpost/store/storetest"
)

// Cluster is a cell of many nodes on one PostgreSQL.
type Cluster struct {
	Database string   // the server's DSN; nodes go through their Wire
	Bodies   []string // as [store] bodies
	Nodes    []*Town
	t        testing.TB
}

// NewCluster founds a cell on a PostgreSQL of the test's own and makes n nodes of it, without starting them. Bodies live in their rows,
// or in the places that are given.
func NewCluster(t testing.TB, n int, bodies ...string) *Cluster {
	t.Helper()
	c := &Cluster{Database: storetest.Postgres(t), Bodies: bodies, t: t}
	for range n {
		c.Join()
	}
	return c
}

// StartCluster makes a cell of n nodes and runs them in this process until the test ends.
func StartCluster(t testing.TB, n int, bodies ...string) *Cluster {
	c := NewCluster(t, n, bodies...)
	for _, w := range c.Nodes {
		w.Start()
	}
	return c
}

// Join makes one more node: the first founds the cell.
func (c *Cluster) Join() *Town {
	c.t.Helper()
	w := &Town{Dir: filepath.Join(shortDir(c.t), "node"), Admin: "admin@" + Domain, offset: takeOffset(c.t), t: c.t, Wire: newWire(c.t, c.Database)}
	o := app.InitOptions{Domain: Domain, Hostname: "mx.example.org", Loopback: true, PortOffset: w.offset, Bodies: c.Bodies,
		Database: "postgres://bahnpost:secret@" + w.Wire.Addr + "/postgres?target_session_attrs=read-write"}
	made, err := app.Init(context.Background(), w.Dir, o, w.Admin)
	if err != nil {
		c.t.Fatal(err)
	}
	if w.AdminPassword = made.Password; len(c.Nodes) > 0 {
		w.AdminPassword = c.Nodes[0].AdminPassword
	}
	c.Nodes = append(c.Nodes, w)
	return w
}
