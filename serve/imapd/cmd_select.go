package imapd

import (
	"strconv"

	"bahnpost/mail"
	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// selectArgs are the parameters of SELECT (RFC 4466 §2.1).
type selectArgs struct {
	name        string
	qresync     bool
	uidValidity uint32
	modSeq      mailstore.ModSeq
	known       mailstore.UIDSet // nil: all
	numbers     bool             // message number match data was given
}

// selectMailbox: "SELECT" SP mailbox [SP "(" params ")"] (RFC 9051 §6.3.2, RFC 7162 §3.1.8, §3.2.5).
func selectMailbox(s *session, d *imap.Decoder) error { return s.open(d, false) }

// examine: "EXAMINE" (RFC 9051 §6.3.3).
func examine(s *session, d *imap.Decoder) error { return s.open(d, true) }

func (s *session) selectArgs(d *imap.Decoder) (a selectArgs) {
	d.SP()
	a.name = d.Mailbox()
	if d.TakeSP() && !d.AtEnd() {
		d.List(false, func() {
			switch kw := d.Keyword(); kw {
			case "CONDSTORE":
				s.enabled |= condstore // HIGHESTMODSEQ is said anyway
			case "QRESYNC":
				if !s.has(qresync) {
					d.Fail("QRESYNC must be enabled before it is used (RFC 7162 §3.2.5)")
				}
				d.SP()
				a.qresync = true
				parseQresync(d, &a)
			default:
				d.Fail("SELECT parameter %.40s is not known", kw)
			}
		})
	}
	d.End()
	return a
}

// parseQresync reads "(" uidvalidity SP modseq [SP known-uids] [SP "(" seqs SP
// uids ")"] ")". The message number match data is only read: our expunge
// history needs no such hint, and without history all of known-uids is compared.
func parseQresync(d *imap.Decoder, a *selectArgs) {
	d.Open()
	a.uidValidity = d.NzNumber()
	d.SP()
	a.modSeq = mailstore.ModSeq(d.ModSeq())
	if d.TakeSP() {
		if d.Peek() != '(' {
			a.known = toUIDSet(imap.Normalize(d.UIDSet()))
			if !d.TakeSP() {
				d.Close()
				return
			}
		}
		a.numbers = true
		d.Open()
		d.UIDSet()
		d.SP()
		d.UIDSet()
		d.Close()
	}
	d.Close()
}

func (s *session) open(d *imap.Decoder, readOnly bool) error {
	a := s.selectArgs(d)
	if d.Err() != nil {
		return d.Err()
	}
	if a.numbers && s.has(uidOnly) {
		s.cmd.code = "UIDREQUIRED" // RFC 9586 §3.7
		return bad("message numbers are not allowed once UIDONLY is enabled")
	}
	if s.mbox != nil {
		s.deselect() // also if the new one can't be opened (RFC 9051 §6.3.2)
		s.line("* OK [CLOSED] previous mailbox is closed")
	}
	mb, err := s.srv.store.MailboxByName(s.ctx, s.login.Account, a.name)
	if err != nil {
		return err
	}
	if mb.NoSelect {
		return no("NONEXISTENT", "this name is no mailbox, it only has children")
	}
	if err := s.take(mb, readOnly); err != nil {
		return err
	}
	s.sayOpened(a.name)
	if a.qresync && a.uidValidity == s.mbox.uidValidity {
		if err := s.resync(a.modSeq, a.known); err != nil {
			s.deselect()
			return err
		}
	}
	s.cmd.code = "READ-WRITE"
	if readOnly {
		s.cmd.code = "READ-ONLY"
	}
	return nil
}

// take makes mb the selected mailbox.
func (s *session) take(mb mailstore.Mailbox, readOnly bool) error {
	box, err := s.srv.store.OpenBox(s.ctx, s.login.Account, mb.ID)
	if err != nil {
		return err
	}
	m := &selection{box: box, id: mb.ID, name: mb.Name, uidValidity: mb.UIDValidity, readOnly: readOnly}
	m.stop = s.srv.store.Notify(s.login.Account, mb.ID, func(cs []mailstore.Change) {
		for i := range cs {
			if cs[i].Kind == mailstore.MailboxDeleted && cs[i].Mailbox == mb.ID {
				m.gone.Store(true)
			}
		}
		s.wake(cs)
	})
	m.view = box.NewView()
	m.complete = m.view.ModSeq()
	m.addRecent()
	s.mbox, s.state = m, selected
	return nil
}

// sayOpened says what SELECT says of a mailbox. It answers from kept counters
// and does not wait for the rows.
func (s *session) sayOpened(asked string) {
	m := s.mbox
	box := m.box.Mailbox()
	f := s.newFlagTexts()
	s.sayFlagsDefined(f.names)
	b := imap.AppendUint(append(s.out.b, "* "...), m.view.Count())
	b = append(b, " EXISTS\r\n"...)
	if !s.has(rev2) {
		m.recentSaid = m.recent.Count()
		b = append(imap.AppendUint(append(b, "* "...), m.recentSaid), " RECENT\r\n"...) // RFC 3501 §7.3.2
		if n := s.firstUnseen(&box); n > 0 && !s.has(uidOnly) {
			b = append(imap.AppendUint(append(b, "* OK [UNSEEN "...), n), "] first unseen\r\n"...)
		}
	}
	b = append(b, "* OK [UIDVALIDITY "...)
	b = imap.AppendUint(b, m.uidValidity)
	b = append(b, "] UIDs valid\r\n* OK [UIDNEXT "...)
	b = imap.AppendUint(b, uint32(m.view.UIDNext()))
	b = append(b, "] predicted next UID\r\n* OK [HIGHESTMODSEQ "...)
	b = imap.AppendUint(b, uint64(max(m.view.ModSeq(), 1)))
	b = append(b, "] highest\r\n* OK [MAILBOXID ("...)
	b = appendMailboxID(b, &box)
	b = append(b, ")] permanent\r\n"...)
	if s.has(rev2) {
		b = s.appendList(b, &listed{Mailbox: box, exists: true}, &imap.ListRequest{})
		if asked != m.name {
			b = s.appendOldName(b[:len(b)-2], asked)
		}
	}
	s.out.b = b
}

// Up to which size SELECT looks through the rows of a mailbox only to say
// UNSEEN: RFC 3501 §6.3.1 lets it be missing, SELECT must not wait for a large
// mailbox, and whoever only idles shall not cost the memory of the rows.
const (
	maxUnseenLoaded = 1000
	maxUnseenLoad   = 50
)

// firstUnseen is the number of the first unseen message (RFC 3501 §7.1), 0 if
// there is none or finding it out would take long.
func (s *session) firstUnseen(mb *mailstore.Mailbox) int {
	m := s.mbox
	switch n := m.view.Count(); {
	case n == 0 || mb.Unseen == 0:
		return 0
	case int64(mb.Unseen) == int64(n):
		return 1
	case n > maxUnseenLoaded, n > maxUnseenLoad && !m.box.Loaded():
		return 0
	}
	for e, err := range m.view.Entries(s.ctx, nil) {
		if err != nil {
			break // the next command that needs the rows says why
		}
		if e.Row.Flags&mailstore.Seen == 0 {
			return e.Seq
		}
	}
	return 0
}

// resync says what vanished and what changed since modSeq (RFC 7162 §3.2.5.2).
func (s *session) resync(modSeq mailstore.ModSeq, known mailstore.UIDSet) error {
	if err := s.sayVanishedEarlier(modSeq, known); err != nil {
		return err
	}
	f := s.newFlagTexts()
	for e, err := range s.mbox.view.Entries(s.ctx, known) {
		if err != nil {
			return err
		}
		if e.Row.ModSeq > modSeq {
			s.sayFlags(f, e, true, true)
		}
	}
	return nil
}

// sayVanishedEarlier says VANISHED (EARLIER) (RFC 7162 §3.2.10.1).
func (s *session) sayVanishedEarlier(since mailstore.ModSeq, known mailstore.UIDSet) error {
	since = max(since, s.mbox.box.Mailbox().Created) // what a mailbox of this name and id had before is none of ours
	gone, err := s.mbox.view.Vanished(s.ctx, since, known)
	if err != nil || gone.Empty() {
		return err
	}
	b := append(s.out.b, "* VANISHED (EARLIER) "...)
	s.out.b = append(gone.Append(b), "\r\n"...)
	return nil
}

// closeMailbox: "CLOSE" (RFC 9051 §6.4.1): expunges without a word.
func closeMailbox(s *session, d *imap.Decoder) error {
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	if m := s.mbox; !m.readOnly && m.box.Mailbox().Deleted > 0 {
		err := s.update(func(tx *mailstore.Tx) error {
			_, err := tx.Expunge(m.id, nil, true)
			return err
		})
		if err != nil && mail.KindOf(err) != mail.NoSuchMailbox {
			return err
		}
	}
	s.deselect()
	return nil
}

// unselect: "UNSELECT" (RFC 3691 §2, RFC 9051 §6.4.2).
func unselect(s *session, d *imap.Decoder) error {
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	s.deselect()
	return nil
}

// Object ids (RFC 8474 §4, §5): a letter, so that the kinds can't be taken for
// one another, and the store's number.
func appendMailboxID(b []byte, mb *mailstore.Mailbox) []byte {
	b = strconv.AppendInt(append(b, 'F'), int64(mb.ID), 10)
	return strconv.AppendUint(append(b, '-'), uint64(mb.Created), 10) // a name made again for its children's sake has the old ID
}

func appendEmailID(b []byte, id mailstore.MessageID) []byte {
	return strconv.AppendInt(append(b, 'M'), int64(id), 10)
}

func appendThreadID(b []byte, id mailstore.ThreadID) []byte {
	return strconv.AppendInt(append(b, 'T'), int64(id), 10)
}
