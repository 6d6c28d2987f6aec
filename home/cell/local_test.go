package cell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bahnpost/home"
	"bahnpost/mail"
	"bahnpost/store"
	"bahnpost/store/blob"
	"bahnpost/store/directory"
	"bahnpost/store/mailstore"
)

// accounts is the directory: ids below 100 are there.
type accounts struct{}

func (accounts) Account(_ context.Context, id mail.AccountID) (directory.Account, error) {
	if id >= 100 {
		return directory.Account{}, &mail.Error{Kind: mail.NoSuchAccount, Text: "no such account"}
	}
	return directory.Account{ID: id, QuotaCount: 50}, nil
}

func open(t testing.TB) (*Local, *mailstore.Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	st, err := store.Open(ctx, store.Config{Dir: filepath.Join(t.TempDir(), "s"), DB: store.DBConfig{NoSync: true}, Blob: blob.DirConfig{NoSync: true}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := mailstore.New(ctx, st.DB, st.Bodies, mailstore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; st.Close() })
	return New(s, accounts{}, Config{Hostname: "mx.example.org"}), s
}

func take(t testing.TB, l *Local, text string) Body {
	t.Helper()
	w := l.NewBody(t.Context())
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	b, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rcpt(id mail.AccountID, detail string) mail.Recipient {
	return mail.Recipient{Account: id, Detail: detail, Address: mail.Address{Local: fmt.Sprintf("u%d", id), Domain: "bücher.example"}, Orig: fmt.Sprintf("U%d@xn--bcher-kva.example", id)}
}

func envelope(to ...mail.Recipient) *mail.Envelope {
	return &mail.Envelope{Ref: "r1", From: mail.ReversePath{Address: mail.Address{Local: "s", Domain: "x.example"}}, Helo: "client.example", ClientIP: "192.0.2.1",
		Protocol: "ESMTPS", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256", Received: time.Date(2026, 11, 24, 6, 0, 0, 0, time.UTC), To: to}
}

// read gives the messages of a mailbox.
func read(t testing.TB, s *mailstore.Store, a mail.AccountID, mailbox string) []string {
	t.Helper()
	m, err := s.MailboxByName(t.Context(), a, mailbox)
	if err != nil {
		t.Fatal(err)
	}
	box, err := s.OpenBox(t.Context(), a, m.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	if err := box.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	var out []string
	for uid := mailstore.UID(1); uid < m.UIDNext; uid++ {
		row, ok := box.Row(uid)
		if !ok {
			continue
		}
		r, err := s.OpenMessage(t.Context(), a, row.Message)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		r.CopyRange(&b, 0, r.Size())
		r.Close()
		out = append(out, b.String())
	}
	return out
}

const text = "Subject: x\r\n\r\nbody\r\n"

func TestDeliver(t *testing.T) {
	t.Parallel()
	l, s := open(t)
	b := take(t, l, text)
	rs := l.Deliver(t.Context(), envelope(rcpt(1, ""), rcpt(2, "nowhere"), rcpt(1, "other"), rcpt(100, "")), b, 0)
	b.Release()
	if rs[0].Err != nil || rs[1].Err != nil || rs[0].Mailbox != "INBOX" || rs[0].UID != 1 || rs[2].UID != 1 || rs[1].To.Local != "u2" {
		t.Fatalf("%+v", rs)
	}
	if mail.KindOf(rs[3].Err) != mail.NoSuchAccount { // the directory says so: it may bounce
		t.Errorf("unknown account: %v", rs[3].Err)
	}
	want := "Return-Path: <s@x.example>\r\nDelivered-To: u1@xn--bcher-kva.example\r\n" +
		"Received: from client.example ([192.0.2.1])\r\n\tby mx.example.org with ESMTPS id r1\r\n\tfor <U1@xn--bcher-kva.example>\r\n\ttls TLS_AES_128_GCM_SHA256;\r\n\tTue, 24 Nov 2026 06:00:00 +0000\r\n" + text
	got := read(t, s, 1, "INBOX")
	if len(got) != 1 || got[0] != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if acc, err := s.Account(t.Context(), 1); err != nil || acc.Quota.Messages != 50 {
		t.Errorf("made with %+v, %v", acc.Quota, err)
	}
}

// The same envelope twice is one mail; without an id it is two.
func TestIdempotent(t *testing.T) {
	t.Parallel()
	l, s := open(t)
	for _, id := range []string{"spool-1", "spool-1", "", ""} {
		e := envelope(rcpt(1, ""))
		e.ID = id
		b := take(t, l, text)
		if rs := l.Deliver(t.Context(), e, b, 0); rs[0].Err != nil {
			t.Fatal(rs[0].Err)
		}
		b.Release()
	}
	if got := read(t, s, 1, "INBOX"); len(got) != 3 {
		t.Errorf("%d copies", len(got))
	}
}

func TestDetail(t *testing.T) {
	t.Parallel()
	l, s := open(t)
	if err := l.ensure(t.Context(), 1, 0); err != nil {
		t.Fatal(err)
	}
	err := s.Update(t.Context(), mailstore.Ticket{Account: 1}, func(tx *mailstore.Tx) error {
		for _, name := range []string{"Work/Sub", "Work", "Reisen", "Empty/x"} {
			if _, err := tx.CreateMailbox(mailstore.MailboxSpec{Name: name}); err != nil && mail.KindOf(err) != mail.MailboxExists {
				return err
			}
		}
		m, err := tx.MailboxByName("Empty")
		if err == nil {
			err = tx.DeleteMailbox(m.ID) // it has a child: a name only
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b := take(t, l, text)
	defer b.Release()
	for detail, want := range map[string]string{"": "INBOX", "Reisen": "Reisen", "REISEN": "Reisen", "work/sub": "Work/Sub", "Empty": "INBOX",
		"none": "INBOX", strings.Repeat("x", 5000): "INBOX", "a//b": "INBOX", "inbox": "INBOX"} {
		rs := l.Deliver(t.Context(), envelope(rcpt(1, detail)), b, 0)
		if rs[0].Err != nil || rs[0].Mailbox != want {
			t.Errorf("%.20q: %+v, want %s", detail, rs[0], want)
		}
	}
	l.cfg.IgnoreDetails = true
	if rs := l.Deliver(t.Context(), envelope(rcpt(1, "Reisen")), b, 0); rs[0].Mailbox != "INBOX" {
		t.Errorf("details ignored: %+v", rs[0])
	}
}

// A stale caller hears Moved and nothing is written (law 2).
func TestEpoch(t *testing.T) {
	t.Parallel()
	l, s := open(t)
	if err := s.CreateAccount(t.Context(), 1, 7, mailstore.Quota{}); err != nil {
		t.Fatal(err)
	}
	b := take(t, l, text)
	defer b.Release()
	rs := l.Deliver(t.Context(), envelope(rcpt(1, "")), b, 6)
	if _, ok := errors.AsType[*home.Moved](rs[0].Err); !ok {
		t.Errorf("%+v", rs[0])
	}
	if rs = l.Deliver(t.Context(), envelope(rcpt(1, "")), b, 7); rs[0].Err != nil || rs[0].UID != 1 {
		t.Errorf("%+v", rs[0])
	}
}

// stranger is a body of another home.
type stranger string

func (s stranger) Size() int64 { return int64(len(s)) }
func (s stranger) WriteTo(w io.Writer) (int64, error) {
	if s == "broken" {
		return 0, errors.New("line cut")
	}
	n, err := io.WriteString(w, string(s))
	return int64(n), err
}

func TestForeignBody(t *testing.T) {
	t.Parallel()
	l, s := open(t)
	if rs := l.Deliver(t.Context(), envelope(rcpt(1, "")), stranger(text), 0); rs[0].Err != nil {
		t.Fatal(rs[0].Err)
	}
	if got := read(t, s, 1, "INBOX"); len(got) != 1 || !strings.HasSuffix(got[0], text) {
		t.Errorf("%q", got)
	}
	if rs := l.Deliver(t.Context(), envelope(rcpt(1, "")), stranger("broken"), 0); rs[0].Err == nil || mail.Permanent(rs[0].Err) {
		t.Errorf("%+v", rs)
	}
}

func TestRoom(t *testing.T) {
	t.Parallel()
	l, s := open(t)
	if err := l.Room(t.Context(), 1, 1<<40); err != nil {
		t.Error("an account that is not made yet:", err)
	}
	if err := s.CreateAccount(t.Context(), 1, 0, mailstore.Quota{Bytes: 1000}); err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int64]bool{0: true, 1000: true, 1001: false} {
		if err := l.Room(t.Context(), 1, size); (err == nil) != want {
			t.Errorf("%d: %v", size, err)
		}
	}
}

// Many mails to accounts that nobody has made yet, all at once.
func TestFirstMails(t *testing.T) {
	t.Parallel()
	l, s := open(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			b := take(t, l, text)
			defer b.Release()
			var to []mail.Recipient
			for id := range mail.AccountID(10) {
				to = append(to, rcpt(id+1, ""))
			}
			for _, r := range l.Deliver(context.Background(), envelope(to...), b, 0) {
				if r.Err != nil {
					t.Error(r.Err)
				}
			}
		})
	}
	wg.Wait()
	for id := range mail.AccountID(10) {
		if got := read(t, s, id+1, "INBOX"); len(got) != 8 {
			t.Errorf("account %d has %d", id+1, len(got))
		}
	}
}

func TestServeElsewhere(t *testing.T) {
	t.Parallel()
	called := false
	l := New(nil, nil, Config{Sessions: map[string]func(context.Context, *home.Handoff) error{"imap": func(context.Context, *home.Handoff) error { called = true; return nil }}})
	if err := l.Serve(t.Context(), &home.Handoff{Protocol: "imap"}); err != nil || !called {
		t.Error(err, called)
	}
	if err := l.Serve(t.Context(), &home.Handoff{Protocol: "pop3"}); mail.KindOf(err) != mail.Unavailable {
		t.Error(err)
	}
}

func BenchmarkDeliver10(b *testing.B) {
	l, _ := open(b)
	var to []mail.Recipient
	for id := range mail.AccountID(10) {
		to = append(to, rcpt(id+1, ""))
		l.cfg.Hostname = "mx.example.org"
	}
	quota := mailstore.Quota{}
	for _, r := range to {
		if err := l.store.CreateAccount(b.Context(), r.Account, 0, quota); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		body := take(b, l, text)
		for _, r := range l.Deliver(b.Context(), envelope(to...), body, 0) {
			if r.Err != nil {
				b.Fatal(r.Err)
			}
		}
		body.Release()
	}
}
