package imapd

import (
	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// copyMessages: "COPY" SP set SP mailbox and "UID COPY" (RFC 9051 §6.4.7, §6.4.9).
func copyMessages(s *session, d *imap.Decoder) error {
	c, err := s.transfer(d, (*mailstore.Tx).Copy)
	if err != nil || c.Src.Empty() {
		return err
	}
	s.cmd.code = copyUID(c)
	return nil
}

// move: "MOVE" SP set SP mailbox and "UID MOVE" (RFC 9051 §6.4.8, RFC 6851).
// COPYUID stands in an untagged OK, before the expunges.
func move(s *session, d *imap.Decoder) error {
	c, err := s.transfer(d, (*mailstore.Tx).Move)
	if err != nil || c.Src.Empty() {
		return err
	}
	s.line("* OK [" + copyUID(c) + "] moved")
	s.keepModSeq(c.ModSeq) // RFC 6851 §4.4
	return nil
}

// transfer parses the arguments of COPY and MOVE and runs do on them.
func (s *session) transfer(d *imap.Decoder, do func(*mailstore.Tx, mailstore.MailboxID, mailstore.UIDSet, mailstore.MailboxID) (mailstore.Copied, error)) (c mailstore.Copied, err error) {
	d.SP()
	set := d.SeqSet()
	d.SP()
	name := d.Mailbox()
	if d.End(); d.Err() != nil {
		return c, d.Err()
	}
	uids, err := s.uidsOf(set, s.cmd.uid)
	if err != nil {
		return c, err
	}
	src := s.mbox.id
	err = s.updateMany(uids, func(tx *mailstore.Tx) error {
		dst, err := tx.MailboxByName(name)
		if err != nil {
			return tryCreate(err)
		}
		if dst.NoSelect {
			return no("TRYCREATE", "mailbox does not exist")
		}
		if uids.Empty() {
			return nil
		}
		c, err = do(tx, src, uids, dst.ID)
		return err
	})
	return c, err
}

// copyUID is the response code of RFC 4315 §3.
func copyUID(c mailstore.Copied) string {
	b := append(make([]byte, 0, 64), "COPYUID "...)
	b = append(imap.AppendUint(b, c.UIDValidity), ' ')
	b = append(appendPairwise(b, c.Src), ' ')
	return string(appendPairwise(b, c.Dst))
}

// appendPairwise prints a set in the order it has.
func appendPairwise(b []byte, set mailstore.UIDSet) []byte {
	for i, r := range set {
		if i > 0 {
			b = append(b, ',')
		}
		b = imap.AppendRange(b, uint32(r.Lo), uint32(r.Hi))
	}
	return b
}

// expunge: "EXPUNGE" (RFC 9051 §6.4.3). The expunges are said by the view.
func expunge(s *session, d *imap.Decoder) error {
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	return s.expunge(nil)
}

// uidExpunge: "UID EXPUNGE" SP set (RFC 9051 §6.4.9, RFC 4315 §2.1).
func uidExpunge(s *session, d *imap.Decoder) error {
	d.SP()
	set := d.SeqSet()
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	uids, err := s.uidsOf(set, true)
	if err != nil || uids.Empty() {
		return err
	}
	return s.expunge(uids)
}

func (s *session) expunge(uids mailstore.UIDSet) error {
	var mod mailstore.ModSeq
	var gone mailstore.UIDSet
	m := s.mbox
	if m.box.Mailbox().Deleted == 0 {
		return nil
	}
	err := s.updateMany(uids, func(tx *mailstore.Tx) (err error) {
		mod = tx.ModSeq()
		gone, err = tx.Expunge(m.id, uids, true)
		return err
	})
	if err == nil && !gone.Empty() {
		s.keepModSeq(mod) // RFC 7162 §3.2.7
	}
	return err
}

// keepModSeq keeps the mod-sequence of an expunge for the tagged OK, for those
// who know mod-sequences.
func (s *session) keepModSeq(mod mailstore.ModSeq) {
	if s.enabled&condstore != 0 {
		s.cmd.modSeq = mod
	}
}

// codeModSeq puts it into the tagged OK, or what others did meanwhile and this
// client was just told: HIGHESTMODSEQ is never less than a MODSEQ said before.
func (s *session) codeModSeq() string {
	mod := s.cmd.modSeq
	if s.mbox != nil {
		mod = max(mod, s.mbox.complete)
	}
	return string(imap.AppendUint([]byte("HIGHESTMODSEQ "), uint64(mod)))
}
