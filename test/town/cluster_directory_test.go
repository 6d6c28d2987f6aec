package town

import (
	"testing"
	"time"
)

// TestClusterAccounts: what one node is told of an account holds on the other: its password, and that it may not be used any more.
func TestClusterAccounts(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	c := NewCluster(t, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	a.Serve()
	b.Serve()
	anna := a.Account("anna", "old")
	login := func(password string) bool {
		m, err := DialIMAP(b.Addr("imap"), anna, password)
		if err == nil {
			m.Close()
		}
		return err == nil
	}
	eventually := func(what string, done func() bool) {
		t.Helper()
		deadline := time.Now().Add(startTimeout)
		for !done() {
			if time.Now().After(deadline) {
				t.Fatal(what, "\n", b.Log())
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	for range 2 { // the second from the gate's memory
		if !login("old") {
			t.Fatal("no login\n", b.Log())
		}
	}
	if out, err := a.Try("new\n", "account", "passwd", anna, "--password-stdin"); err != nil {
		t.Fatal(err, out)
	}
	eventually("the old password holds on the other node", func() bool { return !login("old") })
	eventually("the new password does not hold on the other node", func() bool { return login("new") })
	m, err := DialIMAP(b.Addr("imap"), anna, "new")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	a.Run("account", "disable", anna)
	m.l.write("i IDLE\r\n")
	expect(t, m, "* BYE [UNAVAILABLE] session was ended by the administrator")
	b.Logged("sessions ended: the account was disabled or removed")
	eventually("a disabled account may log in on the other node", func() bool { return !login("new") })
}
