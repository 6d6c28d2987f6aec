package drill

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Cell is a cell of many nodes, to be struck by faults under load.
type Cell struct {
	Nodes []*Node
	DB    Databases
	S3    *ObjectStore // nil: bodies are in the database
	J     *Journal

	t     testing.TB
	round int
}

// newCell founds a cell of n nodes on the databases and, if it is not nil, the object store.
func newCell(t testing.TB, dir string, n int, db Databases, s3 *ObjectStore) *Cell {
	t.Helper()
	c := &Cell{DB: db, S3: s3, J: NewJournal(t, filepath.Join(dir, "journal")), t: t}
	for i := range n {
		n := newNode(t, dir, i+1)
		flags := []string{"--store", db.URL()}
		if s3 != nil {
			flags = append(flags, "--blobs", s3.URL())
		}
		n.Init(flags...)
		n.Serve()
		c.Nodes = append(c.Nodes, n)
	}
	settle(t, c.Nodes[0], c.J)
	return c
}

// fault is something that breaks, and is mended later.
type fault struct {
	name string
	// strike breaks something and returns what mends it.
	strike func(c *Cell) (mend func())
	// lasts is how long it stays broken. With a promotion: after that.
	lasts time.Duration
	// promotes: the database's primary is lost, and there will be another, or the same anew.
	promotes bool
	// dies: what dies is a node.
	dies bool
}

// row is what a fault did, a row of the table.
type row struct {
	fault         fault
	deliver, read time.Duration // the longest that a probe was not served
	promoted      time.Duration // from the fault to a server that takes writes; 0 without
	after         time.Duration // from then to the last probe's service
	heard         []time.Duration
	errors        string
	bad           []string // what is wrong, all of it
	f             *Findings
}

// warm is how long the load runs before a fault, and after all is well again.
const warm = 3 * time.Second

// recovery bounds how long all of the probes may take to be served again after all is mended.
const recovery = 2 * time.Minute

// endure lets a fault strike under load, mends it, and compares what there is with the journal.
func (c *Cell) endure(f fault) *row {
	c.t.Helper()
	c.ready()
	c.round++
	l := Begin(c.Nodes, c.J, c.round)
	c.served(l, time.Now())
	<-time.After(warm)
	old := c.DB.Primary()
	at := time.Now()
	mend := f.strike(c)
	r := &row{fault: f}
	var promoted time.Time
	if f.promotes {
		promoted = c.promotion(old, at)
		r.promoted = promoted.Sub(at)
	}
	<-time.After(f.lasts)
	mend()
	c.served(l, time.Now())
	<-time.After(warm)
	deaf, err := l.Stop()
	if err != nil {
		c.t.Fatal(err)
	}
	r.deliver, r.read = l.g.outage("deliver", at, l.ended), l.g.outage("read", at, l.ended)
	if f.promotes {
		for _, what := range []string{"deliver", "read"} {
			r.after = max(r.after, l.g.since(what, promoted).Sub(promoted))
		}
	}
	r.heard, r.errors = l.hearingTimes(), l.g.errors()
	c.ready()
	r.f = Verify(c.t, c.Nodes, c.J)
	r.bad = slices.Concat(r.f.Bad(), l.g.hard, l.g.broken)
	for _, d := range deaf {
		r.bad = append(r.bad, "nobody was told of "+d)
	}
	return r
}

// ready sees to it that all is up.
func (c *Cell) ready() {
	c.t.Helper()
	for _, s := range c.DB {
		s.Start()
	}
	if len(c.DB) > 1 {
		c.DB.AwaitStandby(c.t)
	}
	if c.S3 != nil {
		c.S3.Start()
	}
	for _, n := range c.Nodes {
		if !n.proc.alive() {
			n.Launch()
		}
	}
	for _, n := range c.Nodes {
		n.Await()
	}
}

// served waits until each probe was served after t.
func (c *Cell) served(l *Load, t time.Time) {
	c.t.Helper()
	for _, what := range []string{"deliver", "read"} {
		until(c.t, recovery, "all probes are served: "+what+"; "+l.g.errors(), func() bool { return !l.g.since(what, t).IsZero() })
	}
}

// promotion waits until another server than old takes writes, or old does again after it did not, and returns when that was.
func (c *Cell) promotion(old *Server, from time.Time) time.Time {
	c.t.Helper()
	found := make(chan time.Time, len(c.DB))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, s := range c.DB {
		wg.Go(func() {
			fell := s != old // else it must be seen not to take writes first
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for {
				if s.Writable() {
					if fell {
						found <- time.Now()
						return
					}
				} else {
					fell = true
				}
				select {
				case <-stop:
					return
				case <-tick.C:
				}
			}
		})
	}
	defer wg.Wait()
	defer close(stop)
	select {
	case at := <-found:
		return at
	case <-time.After(recovery):
		c.t.Fatalf("no server became primary within %v", recovery)
		return from
	}
}

// check fails the test for what is bad. Times don't fail it: the machine may be busy.
func (r *row) check(t testing.TB) {
	t.Helper()
	const most = 20
	for i, s := range r.bad {
		if i == most {
			t.Errorf("%s: … and %d more", r.fault.name, len(r.bad)-most)
			break
		}
		t.Errorf("%s: %s", r.fault.name, s)
	}
}

// The goals: service is back so soon after a node died, after Patroni has promoted.
const (
	goalNode    = 2 * time.Second
	goalPromote = 3 * time.Second
)

// goal says whether the fault's goal was reached, "" if it has none.
func (r *row) goal() string {
	took, want := r.after, goalPromote
	switch {
	case r.fault.dies:
		took, want = max(r.deliver, r.read), goalNode
	case !r.fault.promotes:
		return ""
	}
	if took <= want {
		return fmt.Sprintf("≤ %v: reached", want)
	}
	return fmt.Sprintf("≤ %v: missed", want)
}

const tableHead = `| fault | no delivery | no reading | promoted after | service after that | goal | heard over nodes, median/most | lost | doubled by us | other breaches | doubled by clients | errors seen |
|---|---|---|---|---|---|---|---|---|---|---|---|
`

// String is the row in a table under tableHead.
func (r *row) String() string {
	s := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	heard := ""
	if n := len(r.heard); n > 0 {
		heard = fmt.Sprintf("%d ms / %s", r.heard[n/2].Milliseconds(), s(r.heard[n-1]))
	}
	return "| " + strings.Join([]string{r.fault.name, s(r.deliver), s(r.read), s(r.promoted), s(r.after), r.goal(), heard, fmt.Sprint(len(r.f.Lost)), fmt.Sprint(len(r.f.Doubled)),
		fmt.Sprint(len(r.bad) - len(r.f.Lost) - len(r.f.Doubled)), fmt.Sprint(r.f.Redoubled), r.errors}, " | ") + " |"
}
