package imapd

import (
	"slices"
	"strings"

	"bahnpost/mail"
	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// Rights (RFC 4314). A session sees its own account's mailboxes only, and the owner has all rights,
// always: nothing that SETACL does can take them away. What others are granted is kept for the
// day on which they can get here.

// owner is the identifier of this session's user.
func (s *session) owner() string { return s.login.Address.String() }

// aclMailbox finds the mailbox of an ACL command. What can't be listed is said not to be there (RFC 4314 §6).
func (s *session) aclMailbox(name string) (mailstore.Mailbox, error) {
	return s.srv.store.MailboxByName(s.ctx, s.login.Account, name)
}

// identifier reads an ACL identifier. An address is brought into its canonical form (RFC 4314 §3.3).
func identifier(d *imap.Decoder) (raw, id string) {
	raw, id = d.Identifier()
	if d.Err() != nil || !strings.Contains(id, "@") {
		return raw, id
	}
	negative := strings.HasPrefix(id, "-")
	a, err := mail.ParseAddress(strings.TrimPrefix(id, "-"))
	if err != nil {
		d.Fail("identifier is no valid address: %s", err.Error())
		return raw, ""
	}
	if id = a.String(); negative {
		id = "-" + id
	}
	return raw, id
}

// setACL: "SETACL" SP mailbox SP identifier SP mod-rights (RFC 4314 §3.1).
func setACL(s *session, d *imap.Decoder) error {
	d.SP()
	name := d.Mailbox()
	d.SP()
	_, id := identifier(d)
	d.SP()
	change := d.Rights()
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	mb, err := s.aclMailbox(name)
	if err != nil {
		return err
	}
	if id == s.owner() {
		if change.Apply(imap.AllRights) != imap.AllRights {
			return no("NOPERM", "the owner of a mailbox has all rights")
		}
		return nil
	}
	stored, err := s.srv.store.ACL(s.ctx, s.login.Account, mb.ID)
	if err != nil {
		return err
	}
	rights := change.Apply(stored[id])
	if rights == stored[id] {
		return nil
	}
	return s.update(func(tx *mailstore.Tx) error { return tx.SetACL(mb.ID, id, rights) })
}

// deleteACL: "DELETEACL" SP mailbox SP identifier (RFC 4314 §3.2).
func deleteACL(s *session, d *imap.Decoder) error {
	d.SP()
	name := d.Mailbox()
	d.SP()
	_, id := identifier(d)
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	mb, err := s.aclMailbox(name)
	if err != nil {
		return err
	}
	if id == s.owner() {
		return no("NOPERM", "the owner of a mailbox has all rights")
	}
	return s.update(func(tx *mailstore.Tx) error { return tx.SetACL(mb.ID, id, "") })
}

// getACL: "GETACL" SP mailbox (RFC 4314 §3.3).
func getACL(s *session, d *imap.Decoder) error {
	name, err := mailboxArg(d)
	if err != nil {
		return err
	}
	mb, err := s.aclMailbox(name)
	if err != nil {
		return err
	}
	stored, err := s.srv.store.ACL(s.ctx, s.login.Account, mb.ID)
	if err != nil {
		return err
	}
	ids := make([]string, 0, len(stored))
	for id := range stored {
		if id != s.owner() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	b := imap.AppendMailbox(append(s.out.b, "* ACL "...), mb.Name, s.utf8())
	b = imap.AppendRights(append(s.appendText(append(b, ' '), s.owner()), ' '), imap.AllRights)
	for _, id := range ids {
		b = imap.AppendRights(append(s.appendText(append(b, ' '), id), ' '), stored[id])
	}
	s.out.b = append(b, "\r\n"...)
	return nil
}

// appendText prints a string of ours: bare if it can be, in quotes, or as a literal if it has UTF-8 that the client did not ask for.
func (s *session) appendText(b []byte, text string) []byte {
	for i := 0; i < len(text); i++ {
		if text[i] >= 0x80 {
			return imap.AppendString(b, text, s.utf8())
		}
	}
	return imap.AppendAString(b, text)
}

// listRights: "LISTRIGHTS" SP mailbox SP identifier (RFC 4314 §3.4). No right is tied to another.
func listRights(s *session, d *imap.Decoder) error {
	d.SP()
	name := d.Mailbox()
	d.SP()
	raw, id := identifier(d)
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	mb, err := s.aclMailbox(name)
	if err != nil {
		return err
	}
	b := imap.AppendMailbox(append(s.out.b, "* LISTRIGHTS "...), mb.Name, s.utf8())
	b = append(s.appendText(append(b, ' '), raw), ' ')
	if id == s.owner() {
		b = imap.AppendRights(b, imap.AllRights)
	} else {
		b = append(b, `""`...)
		for _, r := range imap.AllRights + "cd" { // RFC 4314 §2.1.1: the virtual rights stand by themselves
			b = append(b, ' ', byte(r))
		}
	}
	s.out.b = append(b, "\r\n"...)
	return nil
}

// myRights: "MYRIGHTS" SP mailbox (RFC 4314 §3.5).
func myRights(s *session, d *imap.Decoder) error {
	name, err := mailboxArg(d)
	if err != nil {
		return err
	}
	mb, err := s.aclMailbox(name)
	if err != nil {
		return err
	}
	s.out.b = s.appendMyRights(s.out.b, mb.Name)
	return nil
}

// appendMyRights appends a MYRIGHTS response (RFC 4314 §3.8), also for LIST (RFC 8440).
func (s *session) appendMyRights(b []byte, name string) []byte {
	b = imap.AppendMailbox(append(b, "* MYRIGHTS "...), name, s.utf8())
	b = imap.AppendRights(append(b, ' '), imap.AllRights)
	return append(b, "\r\n"...)
}
