package imapd

import (
	"slices"
	"time"

	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// search: [UID SP] "SEARCH" [SP return-opts] SP search-program (RFC 9051 §6.4.4, RFC 4731, RFC 5182, RFC 7162 §3.1.5).
func search(s *session, d *imap.Decoder) error {
	p := d.SearchArgs()
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	if err := s.charsetConflict(p, false); err != nil {
		return err
	}
	if s.has(rev2) && !p.Return.Set { // RFC 9051 §6.4.4: no option means ALL, and the answer is ESEARCH
		p.Return.Set = true
	}
	return s.searching(p, func(r *result) error {
		if p.Return.Set {
			s.sayESearch(p, r, nil)
			return nil
		}
		s.sayNumbers("* SEARCH", p, r)
		return nil
	})
}

// result is what a searching command found, in the order of its answer.
type result struct {
	uids   []mailstore.UID
	nums   []uint32 // the same as the client calls them: UIDs or message numbers
	modSeq mailstore.ModSeq
	scores map[mailstore.UID]int // RFC 6203 §4
	rows   func(mailstore.UID) (mailstore.Row, bool)
	uid    bool
	tag    []byte
}

// searching runs a searching command in the selected mailbox and says its result by say.
func (s *session) searching(p *imap.Search, say func(*result) error) error {
	if err := s.searchable(p); err != nil {
		if p.Return.Save && !isBad(err) {
			s.mbox.saved = nil // RFC 5182 §2.1: NO empties the variable, BAD does not touch it
		}
		return err
	}
	q := s.querier(s.mbox.view, p)
	query, err := q.query(&p.Key, false)
	if err != nil {
		return err
	}
	r, err := s.find(s.mbox.box, s.mbox.view, p, func() (mailstore.Found, error) {
		return s.srv.store.Search(s.ctx, s.mbox.view, query)
	})
	if err != nil {
		if p.Return.Save {
			s.mbox.saved = nil
		}
		return err
	}
	if r.nums, err = s.numbers(s.mbox.view, r.uids, s.cmd.uid); err != nil {
		return err
	}
	if p.Return.HasUpdate {
		s.keepContext(p, query, r)
	}
	if err := say(r); err != nil {
		return err
	}
	if p.Return.Save {
		s.mbox.saved = saved(&p.Return, r)
	}
	return s.codeLags(nil)
}

// charsetConflict refuses charsets once UTF8=ACCEPT is enabled (RFC 6855 §3, RFC 9755 §3): any where it is optional, any but
// UTF-8 where it is mandatory.
func (s *session) charsetConflict(p *imap.Search, mandatory bool) error {
	if p.Charset == "" || !s.has(utf8Names) || mandatory && p.Charset == "UTF-8" {
		return nil
	}
	return bad("charset conflicts with UTF8=ACCEPT, which is enabled")
}

// searchable checks what the grammar can't.
func (s *session) searchable(p *imap.Search) error {
	switch {
	case p.HasSeq && s.has(uidOnly):
		s.cmd.code = "UIDREQUIRED" // RFC 9586 §3.5
		return bad("message numbers are not allowed once UIDONLY is enabled")
	case p.Return.HasUpdate && s.hasContext(s.cmd.tag):
		return bad("tag is in use by an earlier UPDATE (RFC 5267 §4.3)")
	}
	if err := checkCharset(p.Charset); err != nil {
		return err
	}
	if p.HasModSeq {
		s.enableCondstore() // RFC 7162 §3.1.5
	}
	return nil
}

func isBad(err error) bool {
	_, ok := err.(*imap.SyntaxError)
	return ok
}

func (s *session) querier(v *mailstore.View, p *imap.Search) *querier {
	q := &querier{ctx: s.ctx, view: v, charset: p.Charset, now: time.Now()}
	if s.mbox != nil && v == s.mbox.view {
		q.saved, q.recent = s.mbox.saved, s.mbox.recent
	}
	return q
}

// find searches with look and, if asked, sorts.
func (s *session) find(box *mailstore.Box, v *mailstore.View, p *imap.Search, look func() (mailstore.Found, error)) (*result, error) {
	r := &result{rows: box.Row, uid: s.cmd.uid, tag: s.cmd.tag}
	err := s.inProgress(func() error {
		found, err := look()
		if err != nil {
			return err
		}
		r.uids, r.modSeq, r.scores = found.UIDs, found.ModSeq, found.Scores
		if p.Sort != nil {
			r.uids, err = s.sorted(box, v, r, p.Sort)
		}
		return err
	})
	return r, err
}

// numbers translates UIDs, in any order, to what the client calls the messages.
func (s *session) numbers(v *mailstore.View, uids []mailstore.UID, uid bool) ([]uint32, error) {
	out := make([]uint32, len(uids))
	if uid {
		for i, u := range uids {
			out[i] = uint32(u)
		}
		return out, nil
	}
	ascending := slices.IsSorted(uids)
	if !ascending {
		return s.seqsOfUnsorted(v, uids)
	}
	var set mailstore.UIDSet
	for _, u := range uids {
		set.Add(u)
	}
	seqs, err := v.SeqsOfUIDs(s.ctx, set)
	if err != nil {
		return nil, err
	}
	out = out[:0]
	for n := range seqs.All() {
		out = append(out, uint32(n))
	}
	return out, nil
}

// seqsOfUnsorted is numbers for the order that SORT made.
func (s *session) seqsOfUnsorted(v *mailstore.View, uids []mailstore.UID) ([]uint32, error) {
	asc := slices.Clone(uids)
	slices.Sort(asc)
	seqs, err := s.numbers(v, asc, false)
	if err != nil {
		return nil, err
	}
	out := make([]uint32, 0, len(uids))
	for _, u := range uids {
		if i, ok := slices.BinarySearch(asc, u); ok && i < len(seqs) {
			out = append(out, seqs[i])
		}
	}
	return out, nil
}

// saved is what $ becomes, RFC 5182 §2.4 and RFC 9394 §3.2: all, unless only MIN, MAX or PARTIAL were asked for.
func saved(o *imap.SearchReturn, r *result) (set mailstore.UIDSet) {
	n := len(r.uids)
	if n == 0 {
		return nil
	}
	if o.All || o.Count || !o.Min && !o.Max && o.Partial == nil {
		return uidSet(r.uids)
	}
	if o.Partial != nil {
		lo, hi := window(*o.Partial, n)
		set = uidSet(r.uids[lo:hi])
	}
	if o.Min {
		set.Add(r.uids[0])
	}
	if o.Max {
		set.Add(r.uids[n-1])
	}
	return set
}

func uidSet(uids []mailstore.UID) (set mailstore.UIDSet) {
	if !slices.IsSorted(uids) {
		uids = slices.Clone(uids)
		slices.Sort(uids)
	}
	for _, u := range uids {
		set.Add(u)
	}
	return set
}

// window is the slice bounds of a PARTIAL range over n results (RFC 9394 §3.1).
func window(p imap.PartialRange, n int) (lo, hi int) {
	first, last := min(int(p.First), n+1), min(int(p.Last), n)
	if first > last {
		return 0, 0
	}
	if p.FromEnd {
		return n - last, n - first + 1
	}
	return first - 1, last
}

// sayNumbers says SEARCH and SORT as RFC 3501 §7.2.5 and RFC 5256 §4 do.
func (s *session) sayNumbers(head string, p *imap.Search, r *result) {
	s.out.ready()
	s.out.b = append(s.out.b, head...)
	for _, n := range r.nums {
		s.out.b = imap.AppendUint(append(s.out.b, ' '), n)
		s.out.full()
	}
	if p.HasModSeq && len(r.nums) > 0 { // RFC 7162 §3.1.5
		s.out.b = imap.AppendUint(append(s.out.b, " (MODSEQ "...), uint64(r.modSeq))
		s.out.b = append(s.out.b, ')')
	}
	s.out.b = append(s.out.b, "\r\n"...)
}

// mailboxOf names the mailbox of an ESEARCH response (RFC 7377 §2.1).
type mailboxOf struct {
	name        string
	uidValidity uint32
}

// sayESearch says ESEARCH (RFC 4731 §3.1). With SAVE alone nothing is said (RFC 5182 §2.1).
func (s *session) sayESearch(p *imap.Search, r *result, of *mailboxOf) {
	o := p.Return
	if !o.Min && !o.Max && !o.Count && o.Partial == nil && !o.Relevancy && !o.HasUpdate && !o.Context {
		if o.Save && !o.All {
			return
		}
		o.All = true
	}
	s.out.ready()
	b := imap.AppendString(append(s.out.b, "* ESEARCH (TAG "...), string(r.tag), false)
	if of != nil {
		b = imap.AppendMailbox(append(b, " MAILBOX "...), of.name, s.utf8())
		b = imap.AppendUint(append(b, " UIDVALIDITY "...), of.uidValidity)
	}
	b = append(b, ')')
	if r.uid {
		b = append(b, " UID"...)
	}
	n := len(r.nums)
	if o.Min && n > 0 {
		b = imap.AppendUint(append(b, " MIN "...), r.nums[0])
	}
	if o.Max && n > 0 {
		b = imap.AppendUint(append(b, " MAX "...), r.nums[n-1])
	}
	if o.Count {
		b = imap.AppendUint(append(b, " COUNT "...), n)
	}
	s.out.b = b
	s.sayLists(p, &o, r)
	s.out.b = append(s.out.b, "\r\n"...)
}

// sayLists appends the items of ESEARCH that may be long.
func (s *session) sayLists(p *imap.Search, o *imap.SearchReturn, r *result) {
	n := len(r.nums)
	lo, hi := 0, n
	if o.Partial != nil {
		lo, hi = window(*o.Partial, n)
		b := imap.AppendPartial(append(s.out.b, " PARTIAL ("...), *o.Partial)
		s.out.b = append(b, ' ')
		if lo == hi {
			s.out.b = append(s.out.b, "NIL"...)
		}
		s.appendNums(r.nums[lo:hi])
		s.out.b = append(s.out.b, ')')
	}
	if o.All && n > 0 {
		s.out.b = append(s.out.b, " ALL "...)
		s.appendNums(r.nums)
	}
	if o.Relevancy && hi > lo {
		sep := " RELEVANCY ("
		for _, u := range r.uids[lo:hi] {
			s.out.b = imap.AppendUint(append(s.out.b, sep...), max(r.scores[u], 1))
			sep = " "
			s.out.full()
		}
		s.out.b = append(s.out.b, ')')
	}
	if p.HasModSeq && n > 0 {
		s.out.b = imap.AppendUint(append(s.out.b, " MODSEQ "...), uint64(r.answerModSeq(o)))
	}
}

// answerModSeq is the highest modseq of the messages named in the answer (RFC 7162 §3.1.10).
func (r *result) answerModSeq(o *imap.SearchReturn) mailstore.ModSeq {
	if o.All || o.Count || o.Partial != nil || !o.Min && !o.Max {
		return r.modSeq
	}
	var m mailstore.ModSeq
	if row, ok := r.rows(r.uids[0]); ok && o.Min {
		m = row.ModSeq
	}
	if row, ok := r.rows(r.uids[len(r.uids)-1]); ok && o.Max {
		m = max(m, row.ModSeq)
	}
	return m
}

// appendNums prints numbers in their order; ascending neighbours become ranges (RFC 5267 §3.2).
func (s *session) appendNums(nums []uint32) {
	for i := 0; i < len(nums); {
		j := i
		for j+1 < len(nums) && nums[j+1] == nums[j]+1 {
			j++
		}
		if i > 0 {
			s.out.b = append(s.out.b, ',')
		}
		s.out.b = imap.AppendRange(s.out.b, nums[i], nums[j])
		s.out.full()
		i = j + 1
	}
}
