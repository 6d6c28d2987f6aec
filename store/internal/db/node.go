package db

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
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
	if d.gate == nil {
		return d.alone.beat(name, info), nil
	}
	rows, err := d.gate.side.do(ctx, sqlBeat, name, d.gate.node, string(info), strconv.Itoa(int(NodeForgotten/time.Second)))
	if err != nil || len(rows) == 0 {
		return "", err
	}
	return string(rows[0][0]), nil
}

const (
	sqlBeats = `CREATE TABLE IF NOT EXISTS db_beats(name text COLLATE "C" PRIMARY KEY, node bigint NOT NULL, info text NOT NULL, wish text NOT NULL, beat timestamptz NOT NULL)`
	sqlBeat  = `WITH old AS (DELETE FROM db_beats WHERE name<>$1 AND beat<clock_timestamp()-$4::bigint*interval '1 s')
		INSERT INTO db_beats AS b (name, node, info, wish, beat) VALUES ($1,$2::bigint,$3,'',clock_timestamp())
		ON CONFLICT (name) DO UPDATE SET node=excluded.node, info=excluded.info, beat=excluded.beat RETURNING b.wish`
	sqlListNodes = `SELECT name, info, wish, greatest(0, (extract(epoch FROM clock_timestamp()-beat)*1000)::bigint),
		ARRAY(SELECT l.name FROM db_leases l WHERE l.node=b.node AND l.until>clock_timestamp() ORDER BY 1)::text FROM db_beats b ORDER BY name`
	sqlWish = `UPDATE db_beats SET wish=$2 WHERE name=$1 RETURNING 1`
	sqlBye  = `DELETE FROM db_beats WHERE name=$1`
)

// NodeForgotten is how long a node that does not beat is still listed.
const NodeForgotten = 24 * time.Hour

// Nodes lists the nodes by name.
func (d *DB) Nodes(ctx context.Context) ([]Node, error) {
	if d.gate == nil {
		return d.alone.list(), nil
	}
	rows, err := d.gate.side.do(ctx, sqlListNodes)
	var list []Node
	for _, r := range rows {
		ms, _ := strconv.ParseInt(string(r[3]), 10, 64)
		n := Node{Name: string(r[0]), Info: r[1], Wish: string(r[2]), Age: time.Duration(ms) * time.Millisecond}
		if leases := strings.Trim(string(r[4]), "{}"); leases != "" {
			for l := range strings.SplitSeq(leases, ",") {
				n.Leases = append(n.Leases, strings.Trim(l, `"`))
			}
		}
		list = append(list, n)
	}
	return list, err
}

// Wish leaves a word for the node called name ("drain"), which finds it at its next Beat; "" takes it back. ErrNoNode if there is none.
func (d *DB) Wish(ctx context.Context, name, wish string) error {
	if d.gate == nil {
		return d.alone.ask(name, wish)
	}
	rows, err := d.gate.side.do(ctx, sqlWish, name, wish)
	if err == nil && len(rows) == 0 {
		return ErrNoNode
	}
	return err
}

// Bye takes the node called name off the list: it stops.
func (d *DB) Bye(ctx context.Context, name string) error {
	if d.gate == nil {
		return d.alone.bye(name)
	}
	_, err := d.gate.side.do(ctx, sqlBye, name)
	return err
}

// alone is the list where nobody else can be on it, and the leases.
type alone struct {
	mu   sync.Mutex
	node Node
	last time.Time
	held map[string]bool
}

func (a *alone) take(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held[name] {
		return false
	}
	if a.held == nil {
		a.held = make(map[string]bool)
	}
	a.held[name] = true
	return true
}

func (a *alone) release(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.held, name)
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
	n.Leases = slices.Sorted(maps.Keys(a.held))
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
