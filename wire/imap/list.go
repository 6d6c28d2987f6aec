package imap

// ListRequest is a LIST command (RFC 9051 §6.3.9, RFC 5258, RFC 5819, RFC 6154,
// RFC 8440, RFC 9590).
type ListRequest struct {
	Reference string
	Patterns  []string
	Extended  bool // written in the extended form: selection options, several patterns or RETURN

	// Selection options.
	Subscribed, Remote, RecursiveMatch, SelectSpecialUse bool

	// Return options.
	ReturnSubscribed, ReturnChildren, ReturnSpecialUse, ReturnMyRights bool

	Status   []StatusItem // RETURN (STATUS (…)), RFC 5819
	Metadata *ListMetadata
}

// ListMetadata is RETURN (METADATA …) (RFC 9590 §3).
type ListMetadata struct {
	Entries  []string
	MaxSize  int64 // -1: none
	Infinity bool  // DEPTH infinity
	Depth    int   // DEPTH 0 or 1
}

// ListArgs reads the arguments of LIST.
func (d *Decoder) ListArgs() (r ListRequest) {
	d.SP()
	if d.Peek() == '(' {
		r.Extended = true
		d.List(true, func() { d.selectOption(&r) })
		d.SP()
	}
	r.Reference = d.Mailbox0()
	d.SP()
	if d.Peek() == '(' {
		r.Extended = true
		d.List(true, func() {
			if len(r.Patterns) >= MaxPatterns {
				d.Fail("more than %d patterns", MaxPatterns)
			}
			r.Patterns = append(r.Patterns, d.ListMailbox())
		})
	} else {
		r.Patterns = []string{d.ListMailbox()}
	}
	if d.TakeSP() && !d.AtEnd() {
		if !d.Is("RETURN") {
			d.wanted("RETURN")
			return r
		}
		r.Extended = true
		d.SP()
		d.List(true, func() { d.returnOption(&r) })
	}
	if r.RecursiveMatch && !r.Subscribed && !r.SelectSpecialUse {
		d.Fail("RECURSIVEMATCH needs SUBSCRIBED or SPECIAL-USE beside it (RFC 5258 §3.1)")
	}
	if r.Subscribed {
		r.ReturnSubscribed = true
	}
	return r
}

// Mailbox0 reads a mailbox name that may be empty and needs not be whole: a LIST reference.
func (d *Decoder) Mailbox0() string { return d.Mailbox() }

func (d *Decoder) selectOption(r *ListRequest) {
	switch kw := d.Keyword(); kw {
	case "SUBSCRIBED":
		r.Subscribed = true
	case "REMOTE":
		r.Remote = true // RFC 5258 §3.1: we have no remote mailboxes to add
	case "RECURSIVEMATCH":
		r.RecursiveMatch = true
	case "SPECIAL-USE":
		r.SelectSpecialUse = true
	case "":
	default:
		d.Fail("LIST selection option %s is not known", clip(kw))
	}
}

func (d *Decoder) returnOption(r *ListRequest) {
	switch kw := d.Keyword(); kw {
	case "SUBSCRIBED":
		r.ReturnSubscribed = true
	case "CHILDREN":
		r.ReturnChildren = true
	case "SPECIAL-USE":
		r.ReturnSpecialUse = true
	case "MYRIGHTS":
		r.ReturnMyRights = true
	case "STATUS":
		d.SP()
		r.Status = d.StatusItems()
	case "METADATA":
		d.SP()
		r.Metadata = d.listMetadata()
	case "":
	default:
		d.Fail("LIST return option %s is not known", clip(kw))
	}
}

// listMetadata reads "(" entries ")" or the options before them, RFC 9590 §3:
// METADATA ("/shared/a" "/private/b") and METADATA (MAXSIZE 10 DEPTH 1) (…)
// are both taken.
func (d *Decoder) listMetadata() *ListMetadata {
	m := &ListMetadata{MaxSize: -1}
	d.List(false, func() {
		switch {
		case d.Is("MAXSIZE"):
			d.SP()
			m.MaxSize = d.Number64()
		case d.Is("DEPTH"):
			d.SP()
			d.MetadataDepth(&m.Depth, &m.Infinity)
		default:
			m.Entries = append(m.Entries, d.AString())
		}
	})
	if len(m.Entries) == 0 && d.err == nil && d.TakeSP() {
		d.List(false, func() { m.Entries = append(m.Entries, d.AString()) })
	}
	return m
}

// MetadataDepth reads the value of DEPTH (RFC 5464 §4.2.2): 0, 1 or infinity.
func (d *Decoder) MetadataDepth(depth *int, infinity *bool) {
	switch kw := d.Keyword(); kw {
	case "0":
	case "1":
		*depth = 1
	case "INFINITY":
		*infinity = true
	default:
		d.Fail("DEPTH must be 0, 1 or infinity")
	}
}

// StatusItem is an item of STATUS.
type StatusItem uint8

// STATUS items.
const (
	StatusMessages       StatusItem = iota // RFC 9051 §6.3.11
	StatusRecent                           // RFC 3501 §6.3.10
	StatusUIDNext                          // RFC 9051 §6.3.11
	StatusUIDValidity                      // RFC 9051 §6.3.11
	StatusUnseen                           // RFC 9051 §6.3.11
	StatusDeleted                          // RFC 9051 §6.3.11
	StatusSize                             // RFC 8438
	StatusHighestModSeq                    // RFC 7162 §3.1.7
	StatusMailboxID                        // RFC 8474 §4.3
	StatusAppendLimit                      // RFC 7889 §3.1
	StatusDeletedStorage                   // RFC 9208 §4.1.4
)

var statusNames = [...]string{"MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "DELETED", "SIZE",
	"HIGHESTMODSEQ", "MAILBOXID", "APPENDLIMIT", "DELETED-STORAGE"}

func (s StatusItem) String() string { return statusNames[s] }

// StatusItems reads "(" item *(SP item) ")".
func (d *Decoder) StatusItems() (items []StatusItem) {
	d.List(false, func() {
		kw := d.Keyword()
		for i, n := range statusNames {
			if n == kw {
				items = append(items, StatusItem(i))
				return
			}
		}
		d.Fail("STATUS item %s is not known", clip(kw))
	})
	return items
}
