package imapd

import (
	"fmt"
	"strings"
	"testing"
)

// Clients look for many messages at once by a chain of ORs; RFC 9051 §6.4.4 sets no bound, ours must bear hundreds.
func TestSearchLongChain(t *testing.T) {
	t.Parallel()
	w := newTown(t, Config{})
	for i := range 5 {
		if err := w.deliver("alice", "INBOX", fmt.Appendf(nil, "Message-ID: <%d@example.org>\r\n\r\nx\r\n", i*100)); err != nil {
			t.Fatal(err)
		}
	}
	c := dialStrict(t, w.tcp())
	c.do("SELECT INBOX")
	var b strings.Builder
	for i := range 499 {
		fmt.Fprintf(&b, "OR HEADER Message-ID <%d@example.org> ", i)
	}
	rs := c.do("UID SEARCH %sHEADER Message-ID <9999@example.org>", b.String())
	if got := fmt.Sprint(rs[0]); got != "[SEARCH 1 2 3 4 5]" {
		t.Error(got)
	}
}
