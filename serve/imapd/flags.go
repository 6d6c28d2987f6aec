package imapd

import (
	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// flagTexts renders flag sets; mailboxes have few different ones, so each is
// rendered once. It lives as long as one command.
type flagTexts struct {
	s     *session
	rev2  bool
	names []string // keyword dictionary, may have grown since
	last  mailstore.Flags
	text  []byte // of last, nil at first
	cache map[mailstore.Flags][]byte
}

// maxFlagTexts bounds the cache of one command.
const maxFlagTexts = 4096

func (s *session) newFlagTexts() *flagTexts {
	f := &flagTexts{s: s, rev2: s.has(rev2)}
	f.names, _ = s.srv.store.Keywords(s.ctx, s.login.Account) // on error flags show without keywords; the rows fail too then
	return f
}

// append appends "(\Seen $Junk)" for a row.
func (f *flagTexts) append(b []byte, r *mailstore.Row) []byte {
	if recent := f.s.mbox.recent; len(recent) > 0 && !f.rev2 && recent.Contains(r.UID) {
		b = f.stored(b, r)
		b = b[:len(b)-len(")")]
		if b[len(b)-1] != '(' {
			b = append(b, ' ')
		}
		return append(b, `\Recent)`...) // RFC 3501 §2.3.2
	}
	return f.stored(b, r)
}

// stored is append without \Recent, which depends on the session.
func (f *flagTexts) stored(b []byte, r *mailstore.Row) []byte {
	if r.HasMore {
		return f.render(b, r.Flags, f.s.mbox.box.More(r.UID))
	}
	if f.text != nil && r.Flags == f.last {
		return append(b, f.text...)
	}
	t, ok := f.cache[r.Flags]
	if !ok {
		t = f.render(nil, r.Flags, nil)
		if f.cache == nil {
			f.cache = make(map[mailstore.Flags][]byte)
		}
		if len(f.cache) < maxFlagTexts {
			f.cache[r.Flags] = t
		}
	}
	f.last, f.text = r.Flags, t
	return append(b, t...)
}

var systemFlags = [...]struct {
	bit  mailstore.Flags
	name string
}{{mailstore.Seen, `\Seen`}, {mailstore.Answered, `\Answered`}, {mailstore.Flagged, `\Flagged`},
	{mailstore.Deleted, `\Deleted`}, {mailstore.Draft, `\Draft`}}

func (f *flagTexts) render(b []byte, flags mailstore.Flags, more []mailstore.KeywordID) []byte {
	b = append(b, '(')
	start := len(b)
	add := func(name string) {
		if len(b) > start {
			b = append(b, ' ')
		}
		b = append(b, name...)
	}
	for _, sf := range systemFlags {
		if flags&sf.bit != 0 {
			add(sf.name)
		}
	}
	if flags&^mailstore.SystemFlags != 0 {
		for id := mailstore.KeywordID(0); id < mailstore.KeywordBits; id++ {
			if flags&mailstore.Keyword(id) != 0 {
				add(f.keyword(id))
			}
		}
	}
	for _, id := range more {
		add(f.keyword(id))
	}
	return append(b, ')')
}

func (f *flagTexts) keyword(id mailstore.KeywordID) string {
	if int(id) >= len(f.names) {
		f.names, _ = f.s.srv.store.Keywords(f.s.ctx, f.s.login.Account)
	}
	if int(id) >= len(f.names) {
		return "$Unknown" // can't be: the dictionary only grows
	}
	return f.names[id]
}

// sayKeywords says FLAGS and PERMANENTFLAGS if the dictionary has grown since
// the client heard of it (RFC 9051 §7.3.5).
func (s *session) sayKeywords(f *flagTexts) {
	if len(f.names) > s.mbox.keywords {
		s.sayFlagsDefined(f.names)
	}
}

func (s *session) sayFlagsDefined(names []string) {
	s.mbox.keywords = len(names)
	b := append(s.out.b, "* FLAGS ("...)
	b = appendDefined(b, names)
	b = append(b, ")\r\n* OK [PERMANENTFLAGS ("...)
	if !s.mbox.readOnly {
		b = appendDefined(b, names)
		b = append(b, ` \*`...)
	}
	s.out.b = append(b, ")] flags kept\r\n"...)
}

func appendDefined(b []byte, names []string) []byte {
	b = append(b, `\Answered \Flagged \Deleted \Seen \Draft`...)
	for _, n := range names {
		b = append(append(b, ' '), n...)
	}
	return b
}

// splitFlags sorts the flags of a command into system flags and keywords.
// \Recent is the server's (RFC 3501 §2.3.2) and ignored, other backslash flags
// do not exist.
func splitFlags(d *imap.Decoder, names []string) (f mailstore.Flags, keywords []string) {
next:
	for _, n := range names {
		if n == "" || n[0] != '\\' {
			keywords = append(keywords, n)
			continue
		}
		for _, sf := range systemFlags {
			if sf.name == n {
				f |= sf.bit
				continue next
			}
		}
		if n != `\Recent` {
			d.Fail("system flag %.40s does not exist", n)
		}
	}
	return f, keywords
}
