package imapd

import (
	"slices"
	"sort"

	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// Limits of searches that are kept up to date (RFC 5267 §4.3.1: NOUPDATE beyond).
const (
	maxContexts      = 16      // of one selected mailbox
	maxContextSorted = 200_000 // messages of a sorted one, which is kept as a list
	// contextRedo is from how many changed messages on a search is repeated instead of matching each one.
	contextRedo = 64
)

// searchState holds the running searches of a selected mailbox (RFC 5267 CONTEXT).
type searchState struct {
	all []*searchContext
	own mailstore.UIDSet // messages whose flags this session changed since
}

// searchOwn notes flag changes of this session, which are no news to the view but may be to a running search.
func (s *session) searchOwn(uids mailstore.UIDSet) {
	if st := s.mbox.searches; st != nil && len(st.all) > 0 {
		st.own = st.own.Union(uids)
	}
}

// searchContext is a search that asked for UPDATE, and what its client believes that the result is.
type searchContext struct {
	tag   string
	uid   bool // speaks of UIDs
	query *mailstore.Query
	sort  []imap.Sorter
	fetch []imap.FetchItem // RFC 5465 §7
	set   mailstore.UIDSet
	order []mailstore.UID // the same in sorted order, if sort is not nil
}

func (s *session) hasContext(tag []byte) bool {
	st := s.mbox
	return st != nil && st.searches != nil && slices.ContainsFunc(st.searches.all, func(c *searchContext) bool { return c.tag == string(tag) })
}

// keepContext begins to keep a result up to date, or says NOUPDATE.
func (s *session) keepContext(p *imap.Search, q *mailstore.Query, r *result) {
	m := s.mbox
	if m.searches == nil {
		m.searches = &searchState{}
	}
	relevancy := slices.ContainsFunc(p.Sort, func(k imap.Sorter) bool { return k.Key == imap.SortRelevancy })
	if len(m.searches.all) >= maxContexts || relevancy || p.Sort != nil && len(r.uids) > maxContextSorted {
		s.out.ready()
		b := imap.AppendString(append(s.out.b, "* NO [NOUPDATE "...), string(s.cmd.tag), false)
		s.out.b = append(b, "] this search can't be kept up to date\r\n"...)
		return
	}
	c := &searchContext{tag: string(s.cmd.tag), uid: r.uid, query: q, sort: p.Sort, fetch: p.Return.Update, set: uidSet(r.uids)}
	if p.Sort != nil {
		c.order = slices.Clone(r.uids)
	}
	m.searches.all = append(m.searches.all, c)
}

// cancelUpdate: "CANCELUPDATE" 1*(SP quoted) (RFC 5267 §4.3.5).
func cancelUpdate(s *session, d *imap.Decoder) error {
	var tags []string
	for n := 0; n == 0 || d.TakeSP() && !d.AtEnd(); n++ {
		if n == 0 {
			d.SP()
		}
		if n >= imap.MaxItems {
			d.Fail("too many tags")
		}
		tags = append(tags, d.AString())
	}
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	for _, t := range tags {
		if !s.hasContext([]byte(t)) {
			return bad("no search of that tag is kept up to date")
		}
	}
	m := s.mbox.searches
	m.all = slices.DeleteFunc(m.all, func(c *searchContext) bool { return slices.Contains(tags, c.tag) })
	return nil
}

// searchGone says REMOVEFROM for messages that are expunged, before the expunges themselves: their
// numbers are still good then (RFC 5267 §4.3.4). The view is past the expunges already.
func (s *session) searchGone(news *mailstore.News) {
	m := s.mbox
	if m.searches == nil || news.ExpungedUIDs.Empty() {
		return
	}
	for _, c := range m.searches.all {
		gone := c.set.Intersect(news.ExpungedUIDs)
		if gone.Empty() {
			continue
		}
		num := func(u mailstore.UID) uint32 { return uint32(u) }
		if !c.uid {
			seqs := seqsBefore(news)
			num = func(u mailstore.UID) uint32 { return seqs[u] }
		}
		s.startUpdate(c)
		s.remove(c, gone, num)
		s.endUpdate()
	}
}

// seqsBefore are the numbers that expunged messages had before any of the expunges.
func seqsBefore(news *mailstore.News) map[mailstore.UID]uint32 {
	m := make(map[mailstore.UID]uint32, len(news.ExpungedSeqs))
	i := 0
	for u := range news.ExpungedUIDs.All() { // said in ascending order, each counting without those before it
		if i < len(news.ExpungedSeqs) {
			m[u] = uint32(news.ExpungedSeqs[i] + i)
		}
		i++
	}
	return m
}

// searchNews updates the running searches after EXISTS and FETCH were said (RFC 5267 §4.3).
func (s *session) searchNews(news *mailstore.News) {
	m := s.mbox
	if m == nil {
		return
	}
	var touched, fresh mailstore.UIDSet
	if news.Exists && news.First < m.view.UIDNext() {
		fresh = mailstore.Range(news.First, m.view.UIDNext()-1)
	}
	said, err := s.newItems(fresh) // new messages of which FETCH items were said
	if err != nil {
		s.judge("NOTIFY", err) // logs it
		s.overflow()
	}
	if m.searches == nil || len(m.searches.all) == 0 {
		return
	}
	touched, m.searches.own = m.searches.own.Clone(), nil
	for i := range news.Changed {
		touched.Add(news.Changed[i].Row.UID)
	}
	if touched = touched.Union(fresh); touched.Empty() {
		return
	}
	for _, c := range slices.Clone(m.searches.all) {
		added, gone, err := s.rematch(c, touched)
		if err == nil {
			err = s.update1(c, added, gone, fresh.Subtract(said))
		}
		if err != nil { // the client must not believe that its result is kept
			b := imap.AppendString(append(s.out.b, "* NO [NOUPDATE "...), c.tag, false)
			s.out.b = append(b, "] search is no longer kept up to date\r\n"...)
			m.searches.all = slices.DeleteFunc(m.searches.all, func(x *searchContext) bool { return x == c })
		}
	}
}

// rematch tells which of the touched messages came into the result and which went.
func (s *session) rematch(c *searchContext, touched mailstore.UIDSet) (added, gone mailstore.UIDSet, err error) {
	m := s.mbox
	if touched.Count() > contextRedo {
		found, err := s.srv.store.Search(s.ctx, m.view, c.query)
		if err != nil {
			return nil, nil, err
		}
		now := uidSet(found.UIDs)
		return now.Subtract(c.set), c.set.Subtract(now).Intersect(touched), nil
	}
	for e, err := range m.view.Entries(s.ctx, touched) {
		if err != nil {
			return nil, nil, err
		}
		ok, err := s.srv.store.Match(s.ctx, m.view, e.Row.UID, c.query)
		if err != nil {
			return nil, nil, err
		}
		switch was := c.set.Contains(e.Row.UID); {
		case ok && !was:
			added.Add(e.Row.UID)
		case !ok && was:
			gone.Add(e.Row.UID)
		}
	}
	return added, gone, nil
}

// update1 says one ESEARCH with what went and what came. FETCH items of new messages come before it (RFC 5465 §7).
func (s *session) update1(c *searchContext, added, gone, fresh mailstore.UIDSet) error {
	if added.Empty() && gone.Empty() {
		return nil
	}
	if say := added.Intersect(fresh); c.fetch != nil && !say.Empty() {
		if err := s.sayItems(say, c.fetch); err != nil {
			return err
		}
	}
	nums := map[mailstore.UID]uint32{}
	for _, set := range []mailstore.UIDSet{added, gone} {
		uids := slices.Collect(set.All())
		ns, err := s.numbers(s.mbox.view, uids, c.uid)
		if err != nil {
			return err
		}
		for i, u := range uids {
			if i < len(ns) {
				nums[u] = ns[i]
			}
		}
	}
	num := func(u mailstore.UID) uint32 { return nums[u] }
	s.startUpdate(c)
	if !gone.Empty() {
		s.remove(c, gone, num)
	}
	var err error
	if !added.Empty() {
		err = s.add(c, added, num)
	}
	s.endUpdate()
	return err
}

func (s *session) startUpdate(c *searchContext) {
	s.out.ready()
	b := imap.AppendString(append(s.out.b, "* ESEARCH (TAG "...), c.tag, false)
	b = append(b, ')')
	if c.uid {
		b = append(b, " UID"...)
	}
	s.out.b = b
}

func (s *session) endUpdate() {
	s.out.b = append(s.out.b, "\r\n"...)
	s.out.full()
}

// remove appends REMOVEFROM and takes gone out of c. A sorted result is taken apart from its end, so that
// the positions hold when each pair is processed (RFC 5267 §4.3.4).
func (s *session) remove(c *searchContext, gone mailstore.UIDSet, num func(mailstore.UID) uint32) {
	c.set = c.set.Subtract(gone)
	s.out.b = append(s.out.b, " REMOVEFROM ("...)
	if c.sort == nil {
		s.appendPair(0, slices.Collect(gone.All()), num)
	} else {
		sep := false
		for hi := len(c.order); hi > 0; {
			if !gone.Contains(c.order[hi-1]) {
				hi--
				continue
			}
			lo := hi - 1
			for lo > 0 && gone.Contains(c.order[lo-1]) {
				lo--
			}
			if sep {
				s.out.b = append(s.out.b, ' ')
			}
			sep = true
			s.appendPair(lo+1, c.order[lo:hi], num)
			hi = lo
		}
		c.order = slices.DeleteFunc(c.order, gone.Contains)
	}
	s.out.b = append(s.out.b, ')')
}

func (s *session) appendPair(pos int, uids []mailstore.UID, num func(mailstore.UID) uint32) {
	nums := make([]uint32, len(uids))
	for i, u := range uids {
		nums[i] = num(u)
	}
	s.out.b = append(imap.AppendUint(s.out.b, pos), ' ')
	s.appendNums(nums)
}

// add appends ADDTO and takes added into c. A sorted result grows from its beginning, so that each
// position is the final one (RFC 5267 §4.3.3).
func (s *session) add(c *searchContext, added mailstore.UIDSet, num func(mailstore.UID) uint32) error {
	c.set = c.set.Union(added)
	if c.sort == nil {
		s.out.b = append(s.out.b, " ADDTO ("...)
		s.appendPair(0, slices.Collect(added.All()), num)
		s.out.b = append(s.out.b, ')')
		return nil
	}
	if err := s.insert(c, added); err != nil {
		return err
	}
	s.out.b = append(s.out.b, " ADDTO ("...)
	sep := false
	for lo := 0; lo < len(c.order); {
		if !added.Contains(c.order[lo]) {
			lo++
			continue
		}
		hi := lo + 1
		for hi < len(c.order) && added.Contains(c.order[hi]) {
			hi++
		}
		if sep {
			s.out.b = append(s.out.b, ' ')
		}
		sep = true
		s.appendPair(lo+1, c.order[lo:hi], num)
		lo = hi
	}
	s.out.b = append(s.out.b, ')')
	return nil
}

// insert puts added into the sorted order; keys never change once a message arrived.
// Few are put in by looking at the neighbours that a binary search meets, many by sorting again.
func (s *session) insert(c *searchContext, added mailstore.UIDSet) error {
	m := s.mbox
	if added.Count() > contextRedo {
		r := &result{uids: slices.Collect(c.set.All())}
		order, err := s.sorted(m.box, m.view, r, c.sort)
		c.order = order
		return err
	}
	k := &keyring{s: s, ranks: newRanking(c.sort, 32), at: map[mailstore.UID]int32{}}
	for u := range added.All() {
		i := sort.Search(len(c.order), func(i int) bool { return k.less(u, c.order[i]) })
		if k.err != nil {
			return k.err
		}
		c.order = slices.Insert(c.order, i, u)
	}
	return nil
}

// keyring loads sort keys of single messages when they are compared.
type keyring struct {
	s     *session
	ranks *ranking
	at    map[mailstore.UID]int32
	err   error
}

func (k *keyring) less(a, b mailstore.UID) bool {
	x, y := k.key(a), k.key(b)
	if k.err != nil {
		return false
	}
	if c := k.ranks.compareKeys(x, y); c != 0 {
		return c < 0
	}
	return a < b
}

func (k *keyring) key(u mailstore.UID) int32 {
	if i, ok := k.at[u]; ok || k.err != nil {
		return i
	}
	box := k.s.mbox.box
	row, ok := box.Row(u)
	if !ok { // expunged, not yet told: any place will do until REMOVEFROM
		row = mailstore.Row{UID: u}
	}
	i := int32(len(k.ranks.heads))
	if !ok || !needsMeta(k.ranks.by) {
		k.ranks.add(&row, &noKeys, 0)
	} else {
		for meta, err := range box.Metas(k.s.ctx, []mailstore.Row{row}) {
			if err != nil {
				k.err = err
				return 0
			}
			keys := meta.Summary.SortKeys()
			k.ranks.add(&row, &keys, 0)
		}
		if int(i) == len(k.ranks.heads) {
			k.ranks.add(&row, &noKeys, 0)
		}
	}
	k.at[u] = i
	return i
}
