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

// pushNames says LIST for names that came, went, moved or changed their subscription (RFC 5465 §5.4, §5.5). It looks only at
// the mailboxes that changes named, so its cost follows the changes, and the number of mailboxes only if one was renamed.
//
// What went is said first, under its old name, then what moved, then what came: so a client that follows each
// LIST ends with the names that are.
func (s *session) pushNames(pending map[mailstore.MailboxID]imap.Event) error {
	if s.notify.told.names == nil { // nobody asked
		return nil
	}
	n := &nameNews{s: s, told: &s.notify.told, said: map[string]bool{}}
	var here []mailstore.Mailbox
	for _, id := range sortedIDs(pending) {
		if id == 0 || pending[id]&(imap.MailboxName|imap.SubscriptionChange) == 0 {
			continue
		}
		mb, err := s.srv.store.MailboxByID(s.ctx, s.login.Account, id)
		switch {
		case err == nil:
			here = append(here, mb)
		case ignoreGone(err) != nil:
			return err
		default:
			n.gone(id)
		}
	}
	n.moves(here)
	for i := range here {
		n.mailbox(&here[i])
	}
	if pending[0]&imap.SubscriptionChange != 0 {
		return n.subscriptions(true)
	}
	return nil
}

// nameNews compares names as told with names as they are.
type nameNews struct {
	s    *session
	told *told
	said map[string]bool
}

// forgiveNames takes over what the session has just changed itself: it is not told of it (RFC 5465 §5).
func (s *session) forgiveNames() {
	mine := s.notify.takeMine()
	if len(mine) == 0 || s.notify.told.names == nil {
		return
	}
	n := &nameNews{s: s, told: &s.notify.told}
	for _, id := range sortedIDs(mine) {
		var err error
		if id == 0 {
			err = n.subscriptions(false)
		} else {
			err = n.forgive(id, mine[id])
		}
		if err != nil {
			s.judge("NOTIFY", err) // logs it
			s.overflow()
			return
		}
	}
}

func (n *nameNews) forgive(id mailstore.MailboxID, did imap.Event) error {
	mb, err := n.s.srv.store.MailboxByID(n.s.ctx, n.s.login.Account, id)
	if ignoreGone(err) != nil {
		return err
	}
	old, known := n.told.names[id]
	switch {
	case err != nil:
		delete(n.told.names, id)
	case did&imap.MailboxName != 0:
		if known && old.name != mb.Name {
			n.move(old.name, mb.Name)
		}
		n.told.names[id] = toldName{mb.Name, mb.NoSelect}
		fallthrough
	case did&imap.SubscriptionChange != 0:
		n.told.subscribe(mb.Name, mb.Subscribed)
	}
	return nil
}

func (t *told) subscribe(name string, on bool) {
	if on {
		t.subscribed[name] = true
	} else {
		delete(t.subscribed, name)
	}
}

// gone says a mailbox that is no more.
func (n *nameNews) gone(id mailstore.MailboxID) {
	if old, known := n.told.names[id]; known {
		delete(n.told.names, id)
		n.name(old.name, "", imap.MailboxName)
		n.parent(old.name)
	}
}

// moves says renames. A name that another mailbox still has in the client's view must wait until that has moved.
func (n *nameNews) moves(mbs []mailstore.Mailbox) {
	for force := false; ; {
		var taken map[string]bool
		waiting, moved := false, false
		for i := range mbs {
			mb := &mbs[i]
			old, known := n.told.names[mb.ID]
			if !known || old.name == mb.Name {
				continue
			}
			if taken == nil {
				taken = n.told.taken()
			}
			if taken[mb.Name] && !force {
				waiting = true
				continue
			}
			n.name(mb.Name, old.name, imap.MailboxName)
			n.move(old.name, mb.Name)
			moved, force = true, false
		}
		if !waiting {
			return
		}
		force = !moved
	}
}

func (t *told) taken() map[string]bool {
	m := make(map[string]bool, len(t.names))
	for _, v := range t.names {
		m[v.name] = true
	}
	return m
}

// move renames old and all below it in the client's view (RFC 5465 §5.4: no events are sent for children).
func (n *nameNews) move(old, name string) {
	for id, v := range n.told.names {
		if rest, ok := below(v.name, old); ok {
			v.name = name + rest
			n.told.names[id] = v
		}
	}
	var moved []string
	for v := range n.told.subscribed {
		if _, ok := below(v, old); ok {
			moved = append(moved, v)
		}
	}
	for _, v := range moved { // subscriptions go along with their mailboxes
		delete(n.told.subscribed, v)
	}
	for _, v := range moved {
		n.told.subscribed[name+strings.TrimPrefix(v, old)] = true
	}
}

// below reports whether name is top or lies below it, and what stands behind top.
func below(name, top string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(name, top)
	return rest, ok && (rest == "" || rest[0] == mailstore.Separator)
}

// mailbox says what came, and what changed but its name.
func (n *nameNews) mailbox(mb *mailstore.Mailbox) {
	old, known := n.told.names[mb.ID]
	n.told.names[mb.ID] = toldName{mb.Name, mb.NoSelect}
	switch {
	case !known:
		n.name(mb.Name, "", imap.MailboxName)
		n.parent(mb.Name)
	case old.noSelect != mb.NoSelect:
		n.name(mb.Name, "", imap.MailboxName)
	}
	if n.told.subscribed[mb.Name] != mb.Subscribed {
		n.told.subscribe(mb.Name, mb.Subscribed)
		n.name(mb.Name, "", imap.SubscriptionChange)
	}
}

// parent says the direct parent, which may have gained its first child or lost its last, unless it is about to be said itself.
func (n *nameNews) parent(name string) {
	p := parentOf(name)
	if p == "" {
		return
	}
	if _, err := n.s.srv.store.MailboxByName(n.s.ctx, n.s.login.Account, p); err != nil && n.told.taken()[p] {
		return
	}
	n.name(p, "", imap.MailboxName)
}

// subscriptions compares all of them: of names that are no mailboxes no change tells the name.
func (n *nameNews) subscriptions(say bool) error {
	subs, err := n.s.srv.store.Subscriptions(n.s.ctx, n.s.login.Account)
	if err != nil {
		return err
	}
	was := n.told.subscribed
	n.told.subscribed = setOf(subs)
	if !say {
		return nil
	}
	for name := range n.told.subscribed {
		if !was[name] {
			n.name(name, "", imap.SubscriptionChange)
		}
	}
	for name := range was {
		if !n.told.subscribed[name] {
			n.name(name, "", imap.SubscriptionChange)
		}
	}
	return nil
}

// name says LIST of a name if a group asks for event there, or asked for it under its old name.
func (n *nameNews) name(name, old string, event imap.Event) {
	s := n.s
	mb, err := s.srv.store.MailboxByName(s.ctx, s.login.Account, name)
	exists := err == nil
	if !exists {
		mb = mailstore.Mailbox{Name: name, Subscribed: n.told.subscribed[name]}
	}
	asked := false
	for i := range s.notify.groups {
		g := &s.notify.groups[i]
		if g.Events&event != 0 && (matches(&g.Filter, name, mb.NoSelect, mb.Subscribed || event == imap.SubscriptionChange) ||
			old != "" && matches(&g.Filter, old, mb.NoSelect, mb.Subscribed)) {
			asked = true
		}
	}
	if !asked || n.said[name] {
		return
	}
	n.said[name] = true
	s.out.ready()
	s.out.b = s.appendList(s.out.b, &listed{Mailbox: mb, exists: exists}, &imap.ListRequest{ReturnSubscribed: true})
	if old != "" {
		s.out.b = s.appendOldName(s.out.b[:len(s.out.b)-2], old)
	}
	s.out.full()
}
