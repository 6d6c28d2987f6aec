package mailstore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"bahnpost/mail"
	"bahnpost/store/blob"
	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"
)

// site is a store on disk, of one test.
type site struct {
	*Store
	t   testing.TB
	dir string
	cfg Config
	d   *db.DB
	b   *blob.Dir

	guest bool   // b is another site's
	label string // of our connections to PostgreSQL
}

func newSite(t testing.TB, cfg Config) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), cfg: cfg}
	s.open()
	t.Cleanup(s.close)
	return s
}

func (s *site) open() {
	s.t.Helper()
	ctx := context.Background()
	var err error
	on := dbtest.Config(s.t, filepath.Join(s.dir, "mail.db"))
	if s.label != "" && on.Postgres != "" {
		on.Postgres += " application_name=" + s.label
	}
	if s.d, err = db.Open(ctx, on); err != nil {
		s.t.Fatal(err)
	}
	if !s.guest {
		if s.b, err = blob.OpenDir(filepath.Join(s.dir, "bodies"), blob.DirConfig{NoSync: true}); err != nil {
			s.t.Fatal(err)
		}
	}
	if s.Store, err = New(ctx, s.d, s.b, s.cfg); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) close() {
	s.d.Close()
	if !s.guest {
		s.b.Close()
	}
}

// join opens the store once more, as another node does.
func (s *site) join() *site {
	s.t.Helper()
	o := &site{t: s.t, dir: s.dir, cfg: s.cfg, b: s.b, guest: true, label: s.label}
	o.open()
	s.t.Cleanup(func() { o.d.Close() })
	return o
}

// reopen closes and opens the store.
func (s *site) reopen() {
	s.t.Helper()
	s.close()
	s.open()
}

func (s *site) account(a mail.AccountID, q Quota) Ticket {
	s.t.Helper()
	if err := s.CreateAccount(context.Background(), a, 1, q); err != nil {
		s.t.Fatal(err)
	}
	return Ticket{a, 1}
}

func (s *site) must(tk Ticket, fn func(*Tx) error) {
	s.t.Helper()
	if err := s.Update(context.Background(), tk, fn); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) box(a mail.AccountID, name string) Mailbox {
	s.t.Helper()
	m, err := s.MailboxByName(context.Background(), a, name)
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	return m
}

func (s *site) body(text string) *Body {
	s.t.Helper()
	w := s.NewBody(context.Background())
	if _, err := io.WriteString(w, text); err != nil {
		s.t.Fatal(err)
	}
	b, err := w.Finish()
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *site) append(tk Ticket, box MailboxID, text string, flags Flags, kw ...string) Appended {
	s.t.Helper()
	b := s.body(text)
	defer b.Release()
	var out Appended
	s.must(tk, func(t *Tx) (err error) {
		out, err = t.Append(box, NewMessage{Body: b, Flags: flags, Keywords: kw})
		return err
	})
	return out
}

func (s *site) read(a mail.AccountID, m MessageID) string {
	s.t.Helper()
	r, err := s.OpenMessage(context.Background(), a, m)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	if err := r.CopyRange(&b, 0, r.Size()); err != nil {
		s.t.Fatal(err)
	}
	return b.String()
}

func text(n int) string {
	return fmt.Sprintf("From: a@example.org\r\nTo: b@example.org\r\nSubject: message %d\r\nMessage-ID: <%d@example.org>\r\n\r\nHello %d.\r\n", n, n, n)
}

func big(n int, size int) string {
	return text(n) + strings.Repeat("The quick brown fox jumps over the lazy dog, and then once more.\r\n", size/66)
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(7, Quota{})
	inbox := s.box(7, "inbox")
	var want []string
	for i := range 5 {
		m := big(i, i*40000)
		want = append(want, m)
		a := s.append(tk, inbox.ID, m, Seen*Flags(i%2), "$Junk")
		if a.UID != UID(i+1) {
			t.Fatalf("uid %d, want %d", a.UID, i+1)
		}
	}
	want = append(want, big(9, 3<<20))
	s.append(tk, inbox.ID, want[5], 0)
	for round := range 2 {
		m := s.box(7, Inbox)
		if m.Messages != 6 || m.Unseen != 4 || m.UIDNext != 7 {
			t.Errorf("round %d: %+v", round, m)
		}
		b, err := s.OpenBox(t.Context(), 7, m.ID)
		if err != nil {
			t.Fatal(err)
		}
		v := b.NewView()
		n := 0
		for e, err := range v.Entries(t.Context(), nil) {
			if err != nil {
				t.Fatal(err)
			}
			if got := s.read(7, e.Row.Message); got != want[n] {
				t.Errorf("message %d differs: %d octets, want %d", n, len(got), len(want[n]))
			}
			n++
			if e.Seq != n || int(e.Row.Size) != len(want[n-1]) {
				t.Errorf("%+v", e)
			}
		}
		if n != 6 {
			t.Errorf("%d entries", n)
		}
		b.Close()
		s.reopen()
	}
}
