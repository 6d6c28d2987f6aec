package db

import (
	"context"
	"sync"
	"time"
)

// Node is a process that uses the database, as its last Beat told.
type Node struct {
	Name   string        // as given to Beat
	Info   []byte        // JSON, as given to Beat
	Wish   string        // what somebody wants of it, "" if nothing
	Age    time.Duration // since the last Beat, by the database's clock
	Leases []string      // held now, in order
}

// Beat says that the node called name lives, and what there is to know of it; it
// returns what was wished of it. Names are unique. To be called every few seconds: nodes whose last
// beat is older than NodeForgotten are deleted by others' beats.
func (d *DB) Beat(ctx context.Context, name string, info []byte) (wish string, err error) {
	return d.alone.beat(name, info), nil
}

// NodeForgotten is how long a node that does not beat is still listed.
const NodeForgotten = 24 * time.Hour

// Nodes lists the nodes by name.
func (d *DB) Nodes(ctx context.Context) ([]Node, error) { return d.alone.list(), nil }

// Wish leaves a word for the node called name ("drain"), which finds it at its next Beat; "" takes it back. ErrNoNode if there is none.
func (d *DB) Wish(ctx context.Context, name, wish string) error { return d.alone.ask(name, wish) }

// Bye takes the node called name off the list: it stops.
func (d *DB) Bye(ctx context.Context, name string) error { return d.alone.bye(name) }

// alone is the list where nobody else can be on it.
type alone struct {
	mu   sync.Mutex
	node Node
	last time.Time
}

func (a *alone) beat(name string, info []byte) (wish string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.node.Name != name {
		a.node = Node{Name: name}
	}
	a.node.Info, a.last = info, time.Now()
	return a.node.Wish
}

func (a *alone) list() []Node {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.node.Name == "" {
		return nil
	}
	n := a.node
	n.Age = time.Since(a.last)
	return []Node{n}
}

func (a *alone) ask(name, wish string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.node.Name != name || name == "" {
		return ErrNoNode
	}
	a.node.Wish = wish
	return nil
}

func (a *alone) bye(name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.node.Name == name {
		a.node = Node{}
	}
	return nil
}
