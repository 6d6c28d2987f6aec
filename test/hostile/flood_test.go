package hostile

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"bahnpost/test/town"
)

// TestFloodFromOneAddress: one address that opens connection after connection hears that there are too many; others are
// served, and it is itself again once it lets go. (Loopback is not counted, so this needs another address of the machine.)
func TestFloodFromOneAddress(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a node of its own; not in -short")
	}
	own := ownAddress()
	if own == "" {
		t.Skip("this machine has no address but loopback")
	}
	const most = 50
	w := town.New(t)
	people(w, 1)
	w.Configure(`addresses = ["127.0.0.1", "::1"]`, fmt.Sprintf(`addresses = ["127.0.0.1", %q]`, own))
	w.Configure("#max_connections_per_ip = 1000", fmt.Sprintf("max_connections_per_ip = %d", most))
	w.Serve()
	alive(t, w)
	before := held(t, w)
	var conns []net.Conn
	refused := 0
	for i := range 10 * most {
		port := []string{"imap", "smtp", "pop3", "submission"}[i%4]
		c, err := net.Dial("tcp", net.JoinHostPort(own, fmt.Sprint(w.Port(port))))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
		c.SetDeadline(time.Now().Add(patience))
		first := make([]byte, 200)
		n, _ := io.ReadAtLeast(c, first, 1)
		if s := string(first[:n]); strings.Contains(s, "too many connections") {
			refused++
			if !strings.HasPrefix(s, "421 4.3.2") && !strings.HasPrefix(s, "* BYE [UNAVAILABLE]") && !strings.HasPrefix(s, "-ERR [SYS/TEMP]") {
				t.Errorf("%s refuses with %q", port, s)
			}
		}
	}
	if want := 10*most - most; refused != want {
		t.Errorf("%d connections were refused, want %d", refused, want)
	}
	alive(t, w)
	for _, c := range conns {
		c.Close()
	}
	settled(t, w, before)
	c := dial(t, net.JoinHostPort(own, fmt.Sprint(w.Port("imap"))))
	c.want(t, "* OK")
	quiet(t, w)
}

// ownAddress is an IPv4 address of this machine that is not loopback.
func ownAddress() string {
	as, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range as {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			return n.IP.String()
		}
	}
	return ""
}
