package mailstore

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"bahnpost/store/internal/db"
)

func (s *site) refs(a int64) (n int) {
	s.t.Helper()
	if err := s.d.View(s.t.Context(), func(c *db.Conn) error {
		_, err := c.Row(`SELECT COUNT(*) FROM thread_ref WHERE account_id=?`, db.Int(a)).Scan(&n)
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func reply(n, to int) string {
	return fmt.Sprintf("From: a@example.org\r\nSubject: Re: talk\r\nMessage-ID: <%d@example.org>\r\nReferences: <far@example.org> <%d@example.org>\r\n\r\nx\r\n", n, to)
}

func (s *site) reapAll() {
	s.t.Helper()
	for n := 1; n > 0; {
		var err error
		if n, err = s.reap(s.t.Context()); err != nil {
			s.t.Fatal(err)
		}
	}
}

// thread_ref keeps what the living need, and no more once enough messages are gone.
func TestThreadRefsEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	other := s.account(2, Quota{})
	s.append(other, s.box(2, Inbox).ID, text(1), 0)
	inbox := s.box(1, Inbox).ID
	alive := s.append(tk, inbox, text(100_000), 0) // a conversation of its own
	talk := s.append(tk, inbox, "Subject: talk\r\nMessage-ID: <0@example.org>\r\n\r\nx\r\n", 0)
	n := s.refs(1)
	const many = sweepThreads + 10
	for i := range many {
		s.append(tk, inbox, text(i), 0)
	}
	if got := s.refs(1); got != n+many {
		t.Fatalf("%d rows, want %d", got, n+many)
	}
	expunge := func(u UIDSet) {
		s.must(tk, func(x *Tx) error { _, err := x.Expunge(inbox, u, false); return err })
		s.reapAll()
		if err := s.sweepThreads(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	expunge(Range(3, 12))
	if got := s.refs(1); got != n+many {
		t.Errorf("swept after ten messages: %d rows", got)
	}
	expunge(Range(13, many+2))
	if got := s.refs(1); got != n || s.refs(2) != 1 {
		t.Errorf("%d rows are left, want %d; of the other account %d", got, n, s.refs(2))
	}
	if a := s.append(tk, inbox, reply(1, 0), 0); a.Thread != talk.Thread || a.Thread == alive.Thread {
		t.Errorf("reply is in thread %d, want %d", a.Thread, talk.Thread)
	}
	s.clean()
}

// Mail that revives a conversation between the look and the deletion keeps its rows.
func TestThreadRefsRevived(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	first := s.append(tk, inbox, reply(1, 0), 0)
	s.append(tk, inbox, text(7), 0)
	s.must(tk, func(x *Tx) error { _, err := x.Expunge(inbox, Range(1, 2), false); return err })
	s.reapAll()
	live := s.liveThreads(1)
	if err := s.d.View(t.Context(), func(c *db.Conn) error { _, err := live.more(c); return err }); err != nil {
		t.Fatal(err)
	}
	dead, _, _, err := s.deadRefs(t.Context(), live, -1<<63)
	if err != nil || len(dead) != 4 {
		t.Fatalf("%d rows look dead, want 4; %v", len(dead), err)
	}
	if a := s.append(tk, inbox, reply(2, 1), 0); a.Thread != first.Thread {
		t.Fatalf("thread %d, want %d", a.Thread, first.Thread)
	}
	if err := s.dropRefs(t.Context(), live, dead); err != nil {
		t.Fatal(err)
	}
	if got := s.refs(1); got != 4 { // 0, 1, 2 and far
		t.Errorf("%d rows, want 4", got)
	}
	if a := s.append(tk, inbox, reply(3, 0), 0); a.Thread != first.Thread {
		t.Errorf("thread %d, want %d", a.Thread, first.Thread)
	}
}

// RFC 8621 §3 in its simplest form, message by message: the conversation of the nearest parent that is known, else the one
// in which the message was cited, else a new one. Random ids in any order of arrival end in the same conversations.
func TestThreadsAreLikeTheModel(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	r := rand.New(rand.NewPCG(7, 8))
	model, next := map[string]ThreadID{}, ThreadID(1)
	for i := range 600 {
		subject := fmt.Sprintf("s%d", r.IntN(2)+i/200*10)
		id := func() string { return fmt.Sprintf("<%d@example.org>", r.IntN(60)) }
		var refs []string
		for range r.IntN(5) {
			refs = append(refs, id())
		}
		own := id()
		head := "From: a@example.org\r\nSubject: " + subject + "\r\n"
		if len(refs) > 0 {
			head += "References: " + strings.Join(refs, " ") + "\r\n"
		}
		if r.IntN(5) > 0 {
			head += "Message-ID: " + own + "\r\n"
			refs = append([]string{own}, refs...)
		}
		var want ThreadID
		for k := len(refs) - 1; k >= 0 && want == 0; k-- {
			want = model[refs[k]+subject]
		}
		if want == 0 {
			want = next
			next++
		}
		for _, ref := range refs {
			if model[ref+subject] == 0 {
				model[ref+subject] = want
			}
		}
		if got := s.append(tk, inbox, head+"\r\nx\r\n", 0).Thread; got != want {
			t.Fatalf("message %d with %v is in thread %d, want %d", i, refs, got, want)
		}
	}
	if n := s.refs(1); n != len(model) {
		t.Errorf("%d ids registered, want %d", n, len(model))
	}
	s.clean()
}
