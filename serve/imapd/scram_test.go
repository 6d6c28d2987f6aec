package imapd

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"net"
	"testing"

	"github.com/mjl-/mox/imapclient"
	"github.com/xdg-go/scram"

	"bahnpost/mail"
	"bahnpost/serve/listen"
)

// keyed is people with SCRAM keys for alice.
type keyed struct{ people }

func (keyed) SCRAM(context.Context, string) (listen.SCRAMKeys, bool, error) {
	c, err := scram.SHA256.NewClient("alice", "secret", "")
	if err != nil {
		return listen.SCRAMKeys{}, false, err
	}
	k := scram.KeyFactors{Salt: "0123456789abcdef", Iters: 4096}
	sc, err := c.GetStoredCredentialsWithError(k)
	if err != nil {
		return listen.SCRAMKeys{}, false, err
	}
	return listen.SCRAMKeys{Account: 1, Address: mail.Address{Local: "alice", Domain: "example.org"},
		Salt: []byte(k.Salt), Iterations: k.Iters, StoredKey: sc.StoredKey, ServerKey: sc.ServerKey}, true, nil
}

// TestSCRAM: RFC 5802, RFC 7677 in IMAP's clothes: the server's last word comes
// as a challenge, which the client answers with an empty line. mox's client also
// checks the server's signature, and the channel binding of -PLUS.
func TestSCRAM(t *testing.T) {
	t.Parallel()
	w := newTown(t, Config{})
	w.server.gate = listen.NewGate(keyed{}, listen.GateConfig{})
	addr := w.tcp()
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"} {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		c, err := imapclient.New(nc, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.AuthenticateSCRAM(mechanism, sha256.New, "alice", "secret"); err != nil {
			t.Errorf("%s: %v", mechanism, err)
		}
		if _, err := c.Select("INBOX"); err != nil {
			t.Errorf("%s: %v", mechanism, err)
		}
	}
}
