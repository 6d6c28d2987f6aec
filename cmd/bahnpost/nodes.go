package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bahnpost/serve/admin"
)

type nodeCmd struct {
	List    nodeList    `cmd:"" help:"List the nodes of the cell."`
	Show    nodeShow    `cmd:"" help:"Show one node."`
	Drain   nodeDrain   `cmd:"" help:"Take a node out of service: it says goodbye to its sessions and takes no more, but runs on."`
	Undrain nodeUndrain `cmd:"" help:"Take a drained node back into service."`
}

type nodeList struct{ manage }

func (c *nodeList) Run() error {
	return c.call(func(a *api) error {
		var list []admin.Node
		if err := a.do("GET", "/v1/nodes", nil, &list); err != nil {
			return err
		}
		if c.JSON {
			return printJSON(list)
		}
		return table("NODE\tSTATE\tVERSION\tUP\tBEAT\tHEARS OTHERS\tSESSIONS\tMAIL/S\tLEASES", func(line func(string, ...any)) {
			for _, n := range list {
				line("%s\t%s\t%s\t%s\t%.0fs ago\t%s\t%d\t%.1f\t%d", n.Name, doing(n), n.Version, up(n), n.Age, hears(n), n.All(), n.Deliveries, len(n.Leases))
			}
		})
	})
}

// doing is what the node does, and what it is to do.
func doing(n admin.Node) string {
	if n.Wish != "" && n.State == admin.NodeServing {
		return n.State + ", to " + n.Wish
	}
	return n.State
}

// hears says how far the node may be behind the others.
func hears(n admin.Node) string {
	if n.Deaf == 0 {
		return "at once"
	}
	return fmt.Sprintf("only by looking, for %.0fs", n.Deaf)
}

func up(n admin.Node) string { return time.Since(n.Started).Round(time.Second).String() }

type nodeShow struct {
	manage
	Name string `arg:"" help:"Name of the node, or how it begins."`
}

func (c *nodeShow) Run() error {
	return c.call(func(a *api) error {
		var n admin.Node
		if err := a.do("GET", "/v1/nodes/"+escape(c.Name), nil, &n); err != nil {
			return err
		}
		if c.JSON {
			return printJSON(n)
		}
		return table("NODE\t"+n.Name, func(line func(string, ...any)) {
			line("state\t%s", doing(n))
			line("version\t%s (%s)", n.Version, n.Commit)
			line("started\t%s, %s ago", n.Started.Format(time.DateTime), up(n))
			line("last beat\t%.1fs ago", n.Age)
			line("hears others\t%s", hears(n))
			line("mail\t%.1f a second", n.Deliveries)
			for _, p := range slices.Sorted(maps.Keys(n.Sessions)) {
				line("%s\t%d connections", p, n.Sessions[p])
			}
			line("leases\t%s", strings.Join(n.Leases, ", "))
		})
	})
}

type nodeDrain struct{ nodeWish }

func (c *nodeDrain) Run() error { return c.leave("drain", admin.NodeDrained) }

type nodeUndrain struct{ nodeWish }

func (c *nodeUndrain) Run() error { return c.leave("undrain", admin.NodeServing) }

// nodeWish is what the verbs take that leave a wish for a node.
type nodeWish struct {
	manage
	Name string        `arg:"" help:"Name of the node, or how it begins."`
	Wait time.Duration `help:"Wait until it is done, at most so long." placeholder:"5m"`
}

// leave leaves the wish and waits, if asked to, until the node is in the state that is meant.
func (c *nodeWish) leave(wish, meant string) error {
	return c.call(func(a *api) error {
		var n admin.Node
		if err := a.do("POST", "/v1/nodes/"+escape(c.Name)+"/"+wish, nil, &n); err != nil {
			return err
		}
		if err := c.await(a, &n, meant); err != nil {
			return err
		}
		if c.JSON {
			return printJSON(n)
		}
		if c.Wait == 0 {
			fmt.Printf("%s: is told to %s\n", n.Name, wish)
		} else {
			fmt.Printf("%s: %s, %d connections\n", n.Name, doing(n), n.All())
		}
		return nil
	})
}

// wishPoll is how often who waits looks.
const wishPoll = 250 * time.Millisecond

// await looks at the node until it is in the state that is meant.
func (c *nodeWish) await(a *api, n *admin.Node, meant string) error {
	end := time.After(c.Wait)
	tick := time.NewTicker(wishPoll)
	defer tick.Stop()
	for c.Wait > 0 && n.State != meant {
		select {
		case <-end:
			return fmt.Errorf("%s is %s with %d connections after %v", n.Name, doing(*n), n.All(), c.Wait)
		case <-tick.C:
		}
		if err := a.do("GET", "/v1/nodes/"+escape(n.Name), nil, n); err != nil {
			return err
		}
	}
	return nil
}
