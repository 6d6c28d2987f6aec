package drill

import "testing"

// TestKillCell: a cell of two nodes on one PostgreSQL: a node is killed, then the database, under load.
func TestKillCell(t *testing.T) {
	if testing.Short() {
		t.Skip("kills nodes; not in -short")
	}
	Sealed(t, func(t *testing.T, dir string) {
		c := newCell(t, dir, 2, OnePostgres(t, dir), nil)
		for _, f := range []fault{killNode, killPostmaster} {
			r := c.endure(f)
			t.Log(r)
			r.check(t)
		}
	})
}
