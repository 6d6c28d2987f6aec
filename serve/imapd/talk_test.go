package imapd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bahnpost/home"
	"bahnpost/mail"
	"bahnpost/serve/listen"
	"bahnpost/store"
	"bahnpost/store/blob"
	"bahnpost/store/mailstore"
	"bahnpost/test/talk"
)

// TestTalk holds the conversations of testdata/talk.
func TestTalk(t *testing.T) {
	t.Parallel()
	talk.RunAll(t, "testdata/talk/*.txtar", func(t *testing.T) talk.Env { return newTown(t, Config{}).env() })
}

// TestTalkTrickled holds the same conversations with clients that send one octet at a time.
func TestTalkTrickled(t *testing.T) {
	t.Parallel()
	if talk.Refereed() {
		t.Skip("the talks are held with a referee")
	}
	start := func(t *testing.T) talk.Env {
		e := newTown(t, Config{}).env()
		e.Dial = trickle(e.Dial)
		e.Secure = trickle(e.Secure)
		return e
	}
	talk.RunAll(t, "testdata/talk/[^s]*.txtar", start)
	talk.RunAll(t, "testdata/talk/s[^t]*.txtar", start) // not starttls: what must be dropped would come late
}

func trickle(dial func() (net.Conn, error)) func() (net.Conn, error) {
	return func() (net.Conn, error) {
		c, err := dial()
		return trickler{c}, err
	}
}

type trickler struct{ net.Conn }

func (c trickler) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			break // closed by what was sent before, as the story may want it
		}
	}
	return len(p), nil
}

// town is a whole IMAP server on a store of its own, with the accounts alice and bob.
type town struct {
	t      testing.TB
	mails  *mailstore.Store
	porch  *listen.Server
	server *Server
	tls    *tls.Config
}

func newTown(t testing.TB, cfg Config) *town {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	st, err := store.Open(ctx, store.Config{Dir: filepath.Join(t.TempDir(), "store"), DB: store.DBConfig{NoSync: true}, Blob: blob.DirConfig{NoSync: true}})
	if err != nil {
		t.Fatal(err)
	}
	w := &town{t: t, tls: selfSigned(t)}
	if w.mails, err = mailstore.New(ctx, st.DB, st.Bodies, mailstore.Config{}); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() { w.mails.Run(ctx); close(stopped) }()
	for i := range users {
		if err := w.mails.CreateAccount(ctx, mail.AccountID(i+1), 1, mailstore.Quota{}); err != nil {
			t.Fatal(err)
		}
	}
	w.porch = listen.New(listen.Config{TLS: w.tls, AllowPlaintext: true})
	porchDone := make(chan struct{})
	go func() { w.porch.Run(ctx, time.Minute); close(porchDone) }()
	w.server = New(w.mails, listen.NewGate(people{}, listen.GateConfig{}), cfg)
	t.Cleanup(func() {
		cancel()
		<-porchDone
		<-stopped
		st.Close()
	})
	return w
}

// users are the logins; the password is "secret", the account the place in the list plus one.
var users = [...]string{"alice", "bob"}

// people is the directory.
type people struct{}

func (people) Verify(_ context.Context, login, password string) (mail.AccountID, mail.Address, error) {
	local, _, _ := strings.Cut(login, "@")
	for i, u := range users {
		if u == local && password == "secret" {
			return mail.AccountID(i + 1), mail.Address{Local: u, Domain: "example.org"}, nil
		}
	}
	return 0, mail.Address{}, &mail.Error{Kind: mail.AuthFailed, Text: "wrong user or password"}
}

func (people) SCRAM(context.Context, string) (listen.SCRAMKeys, bool, error) {
	return listen.SCRAMKeys{}, false, nil
}

func (people) Placement(_ context.Context, a mail.AccountID) (home.Placement, error) {
	return home.Placement{Account: a, Home: home.Local, Epoch: 1}, nil
}

func (w *town) dial(implicit bool) (net.Conn, error) {
	client, server := net.Pipe()
	e := listen.Endpoint{Protocol: "imap", Implicit: implicit, Handler: w.server}
	go w.porch.ServeConn(e, server)
	return client, nil
}

func (w *town) env() talk.Env {
	return talk.Env{
		Dial:     func() (net.Conn, error) { return w.dial(false) },
		Secure:   func() (net.Conn, error) { return w.dial(true) },
		TLS:      &tls.Config{InsecureSkipVerify: true},
		Login:    talkLogin,
		Deliver:  w.deliver,
		Verbs:    w.verbs(),
		Heard:    grammatical,
		Literals: true,
		Append:   talkAppend,
	}
}

func talkAppend(c *talk.Conn, mailbox string, message []byte) error {
	if err := c.Send(fmt.Sprintf("append APPEND %s {%d+}\r\n%s\r\n", mailbox, len(message), message)); err != nil {
		return err
	}
	_, err := c.Expect("append OK")
	return err
}

func talkLogin(c *talk.Conn, user string) error {
	if _, err := c.Expect("* OK"); err != nil {
		return err
	}
	if err := c.Send("login LOGIN " + user + " secret\r\n"); err != nil {
		return err
	}
	_, err := c.Expect("login OK")
	return err
}

func (w *town) deliver(user, mailbox string, message []byte) error {
	for i, u := range users {
		if u == user {
			return w.append(mail.AccountID(i+1), mailbox, mailstore.NewMessage{}, message)
		}
	}
	return fmt.Errorf("no user %q", user)
}

func (w *town) append(a mail.AccountID, mailbox string, m mailstore.NewMessage, message []byte) error {
	ctx := context.Background()
	bw := w.mails.NewBody(ctx)
	if _, err := bw.Write(message); err != nil {
		return err
	}
	body, err := bw.Finish()
	if err != nil {
		return err
	}
	defer body.Release()
	m.Body = body
	return w.mails.Update(ctx, mailstore.Ticket{Account: a, Epoch: 1}, func(tx *mailstore.Tx) error {
		mb, err := tx.MailboxByName(mailbox)
		if err != nil {
			return err
		}
		_, err = tx.Append(mb.ID, m)
		return err
	})
}

// selfSigned makes a certificate that is valid in the year 2000 too, where bubbles begin.
func selfSigned(t testing.TB) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
