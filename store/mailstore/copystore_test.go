package mailstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bahnpost/mail"
	"bahnpost/store/blob"
	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"
	"bahnpost/store/internal/tables"
)

// siteOn is newSite on SQLite, or on the server of dsn.
func siteOn(t testing.TB, dsn string, cfg Config) *site {
	t.Helper()
	ctx := context.Background()
	s := &site{t: t, dir: t.TempDir(), cfg: cfg}
	c := db.Config{Path: filepath.Join(s.dir, "mail.db"), NoSync: true, Unordered: true}
	if dsn != "" {
		c.Postgres = dbtest.Schema(t, dsn, s.dir)
	}
	var err error
	if s.d, err = db.Open(ctx, c); err != nil {
		t.Fatal(err)
	}
	if s.b, err = blob.OpenDir(filepath.Join(s.dir, "bodies"), blob.DirConfig{NoSync: true}); err != nil {
		t.Fatal(err)
	}
	if s.Store, err = New(ctx, s.d, s.b, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// live makes accounts 1 to 3 with one of everything that a store can hold.
func (s *site) live() {
	tks := []Ticket{s.account(1, Quota{Bytes: 1 << 30, Messages: 5000, Warn: []int{80}}), s.account(2, Quota{}), s.account(3, Quota{})}
	shared := []*Body{s.body(text(1)), s.body(big(2, 20000)), s.body(big(3, 200000)), s.body("Subject: much\r\n\r\n" + strings.Repeat("0123456789abcdef\r\n", 1<<17))}
	for i, tk := range tks {
		inbox := s.box(tk.Account, Inbox).ID
		for n, b := range shared {
			s.must(tk, func(t *Tx) error {
				_, err := t.Append(inbox, NewMessage{Body: b, Prefix: []byte("X-For: me\r\n"), Dedup: fmt.Sprint("delivery", n), Internal: time.Unix(1e9, 0).In(time.FixedZone("", 3600))})
				return err
			})
		}
		s.fill(tk, inbox, 150+i)
		s.writeAtRandom(tk, inbox, uint64(i), 40)
		s.must(tk, func(t *Tx) error {
			sub, err := t.CreateMailbox(MailboxSpec{Name: "Ärger/mit/Bäumen", Subscribe: true})
			if err != nil {
				return err
			}
			gone, err := t.CreateMailbox(MailboxSpec{Name: "Gone"})
			if err != nil {
				return err
			}
			for _, err := range []error{
				t.SetACL(sub.ID, "bert", "lrs"), t.SetMetadata(sub.ID, "/private/comment", []byte("x\x00\xff")), t.SetMetadata(0, "/shared/empty", []byte{}),
				t.Subscribe("not there", true),
			} {
				if err != nil {
					return err
				}
			}
			if _, err := t.Copy(inbox, Range(1, 60), sub.ID); err != nil {
				return err
			}
			if _, err := t.Copy(sub.ID, Range(1, 10), gone.ID); err != nil {
				return err
			}
			_, err = t.Move(inbox, Range(20, 30), sub.ID)
			return err
		})
		s.must(tk, func(t *Tx) error {
			m, err := t.MailboxByName("Gone")
			if err == nil {
				err = t.DeleteMailbox(m.ID)
			}
			return err
		})
		s.must(tk, func(t *Tx) error {
			_, err := t.Import(inbox, ImportedMessage{NewMessage: NewMessage{Body: shared[0], Keywords: []string{"$Later", "kw1"}}, UID: 5000, ModSeq: 7000, UIDL: "old.1", Order: 3})
			return err
		})
		s.must(tk, func(t *Tx) error { _, err := t.Expunge(inbox, Range(90, 120), false); return err })
	}
	for _, b := range shared {
		b.Release()
	}
}

// story is what clients can see of an account.
func (s *site) story(a mail.AccountID) (out []string) {
	s.t.Helper()
	ctx := context.Background()
	acc, err := s.Account(ctx, a)
	if err != nil {
		s.t.Fatal(err)
	}
	boxes, err := s.Mailboxes(ctx, a)
	if err != nil {
		s.t.Fatal(err)
	}
	subs, _ := s.Subscriptions(ctx, a)
	out = append(out, fmt.Sprintf("%+v %v", acc, subs))
	for _, m := range boxes {
		out = append(out, fmt.Sprintf("%+v", m))
		b, err := s.OpenBox(ctx, a, m.ID)
		if err != nil {
			s.t.Fatal(err)
		}
		for e, err := range b.NewView().Entries(ctx, nil) {
			if err != nil {
				s.t.Fatal(err)
			}
			body := s.read(a, e.Row.Message)
			out = append(out, fmt.Sprintf("%+v %v %d %.100q", e.Row, b.More(e.Row.UID), len(body), body))
		}
		for x, err := range b.Imported(ctx, 0) {
			out = append(out, fmt.Sprint(x, err))
		}
		b.Close()
	}
	return out
}

// copyFrom copies and wants it to succeed; then it opens the store anew.
func (s *site) copyFrom(from *site, fresh bool) CopySum {
	s.t.Helper()
	sum, err := s.CopyFrom(s.t.Context(), from.Store, fresh, CopyOptions{})
	if err == nil {
		s.Store, err = New(s.t.Context(), s.d, s.b, s.cfg)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return sum
}

// same wants two stores to hold the same, and the copy to be sound and usable.
func (s *site) sameAs(from *site) {
	s.t.Helper()
	for a := range mail.AccountID(3) {
		a++
		x, n, err := from.digest(s.t.Context(), a)
		if err != nil {
			s.t.Fatal(err)
		}
		if y, m, err := s.digest(s.t.Context(), a); err != nil || x != y || n != m || n == 0 {
			s.t.Errorf("account %d: digests differ, %d and %d messages, %v", a, m, n, err)
		}
		s.equal(fmt.Sprint("account ", a), s.story(a), from.story(a))
	}
	for p, err := range s.Check(s.t.Context(), CheckOptions{Bodies: true}) {
		if err != nil {
			s.t.Fatal(err)
		}
		if !p.Note { // a run that was ended may leave a blob to the sweep
			s.t.Errorf("check: %+v", p)
		}
	}
}

// sides are the engines to copy from and to: both, in all ways, where there is a server.
func sides(t *testing.T) map[string][2]string {
	if dbtest.OnPostgres() {
		t.Skip("TestCopyStore starts its own server")
	}
	out := map[string][2]string{"SQLite to SQLite": {}}
	if !testing.Short() {
		dsn := dbtest.Postgres(t)
		out["SQLite to PostgreSQL"], out["PostgreSQL to SQLite"], out["PostgreSQL to PostgreSQL"] = [2]string{"", dsn}, [2]string{dsn, ""}, [2]string{dsn, dsn}
	}
	return out
}

// A copy holds all that the source does, on whatever engine; it goes on from there.
func TestCopyStore(t *testing.T) {
	t.Parallel()
	for name, side := range sides(t) {
		t.Run(name, func(t *testing.T) {
			from, to := siteOn(t, side[0], Config{}), siteOn(t, side[1], Config{})
			from.live()
			to.account(1, Quota{}) // what init made; the source has another 1, and no 9
			to.account(9, Quota{})
			sum := to.copyFrom(from, true)
			total, err := from.CopyTotal(t.Context())
			if err != nil || sum.Accounts != 3 || sum.Verified != 3 || sum.Messages < total.Messages || sum.Bodies == 0 {
				t.Errorf("copied %+v of %+v, %v", sum, total, err)
			}
			if _, err := to.Account(t.Context(), 9); mail.KindOf(err) != mail.NoSuchAccount {
				t.Errorf("an account that the source does not have stayed: %v", err)
			}
			to.sameAs(from)
			if again := to.copyFrom(from, false); again.Bodies != 0 || again.Verified != 3 {
				t.Errorf("a second run copied: %+v", again)
			}
			// Life goes on: the next UID is right, what is expunged ends with its last use.
			for _, s := range []*site{from, to} {
				tk := Ticket{2, 1}
				inbox := s.box(2, Inbox)
				if x := s.append(tk, inbox.ID, text(99), 0); x.UID != inbox.UIDNext || x.Message == 0 {
					t.Errorf("after the copy: %+v, before %+v", x, inbox)
				}
				s.must(tk, func(t *Tx) error { _, err := t.Expunge(inbox.ID, Range(1, maxUID), false); return err })
				s.reapAll()
				s.clean()
			}
			for _, a := range []mail.AccountID{1, 3} {
				to.equal("another account after one was emptied", to.story(a), from.story(a))
			}
		})
	}
}

// Wherever a copy is ended, the next run finishes it, and nothing is there twice.
func TestCopyStoreInterrupted(t *testing.T) {
	t.Parallel()
	for name, side := range sides(t) {
		t.Run(name, func(t *testing.T) {
			from, to := siteOn(t, side[0], Config{}), siteOn(t, side[1], Config{})
			from.live()
			rnd := rand.New(rand.NewPCG(1, 2))
			runs := 0
			for done := false; !done; runs++ {
				ctx, cancel := context.WithCancel(t.Context())
				left := 1 + rnd.IntN(60)
				if runs > 20 {
					left = -1
				}
				_, err := to.CopyFrom(ctx, from.Store, runs == 0, CopyOptions{Workers: 2, Progress: func(CopySum) {
					if left--; left == 0 {
						cancel()
					}
				}})
				cancel()
				done = err == nil
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
			}
			t.Logf("%d runs", runs)
			to.sameAs(from)
			if err := to.CopyEnd(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := to.count("copy_marks") + to.count("copy_blobs"); n != 0 {
				t.Errorf("%d marks stay", n)
			}
		})
	}
}

// Who writes to the source meanwhile is found out, and that account copied again; who does not stop doing so is named.
func TestCopyStoreOfALivingSource(t *testing.T) {
	t.Parallel()
	from, to := siteOn(t, "", Config{}), siteOn(t, "", Config{})
	from.live()
	disturb := func(times int) (CopySum, error) {
		return to.CopyFrom(t.Context(), from.Store, true, CopyOptions{Workers: 1, Progress: func(s CopySum) {
			if s.Accounts == 3 && times > 0 {
				times--
				from.append(Ticket{2, 1}, from.box(2, Inbox).ID, text(77), 0)
			}
		}})
	}
	sum, err := disturb(1)
	if err != nil || sum.Accounts != 3 || sum.Verified != 3 {
		t.Fatalf("%+v, %v", sum, err)
	}
	to.sameAs(from)
	_, err = disturb(1 << 20)
	var differ *CopyDifference
	if !errors.As(err, &differ) || !slices.Equal(differ.Accounts, []mail.AccountID{2}) {
		t.Fatal(err)
	}
	to.copyFrom(from, false)
	to.sameAs(from)
}

// A copy that was served since can be brought to the source's state once more: what is the same stays, and accounts that share a body
// are not harmed when one of them goes.
func TestCopyStoreAgain(t *testing.T) {
	t.Parallel()
	for name, side := range sides(t) {
		t.Run(name, func(t *testing.T) {
			from, to := siteOn(t, side[0], Config{}), siteOn(t, side[1], Config{})
			from.live()
			to.copyFrom(from, true)
			if err := to.CopyEnd(t.Context()); err != nil {
				t.Fatal(err)
			}
			shared, large := to.body(text(500)), to.body(big(501, 150000))
			for _, b := range []*Body{shared, large} { // the destination was served, the source too
				for a := range mail.AccountID(3) {
					inbox := to.box(a+1, Inbox).ID
					to.must(Ticket{a + 1, 1}, func(x *Tx) error { _, err := x.Append(inbox, NewMessage{Body: b}); return err })
				}
				b.Release()
			}
			from.append(Ticket{2, 1}, from.box(2, Inbox).ID, text(600), 0)
			inbox := to.box(3, Inbox).ID
			to.must(Ticket{3, 1}, func(x *Tx) error { _, err := x.Expunge(inbox, Range(1, 50), false); return err })
			to.copyFrom(from, true)
			to.sameAs(from)
			if sum := to.copyFrom(from, true); sum.Bodies != 0 || sum.Verified != 3 {
				t.Errorf("what is the same was copied again: %+v", sum)
			}
			to.reapAll()
			from.reapAll()
			to.sameAs(from)
		})
	}
}

// A body that is not what its SHA-256 says is not copied, whatever its checksum says.
func TestCopyStoreOfDamage(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		`UPDATE bodies SET sha256=x'` + strings.Repeat("00", 32) + `' WHERE body_id=(SELECT MAX(body_id) FROM bodies)`,
		`UPDATE bodies SET rawsize=rawsize+1 WHERE body_id=(SELECT MAX(body_id) FROM bodies WHERE ref='')`,
		`UPDATE bodies SET crc=crc+1 WHERE body_id=(SELECT MAX(body_id) FROM bodies WHERE ref='')`,
		`UPDATE bodies SET sha256=x'` + strings.Repeat("00", 32) + `' WHERE rawsize>2000000`, // streamed
		`DELETE FROM bodies WHERE body_id=(SELECT MAX(body_id) FROM bodies)`,
	} {
		from, to := siteOn(t, "", Config{}), siteOn(t, "", Config{})
		from.live()
		if err := from.d.Update(t.Context(), func(x *db.Tx) error { _, err := x.Exec(sql); return err }, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := to.CopyFrom(t.Context(), from.Store, true, CopyOptions{}); err == nil || !strings.Contains(err.Error(), "message") {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// Whoever adds a table or a column has to say here what becomes of it in a copy.
func TestCopyStoreKnowsAllTables(t *testing.T) {
	t.Parallel()
	if dbtest.OnPostgres() {
		t.Skip("asks SQLite for its tables")
	}
	s := newSite(t, Config{})
	known := map[string]string{ // by hand, or not at all
		"messages":  "id mailbox_id uid thread_id body_id pop_order uidl prefix summary origin account_id",
		"bodies":    "body_id refs codec rawsize crc sha256 ref data account_id",
		"summaries": "body_id summary account_id", "copied": "body_id refs account_id",
		"gone_refs":       "-", // blobs that nobody needs
		"schema_versions": "-", // the destination's own
	}
	for _, table := range append([]*tables.Table{copyAccounts}, copyTables...) {
		known[table.Name] = strings.Join(table.Columns, " ")
	}
	err := s.d.View(t.Context(), func(c *db.Conn) error {
		for r, err := range c.Rows(`SELECT t.name, c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c
			WHERE t.type='table' AND t.name NOT LIKE 'fts_%' AND t.name NOT LIKE 'sqlite_%' ORDER BY t.name, c.cid`) {
			if err != nil {
				return err
			}
			if have := known[r.Text(0)]; have != "-" && !slices.Contains(strings.Fields(have), r.Text(1)) {
				t.Errorf("column %s of %s is not copied", r.Text(1), r.Text(0))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
