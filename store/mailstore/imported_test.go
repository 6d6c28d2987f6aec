package mailstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"
)

// A POP3 login pays for messages that a move brought, not for others.
func TestImported(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk, other := s.account(1, Quota{}), s.account(2, Quota{})
	inbox, sent, foreign := s.box(1, Inbox).ID, s.box(1, "Sent").ID, s.box(2, Inbox).ID
	body := s.body(text(1))
	defer body.Release()
	give := func(tk Ticket, box MailboxID, n int, uidl string, order int64) {
		s.must(tk, func(x *Tx) error {
			for range n {
				if _, err := x.Import(box, ImportedMessage{NewMessage: NewMessage{Body: body}, UIDL: uidl, Order: order}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	give(other, foreign, 1, "foreign", 0)
	give(tk, inbox, 100, "", 0)
	give(tk, inbox, 1, "abc", 0) // 101
	give(tk, sent, 1, "elsewhere", 0)
	give(tk, inbox, 100, "", 0)
	give(tk, inbox, 1, "", 7)                // 202
	give(tk, inbox, importedPage+5, "x", 99) // 203…
	b, err := s.OpenBox(t.Context(), 1, inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	look := func(after UID) (out []Imported) {
		for m, err := range b.Imported(t.Context(), after) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, m)
		}
		return out
	}
	got := look(0)
	if len(got) != importedPage+7 || got[0] != (Imported{101, "abc", 0}) || got[1] != (Imported{202, "", 7}) || got[2] != (Imported{203, "x", 99}) {
		t.Errorf("%d imported, %v", len(got), got[:min(3, len(got))])
	}
	if got = look(202); len(got) != importedPage+5 {
		t.Errorf("%d imported after 202", len(got))
	}
	for range b.Imported(t.Context(), 0) { // may be left early
		break
	}
	// a move within the store ends the old server's ids
	s.must(tk, func(x *Tx) error { _, err := x.Move(inbox, Range(1, maxUID), sent); return err })
	if got = look(0); len(got) != 0 {
		t.Errorf("after the move: %v", got)
	}
	s.usesIndex("messages_imported (mailbox_id=? AND id>? AND id<?)")
	s.clean()
}

// usesIndex looks whether SQLite's plan for sqlImported has want in it.
func (s *site) usesIndex(want string) {
	s.t.Helper()
	if dbtest.OnPostgres() {
		return // its plans depend on statistics
	}
	var plan []string
	if err := s.d.View(s.t.Context(), func(c *db.Conn) error {
		plan = nil
		for r, err := range c.Rows("EXPLAIN QUERY PLAN "+sqlImported, db.Int(1), db.Int(1), db.Int(9), db.Int(0), db.Int(10), db.Int(0)) {
			if err != nil {
				return err
			}
			plan = append(plan, r.Text(3))
		}
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
	if !slices.ContainsFunc(plan, func(s string) bool { return strings.Contains(s, want) }) {
		s.t.Error("the index is not used: ", fmt.Sprint(plan))
	}
}
