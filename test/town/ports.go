package town

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

var ports = map[string]int{"lmtp": 24, "smtp": 25, "submission": 587, "submissions": 465, "imap": 143, "imaps": 993,
	"pop3": 110, "pop3s": 995, "http": 80, "https": 443}

// Nodes take ports below those that Linux gives to clients (32768 on), which could come in between.
const firstPort, lastPort = 10000, 32000

// offsets are all at which neither a node's ports nor the offset itself meet another's.
var offsets = sync.OnceValue(func() (all []int) {
	taken := map[int]bool{}
next:
	for o := firstPort; o <= lastPort; o++ {
		for _, p := range ports {
			if taken[o+p] {
				continue next
			}
		}
		if taken[o] {
			continue
		}
		for _, p := range ports {
			taken[o+p] = true
		}
		taken[o] = true
		all = append(all, o)
	}
	return all
})

// takeOffset finds an offset whose ports nobody has, and keeps it until the
// test ends, also from towns in other processes and while the node is down:
// who listens on the port that is the offset itself has all ports of it.
func takeOffset(t testing.TB) int {
	t.Helper()
	all := offsets()
	for range 10 * len(all) {
		o := all[rand.IntN(len(all))]
		l, err := net.Listen("tcp", hostPort("127.0.0.1", o))
		if err != nil {
			continue
		}
		if free(o) {
			t.Cleanup(func() { l.Close() })
			return o
		}
		l.Close()
	}
	t.Fatal("no free ports")
	return 0
}

// free says whether other programs leave a node its ports.
func free(offset int) bool {
	for _, host := range []string{"127.0.0.1", "::1"} {
		one, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			continue // there is no IPv6 here
		}
		one.Close()
		for _, p := range ports {
			l, err := net.Listen("tcp", hostPort(host, p+offset))
			if err != nil {
				return false
			}
			l.Close()
		}
	}
	return true
}

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
