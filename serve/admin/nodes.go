package admin

import (
	"context"
	"net/http"
	"strings"
	"time"

	"bahnpost/mail"
)

// What a node does.
const (
	NodeServing  = "serving"
	NodeDraining = "draining" // out of service by a wish, sessions are ending
	NodeDrained  = "drained"  // … and have ended; the process runs
	NodeStopping = "stopping"
	NodeSilent   = "silent" // its beats have stopped: dead, or cut off from the database
)

// NodeInfo is what a node tells of itself with each beat.
type NodeInfo struct {
	Hostname   string           `json:"hostname"`
	Version    string           `json:"version"`
	Commit     string           `json:"commit"`
	Started    time.Time        `json:"started"`
	Run        string           `json:"run"` // tells this run of the process from others
	State      string           `json:"state"`
	Sessions   map[string]int64 `json:"sessions"`              // connections by protocol
	Deaf       float64          `json:"deaf_seconds"`          // since it does not hear other nodes' hints and only looks now and then; 0: it hears them
	Deliveries float64          `json:"deliveries_per_second"` // messages stored, since the beat before
}

// Node is a node of the cell as the database knows it.
type Node struct {
	Name string `json:"name"`
	NodeInfo
	Age    float64  `json:"beat_age_seconds"` // since its last beat, by the database's clock
	Wish   string   `json:"wish,omitempty"`   // what an administrator wants of it
	Leases []string `json:"leases"`           // background work it has
}

// All is the number of connections.
func (n *Node) All() (all int64) {
	for _, s := range n.Sessions {
		all += s
	}
	return all
}

func (a *API) nodes(_ http.ResponseWriter, r *http.Request) (any, error) {
	return a.cfg.Nodes(r.Context())
}

func (a *API) node(_ http.ResponseWriter, r *http.Request) (any, error) {
	return a.findNode(r.Context(), r.PathValue("name"))
}

var errNoNode = &mail.Error{Kind: mail.NoSuchAccount, Text: "there is no such node; \"bahnpost node list\" names them"}

// findNode takes a name, or the beginning of one if only one begins so.
func (a *API) findNode(ctx context.Context, name string) (n Node, err error) {
	list, err := a.cfg.Nodes(ctx)
	if err != nil {
		return n, err
	}
	var found []Node
	for _, x := range list {
		if x.Name == name {
			return x, nil
		}
		if strings.HasPrefix(x.Name, name) {
			found = append(found, x)
		}
	}
	switch len(found) {
	case 0:
		return n, errNoNode
	case 1:
		return found[0], nil
	}
	names := make([]string, len(found))
	for i := range found {
		names[i] = found[i].Name
	}
	return n, &mail.Error{Kind: mail.BadInput, Text: "several nodes begin so: " + strings.Join(names, ", ")}
}

// wish returns a handler that leaves a wish for a node.
func (a *API) wish(what string) handler {
	return func(_ http.ResponseWriter, r *http.Request) (any, error) {
		n, err := a.findNode(r.Context(), r.PathValue("name"))
		if err != nil {
			return nil, err
		}
		if err := a.cfg.Wish(r.Context(), n.Name, what); err != nil {
			return nil, err
		}
		a.cfg.Log.Info("node wish", "node", n.Name, "wish", what)
		n.Wish = what
		return n, nil
	}
}
