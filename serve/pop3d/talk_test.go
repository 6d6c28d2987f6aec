package pop3d

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"

	"bahnpost/serve/listen"
	"bahnpost/store/directory"
	"bahnpost/store/mailstore"
	"bahnpost/test/talk"
)

// TestTalk holds the conversations of testdata/talk. Users are anna and bert;
// verbs beside those of test/talk:
//
//	import USER [uidl=ID] [order=N]    a message that came with a move
//	expunge USER UID                   by another session
//	disable USER    password USER NEW    format USER TEMPLATE    kick USER
func TestTalk(t *testing.T) {
	t.Parallel()
	talk.RunAll(t, "testdata/talk/*.txtar", func(t *testing.T) talk.Env {
		h := newQuietHouse(t, Config{})
		h.run()
		return h.env()
	})
}

// TestTalkTrickled holds the same conversations with clients that send one octet at a time.
func TestTalkTrickled(t *testing.T) {
	t.Parallel()
	// Not stls_injection: what must be dropped would come late, and be the client's TLS then.
	talk.RunAll(t, "testdata/talk/[^s]*.txtar", func(t *testing.T) talk.Env {
		h := newQuietHouse(t, Config{})
		h.run()
		e := h.env()
		dial := e.Dial
		e.Dial = func() (net.Conn, error) {
			c, err := dial()
			return trickler{c}, err
		}
		return e
	})
}

// trickler writes octet by octet.
type trickler struct{ net.Conn }

func (c trickler) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			break // closed by what was sent before, as the story may want it
		}
	}
	return len(p), nil
}

func (h *house) env() talk.Env {
	pipe := func(implicit bool) func() (net.Conn, error) {
		return func() (net.Conn, error) {
			client, server := net.Pipe()
			go h.server.ServeConn(listen.Endpoint{Protocol: "pop3", Implicit: implicit, Handler: h.pop}, server)
			return client, nil
		}
	}
	return talk.Env{
		Dial:   pipe(false),
		Secure: pipe(true),
		TLS:    &tls.Config{InsecureSkipVerify: true},
		Login: func(c *talk.Conn, user string) error {
			for _, l := range []string{"", "USER " + user, "PASS pw-" + user} {
				if l != "" {
					if err := c.Send(l + "\r\n"); err != nil {
						return err
					}
				}
				if got, err := c.Line(); err != nil || !strings.HasPrefix(got, "+OK") {
					return fmt.Errorf("login: %q %v", got, err)
				}
			}
			return nil
		},
		Deliver: func(user, mailbox string, message []byte) error {
			h.deliver(user, string(message), nil)
			return nil
		},
		Verbs: h.verbs(),
	}
}

func (h *house) verbs() map[string]func([]string) error {
	ctx := context.Background()
	change := func(fn func(*directory.Account, []string)) func([]string) error {
		return func(args []string) error {
			a, err := h.dir.Account(ctx, h.account[args[0]])
			if err != nil {
				return err
			}
			fn(&a, args)
			return h.dir.SetAccount(ctx, a)
		}
	}
	return map[string]func([]string) error{
		"import": func(args []string) error {
			h.deliver(args[0], "Subject: x\r\n\r\ny\r\n", importOptions(args[1:]))
			return nil
		},
		"expunge": func(args []string) error {
			uid, _ := number(args[1])
			h.expunge(args[0], mailstore.UID(uid))
			return nil
		},
		"disable":  change(func(a *directory.Account, _ []string) { a.Disabled = true }),
		"format":   change(func(a *directory.Account, args []string) { a.UIDLFormat = args[1] }),
		"password": func(args []string) error { return h.dir.SetPassword(ctx, h.account[args[0]], args[1]) },
		"kick":     func(args []string) error { h.server.Kick(h.account[args[0]]); return nil },
	}
}

func importOptions(words []string) func(*mailstore.ImportedMessage) {
	return func(m *mailstore.ImportedMessage) {
		for _, w := range words {
			if v, ok := strings.CutPrefix(w, "uidl="); ok {
				m.UIDL = v
			} else if v, ok := strings.CutPrefix(w, "order="); ok {
				n, _ := number(v)
				m.Order = int64(n)
			}
		}
	}
}
