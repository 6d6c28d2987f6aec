package mailstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"bahnpost/home"
	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

func wantKind(t *testing.T, err error, k mail.Kind) {
	t.Helper()
	if err == nil || mail.KindOf(err) != k {
		t.Errorf("error %v, want kind %d", err, k)
	}
}

// try is must for steps that may fail.
func (s *site) try(tk Ticket, fn func(*Tx) error) error {
	return s.Update(context.Background(), tk, fn)
}

func TestAccountLife(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	ctx := t.Context()
	_, err := s.Account(ctx, 5)
	wantKind(t, err, mail.NoSuchAccount)
	wantKind(t, s.try(Ticket{5, 1}, func(*Tx) error { return nil }), mail.NoSuchAccount)
	wantKind(t, s.CreateAccount(ctx, 0, 1, Quota{}), mail.BadInput)
	tk := s.account(5, Quota{Bytes: 1000, Warn: []int{50, 90}})
	s.account(5, Quota{}) // a second call is a no-op
	a, err := s.Account(ctx, 5)
	if err != nil || a.Mailboxes != 6 || a.Quota.Bytes != 1000 || !slices.Equal(a.Quota.Warn, []int{50, 90}) || a.Epoch != 1 {
		t.Errorf("%+v %v", a, err)
	}
	list, err := s.Mailboxes(ctx, 5)
	var names []string
	for _, m := range list {
		names = append(names, m.Name)
		if !m.Subscribed {
			t.Errorf("%s is not subscribed", m.Name)
		}
	}
	if got := strings.Join(names, " "); err != nil || got != "INBOX Archive Drafts Junk Sent Trash" {
		t.Errorf("%s %v", got, err)
	}
	if m := s.box(5, "Sent"); !slices.Equal(m.SpecialUse, []string{`\Sent`}) {
		t.Errorf("%+v", m)
	}
	// epochs: an older ticket is refused, a newer one raises nothing
	if err := s.SetEpoch(ctx, 5, 3); err != nil {
		t.Fatal(err)
	}
	err = s.try(tk, func(*Tx) error { return nil })
	var moved *home.Moved
	if !errors.As(err, &moved) || moved.Epoch != 3 || mail.KindOf(err) != mail.Moved {
		t.Errorf("%v", err)
	}
	wantKind(t, s.SetEpoch(ctx, 5, 2), mail.Conflict)
	s.append(Ticket{5, 3}, s.box(5, Inbox).ID, text(1), 0)
	if err := s.SetQuota(ctx, 5, Quota{Messages: 1}); err != nil {
		t.Fatal(err)
	}
	s.reopen()
	if a, _ = s.Account(ctx, 5); a.Epoch != 3 || a.Quota.Messages != 1 || a.UsedCount != 1 {
		t.Errorf("%+v", a)
	}
}

func TestRemoveAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{InlineMax: 10, BlobGrace: -1})
	ctx := t.Context()
	s.account(1, Quota{})
	tk := s.account(2, Quota{})
	inbox := s.box(2, Inbox).ID
	for i := range 20 {
		s.append(tk, inbox, text(i), 0, "k")
	}
	s.append(Ticket{1, 1}, s.box(1, Inbox).ID, text(3), 0)
	b, err := s.OpenBox(ctx, 2, inbox)
	if err != nil {
		t.Fatal(err)
	}
	v := b.NewView()
	woken := make(chan struct{}, 10)
	defer s.Notify(2, inbox, func([]Change) { woken <- struct{}{} })()
	for range 2 {
		if err := s.RemoveAccount(ctx, 2, nil); err != nil {
			t.Fatal(err)
		}
	}
	<-woken
	_, err = v.Sync(ctx, true)
	wantKind(t, err, mail.NoSuchMailbox)
	_, err = s.Account(ctx, 2)
	wantKind(t, err, mail.NoSuchAccount)
	if err := s.deleteBlobs(ctx); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range s.b.All(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 1 {
		t.Errorf("%d bodies left", n)
	}
	s.clean()
}

// A removal that was cut off goes on when the store runs again.
func TestRemovalIsResumed(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{BlobGrace: -1})
	ctx := t.Context()
	tk := s.account(2, Quota{})
	s.append(tk, s.box(2, Inbox).ID, text(1), 0)
	if err := s.db.Update(ctx, func(x *db.Tx) error { _, err := x.Exec(`UPDATE accounts SET removed=1`); return err }, nil); err != nil {
		t.Fatal(err)
	}
	s.resumeRemovals(ctx)
	for _, table := range []string{"accounts", "messages", "msgidx", "mailboxes"} {
		n := -1
		if err := s.db.View(ctx, func(c *db.Conn) error { _, err := c.Row("SELECT COUNT(*) FROM " + table).Scan(&n); return err }); err != nil || n != 0 {
			t.Errorf("%s: %d rows left, %v", table, n, err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in, out string
		ok      bool
	}{
		{"inbox", "INBOX", true},
		{"InBox/Child", "INBOX/Child", true},
		{"a/inbox", "a/inbox", true},
		{"inboxes", "inboxes", true},
		{"u\u0308", "ü", true}, // NFC
		{"日本語/台北", "日本語/台北", true},
		{"a&b %*\"\\", "a&b %*\"\\", true},
		{"", "", false},
		{"/a", "", false},
		{"a/", "", false},
		{"a//b", "", false},
		{"a\x01b", "", false},
		{"a\u0085b", "", false},
		{"a\xffb", "", false},
		{strings.Repeat("x", MaxMailboxLevel), strings.Repeat("x", MaxMailboxLevel), true},
		{strings.Repeat("x", MaxMailboxLevel+1), "", false},
		{strings.Repeat("x/", MaxDepth-1) + "x", strings.Repeat("x/", MaxDepth-1) + "x", true},
		{strings.Repeat("x/", MaxDepth) + "x", "", false},
	} {
		got, err := NormalName(c.in)
		if c.ok != (err == nil) || got != c.out {
			t.Errorf("%q: %q %v", c.in, got, err)
		}
		if !c.ok {
			wantKind(t, err, mail.BadInput)
		}
	}
}

func TestTree(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{SystemMailboxes: []MailboxSpec{}})
	tk := s.account(1, Quota{})
	ctx := t.Context()
	create := func(name string) (m Mailbox) {
		t.Helper()
		s.must(tk, func(x *Tx) (err error) { m, err = x.CreateMailbox(MailboxSpec{Name: name}); return err })
		return m
	}
	tree := func() string {
		t.Helper()
		list, err := s.Mailboxes(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, m := range list {
			n := m.Name
			if m.NoSelect {
				n += "!"
			}
			if m.HasChildren {
				n += "+"
			}
			out = append(out, n)
		}
		return strings.Join(out, " ")
	}
	c := create("a/b/c")
	create("a-x/") // RFC 9051 §6.3.4
	create("inbox/sub")
	if got := tree(); got != "INBOX+ INBOX/sub a+ a/b+ a/b/c a-x" {
		t.Error(got)
	}
	wantKind(t, s.try(tk, func(x *Tx) error { _, err := x.CreateMailbox(MailboxSpec{Name: "a/b"}); return err }), mail.MailboxExists)
	wantKind(t, s.try(tk, func(x *Tx) error { return x.DeleteMailbox(s.cache.peek(1).byID(1).id) }), mail.NoPermission)
	a, b := s.box(1, "a"), s.box(1, "a/b")
	wantKind(t, s.try(tk, func(x *Tx) error { return x.RenameMailbox(a.ID, "a/b/d") }), mail.BadInput)
	wantKind(t, s.try(tk, func(x *Tx) error { return x.RenameMailbox(a.ID, "a-x") }), mail.MailboxExists)
	// children follow, ids stay, missing parents are made
	box, err := s.OpenBox(ctx, 1, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	s.must(tk, func(x *Tx) error { return x.RenameMailbox(b.ID, "n/m/b2") })
	if got := tree(); got != "INBOX+ INBOX/sub a a-x n+ n/m+ n/m/b2+ n/m/b2/c" {
		t.Error(got)
	}
	if m := s.box(1, "n/m/b2/c"); m.ID != c.ID || m.UIDValidity != c.UIDValidity || box.Mailbox().Name != "n/m/b2/c" {
		t.Errorf("%+v %+v", m, box.Mailbox())
	}
	// a parent becomes a mere name, and a mailbox again under a new UIDVALIDITY
	s.append(tk, b.ID, text(1), 0)
	s.must(tk, func(x *Tx) error { return x.DeleteMailbox(b.ID) })
	if got := tree(); got != "INBOX+ INBOX/sub a a-x n+ n/m+ n/m/b2!+ n/m/b2/c" {
		t.Error(got)
	}
	_, err = s.OpenBox(ctx, 1, b.ID)
	wantKind(t, err, mail.NoSuchMailbox)
	wantKind(t, s.try(tk, func(x *Tx) error { return x.DeleteMailbox(b.ID) }), mail.NoPermission)
	again := create("n/m/b2")
	if again.UIDValidity <= b.UIDValidity || again.UIDNext != 1 || again.Messages != 0 {
		t.Errorf("%+v after %+v", again, b)
	}
	// the same name anew has another UIDVALIDITY and id
	s.must(tk, func(x *Tx) error { return x.DeleteMailbox(c.ID) })
	if d := create("n/m/b2/c"); d.UIDValidity <= c.UIDValidity || d.ID == c.ID {
		t.Errorf("%+v after %+v", d, c)
	}
	s.clean()
	before := tree()
	s.reopen()
	if got := tree(); got != before {
		t.Errorf("after reopen %s, before %s", got, before)
	}
}

// RFC 9051 §6.3.6, RFC 8474: INBOX keeps its id and children, its messages go.
func TestRenameInbox(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox)
	x := s.append(tk, inbox.ID, text(1), Flagged, "k")
	s.must(tk, func(x *Tx) error { _, err := x.CreateMailbox(MailboxSpec{Name: "INBOX/kid"}); return err })
	s.must(tk, func(x *Tx) error { return x.RenameMailbox(inbox.ID, "old/mail") })
	if m := s.box(1, Inbox); m.ID != inbox.ID || m.Messages != 0 || !m.HasChildren || m.UIDNext != 2 {
		t.Errorf("%+v", m)
	}
	m := s.box(1, "old/mail")
	b, err := s.OpenBox(t.Context(), 1, m.ID)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range b.NewView().Entries(t.Context(), nil) {
		if err != nil || e.Row.Message != x.Message || e.Row.Flags&Flagged == 0 || e.Row.Flags == Flagged {
			t.Errorf("%+v %v", e, err)
		}
	}
	s.clean()
}

func TestQuota(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	size := int64(len(text(1)))
	tk := s.account(1, Quota{Bytes: 3*size + 10, Warn: []int{60}})
	inbox := s.box(1, Inbox).ID
	var warned []ModSeq
	defer s.Notify(1, 0, func(cs []Change) {
		for _, c := range cs {
			if c.Kind == QuotaWarning {
				warned = append(warned, c.ModSeq)
			}
		}
	})()
	for range 3 {
		s.append(tk, inbox, text(1), 0)
	}
	b := s.body(text(1))
	defer b.Release()
	over := func(fn func(*Tx) error) { t.Helper(); wantKind(t, s.try(tk, fn), mail.OverQuota) }
	over(func(x *Tx) error { _, err := x.Append(inbox, NewMessage{Body: b}); return err })
	over(func(x *Tx) error { _, err := x.Copy(inbox, Range(1, 9), inbox); return err })
	s.must(tk, func(x *Tx) error { _, err := x.Move(inbox, Range(1, 9), s.cache.peek(1).byID(2).id); return err }) // costs nothing
	a, _ := s.Account(t.Context(), 1)
	if a.UsedBytes != 3*size || a.UsedCount != 3 || len(warned) != 1 {
		t.Errorf("%+v, warnings %v", a, warned)
	}
	if err := s.SetQuota(t.Context(), 1, Quota{Messages: 3}); err != nil {
		t.Fatal(err)
	}
	over(func(x *Tx) error { _, err := x.Append(inbox, NewMessage{Body: b}); return err })
	s.clean()
}

func TestDedup(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	b := s.body(text(1))
	defer b.Release()
	var first Appended
	for i := range 3 {
		var a Appended
		s.must(tk, func(x *Tx) (err error) { a, err = x.Append(inbox, NewMessage{Body: b, Dedup: "mail 1"}); return err })
		if i == 0 {
			first = a
		} else if a != first {
			t.Errorf("%+v, first %+v", a, first)
		}
	}
	if m := s.box(1, Inbox); m.Messages != 1 {
		t.Errorf("%+v", m)
	}
	s.must(tk, func(x *Tx) (err error) { _, err = x.Append(inbox, NewMessage{Body: b, Dedup: "mail 2"}); return err })
	s.clean()
}

func TestImport(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	ctx := t.Context()
	var m Mailbox
	s.must(tk, func(x *Tx) (err error) { m, err = x.ImportMailbox(MailboxSpec{Name: "Old"}, 12345, 77); return err })
	if m.UIDValidity != 12345 || m.UIDNext != 77 {
		t.Errorf("%+v", m)
	}
	b := s.body(text(1))
	defer b.Release()
	zone := time.FixedZone("", -5*3600-1800)
	when, saved := time.Date(1998, 3, 4, 5, 6, 7, 0, zone), time.Date(2001, 1, 2, 3, 4, 5, 0, time.UTC)
	in := ImportedMessage{NewMessage: NewMessage{Body: b, Prefix: []byte("Delivered-To: x\r\n"), Flags: Answered, Keywords: []string{"$Forwarded"}, Internal: when},
		UID: 80, ModSeq: 5000, UIDL: "abc", Order: 3, Saved: saved}
	imp := func(in ImportedMessage) (a Appended, err error) {
		err = s.try(tk, func(x *Tx) (err error) { a, err = x.Import(m.ID, in); return err })
		return a, err
	}
	for range 2 { // the second time is a no-op
		a, err := imp(in)
		if err != nil || a.UID != 80 || a.ModSeq != 5000 {
			t.Fatalf("%+v %v", a, err)
		}
	}
	other := s.body(text(2))
	defer other.Release()
	clash := in
	clash.Body = other
	_, err := imp(clash)
	wantKind(t, err, mail.Conflict)
	clash.UID = 78 // below UIDNEXT, not there
	_, err = imp(clash)
	wantKind(t, err, mail.Conflict)
	wantKind(t, s.try(tk, func(x *Tx) error { _, err := x.ImportMailbox(MailboxSpec{Name: "Old"}, 999, 1); return err }), mail.Conflict)
	a2 := s.append(tk, m.ID, text(3), 0)
	if a2.UID != 81 || a2.ModSeq <= 5000 {
		t.Errorf("%+v", a2)
	}
	s.reopen()
	box, err := s.OpenBox(ctx, 1, m.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := box.Load(ctx); err != nil {
		t.Fatal(err)
	}
	r, ok := box.Row(80)
	if !ok || !r.InternalDate().Equal(when) || r.InternalDate().Format("-0700") != "-0530" || r.Saved != saved.Unix() || r.Flags&SystemFlags != Answered ||
		int(r.Size) != len(text(1))+17 {
		t.Errorf("%+v", r)
	}
	for meta, err := range box.Metas(ctx, []Row{r}) {
		if err != nil || meta.UIDL != "abc" || meta.Order != 3 || meta.Prefix != 17 {
			t.Errorf("%+v %v", meta, err)
		}
	}
	if got := s.read(1, r.Message); got != "Delivered-To: x\r\n"+text(1) {
		t.Errorf("%q", got)
	}
	trash := s.box(1, "Trash").ID
	s.must(tk, func(x *Tx) error { _, err := x.Move(m.ID, Range(80, 80), trash); return err })
	if metas := s.metas(trash); len(metas) != 1 || strings.Contains(metas[0], "abc") || !strings.Contains(metas[0], "Order:0") {
		t.Errorf("after a move: %v", metas)
	}
	s.clean()
}

func TestUnchangedSince(t *testing.T) {
	t.Parallel()
	for _, loaded := range []bool{false, true} {
		s := newSite(t, Config{})
		tk := s.account(1, Quota{})
		inbox := s.box(1, Inbox).ID
		var mods []ModSeq
		for i := range 4 {
			mods = append(mods, s.append(tk, inbox, text(i), 0).ModSeq)
		}
		if loaded {
			b, _ := s.OpenBox(t.Context(), 1, inbox)
			b.Load(t.Context())
		}
		var r StoreResult
		s.must(tk, func(x *Tx) (err error) {
			r, err = x.StoreFlags(inbox, Range(1, 9), AddFlags, Seen, []string{"k"}, true, mods[1])
			return err
		})
		if r.Changed.String() != "1:2" || r.Modified.String() != "3:4" {
			t.Errorf("changed %v modified %v", r.Changed, r.Modified)
		}
		s.must(tk, func(x *Tx) (err error) {
			r, err = x.StoreFlags(inbox, Range(1, 9), AddFlags, Seen, nil, true, 0)
			return err
		})
		if r.Changed != nil || r.Modified.String() != "1:4" {
			t.Errorf("changed %v modified %v", r.Changed, r.Modified)
		}
		s.clean()
	}
}

func TestKeywords(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	var many []string
	for i := range 1200 {
		many = append(many, fmt.Sprintf("k%d", i))
	}
	s.append(tk, inbox, text(1), 0, many...)
	s.append(tk, inbox, text(2), 0, "K7", "k1100") // any case is the same keyword
	dict, err := s.Keywords(t.Context(), 1)
	if err != nil || !slices.Equal(dict, many) {
		t.Errorf("%d keywords, %v", len(dict), err)
	}
	for round := range 2 {
		b, _ := s.OpenBox(t.Context(), 1, inbox)
		if err := b.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		r, _ := b.Row(2)
		if r.Flags != Keyword(7) || !r.HasMore || !slices.Equal(b.More(2), []KeywordID{1100}) || len(b.More(1)) != 1200-KeywordBits {
			t.Errorf("round %d: %+v %v", round, r, b.More(2))
		}
		b.Close()
		s.reopen()
	}
	for _, bad := range []string{"", "a b", `\Seen`, "a(", "ü", strings.Repeat("x", MaxKeywordLength+1)} {
		wantKind(t, s.try(tk, func(x *Tx) error {
			_, err := x.StoreFlags(inbox, UIDs(1), AddFlags, 0, []string{bad}, false, 0)
			return err
		}), mail.BadInput)
	}
	// removing an unknown keyword does not make it known
	s.must(tk, func(x *Tx) error {
		_, err := x.StoreFlags(inbox, UIDs(1), RemoveFlags, 0, []string{"nobody"}, false, 0)
		return err
	})
	if dict, _ = s.Keywords(t.Context(), 1); len(dict) != 1200 {
		t.Errorf("%d keywords", len(dict))
	}
	s.clean()
}

func TestACLAndMetadata(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	ctx := t.Context()
	inbox := s.box(1, Inbox).ID
	s.must(tk, func(x *Tx) error {
		return errors.Join(x.SetACL(inbox, "bob", "lrs"), x.SetACL(inbox, "eve", "l"), x.SetACL(inbox, "eve", ""),
			x.SetMetadata(inbox, "/private/Comment", []byte("hi")), x.SetMetadata(0, "/shared/admin", []byte{}), x.SetMetadata(inbox, "/private/x", []byte("y")),
			x.SetMetadata(inbox, "/private/x", nil))
	})
	s.reopen()
	acl, err := s.ACL(ctx, 1, inbox)
	if err != nil || len(acl) != 1 || acl["bob"] != "lrs" {
		t.Errorf("%v %v", acl, err)
	}
	md, err := s.Metadata(ctx, 1, inbox)
	if err != nil || len(md) != 1 || string(md["/private/comment"]) != "hi" {
		t.Errorf("%v %v", md, err)
	}
	if md, err = s.Metadata(ctx, 1, 0); err != nil || len(md) != 1 {
		t.Errorf("%v %v", md, err)
	}
	s.must(tk, func(x *Tx) error { // a full table still takes changes
		for i := range MaxACLEntries - 1 {
			if err := x.SetACL(inbox, fmt.Sprint("u", i), "l"); err != nil {
				return err
			}
		}
		return x.SetACL(inbox, "bob", "lr")
	})
	wantKind(t, s.try(tk, func(x *Tx) error { return x.SetACL(inbox, "more", "l") }), mail.Limit)
	wantKind(t, s.try(tk, func(x *Tx) error { return x.SetMetadata(inbox, "/private/x", make([]byte, MaxMetadataValue+1)) }), mail.TooLarge)
	_, err = s.ACL(ctx, 1, 99)
	wantKind(t, err, mail.NoSuchMailbox)
	s.must(tk, func(x *Tx) error {
		return errors.Join(x.Subscribe("not/there", true), x.Subscribe("Sent", false))
	})
	subs, err := s.Subscriptions(ctx, 1)
	if got := strings.Join(subs, " "); err != nil || got != "INBOX Archive Drafts Junk Trash not/there" || s.box(1, "Sent").Subscribed {
		t.Errorf("%s %v", got, err)
	}
	s.must(tk, func(x *Tx) error { _, err := x.CreateMailbox(MailboxSpec{Name: "not/there"}); return err })
	if !s.box(1, "not/there").Subscribed {
		t.Error("subscription was there before the mailbox")
	}
	s.must(tk, func(x *Tx) error {
		return x.SetSpecialUse(s.cache.peek(1).wfind("Sent").id, []string{`\important`, `\Sent`})
	})
	if u := s.box(1, "Sent").SpecialUse; !slices.Equal(u, []string{`\Important`, `\Sent`}) {
		t.Error(u)
	}
}

// RFC 7162 §3.2.6: what was expunged since, and what to say when nobody remembers.
func TestVanishedAndTrim(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{ExpungeHistory: -time.Hour}) // everything is old at once
	tk := s.account(1, Quota{})
	ctx := t.Context()
	inbox := s.box(1, Inbox).ID
	for i := range 10 {
		s.append(tk, inbox, text(i), 0)
	}
	expunge := func(u ...UID) {
		s.must(tk, func(x *Tx) error { _, err := x.Expunge(inbox, UIDs(u...), false); return err })
	}
	expunge(2)
	acc, _ := s.Account(ctx, 1)
	expunge(5, 6)
	expunge(9)
	b, _ := s.OpenBox(ctx, 1, inbox)
	gone, complete, err := b.Vanished(ctx, acc.ModSeq, nil)
	if err != nil || !complete || gone.String() != "5:6,9" {
		t.Errorf("%v %v %v", gone, complete, err)
	}
	gone, _, _ = b.Vanished(ctx, acc.ModSeq, Range(6, 8))
	if gone.String() != "6" {
		t.Errorf("%v", gone)
	}
	if err := s.trim(ctx); err != nil {
		t.Fatal(err)
	}
	gone, complete, err = b.Vanished(ctx, acc.ModSeq, Range(1, 7))
	if err != nil || complete || gone.String() != "2,5:6" {
		t.Errorf("after trim: %v %v %v", gone, complete, err)
	}
	now, _ := s.Account(ctx, 1)
	if gone, complete, _ = b.Vanished(ctx, now.ModSeq, nil); !complete || len(gone) > 0 {
		t.Errorf("now: %v %v", gone, complete)
	}
	for c, err := range s.Watch(ctx, 1, acc.ModSeq) {
		if err != nil || c.Kind != History {
			t.Errorf("%+v %v", c, err)
		}
		break
	}
	s.clean()
}

func TestWatchHistory(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{SystemMailboxes: []MailboxSpec{}})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	acc, _ := s.Account(t.Context(), 1)
	s.append(tk, inbox, text(1), 0)
	s.append(tk, inbox, text(2), 0)
	store := func(u UID) {
		s.must(tk, func(x *Tx) error { _, err := x.StoreFlags(inbox, UIDs(u), AddFlags, Seen, nil, false, 0); return err })
	}
	store(1)
	s.must(tk, func(x *Tx) error { _, err := x.CreateMailbox(MailboxSpec{Name: "b"}); return err })
	s.must(tk, func(x *Tx) error { _, err := x.Move(inbox, UIDs(2), x.a.wfind("b").id); return err })
	store(1)                                   // no change, no step
	s.must(tk, func(*Tx) error { return nil }) // the same
	s.must(tk, func(x *Tx) error { return x.DeleteMailbox(x.a.wfind("b").id) })
	var got []string
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for c, err := range s.Watch(ctx, 1, acc.ModSeq) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d:%d:%d:%v", c.ModSeq-acc.ModSeq, c.Mailbox, c.Kind, c.UIDs))
		if c.Kind == MailboxDeleted {
			break
		}
	}
	want := []string{"1:1:1:1", "3:1:2:1", "4:2:4:", "5:1:3:2", "6:2:6:"} // uid 2 and its copy came and went
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestThreads(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	msg := func(id, refs, subject string) ThreadID {
		h := "From: a@b.c\r\nSubject: " + subject + "\r\nMessage-ID: <" + id + "@x>\r\n"
		if refs != "" {
			h += "References: " + refs + "\r\n"
		}
		return s.append(tk, inbox, h+"\r\nx\r\n", 0).Thread
	}
	a := msg("a", "", "Hello")
	b := msg("b", "<a@x>", "Re: Hello")
	c := msg("c", "<a@x> <b@x>", "RE: re: hello")
	other := msg("d", "<a@x>", "Quite another thing")
	if a != b || b != c || other == a {
		t.Errorf("threads %d %d %d, %d", a, b, c, other)
	}
	late := msg("f", "<e@x>", "Re: Early") // the answer comes first
	if early := msg("e", "", "Early"); early != late {
		t.Errorf("threads %d %d", early, late)
	}
	if msg("g", "", "Hello") == a {
		t.Error("a subject alone makes no thread")
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 3<<20)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	for _, cfg := range []Config{{}, {Compression: "off"}, {InlineMax: 1 << 20}, {InlineMax: 1}} {
		s := newSite(t, cfg)
		tk := s.account(1, Quota{})
		inbox := s.box(1, Inbox).ID
		for _, body := range []string{"", "x", text(1), big(2, 5000), big(3, 900_000), text(4) + string(noise[:1000]), text(5) + string(noise[:500_000]),
			string(noise[:streamAfter]), string(noise[:streamAfter+1]), string(noise)} {
			w := s.NewBody(t.Context())
			for p := []byte(body); len(p) > 0; { // in odd pieces
				n := min(len(p), 1+rnd.IntN(70_000))
				w.Write(p[:n])
				p = p[n:]
			}
			b, err := w.Finish()
			if err != nil {
				t.Fatal(err)
			}
			w.Abort() // harmless
			if b.SHA256() != sha256.Sum256([]byte(body)) || b.Size() != int64(len(body)) {
				t.Errorf("hash or size of %d octets", len(body))
			}
			var out bytes.Buffer
			if _, err := b.WriteTo(&out); err != nil || out.String() != body {
				t.Errorf("WriteTo of %d octets: %v", len(body), err)
			}
			var a Appended
			s.must(tk, func(x *Tx) (err error) {
				a, err = x.Append(inbox, NewMessage{Body: b, Prefix: []byte("P: 1\r\n")})
				return err
			})
			b.Release()
			s.readParts(a.Message, "P: 1\r\n"+body, rnd)
		}
		s.clean()
	}
}

// readParts reads a message in random ranges.
func (s *site) readParts(m MessageID, want string, rnd *rand.Rand) {
	s.t.Helper()
	r, err := s.OpenMessage(context.Background(), 1, m)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	if r.Size() != int64(len(want)) || r.Prefix() != 6 {
		s.t.Errorf("size %d prefix %d, want %d", r.Size(), r.Prefix(), len(want))
	}
	for range 20 {
		off := rnd.IntN(len(want) + 1)
		n := rnd.IntN(len(want) - off + 1)
		p := make([]byte, n+1)
		k, err := r.ReadAt(p[:n], int64(off))
		if k != n || err != nil && err != io.EOF || string(p[:k]) != want[off:off+n] {
			s.t.Errorf("ReadAt(%d,%d) = %d %v", off, n, k, err)
		}
		var b bytes.Buffer
		if err := r.CopyRange(&b, int64(off), int64(n)); err != nil || b.String() != want[off:off+n] {
			s.t.Errorf("CopyRange(%d,%d): %d octets, %v", off, n, b.Len(), err)
		}
	}
	if _, err := r.ReadAt(make([]byte, 1), r.Size()); err != io.EOF {
		s.t.Errorf("read at the end: %v", err)
	}
}

func TestBodyLimits(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{BlobGrace: -1})
	w := s.NewBody(t.Context())
	chunk := make([]byte, 8<<20)
	var err error
	for i := 0; i <= MaxMessageSize && err == nil; i += len(chunk) {
		_, err = w.Write(chunk)
	}
	wantKind(t, err, mail.TooLarge)
	_, err = w.Finish()
	wantKind(t, err, mail.TooLarge)
	// a body that nobody stored leaves nothing
	s.body(big(1, 3<<20)).Release()
	b := s.body(string(bytes.Repeat([]byte{0, 1, 250, 7, 99}, 4000)))
	b.Release()
	b.Release()
	s.clean()
}

// One body for many: it lives until the last copy is gone, and a late recipient still gets it.
func TestSharedBody(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{InlineMax: 1, BlobGrace: -1})
	ctx := t.Context()
	b := s.body(big(1, 9000))
	var tks []Ticket
	for i := range 3 {
		tks = append(tks, s.account(mail.AccountID(i+1), Quota{}))
	}
	put := func(tk Ticket) (a Appended) {
		s.must(tk, func(x *Tx) (err error) {
			a, err = x.Append(x.a.wfind(Inbox).id, NewMessage{Body: b, Prefix: []byte(fmt.Sprintf("To: %d\r\n", tk.Account))})
			return err
		})
		return a
	}
	reap := func() {
		t.Helper()
		for n := 1; n > 0; {
			var err error
			if n, err = s.reap(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.deleteBlobs(ctx); err != nil {
			t.Fatal(err)
		}
	}
	del := func(tk Ticket) {
		s.must(tk, func(x *Tx) error { _, err := x.Expunge(x.a.wfind(Inbox).id, Range(1, 9), false); return err })
		reap()
	}
	put(tks[0])
	del(tks[0]) // the first recipient deletes before the second one's copy is stored
	put(tks[1])
	a := put(tks[2])
	b.Release()
	del(tks[1])
	if got := s.read(3, a.Message); got != "To: 3\r\n"+big(1, 9000) {
		t.Errorf("%d octets", len(got))
	}
	s.clean()
	del(tks[2])
	_, err := s.OpenMessage(ctx, 3, a.Message)
	wantKind(t, err, mail.NoSuchMessage)
	for e := range s.b.All(ctx) {
		t.Errorf("%v is left", e.Ref)
	}
	s.clean()
}

// Compaction moves bodies; rows follow.
func TestCompact(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{InlineMax: 1, BlobGrace: -1, Compression: "off"})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	var last Appended
	for i := range 60 {
		last = s.append(tk, inbox, big(i, 40_000), 0)
	}
	s.must(tk, func(x *Tx) error { _, err := x.Expunge(inbox, Range(1, 55), false); return err })
	for n := 1; n > 0; {
		n, _ = s.reap(t.Context())
	}
	if err := s.deleteBlobs(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.reopen() // the pack is closed
	if err := s.compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.read(1, last.Message); got != big(59, 40_000) {
		t.Error("body differs")
	}
	s.clean()
}

func TestSummaries(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox, sent := s.box(1, Inbox).ID, s.box(1, "Sent").ID
	for i := range 700 { // more than one stride, interleaved
		s.append(tk, []MailboxID{inbox, sent}[i%7/6], text(i), 0)
	}
	b, _ := s.OpenBox(t.Context(), 1, inbox)
	var rows []Row
	for e := range b.NewView().Entries(t.Context(), nil) {
		rows = append(rows, e.Row)
	}
	slices.Reverse(rows[10:20]) // any order will do
	i := 0
	for m, err := range b.Metas(t.Context(), rows) {
		if err != nil {
			t.Fatal(err)
		}
		if m.Message != rows[i].Message || !bytes.Contains(m.Summary.Envelope(), fmt.Appendf(nil, "message %d", m.Message-1)) {
			t.Errorf("%d: %+v %s", i, m.Message, m.Summary.Envelope())
		}
		i++
	}
	if i != len(rows) {
		t.Errorf("%d of %d", i, len(rows))
	}
}

// Many small expunges die as fast as few large ones: a step takes as many as fit.
func TestReaperTakesManyExpunges(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{SystemMailboxes: []MailboxSpec{{Name: "x"}}})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	for i := range 50 {
		a := s.append(tk, inbox, text(i), 0)
		if err := s.Update(t.Context(), tk, func(tx *Tx) error {
			_, err := tx.Expunge(inbox, Range(a.UID, a.UID), false)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.reap(t.Context()); err != nil || n < 50 {
		t.Errorf("one step took %d, %v", n, err)
	}
	s.clean()
}
