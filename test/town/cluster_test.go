package town

import (
	"strings"
	"testing"
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
