package mailstore

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// Check sees each kind of damage that it claims to see.
func TestCheckFinds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, sql, want string
		fatal           bool
	}{
		{"counter", `UPDATE mailboxes SET unseen=unseen+1 WHERE mailbox_id=1`, "counters say", true},
		{"usage", `UPDATE accounts SET used_bytes=used_bytes-1`, "usage is kept", true},
		{"uidnext", `UPDATE mailboxes SET uidnext=2 WHERE mailbox_id=1`, "highest uid", true},
		{"modseq", `UPDATE mailboxes SET modseq=999 WHERE mailbox_id=1`, "above the account's", true},
		{"row modseq", `UPDATE msgidx SET modseq=998 WHERE uid=1`, "modseq 998", true},
		{"no message", `DELETE FROM messages WHERE uid=2`, "has no message", true},
		{"no body row", `DELETE FROM bodies WHERE body_id=1`, "has no body", true},
		{"refs low", `UPDATE bodies SET refs=0 WHERE body_id=2`, "counted 0 times", true},
		{"refs high", `UPDATE bodies SET refs=2 WHERE body_id=2`, "counted 2 times", false},
		{"copies high", `INSERT INTO copied (account_id, body_id, refs) SELECT account_id, body_id, 3 FROM bodies WHERE body_id=2`, "counted 4 times", false},
		{"no summary", `DELETE FROM summaries WHERE body_id=2`, "has no summary", true},
		{"lone summary", `INSERT INTO summaries (account_id, body_id, summary) SELECT account_id, 77, X'' FROM bodies WHERE body_id=2`, "body 77 is gone", false},
		{"lost index row", `DELETE FROM msgidx WHERE uid=3`, "is in no mailbox", false},
		{"twice", `UPDATE msgidx SET msg_id=2 WHERE uid=3`, "message 2 is in mailboxes 2 times", true},
		{"size", `UPDATE msgidx SET size=size+1 WHERE uid=3`, "size in the index", true},
		{"arrival", `UPDATE msgidx SET added=999 WHERE uid=2`, "do not rise", true},
		{"parent", `UPDATE mailboxes SET parent_id=77 WHERE mailbox_id=2`, "parent 77", true},
		{"stranger", `DELETE FROM mailboxes WHERE mailbox_id=1`, "belong to no mailbox", true},
		{"subscription", `DELETE FROM subscriptions WHERE name='INBOX'`, "mailbox in memory differs", true},
		{"quota", `UPDATE accounts SET quota_bytes=77`, "account in memory differs", true},
		{"memory", `UPDATE msgidx SET flags=flags|2 WHERE uid=4`, "row in memory differs", true},
		{"crc", `UPDATE bodies SET data=X'00' WHERE body_id=1`, "checksum", true},
		{"sha", `UPDATE bodies SET sha256=X'00' WHERE body_id=2`, "checksum", true},
		{"orphan", `UPDATE bodies SET ref='p9.9.9' WHERE ref<>''`, "belongs to no message", false},
		{"blob", `UPDATE bodies SET ref='p9.9.9' WHERE ref<>''`, "body 4", true},
	} {
		s := newSite(t, Config{SystemMailboxes: []MailboxSpec{{Name: "x"}}, Compression: "off", InlineMax: 400})
		tk := s.account(1, Quota{})
		inbox := s.box(1, Inbox).ID
		for i := range 4 {
			s.append(tk, inbox, big(i, i/3*1000), 0)
		}
		b, err := s.OpenBox(t.Context(), 1, inbox)
		if err != nil || b.Load(t.Context()) != nil {
			t.Fatal(err)
		}
		s.clean()
		if err := s.db.Update(context.Background(), func(x *db.Tx) error { _, err := x.Exec(c.sql); return err }, nil); err != nil {
			t.Fatal(c.name, err)
		}
		found := false
		var all []string
		for p, err := range s.Check(t.Context(), CheckOptions{Bodies: true}) {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			found = found || strings.Contains(p.Text, c.want) && p.Fatal == c.fatal
			all = append(all, p.Text)
		}
		if !found {
			t.Errorf("%s: want %q (fatal %v), found %q", c.name, c.want, c.fatal, all)
		}
		s.close()
	}
}

// Damage on disk is never handed out as mail.
func TestDamageIsSeen(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{{InlineMax: 1}, {InlineMax: 1, Compression: "off"}} {
		s := newSite(t, cfg)
		tk := s.account(1, Quota{})
		a := s.append(tk, s.box(1, Inbox).ID, big(1, 3000), 0)
		s.close()
		packs, _ := filepath.Glob(filepath.Join(s.dir, "bodies", "packs", "*"))
		for _, p := range packs {
			data, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			for i := 100; i < len(data); i += 20 {
				data[i] ^= 0x20
			}
			os.WriteFile(p, data, 0o600)
		}
		s.open()
		r, err := s.OpenMessage(t.Context(), 1, a.Message)
		if err == nil {
			_, err = r.ReadAt(make([]byte, 1000), 0)
			r.Close()
		}
		wantKind(t, err, mail.Corrupt)
	}
}
