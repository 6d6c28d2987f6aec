package mailstore

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"bahnpost/mail"
)

// RFC 9051 §6.3.6, §6.3.7: a renamed mailbox stays subscribed, with all below it, under its new name only.
func TestRenameMovesSubscriptions(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{SystemMailboxes: []MailboxSpec{}})
	tk := s.account(1, Quota{})
	s.must(tk, func(x *Tx) error {
		for _, n := range []string{"a", "a/b", "a/b/c", "a-", "a/d"} {
			if _, err := x.CreateMailbox(MailboxSpec{Name: n, Subscribe: n != "a/b"}); err != nil {
				return err
			}
		}
		for _, n := range []string{"a/ghost", "z/b"} { // not there; z/b will be
			if err := x.Subscribe(n, true); err != nil {
				return err
			}
		}
		return nil
	})
	want := func(names ...string) {
		t.Helper()
		for range 2 {
			subs, err := s.Subscriptions(t.Context(), 1)
			if err != nil || !slices.Equal(subs, names) {
				t.Errorf("subscribed %q, want %q, %v", subs, names, err)
			}
			list, _ := s.Mailboxes(t.Context(), 1)
			for _, m := range list {
				if m.Subscribed != slices.Contains(names, m.Name) {
					t.Errorf("%s is subscribed: %v", m.Name, m.Subscribed)
				}
			}
			s.clean()
			s.reopen()
		}
	}
	want("INBOX", "a", "a/b/c", "a/d", "a/ghost", "a-", "z/b")
	var told []Change
	stop := s.Notify(1, 0, func(cs []Change) { told = append(told, cs...) })
	s.must(tk, func(x *Tx) error { return x.RenameMailbox(x.a.wfind("a").id, "z") })
	stop()
	b := s.box(1, "z/b").ID // had no subscription of its own, found one under its new name
	if !slices.ContainsFunc(told, func(c Change) bool { return c.Kind == SubscriptionChanged && c.Mailbox == b }) {
		t.Errorf("nobody heard that z/b is subscribed: %+v", told)
	}
	want("INBOX", "a-", "z", "z/b", "z/b/c", "z/d", "z/ghost")
	s.must(tk, func(x *Tx) error { return x.Subscribe("z", false) })
	want("INBOX", "a-", "z/b", "z/b/c", "z/d", "z/ghost")
	// INBOX: the messages move, the mailbox and its subscription stay
	s.append(tk, s.box(1, Inbox).ID, text(1), 0)
	s.must(tk, func(x *Tx) error { return x.RenameMailbox(x.a.wfind(Inbox).id, "old") })
	want("INBOX", "a-", "z/b", "z/b/c", "z/d", "z/ghost")
	// a refusal leaves all as it was
	wantKind(t, s.try(tk, func(x *Tx) error {
		if err := x.RenameMailbox(x.a.wfind("z").id, "q"); err != nil {
			return err
		}
		return &mail.Error{Kind: mail.Policy}
	}), mail.Policy)
	want("INBOX", "a-", "z/b", "z/b/c", "z/d", "z/ghost")
}

// tree is a model of names and subscriptions that is too simple to be wrong.
type tree struct {
	boxes, subs map[string]bool
}

func (m *tree) move(set map[string]bool, from, to string) {
	for n := range maps.Clone(set) {
		if n == from || strings.HasPrefix(n, from+"/") {
			delete(set, n)
			set[to+n[len(from):]] = true
		}
	}
}

// Names and subscriptions after random steps are what a simple model says, in memory and on disk.
func TestTreeModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		s := newSite(t, Config{SystemMailboxes: []MailboxSpec{}})
		tk := s.account(1, Quota{})
		r := rand.New(rand.NewPCG(seed, 1))
		m := &tree{map[string]bool{"INBOX": true}, map[string]bool{"INBOX": true}}
		name := func() string {
			n := string(rune('a' + r.IntN(3)))
			for range r.IntN(3) {
				n += "/" + string(rune('a'+r.IntN(3)))
			}
			return n
		}
		for step := range 250 {
			s.treeStep(tk, m, r, name(), name())
			if step%10 == 0 {
				s.sameTree(m, fmt.Sprintf("seed %d step %d", seed, step))
			}
			if step%60 == 0 {
				s.reopen()
			}
		}
		s.close()
	}
}

func (s *site) treeStep(tk Ticket, m *tree, r *rand.Rand, n, to string) {
	hasKids := func(n string) bool {
		return slices.ContainsFunc(slices.Collect(maps.Keys(m.boxes)), func(x string) bool { return strings.HasPrefix(x, n+"/") })
	}
	var op func(x *Tx) error
	switch k := r.IntN(10); {
	case k < 3:
		if !m.boxes[n] {
			op = func(x *Tx) error { _, err := x.CreateMailbox(MailboxSpec{Name: n}); return err }
			for i := range n {
				if n[i] == '/' {
					m.boxes[n[:i]] = true
				}
			}
			m.boxes[n] = true
		}
	case k < 5:
		if m.boxes[n] && !hasKids(n) {
			op = func(x *Tx) error { return x.DeleteMailbox(x.a.wfind(n).id) }
			delete(m.boxes, n)
		}
	case k < 8:
		if m.boxes[n] && !m.boxes[to] && !strings.HasPrefix(to, n+"/") {
			op = func(x *Tx) error { return x.RenameMailbox(x.a.wfind(n).id, to) }
			m.move(m.boxes, n, to)
			m.move(m.subs, n, to)
			for i := range to {
				if to[i] == '/' {
					m.boxes[to[:i]] = true
				}
			}
		}
	default:
		on := r.IntN(3) > 0
		op = func(x *Tx) error { return x.Subscribe(n, on) }
		if delete(m.subs, n); on {
			m.subs[n] = true
		}
	}
	if op != nil {
		s.must(tk, op)
	}
}

func (s *site) sameTree(m *tree, when string) {
	s.t.Helper()
	list, err := s.Mailboxes(context.Background(), 1)
	if err != nil {
		s.t.Fatal(err)
	}
	boxes := make(map[string]bool)
	for _, b := range list {
		boxes[b.Name] = true
		if b.Subscribed != m.subs[b.Name] {
			s.t.Errorf("%s: %s is subscribed %v", when, b.Name, b.Subscribed)
		}
	}
	subs, err := s.Subscriptions(context.Background(), 1)
	slices.Sort(subs)
	if want := slices.Sorted(maps.Keys(m.subs)); err != nil || !slices.Equal(subs, want) {
		s.t.Errorf("%s: subscribed %q, want %q, %v", when, subs, want, err)
	}
	if !maps.Equal(boxes, m.boxes) {
		s.t.Errorf("%s: mailboxes %q, want %q", when, slices.Sorted(maps.Keys(boxes)), slices.Sorted(maps.Keys(m.boxes)))
	}
	s.clean()
}
