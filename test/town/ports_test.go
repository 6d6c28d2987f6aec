package town

import (
	"net"
	"testing"
)

// TestOffsets: towns that live at once, or between two starts, never share a port.
func TestOffsets(t *testing.T) {
	t.Parallel()
	owner := map[int]int{}
	for _, o := range offsets() {
		for _, p := range append([]int{0}, ports["imap"], ports["pop3s"], ports["lmtp"], ports["http"]) {
			if other, taken := owner[o+p]; taken {
				t.Fatalf("port %d belongs to offsets %d and %d", o+p, other, o)
			}
			owner[o+p] = o
		}
	}
	if n := len(offsets()); n < 500 {
		t.Errorf("only %d nodes can live at once", n)
	}
	held := takeOffset(t)
	if l, err := net.Listen("tcp", hostPort("127.0.0.1", held)); err == nil {
		l.Close()
		t.Errorf("offset %d was taken and can be taken again", held)
	}
}
