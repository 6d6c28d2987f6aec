package imapd

import (
	"bahnpost/mail"
	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
	"bahnpost/wire/message"
)

// fetchSome answers for a chunk of messages whose Meta or body is needed.
func (s *session) fetchSome(p *fetchPlan, chunk []mailstore.Entry) error {
	if len(chunk) == 0 {
		return nil
	}
	defer p.opener.drop()
	var touched mailstore.UIDSet
	if p.seen {
		var err error
		if touched, err = s.markSeen(chunk); err != nil {
			return err
		}
	}
	if !p.meta {
		for i := range chunk {
			p.after = entryAt(chunk, i+1)
			if err := s.fetchEach(p, &chunk[i], nil, touched.Contains(chunk[i].Row.UID)); err != nil {
				return err
			}
		}
		return nil
	}
	rows := make([]mailstore.Row, len(chunk))
	for i := range chunk {
		rows[i] = chunk[i].Row
	}
	i := 0
	for m, err := range s.mbox.box.Metas(s.ctx, rows) {
		if err != nil {
			return err
		}
		for i < len(chunk) && chunk[i].Row.Message != m.Message {
			i++ // expunged meanwhile
		}
		if i == len(chunk) {
			break
		}
		p.after = entryAt(chunk, i+1)
		if err := s.fetchEach(p, &chunk[i], m, touched.Contains(chunk[i].Row.UID)); err != nil {
			return err
		}
		i++
	}
	return nil
}

// entryAt is the i-th entry; nil: there is none.
func entryAt(chunk []mailstore.Entry, i int) *mailstore.Entry {
	if i == len(chunk) {
		return nil
	}
	return &chunk[i]
}

// markSeen sets \Seen on those of a chunk that lack it, and refreshes their
// rows. It returns the UIDs whose flags have to be said.
func (s *session) markSeen(chunk []mailstore.Entry) (touched mailstore.UIDSet, err error) {
	var unseen mailstore.UIDSet
	for i := range chunk {
		if chunk[i].Row.Flags&mailstore.Seen == 0 {
			unseen.Add(chunk[i].Row.UID)
		}
	}
	if unseen.Empty() {
		return nil, nil
	}
	var mod mailstore.ModSeq
	err = s.update(func(tx *mailstore.Tx) error {
		mod = tx.ModSeq()
		r, err := tx.StoreFlags(s.mbox.id, unseen, mailstore.AddFlags, mailstore.Seen, nil, false, 0)
		touched = r.Changed
		return err
	})
	if err != nil {
		return nil, err
	}
	s.mbox.view.Know(mod)
	s.searchOwn(touched)
	for i := range chunk {
		if r, ok := s.mbox.box.Row(chunk[i].Row.UID); ok {
			chunk[i].Row = r
		}
	}
	return touched, nil
}

// fetchEach is fetchOne that leaves out a damaged message: it must not keep the client from the others.
func (s *session) fetchEach(p *fetchPlan, e *mailstore.Entry, m *mailstore.Meta, touched bool) error {
	err := s.fetchOne(p, e, m, touched)
	if mail.KindOf(err) != mail.Corrupt || ioError(err) {
		return err
	}
	s.srv.cfg.Log.Error("imap found damage", "session", s.conn.ID(), "login", s.login.Address.String(), "uid", e.Row.UID, "error", err)
	p.spoilt = err
	return nil
}

// fetchOne answers for one message. touched: its flags changed by this FETCH,
// so they are said too (RFC 9051 §6.4.5).
func (s *session) fetchOne(p *fetchPlan, e *mailstore.Entry, m *mailstore.Meta, touched bool) error {
	if s.out.err != nil {
		return wrapConn(s.out.err)
	}
	var parts partReader
	if p.body {
		r, err := p.opener.open(s, e, p.after)
		if mail.KindOf(err) == mail.NoSuchMessage {
			return nil // expunged meanwhile
		}
		if err != nil {
			return err
		}
		defer r.Close()
		if err := parts.open(r, m); err != nil {
			return err
		}
		if err := s.binaryKnown(p, &parts); err != nil {
			return err
		}
	}
	mark, sent := len(s.out.b), s.out.total
	b := s.appendFetchStart(s.out.b, e)
	start := len(b)
	b = s.appendRowItems(b, p, e)
	if touched {
		b = p.appendTouched(b, start, e, s.enabled&condstore != 0)
	}
	for i := range p.items {
		it := &p.items[i]
		if rowItem(it.Kind) {
			continue
		}
		if len(b) > start {
			b = append(b, ' ')
		}
		start = -1
		if m != nil {
			if more, ok := p.appendMetaItem(b, it, m); ok {
				b = more
				continue
			}
		}
		s.out.b = b
		if err := s.sendSection(it, &parts); err != nil {
			if s.out.total != sent || ioError(err) {
				return s.midLiteral(err)
			}
			s.out.b = s.out.b[:mark]
			return err
		}
		b = s.out.b
	}
	s.out.b = append(b, ")\r\n"...)
	s.out.full()
	return nil
}

// appendTouched appends FLAGS and MODSEQ if the client did not ask for them anyway.
func (p *fetchPlan) appendTouched(b []byte, start int, e *mailstore.Entry, modseq bool) []byte {
	if !p.hasFlag {
		if len(b) > start {
			b = append(b, ' ')
		}
		b = p.flags.append(append(b, "FLAGS "...), &e.Row)
	}
	if modseq && !p.modseq {
		b = imap.AppendUint(append(b, " MODSEQ ("...), uint64(e.Row.ModSeq))
		b = append(b, ')')
	}
	return b
}

// appendMetaItem appends an item that Meta answers.
func (p *fetchPlan) appendMetaItem(b []byte, it *imap.FetchItem, m *mailstore.Meta) ([]byte, bool) {
	switch it.Kind {
	case imap.ItemEnvelope:
		return append(append(b, "ENVELOPE "...), orEmpty(m.Summary.Envelope(), emptyEnvelope)...), true
	case imap.ItemBodyStructure:
		return append(append(b, "BODYSTRUCTURE "...), orEmpty(m.Summary.BodyStructure(), emptyStructure)...), true
	case imap.ItemBody:
		b = append(b, "BODY "...)
		n := len(b)
		if b = m.Summary.Body(b); len(b) == n {
			b = append(b, emptyStructure...)
		}
		return b, true
	case imap.ItemPreview: // RFC 8970 §3: ours is made at arrival, so LAZY never needs NIL
		return appendPreview(append(b, "PREVIEW "...), m.Summary), true
	case imap.ItemEmailID: // RFC 8474 §5.1
		return append(appendEmailID(append(b, "EMAILID ("...), m.Email), ')'), true
	case imap.ItemThreadID: // RFC 8474 §5.2
		if m.Thread == 0 {
			return append(b, "THREADID NIL"...), true
		}
		return append(appendThreadID(append(b, "THREADID ("...), m.Thread), ')'), true
	}
	return b, false
}

// What a damaged summary is answered with: the client goes on, check reports the damage.
const (
	emptyEnvelope  = "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"
	emptyStructure = `("TEXT" "PLAIN" NIL NIL NIL "7BIT" 0 0)`
)

func orEmpty(text []byte, empty string) []byte {
	if len(text) == 0 {
		return []byte(empty)
	}
	return text
}

// appendPreview appends the preview, UTF-8 in quotes (RFC 8970 §3.1) or a literal.
func appendPreview(b []byte, st message.Stored) []byte {
	return imap.AppendString(b, string(st.Preview()), false)
}
