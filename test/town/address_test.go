package town

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
)

// visitor is an address that comes and goes (RFC 5737), as one does that moves between machines.
const visitor = "192.0.2.77"

// TestAnAddressComesAndGoes: a node serves an address that its machine gets later, and says when it is lost.
func TestAnAddressComesAndGoes(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	ip := func(verb string) error {
		out, err := exec.Command("ip", "addr", verb, visitor+"/32", "dev", "lo").CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip addr %s: %w: %s", verb, err, out)
		}
		return nil
	}
	if err := ip("add"); err != nil {
		t.Skip("this machine can't be given another address: ", err)
	}
	t.Cleanup(func() { ip("del") })
	if err := ip("del"); err != nil {
		t.Fatal(err)
	}
	w := New(t)
	w.Configure(`["127.0.0.1", "::1"]`, `["127.0.0.1", "`+visitor+`"]`)
	w.Serve()
	w.Logged("address left out", "addr="+hostPort(visitor, w.Port("imap")))
	w.Logged("path lost", "kind=listen", visitor)
	if err := ip("add"); err != nil {
		t.Fatal(err)
	}
	w.Logged("address is served now", "protocol=imap ")
	w.Logged("path is back", "imap "+visitor)
	c, err := net.Dial("tcp", hostPort(visitor, w.Port("imap")))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	series := `{addr="` + hostPort(visitor, w.Port("imap")) + `",protocol="imap"} 1`
	if _, m := w.Get("/metrics"); !strings.Contains(m, "bahnpost_accepted_total"+series) {
		t.Errorf("metrics have no %s", series)
	}
	if err := ip("del"); err != nil {
		t.Fatal(err)
	}
	lost := `bahnpost_path_up{kind="listen",name="imap ` + hostPort(visitor, w.Port("imap")) + `"} 0`
	w.metric(t, lost)
}
