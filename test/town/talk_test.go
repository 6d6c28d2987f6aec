package town

import (
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bahnpost/test/talk"
)

// TestTalkOverNodes holds IMAP's conversations over two nodes of a cell: each connection of a talk leads to the other node than the
// one before. So numbers, EXPUNGE, QRESYNC, NOTIFY and IDLE are right also where another node did what is told. Left out are talks
// that would be the same on one node, and those that look at the server from inside.
func TestTalkOverNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("waits in real time; not in -short")
	}
	t.Parallel()
	names := []string{"close", "condstore", "context", "contextsort", "copy", "emailid", "enable", "expunge", "idle", "mailbox", "modseq", "multisearch",
		"notify", "notifynames", "partial", "qresync", "replace", "revived", "store", "storeuid", "uidonly"}
	c := StartCluster(t, 2)
	over := talk.Nodes{Lag: 150 * time.Millisecond, User: func(n int) string { return fmt.Sprintf("u%05d", n) },
		Env: talk.Env{Login: imapLogin, Append: imapAppend, Literals: true}}
	for _, w := range c.Nodes {
		over.Addrs = append(over.Addrs, w.Addr("imap"))
	}
	hash := sha512.Sum512([]byte("secret" + "salt"))
	lines := []string{"address,password"}
	for i := range 2 * len(names) {
		lines = append(lines, over.User(i)+"@"+Domain+",{SSHA512}"+base64.StdEncoding.EncodeToString(append(hash[:], "salt"...)))
	}
	csv := filepath.Join(t.TempDir(), "accounts.csv")
	if err := os.WriteFile(csv, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Nodes[0].Run("account", "import", csv)
	t.Run("talks", func(t *testing.T) {
		talk.RunOver(t, filepath.Join("..", "..", "serve", "imapd", "testdata", "talk"), names, over)
	})
}

func imapLogin(c *talk.Conn, user string) error {
	if _, err := c.Expect("* OK"); err != nil {
		return err
	}
	if err := c.Send("login LOGIN " + user + " secret\r\n"); err != nil {
		return err
	}
	_, err := c.Expect("login OK")
	return err
}

func imapAppend(c *talk.Conn, mailbox string, message []byte) error {
	if err := c.Send(fmt.Sprintf("append APPEND %s {%d+}\r\n%s\r\n", mailbox, len(message), message)); err != nil {
		return err
	}
	_, err := c.Expect("append OK")
	return err
}
