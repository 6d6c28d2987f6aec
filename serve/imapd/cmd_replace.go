package imapd

import (
	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// replace: "REPLACE" SP number SP mailbox SP [flags SP] [date SP] message and
// "UID REPLACE" (RFC 8508 §3): append and expunge in one commit.
func replace(s *session, d *imap.Decoder) error {
	d.SP()
	n := d.SeqNumber()
	set := imap.NumSet{Ranges: []imap.NumRange{{Lo: n, Hi: n}}}
	d.SP()
	name := d.Mailbox()
	d.SP()
	if d.Err() != nil {
		return d.Err()
	}
	uids, err := s.uidsOf(set, s.cmd.uid)
	if err != nil {
		return err
	}
	if s.cmd.uid {
		if seq, err := s.mbox.view.Seq(s.ctx, uids.Max()); err != nil {
			return err
		} else if seq == 0 {
			return no("NONEXISTENT", "no message has this UID")
		}
	}
	if mb, err := s.srv.store.MailboxByName(s.ctx, s.login.Account, name); err != nil {
		return tryCreate(err)
	} else if mb.NoSelect {
		return no("TRYCREATE", "mailbox does not exist")
	}
	u := &upload{s: s}
	defer u.release()
	u.message(d)
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	var done mailstore.Appended
	src := s.mbox.id
	err = s.update(func(tx *mailstore.Tx) error {
		mb, err := tx.MailboxByName(name)
		if err != nil {
			return tryCreate(err)
		}
		if done, err = tx.Append(mb.ID, u.msgs[0]); err != nil {
			return err
		}
		gone, err := tx.Expunge(src, uids, false)
		if err == nil && gone.Empty() {
			err = no("EXPUNGEISSUED", "the message to replace is gone")
		}
		return err
	})
	if err != nil {
		return err
	}
	s.line("* OK [" + appendUID([]mailstore.Appended{done}) + "] replacement stored") // RFC 8508 §3.4
	s.keepModSeq(done.ModSeq)
	return nil
}
