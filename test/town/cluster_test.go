package town

import (
	"encoding/json"
	"strings"
	"testing"

	"bahnpost/serve/admin"
)

// TestCluster: two nodes on one PostgreSQL are one cell: who is added over one reads over either.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	c := NewCluster(t, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	a.Serve()
	b.Serve()
	anna := a.Account("anna", "secret")
	lmtp, err := DialLMTP(a.Addr("lmtp"))
	if err != nil {
		t.Fatal(err)
	}
	defer lmtp.Close()
	if rs, err := lmtp.Deliver("Subject: x\r\n\r\nhello\r\n", anna); err != nil || !strings.HasPrefix(rs[0], "250") {
		t.Fatal(rs, err)
	}
	for _, w := range c.Nodes {
		m, err := DialIMAP(w.Addr("imap"), anna, "secret")
		if err != nil {
			t.Fatal(err)
		}
		m.says(t, "SELECT INBOX", `\* 1 EXISTS`)
		m.Close()
	}
	if out := b.Run("account", "list"); !strings.Contains(out, anna) {
		t.Errorf("the second node does not know %s:\n%s", anna, out)
	}
	if t.Failed() {
		t.Log(a.Log(), b.Log())
	}
}

// TestNodeDrain: what "node" shows and does, on a cell of one node and on one of many.
func TestNodeDrain(t *testing.T) {
	w, anna := serving(t)
	c, err := DialIMAP(w.Addr("imap"), anna, "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.l.write("i IDLE\r\n")
	expect(t, c, "+ idling")
	var list []admin.Node
	if err := json.Unmarshal([]byte(w.Run("node", "list", "--json")), &list); err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	n := list[0]
	if !strings.HasPrefix(n.Name, "mx.example.org-") || n.State != admin.NodeServing || n.Version == "" || n.Started.IsZero() {
		t.Errorf("%+v", n)
	}
	if out, err := w.Try("", "node", "show", "mx.elsewhere"); err == nil || !strings.Contains(out, "no such node") {
		t.Errorf("%v, %s", err, out)
	}
	if out := w.Run("node", "drain", "mx.example.org", "--wait", "2m"); !strings.Contains(out, "drained, 0 connections") {
		t.Error(out)
	}
	expect(t, c, "* BYE [UNAVAILABLE] server is shutting down")
	if status, _ := w.Get("/readyz"); status != 503 {
		t.Errorf("/readyz of a drained node: %d", status)
	}
	if status, _ := w.Get("/healthz"); status != 200 {
		t.Errorf("/healthz of a drained node: %d", status)
	}
	if c, err := DialIMAP(w.Addr("imap"), anna, "secret"); err == nil {
		c.Close()
		t.Error("a drained node takes sessions")
	}
	if out := w.Run("node", "undrain", n.Name, "--wait", "2m"); !strings.Contains(out, "serving") {
		t.Error(out)
	}
	w.Logged("in service again", "node="+n.Name)
	c, err = DialIMAP(w.Addr("imap"), anna, "secret")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if status, _ := w.Get("/readyz"); status != 200 {
		t.Errorf("/readyz of a node that is back: %d", status)
	}
	if out := w.Run("node", "show", n.Name); !strings.Contains(out, "serving") {
		t.Error(out)
	}
}
