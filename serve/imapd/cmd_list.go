package imapd

import (
	"slices"
	"strings"

	"bahnpost/mail"
	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// listed is one name that LIST or LSUB may show.
type listed struct {
	mailstore.Mailbox
	exists    bool
	childInfo bool // CHILDINFO ("SUBSCRIBED"): a child matches the selection (RFC 5258 §3.5)
}

// list: "LIST" [SP "(" options ")"] SP reference SP patterns [SP "RETURN" SP
// "(" options ")"] (RFC 9051 §6.3.9, RFC 5258, RFC 5819, RFC 6154, RFC 8440, RFC 9590).
func list(s *session, d *imap.Decoder) error {
	r := d.ListArgs()
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	if !r.Extended && r.Patterns[0] == "" {
		s.line(`* LIST (\Noselect) "/" ""`) // RFC 9051 §6.3.9: asks for the separator
		return nil
	}
	names, err := s.listable(&r)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		s.asksStatus(r.Status)
	}
	for i := range names {
		if err := s.sayListed(&names[i], &r); err != nil {
			return err
		}
		s.out.full()
	}
	return nil
}

func (s *session) sayListed(l *listed, r *imap.ListRequest) error {
	s.out.b = s.appendList(s.out.b, l, r)
	if !l.exists || l.NoSelect {
		return nil
	}
	if r.ReturnMyRights {
		s.out.b = s.appendMyRights(s.out.b, l.Name)
	}
	if len(r.Status) > 0 { // RFC 5819 §2
		s.sayStatus(&l.Mailbox, r.Status)
	}
	if r.Metadata != nil {
		return s.listMetadata(&l.Mailbox, r.Metadata)
	}
	return nil
}

// listable returns the names that meet r, in order.
func (s *session) listable(r *imap.ListRequest) ([]listed, error) {
	patterns := fullPatterns(r)
	if name, ok := single(patterns); ok && !r.Subscribed && !r.RecursiveMatch {
		mb, err := s.srv.store.MailboxByName(s.ctx, s.login.Account, name)
		if kind := mail.KindOf(err); kind == mail.NoSuchMailbox || kind == mail.BadInput {
			return nil, nil // what can be no name matches nothing, as with wildcards
		}
		if err != nil || r.SelectSpecialUse && len(mb.SpecialUse) == 0 {
			return nil, err
		}
		return []listed{{Mailbox: mb, exists: true}}, nil
	}
	all, err := s.allNames(r.Subscribed)
	if err != nil {
		return nil, err
	}
	if r.RecursiveMatch {
		markParents(all, r, patterns)
	}
	out := all[:0]
	for _, l := range all {
		if (meets(&l, r) || l.childInfo) && matchesAny(patterns, l.Name) {
			out = append(out, l)
		}
	}
	return out, nil
}

// meets reports whether a name meets the selection options.
func meets(l *listed, r *imap.ListRequest) bool {
	if r.Subscribed && !l.Subscribed || r.SelectSpecialUse && len(l.SpecialUse) == 0 {
		return false
	}
	return l.exists || r.Subscribed
}

// markParents sets childInfo on names that have a name below them that meets
// the selection, existing or not (RFC 5258 §3.5). A name that does not meet it
// itself is left out if all of those are listed anyway: RFC 9051 §6.3.9.6.
func markParents(all []listed, r *imap.ListRequest, patterns []string) {
	const below, hidden = 1, 2 // what a name has below it: one that meets the selection, one that is not listed
	marks := map[string]int{}
	for i := range all {
		if !meets(&all[i], r) {
			continue
		}
		m := below
		if !matchesAny(patterns, all[i].Name) {
			m |= hidden
		}
		for p := parentOf(all[i].Name); p != "" && marks[p]&m != m; p = parentOf(p) {
			marks[p] |= m
		}
	}
	for i := range all {
		m := marks[all[i].Name]
		all[i].childInfo = m&hidden != 0 || m&below != 0 && meets(&all[i], r)
	}
}

func parentOf(name string) string {
	if i := strings.LastIndexByte(name, mailstore.Separator); i > 0 {
		return name[:i]
	}
	return ""
}

// allNames returns all mailboxes, with missing subscribed ones (and their
// missing parents, for RECURSIVEMATCH) too if asked for.
func (s *session) allNames(subscribed bool) ([]listed, error) {
	mbs, err := s.srv.store.Mailboxes(s.ctx, s.login.Account)
	if err != nil {
		return nil, err
	}
	all := make([]listed, 0, len(mbs)+8)
	known := map[string]bool{}
	for i := range mbs {
		all = append(all, listed{Mailbox: mbs[i], exists: true})
		if subscribed {
			known[mbs[i].Name] = true
		}
	}
	if !subscribed {
		return all, nil
	}
	subs, err := s.srv.store.Subscriptions(s.ctx, s.login.Account)
	if err != nil {
		return nil, err
	}
	added := false
	for _, n := range subs {
		for p := n; p != "" && !known[p]; p = parentOf(p) {
			known[p], added = true, true
			all = append(all, listed{Mailbox: mailstore.Mailbox{Name: p, Subscribed: p == n}})
		}
	}
	if added {
		slices.SortStableFunc(all, func(a, b listed) int { return compareNames(a.Name, b.Name) })
	}
	return all, nil
}

// compareNames orders INBOX first, then by components.
func compareNames(a, b string) int {
	inbox := func(n string) bool { return n == "INBOX" || strings.HasPrefix(n, "INBOX"+separator) }
	if x, y := inbox(a), inbox(b); x != y {
		if x {
			return -1
		}
		return 1
	}
	return strings.Compare(strings.ReplaceAll(a, separator, "\x00"), strings.ReplaceAll(b, separator, "\x00"))
}

// fullPatterns joins reference and patterns. A reference is only a prefix
// (RFC 9051 §6.3.9 leaves its interpretation to us).
func fullPatterns(r *imap.ListRequest) []string {
	out := make([]string, 0, len(r.Patterns))
	for _, p := range r.Patterns {
		if p == "" {
			continue // RFC 5258 §3: an empty pattern in extended LIST matches nothing
		}
		out = append(out, imap.FoldInbox(r.Reference+p))
	}
	return out
}

// single returns the only pattern if it has no wildcard.
func single(patterns []string) (string, bool) {
	if len(patterns) == 1 && !strings.ContainsAny(patterns[0], "*%") {
		return strings.TrimSuffix(patterns[0], separator), true
	}
	return "", false
}

func matchesAny(patterns []string, name string) bool {
	for _, p := range patterns {
		if imap.MatchMailbox(p, name, mailstore.Separator) {
			return true
		}
	}
	return false
}

// appendList appends one LIST response (RFC 9051 §7.3.1).
func (s *session) appendList(b []byte, l *listed, r *imap.ListRequest) []byte {
	b = append(b, "* LIST ("...)
	b = appendAttributes(b, l, r)
	b = append(b, `) "/" `...)
	b = imap.AppendMailbox(b, l.Name, s.utf8())
	if l.childInfo && r.RecursiveMatch {
		b = append(append(append(b, ` ("CHILDINFO" (`...), childInfo(r)...), "))"...)
	}
	return append(b, "\r\n"...)
}

// childInfo names the selection options that a child meets (RFC 5258 §3.5, RFC 6154 §2).
func childInfo(r *imap.ListRequest) string {
	switch {
	case r.Subscribed && r.SelectSpecialUse:
		return `"SUBSCRIBED" "SPECIAL-USE"`
	case r.SelectSpecialUse:
		return `"SPECIAL-USE"`
	}
	return `"SUBSCRIBED"`
}

// appendOldName ends a LIST response with OLDNAME (RFC 9051 §7.3.1).
func (s *session) appendOldName(b []byte, old string) []byte {
	b = append(b, ` ("OLDNAME" (`...)
	b = imap.AppendMailbox(b, old, s.utf8())
	return append(b, "))\r\n"...)
}

func appendAttributes(b []byte, l *listed, r *imap.ListRequest) []byte {
	start := len(b)
	add := func(a string) {
		if len(b) > start {
			b = append(b, ' ')
		}
		b = append(b, a...)
	}
	switch {
	case !l.exists:
		add(`\NonExistent`)
	case l.NoSelect:
		add(`\Noselect`)
	}
	switch {
	case l.HasChildren:
		add(`\HasChildren`)
	case l.exists:
		add(`\HasNoChildren`)
	}
	if r.ReturnSubscribed && l.Subscribed {
		add(`\Subscribed`)
	}
	for _, u := range l.SpecialUse { // RFC 6154 §2: may be shown without being asked for
		add(u)
	}
	return b
}

// lsub: "LSUB" SP reference SP pattern (RFC 3501 §6.3.9). A name whose child is
// subscribed is shown as \Noselect if the pattern ends in "%" and hides the child.
func lsub(s *session, d *imap.Decoder) error {
	d.SP()
	ref := d.Mailbox()
	d.SP()
	pattern := d.ListMailbox()
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	if pattern == "" {
		s.line(`* LSUB (\Noselect) "/" ""`)
		return nil
	}
	subs, err := s.srv.store.Subscriptions(s.ctx, s.login.Account)
	if err != nil {
		return err
	}
	subs = slices.Clone(subs)
	slices.SortFunc(subs, compareNames)
	pattern = imap.FoldInbox(ref + pattern)
	said := map[string]bool{}
	for _, n := range subs {
		attr := ""
		for n != "" && !imap.MatchMailbox(pattern, n, mailstore.Separator) {
			if !strings.HasSuffix(pattern, "%") {
				n = ""
				break
			}
			attr, n = `\Noselect`, parentOf(n)
		}
		if n == "" || said[n] {
			continue
		}
		if attr != "" && slices.Contains(subs, n) {
			attr = ""
		}
		said[n] = true
		b := append(append(s.out.b, "* LSUB ("...), attr...)
		b = imap.AppendMailbox(append(b, `) "/" `...), n, s.utf8())
		s.out.b = append(b, "\r\n"...)
		s.out.full()
	}
	return nil
}
