package imapd

import (
	"strings"

	"github.com/mjl-/mox/imapclient"
)

// notKnown are what mox's parser does not know; each was compared with the
// grammar that stands beside it.
var notKnown = []string{
	"* MYRIGHTS ", "* ACL ", "* LISTRIGHTS ", // RFC 4314 §4
	"* SORT", "* THREAD", // RFC 5256 §5
	"* METADATA ",         // RFC 5464 §5: literals
	"MAILBOXID (",         // RFC 8474 §7, in STATUS
	"EMAILID (",           // RFC 8474 §7
	"THREADID ",           // RFC 8474 §7
	"[PERMANENTFLAGS ()]", // RFC 9051 §9: the list may be empty
	"]<",                  // RFC 3516 §6: BINARY with an origin
	"BINARY.SIZE[HEADER",  // beyond RFC 3516, see wire/imap
}

// grammatical parses what the server says with the strictest foreign parser at
// hand, that of mox's client: whatever a story makes us say must be IMAP.
func grammatical(line string) error {
	if strings.HasPrefix(line, "+") {
		return nil
	}
	for _, n := range notKnown {
		if strings.Contains(line, n) {
			return nil
		}
	}
	if strings.HasPrefix(line, "* ") {
		_, err := imapclient.ParseUntagged(line + "\r\n")
		return err
	}
	_, _, err := imapclient.ParseResult(line + "\r\n")
	return err
}
