package drill

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The faults. Each knows how to mend itself; what was killed is started again.
var (
	killNode = fault{name: "kill -9 a node", dies: true, lasts: 5 * time.Second, strike: func(c *Cell) func() {
		c.Nodes[0].Kill()
		return c.Nodes[0].Serve
	}}
	powerNode = fault{name: "a node loses its power", dies: true, lasts: 15 * time.Second, strike: func(c *Cell) func() {
		n := c.Nodes[0]
		n.Pull("db") // so that no system says goodbye for it
		n.Pull("s3")
		n.Kill()
		return func() {
			n.Plug("db")
			n.Plug("s3")
			n.Serve()
		}
	}}
	pauseNode = fault{name: "SIGSTOP a node, SIGCONT later", dies: true, lasts: 20 * time.Second, strike: func(c *Cell) func() {
		p := c.Nodes[0].proc.cmd.Process
		p.Signal(syscall.SIGSTOP)
		return func() { p.Signal(syscall.SIGCONT) }
	}}
	killPostmaster = fault{name: "kill -9 PostgreSQL's postmaster", promotes: true, strike: func(c *Cell) func() {
		c.primary().KillPostmaster() // who watches over it starts it again
		return func() {}
	}}
	killServer = fault{name: "kill -9 all of the primary's server", promotes: true, lasts: 3 * time.Second, strike: func(c *Cell) func() {
		p := c.primary()
		p.Kill()
		return p.Start
	}}
	pauseServer = fault{name: "SIGSTOP the primary's server, SIGCONT after a promotion", promotes: true, lasts: 3 * time.Second, strike: func(c *Cell) func() {
		p := c.primary()
		p.Pause()
		return p.Continue
	}}
	loseMajority = fault{name: "kill -9 two of three servers", promotes: true, strike: func(c *Cell) func() {
		p := c.primary()
		for _, s := range c.DB {
			if s != p {
				s.Kill()
			}
		}
		// Without a majority of etcd Patroni makes the last one read-only.
		until(c.t, recovery, "the last server is read-only", func() bool { return !p.Writable() })
		for _, s := range c.DB {
			s.Start()
		}
		return func() {}
	}}
	cutDatabase = fault{name: "cut the network between a node and the databases", dies: true, lasts: 15 * time.Second, strike: func(c *Cell) func() {
		n := c.Nodes[0]
		n.Pull("db")
		return func() { n.Plug("db") }
	}}
	stopS3 = fault{name: "stop S3", lasts: 10 * time.Second, strike: func(c *Cell) func() {
		c.S3.Kill()
		return c.S3.Start
	}}
	cutS3 = fault{name: "cut the network between a node and S3", lasts: 10 * time.Second, strike: func(c *Cell) func() {
		n := c.Nodes[0]
		n.Pull("s3")
		return func() { n.Plug("s3") }
	}}
	fillNode = fault{name: "fill a node's disk", lasts: 8 * time.Second, strike: func(c *Cell) func() {
		return fill(c.t, c.Nodes[0].Dir)
	}}
	fillServer = fault{name: "fill the primary's disk", lasts: 10 * time.Second, strike: func(c *Cell) func() {
		return fill(c.t, filepath.Dir(c.primary().data))
	}}
	drainNode = fault{name: "drain a node and start it again", dies: true, strike: func(c *Cell) func() {
		n := c.Nodes[len(c.Nodes)-1]
		n.Drain()
		return n.Serve
	}}
	rollNodes = fault{name: "restart all nodes, one after the other", dies: true, strike: func(c *Cell) func() {
		for _, n := range c.Nodes {
			n.Drain()
			n.Serve()
		}
		return func() {}
	}}
	switchOver = fault{name: "switch over to another server", promotes: true, strike: func(c *Cell) func() {
		p := c.primary()
		said := make(chan error, 1)
		go func() { said <- askSwitch(p) }() // it is answered when all is done
		return func() {
			if err := <-said; err != nil {
				c.t.Error(err)
			}
		}
	}}
	restartAll = fault{name: "kill -9 everything, start everything", promotes: true, strike: func(c *Cell) func() {
		for _, n := range c.Nodes {
			signal(syscall.SIGKILL, n.proc.cmd.Process.Pid)
		}
		for _, s := range c.DB {
			s.Kill()
		}
		if c.S3 != nil {
			c.S3.Kill()
		}
		for _, n := range c.Nodes {
			n.Kill()
		}
		for _, s := range c.DB {
			s.Start()
		}
		if c.S3 != nil {
			c.S3.Start()
		}
		for _, n := range c.Nodes {
			n.Launch()
		}
		return func() {}
	}}
)

// askSwitch asks the primary's Patroni for a switchover, as patronictl does, and waits until it is done.
func askSwitch(p *Server) error {
	r, err := http.Post("http://"+p.Addr+":8008/switchover", "application/json", strings.NewReader(`{"leader": "`+p.Name+`"}`))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if text, _ := io.ReadAll(io.LimitReader(r.Body, 1000)); r.StatusCode != http.StatusOK {
		return fmt.Errorf("switchover: %s %s", r.Status, text)
	}
	return nil
}

// primary is the server that takes writes, of which there must be one.
func (c *Cell) primary() *Server {
	c.t.Helper()
	p := c.DB.Primary()
	if p == nil {
		c.t.Fatal("there is no primary")
	}
	return p
}

// all faults, in the order of a drill.
var allFaults = []fault{killNode, powerNode, pauseNode, killPostmaster, killServer, pauseServer, loseMajority, cutDatabase, stopS3, cutS3, fillNode, fillServer, drainNode, rollNodes, switchOver, restartAll}
