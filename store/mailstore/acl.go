package mailstore

import (
	"context"
	"strings"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// SetACL sets (or with "" removes) the rights of an identifier (RFC 4314 §3.1).
func (t *Tx) SetACL(id MailboxID, identifier, rights string) error {
	if m := t.a.byID(id); m == nil || !m.wrk.live {
		return errNoMailbox
	}
	if identifier == "" || len(identifier) > MaxMailboxLevel || len(rights) > MaxMailboxLevel {
		return &mail.Error{Kind: mail.BadInput, Text: "ACL identifier or rights are empty or too long"}
	}
	if rights == "" {
		t.announce(id, MailboxChanged)
		_, err := t.exec(`DELETE FROM acl WHERE account_id=? AND mailbox_id=? AND identifier=?`, db.Int(t.a.id), db.Int(id), db.Text(identifier))
		return err
	}
	if err := t.bounded(`SELECT COUNT(*) FROM acl WHERE account_id=? AND mailbox_id=? AND identifier<>?`, id, identifier, MaxACLEntries, "too many ACL entries"); err != nil {
		return err
	}
	t.announce(id, MailboxChanged)
	_, err := t.exec(`INSERT INTO acl (account_id, mailbox_id, identifier, rights) VALUES (?1,?2,?3,?4)
		ON CONFLICT (account_id, mailbox_id, identifier) DO UPDATE SET rights=?4`,
		db.Int(t.a.id), db.Int(id), db.Text(identifier), db.Text(rights))
	return err
}

// SpecialUseEntry is the annotation of a mailbox that is its special use: the
// attributes with a space between them (RFC 6154 §4).
const SpecialUseEntry = "/private/specialuse"

// SetMetadata sets (or with nil removes) an annotation; id 0 is the server's
// (RFC 5464 §4.3). SpecialUseEntry changes the special use, as SetSpecialUse does.
func (t *Tx) SetMetadata(id MailboxID, entry string, value []byte) error {
	if m := t.a.byID(id); id != 0 && (m == nil || !m.wrk.live) {
		return errNoMailbox
	}
	entry = strings.ToLower(entry)
	switch {
	case entry == "" || len(entry) > MaxMailboxName:
		return &mail.Error{Kind: mail.BadInput, Text: "metadata entry name is empty or too long"}
	case len(value) > MaxMetadataValue:
		return &mail.Error{Kind: mail.TooLarge, Text: "metadata value is too large"}
	}
	if id != 0 && entry == SpecialUseEntry {
		return t.SetSpecialUse(id, strings.Fields(string(value)))
	}
	kind := MailboxChanged
	if id == 0 {
		kind = AccountChanged
	}
	if value == nil {
		n, err := t.exec(`DELETE FROM metadata WHERE account_id=? AND mailbox_id=? AND entry=?`, db.Int(t.a.id), db.Int(id), db.Text(entry))
		if n > 0 {
			t.announce(id, kind)
		}
		return err
	}
	if err := t.bounded(`SELECT COUNT(*) FROM metadata WHERE account_id=? AND mailbox_id=? AND entry<>?`, id, entry, MaxMetadataCount, "too many metadata entries"); err != nil {
		return err
	}
	t.announce(id, kind)
	_, err := t.exec(`INSERT INTO metadata (account_id, mailbox_id, entry, value) VALUES (?1,?2,?3,?4)
		ON CONFLICT (account_id, mailbox_id, entry) DO UPDATE SET value=?4`,
		db.Int(t.a.id), db.Int(id), db.Text(entry), db.Blob(value))
	return err
}

// bounded refuses key if there are limit others.
func (t *tx) bounded(sql string, id MailboxID, key string, limit int, text string) error {
	var n int
	if _, err := t.c.Row(sql, db.Int(t.a.id), db.Int(id), db.Text(key)).Scan(&n); err != nil {
		return t.fail(err)
	}
	if n >= limit {
		return &mail.Error{Kind: mail.Limit, Text: text}
	}
	return nil
}

// ACL returns the stored rights of a mailbox by identifier (RFC 4314); the owner has all rights implicitly.
func (s *Store) ACL(ctx context.Context, a mail.AccountID, m MailboxID) (map[string]string, error) {
	if _, err := s.MailboxByID(ctx, a, m); err != nil {
		return nil, err
	}
	out := make(map[string]string)
	err := s.view(ctx, func(c *db.Conn) error {
		for r, err := range c.Rows(`SELECT identifier, rights FROM acl WHERE account_id=? AND mailbox_id=?`, db.Int(a), db.Int(m)) {
			if err != nil {
				return err
			}
			out[r.Text(0)] = r.Text(1)
		}
		return nil
	})
	return out, err
}

// Metadata returns annotations (RFC 5464) of a mailbox (0: server) by lower-case entry name.
func (s *Store) Metadata(ctx context.Context, a mail.AccountID, m MailboxID) (map[string][]byte, error) {
	var mb Mailbox
	if m != 0 {
		var err error
		if mb, err = s.MailboxByID(ctx, a, m); err != nil {
			return nil, err
		}
	}
	out := make(map[string][]byte)
	err := s.view(ctx, func(c *db.Conn) error {
		for r, err := range c.Rows(`SELECT entry, value FROM metadata WHERE account_id=? AND mailbox_id=?`, db.Int(a), db.Int(m)) {
			if err != nil {
				return err
			}
			out[r.Text(0)] = r.Bytes(1)
		}
		return nil
	})
	if m != 0 {
		delete(out, SpecialUseEntry) // a row of before it was tied to the special use
		if len(mb.SpecialUse) > 0 {
			out[SpecialUseEntry] = []byte(strings.Join(mb.SpecialUse, " "))
		}
	}
	return out, err
}
