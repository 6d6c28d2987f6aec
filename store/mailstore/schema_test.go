package mailstore

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"bahnpost/store/internal/db"
)

// Each makes the tables what a step of the schema found. toStep4: one scope, which nobody wrote down. toStep3:
// summaries with the messages, all copies counted in bodies.
var (
	toStep4 = []string{
		`ALTER TABLE messages DROP COLUMN account_id`, `ALTER TABLE bodies DROP COLUMN account_id`,
		`ALTER TABLE summaries DROP COLUMN account_id`, `ALTER TABLE copied DROP COLUMN account_id`,
		`ALTER TABLE gone_refs DROP COLUMN account_id`, `ALTER TABLE accounts DROP COLUMN shape`,
		`UPDATE schema_versions SET version=4 WHERE component='mailstore'`,
	}
	toStep3 = append(slices.Clone(toStep4),
		`UPDATE messages SET summary=(SELECT summary FROM summaries s WHERE s.body_id=messages.body_id)`,
		`UPDATE bodies SET refs=bodies.refs+c.refs FROM copied c WHERE c.body_id=bodies.body_id`,
		`DROP TABLE summaries`,
		`DROP TABLE copied`,
		`UPDATE schema_versions SET version=3 WHERE component='mailstore'`)
)

// metas are the Metas of a mailbox.
func (s *site) metas(box MailboxID) (out []string) {
	s.t.Helper()
	b, err := s.OpenBox(context.Background(), 1, box)
	if err != nil {
		s.t.Fatal(err)
	}
	defer b.Close()
	var rows []Row
	for e, err := range b.NewView().Entries(context.Background(), nil) {
		if err != nil {
			s.t.Fatal(err)
		}
		rows = append(rows, e.Row)
	}
	for m, err := range b.Metas(context.Background(), rows) {
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%+v", *m))
	}
	return out
}

// Messages from before a step are read, copied and reaped like those after it, and both together.
func TestOlderStores(t *testing.T) {
	t.Parallel()
	for name, undo := range map[string][]string{"step 3": toStep3, "step 4": toStep4} {
		t.Run(name, func(t *testing.T) { t.Parallel(); olderStore(t, undo) })
	}
}

func olderStore(t *testing.T, undo []string) {
	s := newSite(t, Config{Compression: "off", InlineMax: 300, BlobGrace: -1})
	tk := s.account(1, Quota{})
	inbox, archive, trash := s.box(1, Inbox).ID, s.box(1, "Archive").ID, s.box(1, "Trash").ID
	transfer := func(src, dst MailboxID, move bool) {
		s.must(tk, func(x *Tx) error { _, err := x.transfer(src, Range(1, maxUID), dst, move); return err })
	}
	s.fill(tk, inbox, 50)
	transfer(inbox, archive, false)
	want, metas := s.contents(1, inbox), s.metas(inbox)
	if err := s.d.Update(t.Context(), func(x *db.Tx) error {
		for _, sql := range undo {
			if _, err := x.Exec(sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	}, nil); err != nil {
		t.Fatal(err)
	}
	s.reopen()
	s.equal("after the migration", s.metas(inbox), metas)
	s.equal("after the migration", s.contents(1, archive), want)
	s.clean()

	s.fill(tk, inbox, 50)
	all := s.metas(inbox)
	s.equal("old ones among new", all[:50], metas)
	transfer(archive, trash, false)
	transfer(inbox, trash, false)
	transfer(trash, archive, true)
	s.equal("copies of both", s.contents(1, archive), slices.Concat(want, want, s.contents(1, inbox)))
	s.clean()
	for _, box := range []MailboxID{inbox, archive} {
		s.must(tk, func(x *Tx) error { _, err := x.Expunge(box, Range(1, maxUID), false); return err })
		s.reapAll()
		s.clean()
	}
	for _, table := range []string{"messages", "bodies", "summaries", "copied"} {
		if n := s.count(table); n != 0 {
			t.Errorf("%d rows left in %s", n, table)
		}
	}
}

func (s *site) count(table string) (n int) {
	s.t.Helper()
	if err := s.d.View(context.Background(), func(c *db.Conn) error {
		_, err := c.Row(`SELECT COUNT(*) FROM ` + table).Scan(&n)
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
	return n
}
