package imapd

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// Limits of NOTIFY.
const (
	// maxNotifyPending bounds the mailboxes whose news wait for a client that does not read; beyond is NOTIFICATIONOVERFLOW.
	maxNotifyPending = 10_000
	// maxNotifyMetadata bounds the mailboxes whose annotations are compared: each costs a read at NOTIFY.
	maxNotifyMetadata = 2_000
)

// supportedEvents are the events that we can tell; AnnotationChange is not among them (RFC 5257 is not ours).
const supportedEvents = imap.MessageEvents&^imap.AnnotationChange | imap.MailboxName | imap.SubscriptionChange |
	imap.MailboxMetadataChange | imap.ServerMetadataChange

// notifyState is what NOTIFY asked for (RFC 5465). It stays after NOTIFY NONE, which silences the selected mailbox too (§3.1).
type notifyState struct {
	groups   []imap.EventGroup // but those for the selected mailbox
	selected imap.Event        // message events of the selected mailbox
	delayed  bool              // SELECTED-DELAYED
	fetch    []imap.FetchItem
	told     told
	stop     func()

	mu      sync.Mutex // leaf: guards what commits put in
	pending map[mailstore.MailboxID]imap.Event
	mine    map[mailstore.MailboxID]imap.Event // names and subscriptions that this session changed, nil at first
	over    bool
}

// notify: "NOTIFY" SP ("NONE" / "SET" [SP "STATUS"] SP event-groups) (RFC 5465 §3.1).
func notify(s *session, d *imap.Decoder) error {
	n := d.NotifyArgs()
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	st := &notifyState{pending: map[mailstore.MailboxID]imap.Event{}, stop: func() {}}
	for _, g := range n.Groups {
		if g.Unknown != "" || g.Events&^supportedEvents != 0 {
			return no("BADEVENT ("+eventNames()+")", "event is not supported")
		}
		if g.Filter.Kind > imap.FilterSelectedDelayed {
			st.groups = append(st.groups, g)
			continue
		}
		st.selected, st.fetch, st.delayed = g.Events, g.Fetch, g.Filter.Kind == imap.FilterSelectedDelayed
	}
	if s.mbox != nil && n.Set { // RFC 5465 §3.1: implies NOOP
		s.sayNews(true)
	}
	s.dropNotify()
	if len(st.groups) > 0 {
		st.stop = s.srv.store.Notify(s.login.Account, 0, func(cs []mailstore.Change) { st.collect(s, cs) })
	}
	if slices.ContainsFunc(st.fetch, func(it imap.FetchItem) bool { return it.Kind == imap.ItemModSeq }) {
		s.enableCondstore() // as FETCH of it does (RFC 7162 §3.1)
	}
	err := s.takeStock(st)
	if err == nil && n.Status {
		err = s.sayNotifyStatus(st)
	}
	if err != nil {
		st.stop()
		return err
	}
	s.notify = st
	s.idling.Store(true)
	return nil
}

func eventNames() string {
	var names []string
	for i, n := range imap.EventNames {
		if supportedEvents&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, " ")
}

// dropNotify ends NOTIFY.
func (s *session) dropNotify() {
	if s.notify != nil {
		s.notify.stop()
		s.notify = nil
		s.idling.Store(s.idle != nil)
	}
}

// collect notes what a commit did. It runs on the committer's goroutine.
func (st *notifyState) collect(s *session, cs []mailstore.Change) {
	st.mu.Lock()
	news := false
	for i := range cs {
		c := &cs[i]
		if c.Kind == mailstore.History { // nobody knows what changed
			st.over, news = true, true
			clear(st.pending)
			continue
		}
		e := eventsOf(c.Kind)
		if uint64(c.ModSeq) == s.own.Load() { // RFC 5465 §5: not what this client did itself
			st.own(c.Mailbox, e)
			continue
		}
		if e == 0 {
			continue
		}
		if len(st.pending) >= maxNotifyPending {
			st.over = true
			clear(st.pending)
		}
		news = true
		if !st.over {
			st.pending[c.Mailbox] |= e
		}
	}
	st.mu.Unlock()
	if news {
		s.wake(cs)
	}
}

// own notes names that the session's own command changed: they are not told, but known from now on.
func (st *notifyState) own(id mailstore.MailboxID, e imap.Event) {
	if e &= imap.MailboxName | imap.SubscriptionChange; e == 0 {
		return
	}
	if st.mine == nil {
		st.mine = map[mailstore.MailboxID]imap.Event{}
	}
	st.mine[id] |= e
}

// eventsOf maps a change to the events that it may be.
func eventsOf(k mailstore.ChangeKind) imap.Event {
	switch k {
	case mailstore.Added:
		return imap.MessageNew
	case mailstore.Expunged:
		return imap.MessageExpunge
	case mailstore.FlagsChanged:
		return imap.FlagChange
	case mailstore.MailboxCreated, mailstore.MailboxDeleted:
		return imap.MailboxName
	case mailstore.MailboxChanged:
		return imap.MailboxName | imap.MailboxMetadataChange
	case mailstore.SubscriptionChanged:
		return imap.SubscriptionChange
	case mailstore.AccountChanged:
		return imap.ServerMetadataChange
	}
	return 0
}

// takeMine returns whose names this session changed, unless others changed the same, and forgets it.
func (st *notifyState) takeMine() map[mailstore.MailboxID]imap.Event {
	st.mu.Lock()
	defer st.mu.Unlock()
	m := st.mine
	st.mine = nil
	for id := range m {
		m[id] &^= st.pending[id]
	}
	return m
}

// take returns what is pending and forgets it.
func (st *notifyState) take() (p map[mailstore.MailboxID]imap.Event, over bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	p, over = st.pending, st.over
	st.pending, st.over = map[mailstore.MailboxID]imap.Event{}, false
	return p, over
}

// wantsPush reports whether news are to be said although no command runs.
func (s *session) wantsPush() bool {
	return s.idle != nil || s.notify != nil && (s.notify.selected != 0 || len(s.notify.groups) > 0)
}

// pushExpunges reports whether a push may renumber messages: while the client idles, or after NOTIFY SELECTED (RFC 5465 §6.1).
func (s *session) pushExpunges() bool {
	return s.idle != nil || s.notify == nil || !s.notify.delayed
}

// quiet reports whether NOTIFY has silenced the selected mailbox (RFC 5465 §3.1). What the client's
// own command renumbers is said nevertheless: the answer would not make sense without.
func (s *session) quiet() bool {
	if s.notify == nil || s.notify.selected != 0 {
		return false
	}
	return s.cmd.row == nil || s.cmd.row.seqs != breaks
}

// quietFlags reports whether NOTIFY did not ask for the flags of the selected mailbox.
func (s *session) quietFlags() bool { return s.notify != nil && s.notify.selected&imap.FlagChange == 0 }

// pushOthers says the news of mailboxes that are not selected, and of names, subscriptions and annotations.
func (s *session) pushOthers() {
	st := s.notify
	if st == nil {
		return
	}
	pending, over := st.take()
	if over {
		s.overflow()
		return
	}
	var err error
	var names imap.Event
	for _, e := range pending {
		names |= e & (imap.MailboxName | imap.SubscriptionChange)
	}
	if names != 0 {
		err = s.pushNames(pending) // first: what follows calls mailboxes by their new names
	}
	for _, id := range sortedIDs(pending) {
		if err == nil {
			err = s.pushMailbox(id, pending[id])
		}
	}
	if err != nil {
		s.judge("NOTIFY", err) // logs it
		s.overflow()
	}
}

func sortedIDs(m map[mailstore.MailboxID]imap.Event) []mailstore.MailboxID {
	ids := make([]mailstore.MailboxID, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// overflow gives up notifying (RFC 5465 §5.8).
func (s *session) overflow() {
	s.line("* OK [NOTIFICATIONOVERFLOW] too much to tell, notifications are off")
	s.dropNotify()
	s.notify = &notifyState{stop: func() {}, pending: map[mailstore.MailboxID]imap.Event{}}
}

// pushMailbox says STATUS or METADATA of one mailbox (RFC 5465 §5.1 to §5.3, §5.6, §5.7).
func (s *session) pushMailbox(id mailstore.MailboxID, happened imap.Event) error {
	st := s.notify
	if id == 0 {
		if happened&imap.ServerMetadataChange != 0 && s.wanted(nil)&imap.ServerMetadataChange != 0 {
			return s.pushMetadata(0, "")
		}
		return nil
	}
	mb, err := s.srv.store.MailboxByID(s.ctx, s.login.Account, id)
	if err != nil {
		return ignoreGone(err)
	}
	happened &= s.wanted(&mb)
	if happened&imap.MailboxMetadataChange != 0 {
		if err := s.pushMetadata(id, mb.Name); err != nil {
			return err
		}
	}
	if s.mbox != nil && s.mbox.id == id || mb.NoSelect || len(st.groups) == 0 {
		return nil // the selected mailbox speaks for itself
	}
	if happened&imap.MessageEvents != 0 {
		s.sayEventStatus(&mb, happened)
	}
	return nil
}

// wanted are the events that the groups ask of a mailbox; nil is the server.
func (s *session) wanted(mb *mailstore.Mailbox) (e imap.Event) {
	for i := range s.notify.groups {
		g := &s.notify.groups[i]
		if mb == nil || matches(&g.Filter, mb.Name, mb.NoSelect, mb.Subscribed) {
			e |= g.Events
		}
	}
	return e
}

// sayEventStatus says STATUS with what the events change.
func (s *session) sayEventStatus(mb *mailstore.Mailbox, happened imap.Event) {
	var items []imap.StatusItem
	if happened&(imap.MessageNew|imap.MessageExpunge) != 0 {
		items = append(items, imap.StatusUIDNext, imap.StatusMessages)
	}
	if happened&imap.FlagChange != 0 {
		items = append(items, imap.StatusUIDValidity, imap.StatusUnseen)
	}
	if s.enabled&(condstore|qresync) != 0 {
		items = append(items, imap.StatusHighestModSeq)
	}
	s.sayUnasked(mb, items)
}

// sayUnasked says STATUS between or after other responses.
func (s *session) sayUnasked(mb *mailstore.Mailbox, items []imap.StatusItem) {
	s.out.ready()
	s.sayStatus(mb, items)
	s.out.full()
}

// sayNotifyStatus says STATUS of all mailboxes with message events (RFC 5465 §3.1).
func (s *session) sayNotifyStatus(st *notifyState) error {
	mbs, err := s.srv.store.Mailboxes(s.ctx, s.login.Account)
	if err != nil {
		return err
	}
	for i := range mbs {
		mb := &mbs[i]
		if mb.NoSelect || s.mbox != nil && s.mbox.id == mb.ID {
			continue
		}
		var e imap.Event
		for _, g := range st.groups {
			if matches(&g.Filter, mb.Name, mb.NoSelect, mb.Subscribed) {
				e |= g.Events
			}
		}
		if e&imap.MessageEvents == 0 {
			continue
		}
		items := []imap.StatusItem{imap.StatusMessages, imap.StatusUIDNext, imap.StatusUIDValidity}
		if e&imap.FlagChange != 0 {
			items = append(items, imap.StatusHighestModSeq)
		}
		s.sayUnasked(mb, items)
	}
	return nil
}

// sayItems says FETCH of messages that the client did not ask for now (RFC 5465 §5.2, §7). It does not mark them as read.
func (s *session) sayItems(uids mailstore.UIDSet, items []imap.FetchItem) error {
	p := fetchPlan{items: slices.Clone(items)}
	if err := s.plan(&p); err != nil {
		return err
	}
	p.uid, p.seen = !s.has(uidOnly), false
	return s.fetchAll(&p, uids)
}

// newItems says the FETCH items that NOTIFY asked for of new messages, but not of those that this session made.
func (s *session) newItems(fresh mailstore.UIDSet) (said mailstore.UIDSet, err error) {
	if s.notify == nil || s.notify.fetch == nil || fresh.Empty() {
		return nil, nil
	}
	for e, err := range s.mbox.view.Entries(s.ctx, fresh) {
		if err != nil {
			return nil, err
		}
		if uint64(e.Row.ModSeq) != s.own.Load() {
			said.Add(e.Row.UID)
		}
	}
	if said.Empty() {
		return nil, nil
	}
	return said, s.sayItems(said, s.notify.fetch)
}

// ownStep remembers the step that this session makes.
type ownStep = atomic.Uint64
