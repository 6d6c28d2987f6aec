package imapd

import (
	"slices"
	"strings"
	"time"

	"bahnpost/mail"
	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// esearch: "ESEARCH" [SP "IN" SP "(" sources ")"] [SP return-opts] SP search-program (RFC 7377 §2). It always speaks of UIDs.
func esearch(s *session, d *imap.Decoder) error {
	p := d.ESearchArgs()
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	p.Return.Set = true
	s.cmd.uid = true
	onlySelected := p.In == nil || !slices.ContainsFunc(p.In, func(f imap.MailboxFilter) bool { return f.Kind != imap.FilterSelected })
	withSelected := onlySelected || slices.ContainsFunc(p.In, func(f imap.MailboxFilter) bool { return f.Kind == imap.FilterSelected })
	switch {
	case s.mbox == nil && (withSelected || p.Return.HasUpdate):
		return bad("no mailbox is selected") // RFC 7377 §2.2
	case p.Return.Save && !onlySelected:
		return bad("SAVE needs the selected mailbox alone (RFC 7377 §2.2)")
	}
	if err := s.charsetConflict(p, false); err != nil {
		return err
	}
	if onlySelected {
		return s.searching(p, func(r *result) error { s.sayFound(p, r, s.mbox.name, s.mbox.uidValidity); return nil })
	}
	return s.searchMany(p, withSelected)
}

// sayFound says ESEARCH of a mailbox, if there is anything to say (RFC 7377 §2.1).
func (s *session) sayFound(p *imap.Search, r *result, name string, uidValidity uint32) {
	if len(r.uids) > 0 {
		s.sayESearch(p, r, &mailboxOf{name, uidValidity})
	}
}

// searchMany searches all mailboxes of the sources, one after the other.
func (s *session) searchMany(p *imap.Search, withSelected bool) error {
	if err := s.searchable(p); err != nil {
		return err
	}
	mbs, err := s.srv.store.Mailboxes(s.ctx, s.login.Account)
	if err != nil {
		return err
	}
	many, said := &manySearch{s: s, p: p}, time.Now()
	for i := range mbs {
		mb := &mbs[i]
		isSelected := s.mbox != nil && s.mbox.id == mb.ID
		if mb.NoSelect || !(isSelected && withSelected) && !filtered(p.In, mb) {
			continue
		}
		if isSelected {
			o := *p
			err = s.searching(&o, func(r *result) error { s.sayFound(p, r, mb.Name, mb.UIDValidity); return nil })
		} else {
			err = ignoreGone(many.mailbox(mb))
		}
		if err != nil {
			return err
		}
		if time.Since(said) > progressEvery {
			s.sayProgress()
			said = time.Now()
		}
	}
	return nil
}

// manySearch searches mailboxes that are not selected.
type manySearch struct {
	s        *session
	p        *imap.Search
	prepared *mailstore.Prepared // of a query that is the same for all mailboxes; nil before the first
}

// mailbox searches one. A mailbox that goes away meanwhile gives an error of kind NoSuchMailbox.
func (m *manySearch) mailbox(mb *mailstore.Mailbox) error {
	if mb.Messages == 0 {
		return nil
	}
	s := m.s
	box, err := s.srv.store.OpenBox(s.ctx, s.login.Account, mb.ID)
	if err != nil {
		return err
	}
	defer box.Close()
	v := box.NewView()
	prepared := m.prepared
	if prepared == nil {
		q, err := s.querier(v, m.p).query(&m.p.Key, false)
		if err != nil {
			return err
		}
		if prepared, err = s.srv.store.Prepare(s.ctx, s.login.Account, q); err != nil {
			return err
		}
		if !numbered(&m.p.Key) {
			m.prepared = prepared
		}
	}
	r, err := s.find(box, v, m.p, func() (mailstore.Found, error) { return prepared.In(s.ctx, v) })
	if err != nil {
		return err
	}
	if r.nums, err = s.numbers(v, r.uids, true); err != nil {
		return err
	}
	s.sayFound(m.p, r, mb.Name, mb.UIDValidity)
	return nil
}

// numbered reports whether a key has message numbers or UIDs, which mean something else in each mailbox.
func numbered(k *imap.SearchKey) bool {
	if k.Op == imap.KeySeq || k.Op == imap.KeyUID {
		return true
	}
	for i := range k.Subs {
		if numbered(&k.Subs[i]) {
			return true
		}
	}
	return false
}

func ignoreGone(err error) error {
	if mail.KindOf(err) == mail.NoSuchMailbox {
		return nil
	}
	return err
}

// filtered reports whether one of fs names mb (RFC 5465 §6, RFC 7377 §2.2). SELECTED is the caller's business.
func filtered(fs []imap.MailboxFilter, mb *mailstore.Mailbox) bool {
	for i := range fs {
		if matches(&fs[i], mb.Name, mb.NoSelect, mb.Subscribed) {
			return true
		}
	}
	return false
}

func matches(f *imap.MailboxFilter, name string, noSelect, subscribed bool) bool {
	switch f.Kind {
	case imap.FilterInboxes, imap.FilterPersonal: // RFC 5465 §6.3: any mailbox may be delivered to
		return !noSelect
	case imap.FilterSubscribed:
		return subscribed
	case imap.FilterMailboxes:
		return slices.Contains(f.Names, name)
	case imap.FilterSubtree, imap.FilterSubtreeOne:
		for _, top := range f.Names {
			if top == "" && (f.Kind == imap.FilterSubtree || !strings.Contains(name, separator)) {
				return true
			}
			rest, ok := strings.CutPrefix(name, strings.TrimSuffix(top, separator))
			if ok && (rest == "" || rest[0] == mailstore.Separator && (f.Kind == imap.FilterSubtree || strings.Count(rest, separator) == 1)) {
				return true
			}
		}
	}
	return false
}
