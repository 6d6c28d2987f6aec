package imapd

import (
	"strings"

	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// storeArgs are the arguments of STORE.
type storeArgs struct {
	set      imap.NumSet
	check    bool // UNCHANGEDSINCE
	since    mailstore.ModSeq
	op       mailstore.FlagOp
	silent   bool
	flags    mailstore.Flags
	keywords []string
}

func parseStore(d *imap.Decoder) (a storeArgs) {
	d.SP()
	a.set = d.SeqSet()
	d.SP()
	if d.Peek() == '(' { // RFC 7162 §3.1.3
		d.List(false, func() {
			if kw := d.Keyword(); kw != "UNCHANGEDSINCE" {
				d.Fail("STORE modifier %.40s is not known", kw)
				return
			}
			d.SP()
			a.check, a.since = true, mailstore.ModSeq(d.ModSeq())
		})
		d.SP()
	}
	switch {
	case d.Take('+'):
		a.op = mailstore.AddFlags
	case d.Take('-'):
		a.op = mailstore.RemoveFlags
	}
	switch item := d.Keyword(); strings.TrimSuffix(item, ".SILENT") {
	case "FLAGS":
		a.silent = len(item) > len("FLAGS")
	default:
		d.Fail("STORE item %.40s is not known", item)
	}
	d.SP()
	a.flags, a.keywords = splitFlags(d, d.FlagsOrList())
	d.End()
	return a
}

// storeFlags: "STORE" SP set [SP modifiers] SP ["+" / "-"] "FLAGS" [".SILENT"]
// SP flags and "UID STORE" (RFC 9051 §6.4.6, RFC 7162 §3.1.3).
func storeFlags(s *session, d *imap.Decoder) error {
	a := parseStore(d)
	if d.Err() != nil {
		return d.Err()
	}
	if a.check {
		s.enableCondstore() // RFC 7162 §3.1
	}
	uids, err := s.uidsOf(a.set, s.cmd.uid)
	if err != nil || uids.Empty() {
		return err
	}
	var res mailstore.StoreResult
	var mod mailstore.ModSeq
	m := s.mbox
	err = s.updateMany(uids, func(tx *mailstore.Tx) (err error) {
		mod = tx.ModSeq()
		res, err = tx.StoreFlags(m.id, uids, a.op, a.flags, a.keywords, a.check, a.since)
		return err
	})
	if err != nil {
		return err
	}
	if !res.Changed.Empty() {
		m.view.Know(mod)
		s.searchOwn(res.Changed)
	}
	if err := s.sayStored(&a, uids.Subtract(res.Modified), res.Changed); err != nil {
		return err
	}
	if err := s.codeLags(uids); err != nil {
		return err
	}
	return s.sayModified(res.Modified)
}

// sayStored says the new flags: of all of uids, or after .SILENT only the mod-sequences
// of changed ones to those who enabled CONDSTORE (RFC 7162 §3.1.3). Who stored
// by message number hears no UID, as in RFC 3501 §6.4.6, before QRESYNC (RFC 7162
// §3.2.4) or IMAP4rev2 (RFC 9051 §7.5.2) is enabled.
func (s *session) sayStored(a *storeArgs, uids, changed mailstore.UIDSet) error {
	if a.silent {
		if s.enabled&condstore == 0 {
			return nil
		}
		uids = changed
	}
	if uids.Empty() {
		return nil
	}
	f := s.newFlagTexts()
	s.sayKeywords(f)
	uid := s.cmd.uid || s.enabled&(qresync|rev2) != 0
	for e, err := range s.mbox.view.Entries(s.ctx, uids) {
		if err != nil {
			return err
		}
		s.sayFlags(f, e, uid, !a.silent)
	}
	return nil
}

// sayModified puts what UNCHANGEDSINCE kept back into the tagged OK. RFC 7162
// §3.1.3 lets it be OK or NO; the changes of the others are done, so it is OK.
func (s *session) sayModified(uids mailstore.UIDSet) error {
	if uids.Empty() {
		return nil
	}
	set := uids
	if !s.cmd.uid {
		var err error
		if set, err = s.mbox.view.SeqsOfUIDs(s.ctx, uids); err != nil {
			return err
		}
	}
	s.cmd.code = "MODIFIED " + set.String()
	s.cmd.text = "some messages were changed by others meanwhile"
	return nil
}
