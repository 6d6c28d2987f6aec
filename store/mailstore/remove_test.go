package mailstore

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"bahnpost/store/blob"
	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"
)

// listed is a directory of one account, in the same database.
func (s *site) listed() (yes bool) {
	s.t.Helper()
	if err := s.d.View(context.Background(), func(c *db.Conn) error {
		var n int
		_, err := c.Row(`SELECT COUNT(*) FROM listed`).Scan(&n)
		yes = n > 0
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
	return yes
}

func (s *site) unlist(ctx context.Context) error {
	return s.d.Update(ctx, func(x *db.Tx) error { _, err := x.Exec(`DELETE FROM listed`); return err }, nil)
}

// A removal is killed at its n-th write or sync, for every n: an account that nobody lists leaves nothing behind once
// the next start has gone on; one that is still listed is whole, or empty, and is gone after a second call.
func TestRemoveKilledAnywhere(t *testing.T) {
	t.Parallel()
	if dbtest.OnPostgres() {
		t.Skip("the fault is in SQLite's files")
	}
	const forEver = 1 << 40
	tables := []string{"messages", "msgidx", "bodies", "summaries", "copied", "thread_ref", "changelog", "mailboxes", "accounts", "gone"}
	for _, op := range []string{"write", "sync"} {
		for n, seen := int64(1), int64(1); seen > 0; n++ {
			f := &faults{op: op, from: n, run: forEver}
			s := shakySite(t, f, nil)
			f.off.Store(true)
			before := map[string]int{}
			for _, table := range tables {
				before[table] = s.count(table)
			}
			tk := s.account(2, Quota{})
			inbox := s.box(2, Inbox).ID
			for i := range 30 {
				s.append(tk, inbox, text(i), 0)
			}
			s.must(tk, func(x *Tx) error { _, err := x.Copy(inbox, Range(1, 9), s.box(2, "Archive").ID); return err })
			if err := s.d.Update(t.Context(), func(x *db.Tx) error {
				_, err := x.Exec(`CREATE TABLE listed AS SELECT 2 AS account_id`)
				return err
			}, nil); err != nil {
				t.Fatal(err)
			}
			f.off.Store(false)
			err := s.RemoveAccount(t.Context(), 2, s.unlist)
			f.off.Store(true)
			if seen = f.hits.Load(); seen > 0 && err == nil {
				t.Errorf("%s %d failed and nobody heard of it", op, n)
			}
			s.startAnew()
			s.resumeRemovals(t.Context())
			s.removedOrWhole(fmt.Sprint(op, " ", n), before)
			s.close()
		}
	}
}

// startAnew closes the site and opens it without faults, on disks that are as the kill left them.
func (s *site) startAnew() {
	s.t.Helper()
	s.close()
	var err error
	if s.d, err = db.Open(context.Background(), db.Config{Path: filepath.Join(s.dir, "mail.db"), NoSync: true}); err != nil {
		s.t.Fatal(err)
	}
	if s.b, err = blob.OpenDir(filepath.Join(s.dir, "bodies"), blob.DirConfig{NoSync: true}); err != nil {
		s.t.Fatal(err)
	}
	if s.Store, err = New(context.Background(), s.d, s.b, s.cfg); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) removedOrWhole(when string, want map[string]int) {
	s.t.Helper()
	s.reapAll()
	s.clean()
	if s.listed() {
		if n := s.count("messages"); n != 39 && n != 0 {
			s.t.Errorf("%s: a listed account is left with %d of 39 messages", when, n)
		}
		if err := s.RemoveAccount(context.Background(), 2, s.unlist); err != nil {
			s.t.Errorf("%s: again: %v", when, err)
		}
	}
	if s.listed() {
		s.t.Errorf("%s: still listed", when)
	}
	for table, n := range want {
		if got := s.count(table); got != n {
			s.t.Errorf("%s: %d rows in %s, want %d", when, got, table, n)
		}
	}
}
