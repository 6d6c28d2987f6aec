package hostile

import (
	"encoding/base64"
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

// TestSessionsOfOneAccount: an account that has all the sessions it may have hears so from each protocol in its words (RFC 5530 §3,
// RFC 3206 §4, RFC 4954 §4 and RFC 5321 §3.8); others log in, and so does it after one has gone.
func TestSessionsOfOneAccount(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a node of its own; not in -short")
	}
	w := town.New(t)
	people(w, 5)
	w.Configure("#max_sessions_per_account = 100", "max_sessions_per_account = 2")
	w.Configure("#proxy_protocol_from = []", `proxy_protocol_from = ["127.0.0.1"]`) // to come from elsewhere
	w.Serve()
	login := map[string][]string{
		"imaps":       {"* OK", "a LOGIN %s secret\r\n", "a ", "a OK ", "a NO [LIMIT] "},
		"pop3s":       {"+OK", "USER %s@example.org\r\nPASS secret\r\n", "", "+OK maildrop", "-ERR [SYS/TEMP] "},
		"submissions": {"220", "EHLO x\r\nAUTH PLAIN %s\r\n", "", "235 ", "421 4.7.0 "},
	}
	enter := func(port, user string) (c *wire, in bool) {
		t.Helper()
		l := login[port]
		c = dial(t, w.Addr(port))
		c.say("PROXY TCP4 192.0.2.1 192.0.2.2 4000 993\r\n")
		c.startTLS()
		c.want(t, l[0])
		if port == "submissions" {
			user = base64.StdEncoding.EncodeToString([]byte("\x00" + user + "@example.org\x00secret"))
		}
		c.say(l[1], user)
		for {
			switch s := c.want(t, l[2]); {
			case strings.HasPrefix(s, l[3]):
				return c, true
			case strings.HasPrefix(s, l[4]+"too many sessions of this account"):
				return c, false
			}
		}
	}
	first, in1 := enter("imaps", "u0")
	second, in2 := enter("submissions", "u0")
	if !in1 || !in2 {
		t.Fatal("the first two are refused")
	}
	for i, port := range []string{"imaps", "pop3s", "submissions"} {
		if _, in := enter(port, "u0"); in {
			t.Errorf("%s takes a third session", port)
		}
		if _, in := enter(port, fmt.Sprint("u", i+1)); !in {
			t.Errorf("%s refuses somebody else", port)
		}
	}
	first.ok(t, "UNAUTHENTICATE")
	if _, in := enter("pop3s", "u0"); !in {
		t.Error("one may come after one has gone")
	}
	first.refused(t, "[LIMIT]", "LOGIN u0 secret")
	first.ok(t, "LOGIN u4 secret") // the refusal left the session as it was
	second.must(t, "221", "QUIT")
	for end := time.Now().Add(patience); ; { // the node learns of it a moment later
		if _, in := enter("imaps", "u0"); in {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a session that has ended still counts")
		}
	}
	quiet(t, w)
}
