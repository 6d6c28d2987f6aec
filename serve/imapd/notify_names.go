package imapd

import (
	"crypto/sha256"
	"maps"
	"slices"
	"strings"

	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// told is what a client that asked for NOTIFY knows of names, subscriptions and annotations; nil where it did not ask.
type told struct {
	names      map[mailstore.MailboxID]toldName
	subscribed map[string]bool
	metadata   map[mailstore.MailboxID]map[string][sha256.Size]byte
}

type toldName struct {
	name     string
	noSelect bool
}

// takeStock notes how things are before the first event.
func (s *session) takeStock(st *notifyState) error {
	var asked imap.Event
	for _, g := range st.groups {
		asked |= g.Events
	}
	if asked&(imap.MailboxName|imap.SubscriptionChange|imap.MailboxMetadataChange|imap.ServerMetadataChange) == 0 {
		return nil
	}
	mbs, err := s.srv.store.Mailboxes(s.ctx, s.login.Account)
	if err != nil {
		return err
	}
	if asked&(imap.MailboxName|imap.SubscriptionChange) != 0 {
		subs, err := s.srv.store.Subscriptions(s.ctx, s.login.Account)
		if err != nil {
			return err
		}
		st.told.names, st.told.subscribed = namesOf(mbs), setOf(subs)
	}
	if asked&(imap.MailboxMetadataChange|imap.ServerMetadataChange) == 0 {
		return nil
	}
	if len(mbs) > maxNotifyMetadata {
		return no("NOTIFICATIONOVERFLOW", "too many mailboxes to watch their metadata")
	}
	st.told.metadata = map[mailstore.MailboxID]map[string][sha256.Size]byte{}
	for _, id := range append([]mailstore.MailboxID{0}, slices.Collect(maps.Keys(namesOf(mbs)))...) {
		m, err := s.metadataSums(id)
		if err != nil {
			return err
		}
		st.told.metadata[id] = m
	}
	return nil
}

func namesOf(mbs []mailstore.Mailbox) map[mailstore.MailboxID]toldName {
	m := make(map[mailstore.MailboxID]toldName, len(mbs))
	for i := range mbs {
		m[mbs[i].ID] = toldName{mbs[i].Name, mbs[i].NoSelect}
	}
	return m
}

func setOf(names []string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

func (s *session) metadataSums(id mailstore.MailboxID) (map[string][sha256.Size]byte, error) {
	stored, err := s.srv.store.Metadata(s.ctx, s.login.Account, id)
	if err != nil {
		return nil, ignoreGone(err)
	}
	if len(stored) == 0 {
		return nil, nil
	}
	sums := make(map[string][sha256.Size]byte, len(stored))
	for e, v := range stored {
		sums[e] = sha256.Sum256(v)
	}
	return sums, nil
}

// tellMetadata notes what this session wrote: it is not told of it.
func (s *session) tellMetadata(id mailstore.MailboxID, vs []imap.MetadataValue) {
	if s.notify == nil || s.notify.told.metadata == nil {
		return
	}
	m := s.notify.told.metadata[id]
	if m == nil {
		m = map[string][sha256.Size]byte{}
		s.notify.told.metadata[id] = m
	}
	for _, v := range vs {
		if v.Value == nil {
			delete(m, v.Entry)
		} else {
			m[v.Entry] = sha256.Sum256(v.Value)
		}
	}
}

// pushMetadata says which annotations changed (RFC 5464 §4.4.2, RFC 5465 §5.6, §5.7).
func (s *session) pushMetadata(id mailstore.MailboxID, name string) error {
	all := s.notify.told.metadata
	if all == nil {
		return nil
	}
	now, err := s.metadataSums(id)
	if err != nil {
		return err
	}
	was := all[id]
	all[id] = now
	var changed []string
	for e, sum := range now {
		if old, ok := was[e]; !ok || old != sum {
			changed = append(changed, e)
		}
	}
	for e := range was {
		if _, ok := now[e]; !ok {
			changed = append(changed, e)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	slices.Sort(changed)
	s.out.ready()
	b := imap.AppendMailbox(append(s.out.b, "* METADATA "...), name, s.utf8())
	for _, e := range changed {
		b = imap.AppendAString(append(b, ' '), e)
	}
	s.out.b = append(b, "\r\n"...)
	return nil
}

// pushNames says LIST for names that came, went, moved or changed their subscription (RFC 5465 §5.4, §5.5).
func (s *session) pushNames() error {
	mbs, err := s.srv.store.Mailboxes(s.ctx, s.login.Account)
	if err != nil {
		return err
	}
	subs, err := s.srv.store.Subscriptions(s.ctx, s.login.Account)
	if err != nil {
		return err
	}
	t := &s.notify.told
	was, wasSub := t.names, t.subscribed
	t.names, t.subscribed = namesOf(mbs), setOf(subs)
	t.forgive(was, wasSub, s.notify.takeMine())
	n := &nameNews{s: s, was: was, view: make(map[mailstore.MailboxID]string, len(was)), now: make(map[string]*mailstore.Mailbox, len(mbs)), said: map[string]bool{}}
	for i := range mbs {
		n.now[mbs[i].Name] = &mbs[i]
	}
	for id, old := range was {
		if _, there := t.names[id]; there {
			n.view[id] = old.name
			continue
		}
		n.name(old.name, "", imap.MailboxName)
		n.parent(old.name)
	}
	n.moves(mbs)
	for i := range mbs {
		n.mailbox(&mbs[i])
	}
	for name := range wasSub {
		if !t.subscribed[name] {
			n.name(name, "", imap.SubscriptionChange)
		}
	}
	for name := range t.subscribed {
		if !wasSub[name] {
			n.name(name, "", imap.SubscriptionChange)
		}
	}
	return nil
}

// forgive makes what the session changed itself look as if it had been so before.
func (t *told) forgive(was map[mailstore.MailboxID]toldName, wasSub map[string]bool, mine map[mailstore.MailboxID]bool) {
	mark := func(name string) {
		if t.subscribed[name] {
			wasSub[name] = true
		} else {
			delete(wasSub, name)
		}
	}
	for id := range mine {
		if old, ok := was[id]; ok {
			mark(old.name)
			delete(was, id)
		}
		if now, ok := t.names[id]; ok {
			mark(now.name)
			was[id] = now
		}
	}
	if !mine[0] {
		return
	}
	names := make(map[string]bool, len(t.names)) // a subscription of a name that is no mailbox
	for _, n := range t.names {
		names[n.name] = true
	}
	for name := range t.subscribed {
		if !names[name] {
			wasSub[name] = true
		}
	}
	for name := range wasSub {
		if !names[name] && !t.subscribed[name] {
			delete(wasSub, name)
		}
	}
}

// nameNews compares names as told with names as they are. What went is said first, under its old name, then what
// moved, parents before children, then what came: so a client that follows each LIST ends with the names that are.
type nameNews struct {
	s    *session
	was  map[mailstore.MailboxID]toldName
	view map[mailstore.MailboxID]string // what the client calls those that are still there, renames said so far included
	now  map[string]*mailstore.Mailbox
	said map[string]bool
}

// moves says renames. A name that another mailbox still has in the client's view must wait until that has moved.
func (n *nameNews) moves(mbs []mailstore.Mailbox) {
	for force := false; ; {
		taken := make(map[string]bool, len(n.view))
		for _, name := range n.view {
			taken[name] = true
		}
		waiting, moved := false, false
		for i := range mbs {
			mb := &mbs[i]
			old, known := n.view[mb.ID]
			if !known || old == mb.Name {
				continue
			}
			if taken[mb.Name] && !force {
				waiting = true
				continue
			}
			n.name(mb.Name, old, imap.MailboxName)
			n.move(old, mb.Name)
			moved, force = true, false
		}
		if !waiting {
			return
		}
		force = !moved
	}
}

// move renames old and all below it in the client's view (RFC 5465 §5.4: no events are sent for children).
func (n *nameNews) move(old, name string) {
	for id, v := range n.view {
		if rest, ok := strings.CutPrefix(v, old); ok && (rest == "" || rest[0] == mailstore.Separator) {
			n.view[id] = name + rest
		}
	}
}

func (n *nameNews) mailbox(mb *mailstore.Mailbox) {
	old, known := n.was[mb.ID]
	switch {
	case !known:
		n.name(mb.Name, "", imap.MailboxName)
		n.parent(mb.Name)
	case old.noSelect != mb.NoSelect:
		n.name(mb.Name, "", imap.MailboxName)
	}
}

// parent says the direct parent, which may have gained its first child or lost its last, unless it moved.
func (n *nameNews) parent(name string) {
	p := parentOf(name)
	if p == "" {
		return
	}
	if _, there := n.now[p]; !there {
		for _, v := range n.view {
			if v == p {
				return
			}
		}
	}
	n.name(p, "", imap.MailboxName)
}

// name says LIST of a name if a group asks for event there, or asked for it under its old name.
func (n *nameNews) name(name, old string, event imap.Event) {
	mb, exists := n.now[name]
	if !exists {
		mb = &mailstore.Mailbox{Name: name, Subscribed: n.s.notify.told.subscribed[name]}
	}
	asked := false
	for i := range n.s.notify.groups {
		g := &n.s.notify.groups[i]
		if g.Events&event != 0 && (matches(&g.Filter, name, mb.NoSelect, mb.Subscribed || event == imap.SubscriptionChange) ||
			old != "" && matches(&g.Filter, old, mb.NoSelect, mb.Subscribed)) {
			asked = true
		}
	}
	if !asked || n.said[name] {
		return
	}
	n.said[name] = true
	s := n.s
	s.out.ready()
	s.out.b = s.appendList(s.out.b, &listed{Mailbox: *mb, exists: exists}, &imap.ListRequest{ReturnSubscribed: true})
	if old != "" {
		s.out.b = s.appendOldName(s.out.b[:len(s.out.b)-2], old)
	}
	s.out.full()
}
