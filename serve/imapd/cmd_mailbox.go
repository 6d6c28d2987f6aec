package imapd

import (
	"slices"
	"strings"

	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

const separator = string(mailstore.Separator)

// create: "CREATE" SP mailbox [SP "(" "USE" SP "(" use-attr … ")" ")"]
// (RFC 9051 §6.3.4, RFC 6154 §3).
func create(s *session, d *imap.Decoder) error {
	var spec mailstore.MailboxSpec
	d.SP()
	name := d.Mailbox()
	if d.TakeSP() && !d.AtEnd() {
		d.List(false, func() {
			if kw := d.Keyword(); kw != "USE" {
				d.Fail("CREATE parameter %.40s is not known", kw)
				return
			}
			d.SP()
			d.List(true, func() { spec.SpecialUse = append(spec.SpecialUse, d.Flag()) })
		})
	}
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	for i, use := range spec.SpecialUse {
		u, ok := specialUse(use)
		if !ok {
			return no("USEATTR", "special use is not known") // RFC 6154 §3
		}
		spec.SpecialUse[i] = u
	}
	spec.Name = strings.TrimSuffix(name, separator) // RFC 9051 §6.3.4: only declares the intent to have children
	var mb mailstore.Mailbox
	err := s.update(func(tx *mailstore.Tx) (err error) {
		mb, err = tx.CreateMailbox(spec)
		return err
	})
	if err != nil {
		return err
	}
	if mb.Name != spec.Name && s.has(rev2) {
		s.out.b = s.appendList(s.out.b, &listed{Mailbox: mb, exists: true}, &imap.ListRequest{})
		s.out.b = s.appendOldName(s.out.b[:len(s.out.b)-2], spec.Name)
	}
	s.cmd.code = string(append(appendMailboxID([]byte("MAILBOXID ("), &mb), ')')) // RFC 8474 §4.1
	return nil
}

// specialUses are the attributes of RFC 6154 §2 and RFC 8457 §4 that a mailbox can have here. \All and
// \Flagged are for virtual mailboxes, which we do not have.
var specialUses = [...]string{`\Archive`, `\Drafts`, `\Important`, `\Junk`, `\Sent`, `\Trash`}

func specialUse(s string) (string, bool) {
	for _, u := range specialUses {
		if strings.EqualFold(u, s) {
			return u, true
		}
	}
	return "", false
}

// mailboxArg reads the only argument of a command: a mailbox.
func mailboxArg(d *imap.Decoder) (string, error) {
	d.SP()
	name := d.Mailbox()
	d.End()
	return name, d.Err()
}

// deleteMailbox: "DELETE" SP mailbox (RFC 9051 §6.3.5). With children the name
// stays as \NonExistent.
func deleteMailbox(s *session, d *imap.Decoder) error {
	name, err := mailboxArg(d)
	if err != nil {
		return err
	}
	if name == "INBOX" {
		return no("CANNOT", "INBOX can't be deleted")
	}
	var id mailstore.MailboxID
	err = s.update(func(tx *mailstore.Tx) error {
		mb, err := tx.MailboxByName(name)
		if err != nil {
			return err
		}
		if mb.NoSelect && mb.HasChildren {
			return no("HASCHILDREN", "mailbox has children")
		}
		id = mb.ID
		return tx.DeleteMailbox(mb.ID)
	})
	if err != nil {
		return err
	}
	if s.mbox != nil && s.mbox.id == id {
		s.deselect()
		s.line("* OK [CLOSED] the selected mailbox was deleted") // RFC 9051 §7.1
	}
	return nil
}

// rename: "RENAME" SP mailbox SP mailbox (RFC 9051 §6.3.6).
func rename(s *session, d *imap.Decoder) error {
	d.SP()
	from := d.Mailbox()
	d.SP()
	to := d.Mailbox()
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	to = strings.TrimSuffix(to, separator)
	var id mailstore.MailboxID
	err := s.update(func(tx *mailstore.Tx) error {
		mb, err := tx.MailboxByName(from)
		if err != nil {
			return err
		}
		id = mb.ID
		return tx.RenameMailbox(mb.ID, to)
	})
	if err != nil {
		return err
	}
	if s.mbox != nil && s.mbox.id == id && from != "INBOX" {
		s.mbox.name = to
	}
	return nil
}

// subscribe: "SUBSCRIBE" SP mailbox (RFC 9051 §6.3.7). Any valid name is taken:
// it may be created later, or again.
func subscribe(s *session, d *imap.Decoder) error { return s.subscribe(d, true) }

// unsubscribe: "UNSUBSCRIBE" SP mailbox (RFC 9051 §6.3.8).
func unsubscribe(s *session, d *imap.Decoder) error { return s.subscribe(d, false) }

func (s *session) subscribe(d *imap.Decoder, on bool) error {
	name, err := mailboxArg(d)
	if err != nil {
		return err
	}
	name = strings.TrimSuffix(name, separator)
	return s.update(func(tx *mailstore.Tx) error { return tx.Subscribe(name, on) })
}

// status: "STATUS" SP mailbox SP "(" items ")" (RFC 9051 §6.3.11).
func status(s *session, d *imap.Decoder) error {
	d.SP()
	name := d.Mailbox()
	d.SP()
	items := d.StatusItems()
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	mb, err := s.srv.store.MailboxByName(s.ctx, s.login.Account, name)
	if err != nil {
		return err
	}
	if mb.NoSelect {
		return no("NONEXISTENT", "this name is no mailbox, it only has children")
	}
	s.asksStatus(items)
	s.sayStatus(&mb, items)
	return nil
}

// asksStatus notes what a client that asks for these items has to know.
func (s *session) asksStatus(items []imap.StatusItem) {
	if slices.Contains(items, imap.StatusHighestModSeq) {
		s.enableCondstore() // RFC 7162 §3.1
	}
}

// sayStatus says STATUS of a mailbox, which the client need not have asked for.
func (s *session) sayStatus(mb *mailstore.Mailbox, items []imap.StatusItem) {
	b := append(s.out.b, "* STATUS "...)
	b = imap.AppendMailbox(b, mb.Name, s.utf8())
	b = append(b, " ("...)
	for i, it := range items {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(append(b, it.String()...), ' ')
		switch it {
		case imap.StatusMessages:
			b = imap.AppendUint(b, mb.Messages)
		case imap.StatusRecent:
			b = imap.AppendUint(b, s.recentOf(mb.ID))
		case imap.StatusUIDNext:
			b = imap.AppendUint(b, uint32(mb.UIDNext))
		case imap.StatusUIDValidity:
			b = imap.AppendUint(b, mb.UIDValidity)
		case imap.StatusUnseen:
			b = imap.AppendUint(b, mb.Unseen)
		case imap.StatusDeleted:
			b = imap.AppendUint(b, mb.Deleted)
		case imap.StatusSize:
			b = imap.AppendUint(b, mb.Bytes)
		case imap.StatusHighestModSeq:
			b = imap.AppendUint(b, uint64(max(mb.ModSeq, 1)))
		case imap.StatusMailboxID:
			b = append(appendMailboxID(append(b, '('), mb), ')')
		case imap.StatusAppendLimit:
			b = imap.AppendUint(b, s.srv.cfg.MaxMessage)
		case imap.StatusDeletedStorage:
			b = imap.AppendUint(b, s.deletedBytes(mb))
		}
	}
	s.out.b = append(b, ")\r\n"...)
}

// recentOf is how many messages are \Recent (RFC 3501 §6.3.10): those of this
// session, if it has selected the mailbox, and those that none was told of.
func (s *session) recentOf(id mailstore.MailboxID) int {
	n := s.srv.store.RecentCount(s.login.Account, id)
	if s.mbox != nil && s.mbox.id == id && !s.mbox.readOnly {
		n += s.mbox.recent.Count()
	}
	return n
}

// deletedBytes sums the sizes of messages marked \Deleted (RFC 9208 §4.1.4).
// It reads the rows only if there are such messages.
func (s *session) deletedBytes(mb *mailstore.Mailbox) (n int64) {
	if mb.Deleted == 0 {
		return 0
	}
	box, err := s.srv.store.OpenBox(s.ctx, s.login.Account, mb.ID)
	if err != nil {
		return 0
	}
	defer box.Close()
	for e, err := range box.NewView().Entries(s.ctx, nil) {
		if err != nil {
			return n
		}
		if e.Row.Flags&mailstore.Deleted != 0 {
			n += int64(e.Row.Size)
		}
	}
	return n
}
