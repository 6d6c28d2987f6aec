package imap

// FilterKind is which mailboxes a MailboxFilter means, RFC 5465 §6 and RFC 7377 §2.2.
type FilterKind uint8

// Mailbox filters.
const (
	FilterSelected FilterKind = iota
	FilterSelectedDelayed
	FilterInboxes
	FilterPersonal
	FilterSubscribed
	FilterSubtree    // Names
	FilterSubtreeOne // Names; ESEARCH only
	FilterMailboxes  // Names
)

var filterNames = [...]string{"SELECTED", "SELECTED-DELAYED", "INBOXES", "PERSONAL", "SUBSCRIBED", "SUBTREE", "SUBTREE-ONE", "MAILBOXES"}

// MailboxFilter names a set of mailboxes.
type MailboxFilter struct {
	Kind  FilterKind
	Names []string
}

// Event is an event that NOTIFY can ask for, RFC 5465 §5, as a bit.
type Event uint8

// Events.
const (
	MessageNew Event = 1 << iota
	MessageExpunge
	FlagChange
	AnnotationChange
	MailboxName
	SubscriptionChange
	MailboxMetadataChange
	ServerMetadataChange

	// MessageEvents are those that SELECTED may ask for.
	MessageEvents = MessageNew | MessageExpunge | FlagChange | AnnotationChange
)

// EventNames are the names of the events by bit, as BADEVENT lists them.
var EventNames = [...]string{"MessageNew", "MessageExpunge", "FlagChange", "AnnotationChange",
	"MailboxName", "SubscriptionChange", "MailboxMetadataChange", "ServerMetadataChange"}

// EventGroup is one group of NOTIFY SET: what to say of which mailboxes.
type EventGroup struct {
	Filter  MailboxFilter
	Events  Event // 0: NONE
	Fetch   []FetchItem
	Unknown string // an event that we do not know: NO [BADEVENT], RFC 5465 §3.1
}

// Notify is a NOTIFY command.
type Notify struct {
	Set    bool // false: NONE
	Status bool
	Groups []EventGroup
}

// NotifyArgs reads the arguments of NOTIFY (RFC 5465 §8).
func (d *Decoder) NotifyArgs() (n Notify) {
	d.SP()
	if d.Is("NONE") {
		return n
	}
	if !d.Is("SET") {
		d.wanted("SET or NONE")
		return n
	}
	n.Set = true
	d.SP()
	if d.Is("STATUS") {
		n.Status = true
		d.SP()
	}
	selected := 0
	for d.err == nil {
		if len(n.Groups) >= MaxSources {
			d.Fail("more than %d event groups", MaxSources)
			break
		}
		g := d.eventGroup()
		if g.Filter.Kind <= FilterSelectedDelayed {
			selected++
		}
		n.Groups = append(n.Groups, g)
		if d.AtEnd() || allSpaces(d.Rest()) {
			break
		}
		d.SP()
	}
	if selected > 1 {
		d.Fail("only one of SELECTED and SELECTED-DELAYED may be given (RFC 5465 §6.1)")
	}
	return n
}

func (d *Decoder) eventGroup() (g EventGroup) {
	d.Open()
	g.Filter = d.mailboxFilter(MaxItems)
	if g.Filter.Kind == FilterSubtreeOne {
		d.Fail("subtree-one is ESEARCH's (RFC 7377 §2.2)")
	}
	d.SP()
	if !d.Is("NONE") {
		d.List(false, func() { d.event(&g) })
	}
	d.Close()
	if d.err != nil || g.Unknown != "" {
		return g
	}
	// RFC 5465 §5: FlagChange and AnnotationChange need MessageNew and MessageExpunge, which need each other.
	if m := g.Events & MessageEvents; m != 0 && m&(MessageNew|MessageExpunge) != MessageNew|MessageExpunge {
		d.Fail("MessageNew and MessageExpunge must be given together, also with FlagChange (RFC 5465 §5)")
	}
	if g.Filter.Kind <= FilterSelectedDelayed && g.Events&^MessageEvents != 0 {
		d.Fail("only message events go with SELECTED (RFC 5465 §6.1)")
	}
	if g.Filter.Kind > FilterSelectedDelayed && g.Fetch != nil {
		d.Fail("FETCH items of MessageNew go with SELECTED only (RFC 5465 §8)")
	}
	return g
}

func (d *Decoder) event(g *EventGroup) {
	kw := d.Atom()
	if d.err != nil {
		return
	}
	for i, n := range EventNames {
		if len(kw) == len(n) && upperString(kw) == upperString([]byte(n)) {
			g.Events |= 1 << i
			if Event(1<<i) == MessageNew {
				d.newItems(g)
			}
			return
		}
	}
	g.Unknown = clip(string(kw))
}

// newItems reads SP "(" fetch-att … ")" behind MessageNew if it is there.
func (d *Decoder) newItems(g *EventGroup) {
	if r := d.Rest(); len(r) < 2 || r[0] != ' ' || r[1] != '(' {
		return
	}
	d.SP()
	d.List(false, func() { g.Fetch = appendItem(g.Fetch, d.FetchItem()) })
}

// mailboxFilter reads filter-mailboxes (RFC 5465 §8).
func (d *Decoder) mailboxFilter(most int) (f MailboxFilter) {
	kw := d.Keyword()
	if d.err != nil {
		return f
	}
	f.Kind = FilterKind(len(filterNames))
	for i, n := range filterNames {
		if n == kw {
			f.Kind = FilterKind(i)
		}
	}
	switch f.Kind {
	case FilterSubtree, FilterSubtreeOne, FilterMailboxes:
		d.SP()
		if d.Peek() != '(' {
			f.Names = []string{d.Mailbox()}
			return f
		}
		d.List(false, func() {
			if len(f.Names) >= most {
				d.Fail("more than %d mailboxes", most)
			}
			f.Names = append(f.Names, d.Mailbox())
		})
	case FilterKind(len(filterNames)):
		d.Fail("mailbox filter %s is not known", clip(kw))
	}
	return f
}

// esearchSources reads "(" source-mbox [SP "(" scope-options ")"] ")" (RFC 7377 §4).
func (d *Decoder) esearchSources() (fs []MailboxFilter) {
	d.Open()
	for d.err == nil {
		if len(fs) >= MaxSources {
			d.Fail("more than %d search sources", MaxSources)
			return nil
		}
		f := d.mailboxFilter(MaxItems)
		if f.Kind == FilterSelectedDelayed {
			d.Fail("selected-delayed can't be searched (RFC 7377 §2.2)")
		}
		fs = append(fs, f)
		if d.Take(')') {
			return fs
		}
		d.SP()
		if d.Peek() == '(' { // no scope option is defined
			d.Open()
			d.Fail("search scope option %s is not known", clip(d.Keyword()))
		}
	}
	return nil
}
