package imapd

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bahnpost/mail"
	"bahnpost/serve/listen"
	"bahnpost/store/mailstore"
)

// hold opens a pipe to w, says text and returns what was heard until all are blocked.
type piped struct {
	c     net.Conn
	heard chan string
}

func openPipe(w *town) *piped {
	c, _ := w.dial(false)
	p := &piped{c: c, heard: make(chan string, 1)}
	go func() {
		b, _ := io.ReadAll(c)
		p.heard <- string(b)
	}()
	return p
}

// TestKick: a session that the administrator ends hears why, also while it idles.
func TestKick(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, Config{})
		idle, busy := openPipe(w), openPipe(w)
		io.WriteString(idle.c, "a LOGIN alice secret\r\nb SELECT INBOX\r\nc IDLE\r\n")
		io.WriteString(busy.c, "a LOGIN alice secret\r\nb APPEND INBOX {100+}\r\nhalf a message")
		synctest.Wait()
		if n := w.porch.Kick(1); n != 2 {
			t.Fatalf("kicked %d sessions", n)
		}
		for _, p := range []*piped{idle, busy} {
			if got := <-p.heard; !strings.HasSuffix(got, "* BYE [UNAVAILABLE] session was ended by the administrator\r\n") {
				t.Errorf("heard ...%q", got[max(0, len(got)-300):])
			}
		}
	})
}

// TestSlowReader: a client that stops reading is dropped, and holds nobody up.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, Config{WriteTimeout: time.Minute})
		c, _ := w.dial(false)
		go io.WriteString(c, "a LOGIN alice secret\r\nb SELECT INBOX\r\nc IDLE\r\n")
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(buf[:n]), "+ idling") {
				break
			}
		}
		other := openPipe(w)
		io.WriteString(other.c, "a LOGIN alice secret\r\nb SELECT INBOX\r\nc IDLE\r\n")
		synctest.Wait()
		if err := w.append(1, "INBOX", mailstore.NewMessage{}, []byte("Subject: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if _, err := io.WriteString(other.c, "DONE\r\nd LOGOUT\r\n"); err != nil {
			t.Fatal(err)
		}
		if got := <-other.heard; !strings.Contains(got, "* 1 EXISTS") {
			t.Errorf("heard %q", got)
		}
		if n := len(w.porch.Sessions()); n != 0 {
			t.Errorf("%d sessions left", n)
		}
	})
}

// TestPrivacyRequired: without TLS there is no login (RFC 9051 §6.2.3).
func TestPrivacyRequired(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, Config{Hostname: "mx.example.org"})
		porch := listen.New(listen.Config{TLS: w.tls})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go porch.Run(ctx, time.Second)
		c, server := net.Pipe()
		go porch.ServeConn(listen.Endpoint{Protocol: "imap", Handler: w.server}, server)
		p := &piped{c: c, heard: make(chan string, 1)}
		go func() {
			b, _ := io.ReadAll(c)
			p.heard <- string(b)
		}()
		io.WriteString(c, "a LOGIN alice secret\r\nb AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==\r\nc LOGOUT\r\n")
		got := <-p.heard
		for _, want := range []string{"* OK [CAPABILITY IMAP4rev2 IMAP4rev1 LITERAL+ SASL-IR ENABLE ID STARTTLS LOGINDISABLED] mx.example.org ", "a NO [PRIVACYREQUIRED] ", "b NO [PRIVACYREQUIRED] "} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in %q", want, got)
			}
		}
	})
}

// TestMoved: a write with an old epoch ends the session (house law 1).
func TestMoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newTown(t, Config{})
		p := openPipe(w)
		io.WriteString(p.c, "a LOGIN alice secret\r\n")
		synctest.Wait()
		if err := w.mails.SetEpoch(t.Context(), 1, 2); err != nil {
			t.Fatal(err)
		}
		io.WriteString(p.c, "b CREATE x\r\n")
		if got := <-p.heard; !strings.Contains(got, "b NO [UNAVAILABLE] account has moved\r\n* BYE ") {
			t.Errorf("heard %q", got)
		}
	})
}

// TestCodes: each kind of error has its response code.
func TestCodes(t *testing.T) {
	t.Parallel()
	for k := mail.Internal; int(k) < len(codes); k++ {
		if codes[k] == "" {
			t.Errorf("kind %d has no code", k)
		}
	}
}

// TestInProgressAlone: a command that takes long says so every ten seconds (RFC 9585
// §4), and a panic in it is its failure only.
func TestInProgressAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		s := &session{out: output{dst: &said}, cmd: current{tag: []byte("a7")}}
		if err := s.inProgress(func() error { time.Sleep(25 * time.Second); return nil }); err != nil {
			t.Error(err)
		}
		if want := strings.Repeat("* OK [INPROGRESS (\"a7\" NIL NIL)] still at work\r\n", 2); said.String() != want {
			t.Errorf("said %q", said.String())
		}
		if err := s.inProgress(func() error { panic("bug") }); err == nil || !strings.Contains(err.Error(), "bug") {
			t.Errorf("panic became %v", err)
		}
	})
}

// TestStrangersDoNotStay: an octet or a command now and then does not keep the connection of somebody who never logs
// in; who does log in has the longer time.
func TestStrangersDoNotStay(t *testing.T) {
	t.Parallel()
	for name, piece := range map[string]string{"octets": "x", "commands": "a NOOP\r\n"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown(t, Config{PreAuthTimeout: time.Minute})
				slow, good := openPipe(w), openPipe(w)
				begin := time.Now()
				var err error
				for err == nil && time.Since(begin) < time.Hour {
					slow.c.SetWriteDeadline(time.Now().Add(time.Second))
					_, err = io.WriteString(slow.c, piece)
					if time.Since(begin) == 50*time.Second {
						io.WriteString(good.c, "a LOGIN alice secret\r\nb SELECT INBOX\r\n")
					}
					time.Sleep(5 * time.Second)
				}
				if d := time.Since(begin); d > 70*time.Second {
					t.Errorf("the stranger stayed for %v", d)
				}
				if got := <-slow.heard; !strings.Contains(got, "* BYE") {
					t.Errorf("heard %q", got[max(0, len(got)-200):])
				}
				time.Sleep(10 * time.Minute)
				io.WriteString(good.c, "c UNAUTHENTICATE\r\nd LOGIN alice secret\r\ne LOGOUT\r\n")
				if got := <-good.heard; !strings.Contains(got, "e OK") {
					t.Errorf("who logged in heard %q", got)
				}
			})
		})
	}
}
