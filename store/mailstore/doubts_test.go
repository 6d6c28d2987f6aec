package mailstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bahnpost/mail"
)

var errNever = &mail.Error{Kind: mail.Policy, Text: "not meant"}

// RFC 9051 §2.3.1.1, §6.3.4: a mailbox that comes again under the same name has a larger UIDVALIDITY, or goes on with
// larger UIDs, however fast it comes, after a restart, and where the name stayed for its children.
func TestUIDValidityGrows(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	s.must(tk, func(x *Tx) error { _, err := x.CreateMailbox(MailboxSpec{Name: "p/q"}); return err })
	before := map[string]Mailbox{"p": s.box(1, "p")}
	for i := range 6 {
		for _, name := range []string{"a", "p"} {
			s.must(tk, func(x *Tx) error {
				old, again := before[name]
				if again {
					if err := x.DeleteMailbox(x.a.wfind(name).id); err != nil {
						return err
					}
				}
				m, err := x.CreateMailbox(MailboxSpec{Name: name})
				if err == nil && (m.Messages != 0 || m.UIDValidity < old.UIDValidity || m.UIDValidity == old.UIDValidity && m.UIDNext < old.UIDNext) {
					t.Errorf("round %d: %+v after %+v", i, m, old)
				}
				return err
			})
			s.append(tk, s.box(1, name).ID, text(i), 0)
			before[name] = s.box(1, name)
		}
		if i == 3 {
			s.reopen()
		}
	}
	last := s.box(1, "a").UIDValidity
	// an imported one that is far ahead pulls the others along, and the largest there is breaks nothing
	for _, v := range []uint32{last + 1000, math.MaxUint32} {
		s.must(tk, func(x *Tx) error {
			if _, err := x.ImportMailbox(MailboxSpec{Name: fmt.Sprint("i", v)}, v, 1); err != nil {
				return err
			}
			m, err := x.CreateMailbox(MailboxSpec{Name: fmt.Sprint("after", v)})
			if err == nil && (m.UIDValidity == 0 || v != math.MaxUint32 && m.UIDValidity <= v) {
				t.Errorf("after %d came %d", v, m.UIDValidity)
			}
			return err
		})
	}
	s.clean()
}

// Names at the edges of what is allowed, and what a refusal leaves behind.
func TestNamesAtTheEdge(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{SystemMailboxes: []MailboxSpec{}})
	tk := s.account(1, Quota{})
	level := func(n int) string { return strings.TrimSuffix(strings.Repeat("l/", n), "/") }
	create := func(name string) error {
		return s.try(tk, func(x *Tx) error { _, err := x.CreateMailbox(MailboxSpec{Name: name}); return err })
	}
	rename := func(from, to string) error {
		return s.try(tk, func(x *Tx) error { return x.RenameMailbox(x.a.wfind(from).id, to) })
	}
	names := func() (out []string) {
		list, err := s.Mailboxes(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			out = append(out, m.Name)
		}
		return out
	}
	for _, c := range []struct {
		name string
		kind mail.Kind
	}{
		{"inbox", mail.MailboxExists}, {"InBoX/", mail.MailboxExists}, {"INBOX//x", mail.BadInput}, {"/", mail.BadInput},
		{"a//", mail.BadInput}, {level(MaxDepth + 1), mail.BadInput}, {strings.Repeat("x", MaxMailboxLevel+1), mail.BadInput},
		{strings.Repeat(strings.Repeat("x", 255)+"/", 16) + "y", mail.BadInput}, {"a\x00", mail.BadInput}, {"a\xff", mail.BadInput},
	} {
		wantKind(t, create(c.name), c.kind)
	}
	if got := names(); !slices.Equal(got, []string{Inbox}) {
		t.Fatalf("refusals left %q", got)
	}
	for _, name := range []string{"iNbOx/Child/", "a/inbox", level(MaxDepth), "d/e"} {
		if err := create(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if m := s.box(1, "inbox/Child"); m.Name != "INBOX/Child" {
		t.Errorf("%+v", m)
	}
	before := names()
	wantKind(t, rename("d", level(MaxDepth-1)+"x/d"), mail.BadInput) // its child would lie too deep
	wantKind(t, rename("a", "a/b"), mail.BadInput)
	wantKind(t, rename("a", "a"), mail.MailboxExists)
	wantKind(t, rename("a", "inbox"), mail.MailboxExists)
	wantKind(t, rename("d", "x/y//z"), mail.BadInput)
	if got := names(); !slices.Equal(got, before) {
		t.Errorf("refusals left %q", got)
	}
	if err := rename("d", strings.TrimSuffix(strings.Repeat("m/", MaxDepth-1), "/")); err != nil {
		t.Error(err)
	}
	if err := rename("INBOX/Child", "a/inbox/INBOX"); err != nil {
		t.Error(err)
	}
	s.clean()
}

// The last mailbox and the last keyword that fit, and the next one.
func TestLimits(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	wantKind(t, s.try(tk, func(x *Tx) error { // the whole step is undone
		x.a.wrk.mailboxes = MaxMailboxes - 2
		x.structural = true
		if _, err := x.CreateMailbox(MailboxSpec{Name: "x/y/z"}); mail.KindOf(err) != mail.Limit {
			t.Errorf("three: %v", err)
		}
		if x.a.wfind("x") != nil {
			t.Error("half of a path was made")
		}
		if _, err := x.CreateMailbox(MailboxSpec{Name: "x/y"}); err != nil {
			t.Errorf("two: %v", err)
		}
		if _, err := x.CreateMailbox(MailboxSpec{Name: "q"}); mail.KindOf(err) != mail.Limit {
			t.Errorf("one more: %v", err)
		}
		if err := x.RenameMailbox(x.a.wfind("Sent").id, "new/Sent"); mail.KindOf(err) != mail.Limit {
			t.Errorf("rename into a new one: %v", err)
		}
		if err := x.RenameMailbox(x.a.wfind("Sent").id, "x/y/Sent"); err != nil {
			t.Errorf("rename: %v", err)
		}
		return errNever
	}), mail.Policy)
	keywords := make([]string, MaxKeywords-1)
	for i := range keywords {
		keywords[i] = fmt.Sprintf("k%d", i)
	}
	s.append(tk, inbox, text(1), 0, keywords...)
	store := func(k ...string) error {
		return s.try(tk, func(x *Tx) error {
			_, err := x.StoreFlags(inbox, Range(1, 1), AddFlags, 0, k, false, 0)
			return err
		})
	}
	wantKind(t, store("one", "two"), mail.Limit)
	if err := store("new", "NEW"); err != nil { // one keyword, said twice
		t.Error(err)
	}
	wantKind(t, store("other"), mail.Limit)
	if err := store("K17", "neW"); err != nil {
		t.Error(err)
	}
	kw, err := s.Keywords(t.Context(), 1)
	if err != nil || len(kw) != MaxKeywords {
		t.Errorf("%d keywords, %v", len(kw), err)
	}
	s.clean()
	s.reopen()
	b, err := s.OpenBox(t.Context(), 1, inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if r, ok := b.Row(1); !ok || len(b.More(1)) != MaxKeywords-KeywordBits {
		t.Errorf("%+v has %d far keywords", r, len(b.More(1)))
	}
}

// Quotas at the ends of int64.
func TestQuotaEdges(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	for i, q := range []Quota{{Bytes: math.MaxInt64, Messages: math.MaxInt64, Warn: []int{80}}, {Bytes: -1, Messages: -1}, {Bytes: int64(len(text(1))), Messages: 1}} {
		a := mail.AccountID(i + 1)
		tk := s.account(a, q)
		inbox := s.box(a, Inbox).ID
		s.append(tk, inbox, text(1), 0)
		if i == 2 {
			b := s.body(text(2))
			wantKind(t, s.try(tk, func(x *Tx) error { _, err := x.Append(inbox, NewMessage{Body: b}); return err }), mail.OverQuota)
			wantKind(t, s.try(tk, func(x *Tx) error { _, err := x.Copy(inbox, Range(1, 1), inbox); return err }), mail.OverQuota)
			s.must(tk, func(x *Tx) error { _, err := x.Move(inbox, Range(1, 1), s.box(a, "Sent").ID); return err }) // takes no room
			b.Release()
		}
	}
	s.clean()
}

// After stop returned, wake is not called, however many commits are under way.
func TestNotifyStops(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	s.append(tk, inbox, text(1), 0)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			s.must(tk, func(x *Tx) error {
				_, err := x.StoreFlags(inbox, Range(1, 1), FlagOp(1+i%2), Seen, nil, false, 0)
				return err
			})
		}
	})
	var woken atomic.Int64
	for range 4 {
		wg.Go(func() {
			for range 300 {
				var stopped atomic.Bool
				stop := s.Notify(1, inbox, func([]Change) {
					if woken.Add(1); stopped.Load() {
						t.Error("woken after stop")
					}
				})
				if woken.Load()%3 == 0 {
					runtime.Gosched() // let a commit in, or not
				}
				stop()
				stopped.Store(true)
				stop()
			}
		})
	}
	for woken.Load() == 0 { // until the first is told, at least
		stop := s.Notify(1, 0, func([]Change) { woken.Add(1) })
		s.must(tk, func(x *Tx) error { return x.Subscribe("w", woken.Load() == 0) })
		stop()
	}
	close(done)
	wg.Wait()
	if n := len(s.watchers.byAccount); n != 0 {
		t.Errorf("%d accounts are watched still", n)
	}
}

// Watchers, views and writers of an account that is removed hear of it; one made anew under its number has nothing of it.
func TestRemovedUnderSessions(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	for i := range 3 {
		s.append(tk, inbox, text(i), 0)
	}
	cold, err := s.OpenBox(t.Context(), 1, inbox)
	if err != nil {
		t.Fatal(err)
	}
	v := cold.NewView()
	acc, _ := s.Account(t.Context(), 1)
	ended, begun := make(chan error, 1), make(chan struct{})
	go func() {
		for c, err := range s.Watch(context.Background(), 1, acc.ModSeq) {
			if err != nil {
				ended <- err
				return
			}
			if c.Kind == FlagsChanged {
				close(begun)
			}
		}
	}()
	s.must(tk, func(x *Tx) error {
		_, err := x.StoreFlags(inbox, Range(1, 1), AddFlags, Seen, nil, false, 0)
		return err
	})
	<-begun
	if err := s.RemoveAccount(t.Context(), 1, nil); err != nil {
		t.Fatal(err)
	}
	wantKind(t, <-ended, mail.NoSuchAccount)
	wantKind(t, s.try(tk, func(x *Tx) error { _, err := x.Expunge(inbox, Range(1, 9), false); return err }), mail.NoSuchAccount)
	s.account(1, Quota{})
	s.append(tk, s.box(1, Inbox).ID, text(9), 0)
	if _, err := v.Sync(t.Context(), true); mail.KindOf(err) != mail.NoSuchMailbox {
		t.Errorf("old view: %v", err)
	}
	if _, err := v.UID(t.Context(), 1); mail.KindOf(err) != mail.NoSuchMailbox {
		t.Errorf("old view: %v", err)
	}
	cold.Close()
	if got := s.texts(1, s.box(1, Inbox).ID); len(got) != 1 || got[0] != text(9) {
		t.Errorf("new INBOX has %q", got)
	}
	s.clean()
}

// A view that history was trimmed under says so; it does not tell wrong numbers.
func TestViewOutlivesHistory(t *testing.T) {
	t.Parallel()
	for _, trimmed := range []bool{false, true} {
		s := newSite(t, Config{})
		s.boxes.ring = 4
		tk := s.account(1, Quota{})
		inbox := s.box(1, Inbox).ID
		for i := range 40 {
			s.append(tk, inbox, text(i), 0)
		}
		b, err := s.OpenBox(t.Context(), 1, inbox)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		v := b.NewView()
		for i := range 20 {
			s.must(tk, func(x *Tx) error { _, err := x.Expunge(inbox, UIDs(UID(1+i)), false); return err })
		}
		if trimmed {
			if err := s.trimAccount(t.Context(), 1, time.Now().Unix()+10); err != nil {
				t.Fatal(err)
			}
		}
		news, err := v.Sync(t.Context(), true)
		if trimmed {
			if !errors.Is(err, errForgotten) {
				t.Errorf("%+v, %v", news, err)
			}
		} else if err != nil || len(news.ExpungedSeqs) != 20 || v.Count() != 20 {
			t.Errorf("%+v, %v", news, err)
		}
		s.close()
	}
}
