package imapd

import (
	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// fetchChunk is how many messages FETCH of more than the index takes at a
// time: memory follows it, and \Seen is set in steps of it.
const fetchChunk = 512

// fetchPlan is a parsed FETCH.
type fetchPlan struct {
	items []imap.FetchItem
	mods  imap.FetchModifiers
	flags *flagTexts

	meta    bool // needs Meta: ENVELOPE, structure, parts
	body    bool // opens messages
	seen    bool // marks as read
	uid     bool // says UID first
	modseq  bool // says MODSEQ at the end
	hasFlag bool // FLAGS is among the items

	opener opener
	after  *mailstore.Entry // what comes after the one that is answered

	spoilt error // of a message that is damaged; the others are answered, then the command fails with it
}

// fetch: "FETCH" SP set SP items [SP modifiers] and "UID FETCH" (RFC 9051
// §6.4.5, §6.4.9, RFC 7162 §3.1.4, §3.2.6, RFC 9394 §3.3).
func fetch(s *session, d *imap.Decoder) error {
	var p fetchPlan
	d.SP()
	set := d.SeqSet()
	d.SP()
	p.items = d.FetchItems()
	p.mods = d.FetchModifiers()
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	if err := s.plan(&p); err != nil {
		return err
	}
	uids, err := s.uidsOf(set, s.cmd.uid)
	if err != nil {
		return err
	}
	if p.mods.Vanished {
		if err := s.sayVanishedEarlier(mailstore.ModSeq(p.mods.ChangedSince), uids); err != nil {
			return err
		}
	}
	if p.mods.Partial != nil {
		if uids, err = s.partialOf(uids, *p.mods.Partial); err != nil {
			return err
		}
	}
	if uids.Empty() {
		return nil
	}
	if err := s.fetchAll(&p, uids); err != nil {
		return err
	}
	if err := s.sayLost(&p, uids); err != nil {
		return err
	}
	return s.codeLags(uids)
}

// sayLost answers for messages that are gone while the client's numbers still
// count them, if it asks for nothing but the UIDs: those it needs to tell what its numbers mean.
func (s *session) sayLost(p *fetchPlan, uids mailstore.UIDSet) error {
	if s.cmd.uid || len(p.items) > 0 || p.modseq {
		return nil
	}
	lost, err := s.mbox.view.Lost(s.ctx, uids)
	for i := range lost {
		s.sayLight(p, &lost[i])
	}
	return err
}

// plan checks the modifiers and finds out what has to be read.
func (s *session) plan(p *fetchPlan) error {
	m := &p.mods
	switch {
	case m.Vanished && (!s.cmd.uid || !m.HasChangedSince):
		return bad("VANISHED needs UID FETCH with CHANGEDSINCE (RFC 7162 §3.2.6)")
	case m.Vanished && !s.has(qresync):
		return bad("VANISHED needs QRESYNC enabled (RFC 7162 §3.2.6)")
	}
	p.uid = s.cmd.uid && !s.has(uidOnly)
	p.modseq = m.HasChangedSince
	items := p.items[:0]
	for _, it := range p.items {
		switch it.Kind {
		case imap.ItemUID:
			p.uid = true
			continue
		case imap.ItemModSeq:
			p.modseq = true
			continue
		case imap.ItemFlags:
			p.hasFlag = true
		case imap.ItemEnvelope, imap.ItemBody, imap.ItemBodyStructure, imap.ItemPreview, imap.ItemThreadID, imap.ItemEmailID:
			p.meta = true
		case imap.ItemSection, imap.ItemBinary, imap.ItemBinarySize, imap.ItemRFC822, imap.ItemRFC822Header, imap.ItemRFC822Text:
			p.body = true
			p.meta = p.meta || needsParts(&it)
			p.seen = p.seen || it.SetsSeen()
		}
		items = append(items, it)
	}
	p.items = items
	p.seen = p.seen && !s.mbox.readOnly
	if p.modseq {
		s.enableCondstore() // RFC 7162 §3.1
	}
	p.flags = s.newFlagTexts()
	if p.hasFlag || p.seen {
		s.sayKeywords(p.flags)
	}
	return nil
}

// needsParts reports whether the item asks for less than the whole message.
func needsParts(it *imap.FetchItem) bool {
	return it.Kind != imap.ItemRFC822 && (it.Kind != imap.ItemSection || len(it.Section.Part) > 0 || it.Section.Spec != imap.SpecNone)
}

// fetchAll answers for all of uids that are there.
func (s *session) fetchAll(p *fetchPlan, uids mailstore.UIDSet) error {
	since := mailstore.ModSeq(p.mods.ChangedSince)
	if !p.meta && !p.body {
		for e, err := range s.mbox.view.Entries(s.ctx, uids) {
			if err != nil {
				return err
			}
			if e.Row.ModSeq > since || !p.mods.HasChangedSince {
				s.sayLight(p, e)
			}
			if s.out.err != nil {
				return wrapConn(s.out.err)
			}
		}
		return nil
	}
	var chunk []mailstore.Entry
	for e, err := range s.mbox.view.Entries(s.ctx, uids) {
		if err != nil {
			return err
		}
		if e.Row.ModSeq <= since && p.mods.HasChangedSince {
			continue
		}
		chunk = append(chunk, *e)
		if len(chunk) == fetchChunk {
			if err := s.fetchSome(p, chunk); err != nil {
				return err
			}
			chunk = chunk[:0]
		}
	}
	if err := s.fetchSome(p, chunk); err != nil {
		return err
	}
	return p.spoilt
}

// sayLight answers from the row alone.
func (s *session) sayLight(p *fetchPlan, e *mailstore.Entry) {
	b := s.appendFetchStart(s.out.b, e)
	b = s.appendRowItems(b, p, e)
	s.out.b = append(b, ")\r\n"...)
	s.out.full()
}

// appendRowItems appends UID and all items that the row answers, in the order
// asked for, and MODSEQ.
func (s *session) appendRowItems(b []byte, p *fetchPlan, e *mailstore.Entry) []byte {
	sp := false
	if p.uid {
		b = imap.AppendUint(append(b, "UID "...), uint32(e.Row.UID))
		sp = true
	}
	for i := range p.items {
		if !rowItem(p.items[i].Kind) {
			continue
		}
		if sp {
			b = append(b, ' ')
		}
		b = p.appendRowItem(b, p.items[i].Kind, &e.Row)
		sp = true
	}
	if p.modseq {
		if sp {
			b = append(b, ' ')
		}
		b = imap.AppendUint(append(b, "MODSEQ ("...), uint64(e.Row.ModSeq))
		b = append(b, ')')
	}
	return b
}

func rowItem(k imap.ItemKind) bool {
	switch k {
	case imap.ItemFlags, imap.ItemSize, imap.ItemInternalDate, imap.ItemSaveDate:
		return true
	}
	return false
}

func (p *fetchPlan) appendRowItem(b []byte, k imap.ItemKind, r *mailstore.Row) []byte {
	switch k {
	case imap.ItemFlags:
		return p.flags.append(append(b, "FLAGS "...), r)
	case imap.ItemSize:
		return imap.AppendUint(append(b, "RFC822.SIZE "...), r.Size)
	case imap.ItemInternalDate:
		return imap.AppendDateTime(append(b, "INTERNALDATE "...), r.Internal, int(r.Zone))
	case imap.ItemSaveDate: // RFC 8514 §4.3
		if r.Saved == 0 {
			return append(b, "SAVEDATE NIL"...)
		}
		return imap.AppendDateTime(append(b, "SAVEDATE "...), r.Saved, 0)
	}
	return b
}

// partialOf keeps positions of uids that are in the view (RFC 9394 §3.3, which
// speaks of UID FETCH; its grammar, and other servers, allow FETCH as well).
func (s *session) partialOf(uids mailstore.UIDSet, p imap.PartialRange) (mailstore.UIDSet, error) {
	first, last := int(p.First), int(p.Last)
	if p.FromEnd {
		n := 0
		for _, err := range s.mbox.view.Entries(s.ctx, uids) {
			if err != nil {
				return nil, err
			}
			n++
		}
		first, last = n-last+1, n-first+1
	}
	var out mailstore.UIDSet
	i := 0
	for e, err := range s.mbox.view.Entries(s.ctx, uids) {
		if err != nil {
			return nil, err
		}
		if i++; i > last {
			break
		}
		if i >= first {
			out.Add(e.Row.UID)
		}
	}
	return out, nil
}
