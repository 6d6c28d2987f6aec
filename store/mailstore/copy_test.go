package mailstore

import (
	"context"
	"fmt"
	"testing"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// fill appends n messages of different sizes with flags and far keywords, ten bodies in all.
func (s *site) fill(tk Ticket, box MailboxID, n int) {
	s.t.Helper()
	var bodies []*Body
	for i := range 10 {
		bodies = append(bodies, s.body(big(i, i*100)))
		defer bodies[i].Release()
	}
	s.must(tk, func(t *Tx) error {
		for i := range n {
			m := NewMessage{Body: bodies[i%10], Flags: Flags(i) & SystemFlags, Prefix: fmt.Appendf(nil, "X-N: %d\r\n", i)}
			if i%7 == 0 {
				m.Keywords = []string{fmt.Sprintf("kw%d", i%100)}
			}
			if _, err := t.Append(box, m); err != nil {
				return err
			}
		}
		return nil
	})
}

// contents are all messages of a mailbox but for what a copy changes.
func (s *site) contents(a mail.AccountID, box MailboxID) (out []string) {
	s.t.Helper()
	b, err := s.OpenBox(context.Background(), a, box)
	if err != nil {
		s.t.Fatal(err)
	}
	defer b.Close()
	for e, err := range b.NewView().Entries(context.Background(), nil) {
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, fmt.Sprint(e.Row.Flags, b.More(e.Row.UID), e.Row.Size, e.Row.Internal, s.read(a, e.Row.Message)))
	}
	return out
}

// Many messages go in portions: what arrives is the same, whether rows are in memory, UIDs have holes, or messages lie apart.
func TestCopyPortions(t *testing.T) {
	t.Parallel()
	for _, loaded := range []bool{false, true} {
		s := newSite(t, Config{Compression: "off"})
		tk := s.account(1, Quota{})
		inbox, other, dst := s.box(1, Inbox).ID, s.box(1, "Sent").ID, s.box(1, "Archive").ID
		for range 3 { // messages of both mailboxes lie mixed
			s.fill(tk, inbox, copyStep+100)
			s.fill(tk, other, 3000)
		}
		var holes UIDSet
		for u := UID(100); u < 200; u += 3 {
			holes.Add(u)
		}
		s.must(tk, func(x *Tx) error { _, err := x.Expunge(inbox, holes, false); return err })
		if loaded {
			b, err := s.OpenBox(t.Context(), 1, inbox)
			if err != nil || b.Load(t.Context()) != nil {
				t.Fatal(err)
			}
			defer b.Close()
		}
		want := s.contents(1, inbox)
		var c Copied
		s.must(tk, func(x *Tx) (err error) { c, err = x.Copy(inbox, Range(1, maxUID), dst); return err })
		if c.Src.Count() != len(want) || !c.Dst.Equal(Range(1, UID(len(want)))) {
			t.Errorf("copied %v to %v", c.Src, c.Dst)
		}
		s.equal("copy", s.contents(1, dst), want)
		s.must(tk, func(x *Tx) (err error) { c, err = x.Move(dst, Range(1, maxUID), inbox); return err })
		s.equal("move", s.contents(1, inbox), append(want, want...))
		// back into the same mailbox, in two ranges with something left in between
		s.must(tk, func(x *Tx) (err error) {
			c, err = x.Move(inbox, Range(1, 150).Union(Range(300, 900)), inbox)
			return err
		})
		s.clean()
		s.reopen()
		if n := len(s.contents(1, inbox)); n != 2*len(want) {
			t.Errorf("%d messages", n)
		}
		s.close()
	}
}

func (s *site) equal(what string, got, want []string) {
	s.t.Helper()
	if len(got) != len(want) {
		s.t.Errorf("%s: %d messages, want %d", what, len(got), len(want))
		return
	}
	for i := range got {
		if got[i] != want[i] {
			s.t.Errorf("%s: message %d is %.80q, want %.80q", what, i, got[i], want[i])
			return
		}
	}
}

// RFC 9051 §6.4.7: all or none. The portion that fails is not the first one.
func TestCopyAllOrNone(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox, dst := s.box(1, Inbox).ID, s.box(1, "Archive").ID
	s.fill(tk, inbox, 3*copyStep)
	before := s.box(1, Inbox)
	if err := s.d.Update(t.Context(), func(x *db.Tx) error {
		_, err := x.Exec(`DELETE FROM messages WHERE uid=?`, db.Int(2*copyStep+7))
		return err
	}, nil); err != nil {
		t.Fatal(err)
	}
	err := s.try(tk, func(x *Tx) error { _, err := x.Copy(inbox, Range(1, maxUID), dst); return err })
	wantKind(t, err, mail.Corrupt)
	if m := s.box(1, "Archive"); m.Messages != 0 || m.UIDNext != 1 {
		t.Errorf("left %+v", m)
	}
	if m := s.box(1, Inbox); m.Messages != before.Messages || m.ModSeq != before.ModSeq {
		t.Errorf("%+v, before %+v", m, before)
	}
	acc, err := s.Account(t.Context(), 1)
	if err != nil || acc.UsedCount != int64(before.Messages) || acc.UsedBytes != before.Bytes {
		t.Errorf("%+v %v", acc, err)
	}
}
