package imapd

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"bahnpost/mail"
	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// adminEntry can't be written by clients (RFC 5464 §3.2.1.1).
const adminEntry = "/shared/admin"

// getMetadata: "GETMETADATA" [SP options] SP mailbox SP entries (RFC 5464 §4.2). An entry that is asked for by name and
// not there is NIL. Entries of the server, shared ones too, are those of the account: accounts of one cell share nothing.
func getMetadata(s *session, d *imap.Decoder) error {
	g := d.GetMetadataArgs()
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	id, name, err := s.metadataMailbox(g.Mailbox)
	if err != nil {
		return err
	}
	longest, err := s.sayMetadata(id, name, &g)
	if err == nil && longest > 0 { // RFC 5464 §4.2.1
		s.cmd.code = "METADATA LONGENTRIES " + strconv.Itoa(longest)
	}
	return err
}

// metadataMailbox finds the mailbox; "" is the server with id 0.
func (s *session) metadataMailbox(name string) (mailstore.MailboxID, string, error) {
	if name == "" {
		return 0, "", nil
	}
	mb, err := s.srv.store.MailboxByName(s.ctx, s.login.Account, name)
	return mb.ID, mb.Name, err
}

// sayMetadata says the entries that g asks for and returns the length of the longest that was over MAXSIZE.
func (s *session) sayMetadata(id mailstore.MailboxID, name string, g *imap.GetMetadata) (longest int, err error) {
	stored, err := s.srv.store.Metadata(s.ctx, s.login.Account, id)
	if err != nil {
		return 0, err
	}
	say := make(map[string][]byte)
	for _, e := range g.Entries {
		if _, there := stored[e]; !there {
			say[e] = nil
		}
	}
	for e, v := range stored {
		switch {
		case !g.Matches(e):
		case g.MaxSize >= 0 && int64(len(v)) > g.MaxSize:
			longest = max(longest, len(v))
		default:
			say[e] = append([]byte{}, v...)
			for p := parentOf(e); p != ""; p = parentOf(p) {
				if v, asked := say[p]; asked && v == nil { // RFC 5464 §4.2.2: what is below it is the answer
					delete(say, p)
				}
			}
		}
	}
	if len(say) == 0 {
		return longest, nil
	}
	b := imap.AppendMailbox(append(s.out.b, "* METADATA "...), name, s.utf8())
	b = append(b, " ("...)
	for i, e := range slices.Sorted(maps.Keys(say)) {
		if i > 0 {
			b = append(b, ' ')
		}
		b = s.appendMetadataValue(b, e, say[e])
	}
	s.out.b = append(b, ")\r\n"...)
	s.out.full()
	return longest, nil
}

// appendMetadataValue prints an entry; values in UTF-8 are literals unless the client takes UTF-8 in quotes.
func (s *session) appendMetadataValue(b []byte, entry string, value []byte) []byte {
	b = append(imap.AppendAString(b, entry), ' ')
	return imap.AppendNString(b, string(value), value != nil, s.utf8())
}

// listMetadata says METADATA of a listed mailbox (RFC 9590 §3).
func (s *session) listMetadata(mb *mailstore.Mailbox, m *imap.ListMetadata) error {
	g := imap.GetMetadata{Entries: m.Entries, MaxSize: m.MaxSize, Depth: m.Depth, Infinity: m.Infinity}
	_, err := s.sayMetadata(mb.ID, mb.Name, &g)
	if mail.KindOf(err) == mail.NoSuchMailbox { // gone meanwhile
		return nil
	}
	return err
}

// setMetadata: "SETMETADATA" SP mailbox SP entry-values (RFC 5464 §4.3): all or none.
func setMetadata(s *session, d *imap.Decoder) error {
	name, values := d.SetMetadataArgs()
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	id, _, err := s.metadataMailbox(name)
	if err != nil {
		return err
	}
	for _, v := range values {
		if len(v.Value) > mailstore.MaxMetadataValue {
			return no("METADATA MAXSIZE "+strconv.Itoa(mailstore.MaxMetadataValue), "value is too long")
		}
		if id == 0 && v.Entry == adminEntry {
			return no("NOPERM", "entry is read-only")
		}
		if id != 0 && v.Entry == mailstore.SpecialUseEntry && !areSpecialUses(string(v.Value)) {
			return no("USEATTR", "special use is not known") // RFC 6154 §4
		}
	}
	err = s.update(func(tx *mailstore.Tx) error {
		for _, v := range values {
			if err := tx.SetMetadata(id, v.Entry, v.Value); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.tellMetadata(id, values)
		return nil
	}
	switch mail.KindOf(err) {
	case mail.Limit:
		return no("METADATA TOOMANY", "too many entries here")
	case mail.TooLarge:
		return no("METADATA MAXSIZE "+strconv.Itoa(mailstore.MaxMetadataValue), "value is too long")
	}
	return err
}

// areSpecialUses reports whether each word is a special use that a client may set.
func areSpecialUses(words string) bool {
	for _, w := range strings.Fields(words) {
		if _, ok := specialUse(w); !ok {
			return false
		}
	}
	return true
}
