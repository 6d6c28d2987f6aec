package imapd

import (
	"sync/atomic"

	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// selection is the selected mailbox and what this client has been told of it.
type selection struct {
	box         *mailstore.Box
	view        *mailstore.View
	id          mailstore.MailboxID
	name        string
	uidValidity uint32
	readOnly    bool
	stop        func() // ends the wake calls
	gone        atomic.Bool
	keywords    int              // how much of the keyword dictionary FLAGS has told
	complete    mailstore.ModSeq // everything up to it was told, expunges too
	saved       mailstore.UIDSet // "$" (RFC 9051 §6.4.4.1)
	recent      mailstore.UIDSet // what is \Recent here (RFC 3501 §2.3.2), of what was told
	recentSaid  int              // the last RECENT
	searches    *searchState
}

// deselect forgets the selected mailbox.
func (s *session) deselect() {
	m := s.mbox
	if m == nil {
		return
	}
	m.stop()
	m.box.Close()
	s.mbox = nil
	if s.state == selected {
		s.state = authenticated
	}
}

// sayNews moves the view forward and says what the client has to hear: first
// expunges (if expunge), then EXISTS, then flags (RFC 9051 §7.4.1, §7.5.1).
func (s *session) sayNews(expunge bool) {
	m := s.mbox
	if m.gone.Load() {
		s.byeNow("the selected mailbox was deleted")
		return
	}
	if !m.view.Dirty() || s.quiet() {
		s.searchNews(&mailstore.News{}) // of what this session did itself
		return
	}
	news, err := m.view.Sync(s.ctx, expunge)
	if err != nil {
		v := s.judge("sync", err)
		s.byeNow("[" + v.code + "] " + v.text)
		return
	}
	s.out.ready()
	s.searchGone(&news)
	s.sayExpunged(&news)
	if news.Exists {
		b := imap.AppendUint(append(s.out.b, "* "...), m.view.Count())
		s.out.b = append(b, " EXISTS\r\n"...)
	}
	s.sayRecent(&news)
	if len(news.Changed) > 0 && !s.quietFlags() {
		s.sayChanged(news.Changed)
	}
	s.searchNews(&news)
	switch {
	case !m.view.Dirty():
		m.complete = m.view.ModSeq()
	case s.has(qresync) && !expunge:
		// Flags newer than an expunge that has to wait were said. Should the
		// connection break now, the client must not ask from there (RFC 7162 §3.2).
		s.sayModSeq(m.complete, "expunges follow")
	}
}

// sayRecent keeps what is \Recent and says how many that are, with each EXISTS
// and when it changed (RFC 3501 §7.3.2). IMAP4rev2 has none of it.
func (s *session) sayRecent(news *mailstore.News) {
	m := s.mbox
	if !m.recent.Empty() && !news.ExpungedUIDs.Empty() {
		m.recent = m.recent.Subtract(news.ExpungedUIDs)
	}
	if news.Exists {
		m.addRecent()
	}
	if n := m.recent.Count(); !s.has(rev2) && (news.Exists || n != m.recentSaid) {
		m.recentSaid = n
		s.out.b = append(imap.AppendUint(append(s.out.b, "* "...), n), " RECENT\r\n"...)
	}
}

// addRecent takes in messages that the view knows and no other session was told of.
// After EXAMINE they stay recent for the next one (RFC 3501 §6.3.2).
func (m *selection) addRecent() {
	more := m.view.ClaimRecent
	if m.readOnly {
		more = m.view.Recent
	}
	if r := more(); !r.Empty() {
		m.recent = m.recent.Union(r)
	}
}

// sayExpunged says EXPUNGE, or VANISHED to those who enabled it (RFC 7162 §3.2.10).
func (s *session) sayExpunged(news *mailstore.News) {
	b := s.out.b
	if s.enabled&(qresync|uidOnly) != 0 {
		if !news.ExpungedUIDs.Empty() {
			b = append(b, "* VANISHED "...)
			b = news.ExpungedUIDs.Append(b)
			b = append(b, "\r\n"...)
		}
		s.out.b = b
		return
	}
	for _, seq := range news.ExpungedSeqs {
		b = imap.AppendUint(append(b, "* "...), seq)
		b = append(b, " EXPUNGE\r\n"...)
	}
	s.out.b = b
	s.out.full()
}

// sayChanged says the flags of messages that others changed.
func (s *session) sayChanged(entries []mailstore.Entry) {
	f := s.newFlagTexts()
	s.sayKeywords(f)
	for i := range entries {
		s.sayFlags(f, &entries[i], true, true)
	}
}

// sayFlags says one FETCH with UID (if uid), FLAGS (if flags) and, after CONDSTORE was enabled, MODSEQ.
func (s *session) sayFlags(f *flagTexts, e *mailstore.Entry, uid, flags bool) {
	b := s.appendFetchStart(s.out.b, e)
	sp := ""
	if uid && !s.has(uidOnly) {
		b = imap.AppendUint(append(b, "UID "...), uint32(e.Row.UID))
		sp = " "
	}
	if flags {
		b = append(append(b, sp...), "FLAGS "...)
		b = f.append(b, &e.Row)
		sp = " "
	}
	if s.enabled&condstore != 0 {
		b = append(append(b, sp...), "MODSEQ ("...)
		b = append(imap.AppendUint(b, uint64(e.Row.ModSeq)), ')')
	}
	s.out.b = append(b, ")\r\n"...)
	s.out.full()
}

// appendFetchStart appends "* 12 FETCH (", or "* 3012 UIDFETCH (" (RFC 9586 §3.3).
func (s *session) appendFetchStart(b []byte, e *mailstore.Entry) []byte {
	b = append(b, "* "...)
	if s.has(uidOnly) {
		b = imap.AppendUint(b, uint32(e.Row.UID))
		return append(b, " UIDFETCH ("...)
	}
	b = imap.AppendUint(b, e.Seq)
	return append(b, " FETCH ("...)
}

// codeLags tells a client whose message numbers count messages that are gone,
// among uids (nil: any): these keep no flags, match nothing and have nothing to fetch (RFC 5530 §3,
// RFC 2180 §4). Commands with UID say the expunges at their end.
func (s *session) codeLags(uids mailstore.UIDSet) error {
	if s.cmd.uid {
		return nil
	}
	lags, err := s.mbox.view.Lags(s.ctx, uids)
	if lags {
		s.cmd.code = "EXPUNGEISSUED"
	}
	return err
}

// uidsOf resolves a set of the client into UIDs that its view has or had: UIDs
// if byUID, message numbers otherwise. A message number beyond the view is BAD.
func (s *session) uidsOf(set imap.NumSet, byUID bool) (mailstore.UIDSet, error) {
	m := s.mbox
	if set.Saved {
		return m.saved, nil
	}
	if byUID {
		return s.uidRanges(set.Ranges)
	}
	n := uint32(m.view.Count())
	seqs := toUIDSet(imap.Resolve(set.Ranges, n))
	if n == 0 && len(set.Ranges) > 0 || seqs.Max() > mailstore.UID(n) {
		return nil, bad("message number is beyond the mailbox")
	}
	return m.view.UIDsOfSeqs(s.ctx, seqs)
}

// uidRanges resolves "*" to the largest UID of the view.
func (s *session) uidRanges(rs []imap.NumRange) (mailstore.UIDSet, error) {
	v := s.mbox.view
	largest := mailstore.UID(0)
	for _, r := range rs {
		if r.Hi != imap.Star {
			continue
		}
		if n := v.Count(); n > 0 {
			if r.Lo == 1 { // 1:* needs no look at the rows
				largest = max(v.UIDNext()-1, 1)
				break
			}
			var err error
			if largest, err = v.UID(s.ctx, n); err != nil {
				return nil, err
			}
		}
		break
	}
	return toUIDSet(imap.Resolve(rs, uint32(largest))), nil
}

func toUIDSet(rs []imap.NumRange) mailstore.UIDSet {
	if len(rs) == 0 {
		return nil
	}
	u := make(mailstore.UIDSet, len(rs))
	for i, r := range rs {
		u[i] = mailstore.UIDRange{Lo: mailstore.UID(r.Lo), Hi: mailstore.UID(r.Hi)}
	}
	return u
}
