package message

import (
	"encoding/binary"
	"strings"
)

// Stored form, version 1: the octet 1, then sections, each a uvarint length and
// its octets: ENVELOPE text, BODYSTRUCTURE text, part table, preview, keys, references.
//
//	part table  per part in pre-order: uvarints HeaderStart (less that of the part before), BodyStart-HeaderStart,
//	            End-BodyStart, Lines, kind; a multipart has its number of children and, with kindExtra,
//	            the four strings that BODYSTRUCTURE has no place for
//	keys        flags octet, varint SentDate, varint SentZone, uvarint Size, then strings (uvarint length and octets):
//	            base subject, From, To, Cc, DisplayFrom, DisplayTo, message id
//	references  strings
//
// The texts are the only place of what they say: Decode parses them.
const storedVersion = 1

const (
	kindLeaf = iota
	kindMultipart
	kindMessage
	kindExtra = 4
)

const (
	flagDate = 1 << iota
	flagReply
	flagAttachment
)

// Encode appends the compact stored form of s: a version octet, then the IMAP
// ENVELOPE and BODYSTRUCTURE texts ready to send (RFC 9051 §7.5.2; they never
// change once a message arrived), then the part table with offsets, then the rest.
func (s *Summary) Encode(b []byte) []byte {
	b = append(b, storedVersion)
	b = section(b, func(b []byte) []byte { return appendEnvelope(b, &s.Envelope) })
	b = section(b, func(b []byte) []byte { return appendStructure(b, s.Root) })
	b = section(b, func(b []byte) []byte {
		prev := int64(0)
		return appendTable(b, s.Root, &prev)
	})
	b = section(b, func(b []byte) []byte { return append(b, s.Preview...) })
	b = section(b, s.appendKeys)
	return section(b, func(b []byte) []byte {
		for _, r := range s.References {
			b = appendStr(b, r)
		}
		return b
	})
}

// section appends what f appends, with its length before it.
func section(b []byte, f func([]byte) []byte) []byte {
	n := len(b)
	b = append(b, 0, 0) // most are shorter than 16,384 octets
	b = f(b)
	size := len(b) - n - 2
	if size < 1<<14 {
		b[n], b[n+1] = byte(size)|0x80, byte(size>>7)
		return b
	}
	var head [binary.MaxVarintLen64]byte
	h := binary.PutUvarint(head[:], uint64(size))
	b = append(b, head[:h-2]...)
	copy(b[n+h:], b[n+2:n+2+size])
	copy(b[n:], head[:h])
	return b
}

func appendStr(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendTable(b []byte, p *Part, prev *int64) []byte {
	b = binary.AppendUvarint(b, uint64(p.HeaderStart-*prev))
	*prev = p.HeaderStart
	b = binary.AppendUvarint(b, uint64(p.BodyStart-p.HeaderStart))
	b = binary.AppendUvarint(b, uint64(p.End-p.BodyStart))
	b = binary.AppendUvarint(b, uint64(p.Lines))
	switch {
	case p.Inner != nil:
		b = append(b, kindMessage)
		b = appendTable(b, p.Inner, prev)
	case p.Type == "MULTIPART":
		if p.ID == "" && p.Description == "" && p.MD5 == "" && p.Encoding == "7BIT" {
			b = append(b, kindMultipart)
		} else {
			b = append(b, kindMultipart|kindExtra)
			b = appendStr(b, p.ID)
			b = appendStr(b, p.Description)
			b = appendStr(b, p.MD5)
			b = appendStr(b, p.Encoding)
		}
		b = binary.AppendUvarint(b, uint64(len(p.Parts)))
		for _, c := range p.Parts {
			b = appendTable(b, c, prev)
		}
	default:
		b = append(b, kindLeaf)
	}
	return b
}

func (s *Summary) appendKeys(b []byte) []byte {
	var flags byte
	if s.SentDateOK {
		flags |= flagDate
	}
	if s.IsReplyOrForward {
		flags |= flagReply
	}
	if s.HasAttachment {
		flags |= flagAttachment
	}
	b = append(b, flags)
	b = binary.AppendVarint(b, s.SentDate)
	b = binary.AppendVarint(b, int64(s.SentZone))
	b = binary.AppendUvarint(b, uint64(s.Size))
	b = appendStr(b, s.BaseSubject)
	e := &s.Envelope
	for _, l := range [...][]Address{e.From, e.To, e.Cc} {
		b = appendFolded(b, mailboxKey(l))
	}
	b = appendFolded(b, displayKey(e.From))
	b = appendFolded(b, displayKey(e.To))
	return appendStr(b, s.MessageID)
}

func appendFolded(b []byte, s string) []byte {
	n := len(b)
	b = Fold(append(b, 0), s)
	if size := len(b) - n - 1; size < 0x80 {
		b[n] = byte(size)
		return b
	}
	return appendStr(b[:n], string(b[n+1:]))
}

const maxKey = 512 // octets of a name or address that SORT compares

// mailboxKey is the mailbox of the first address (RFC 5256 §3).
func mailboxKey(l []Address) string {
	if len(l) == 0 {
		return ""
	}
	return clip(l[0].Mailbox, maxKey)
}

// displayKey is the DISPLAY sort value of the first address (RFC 5957 §3).
func displayKey(l []Address) string {
	if len(l) == 0 {
		return ""
	}
	a := &l[0]
	if a.Name != "" {
		if s := strings.TrimSpace(DecodeHeader(clip(a.Name, maxKey))); s != "" {
			return s
		}
	}
	if a.Host != "" {
		return clip(a.Mailbox+"@"+a.Host, maxKey)
	}
	return clip(a.Mailbox, maxKey)
}

func clip(s string, n int) string { return s[:min(len(s), n)] }

// Stored is an encoded Summary; its methods read single fields without decoding the rest and
// without allocating. A damaged one yields ErrCorrupt from Decode and empty values from the others.
type Stored []byte

// sections of a Stored, in order
const (
	secEnvelope = iota
	secStructure
	secTable
	secPreview
	secKeys
	secReferences
)

// section returns one section, nil if e is damaged.
func (e Stored) section(n int) []byte {
	if len(e) == 0 || e[0] != storedVersion {
		return nil
	}
	b := []byte(e[1:])
	for {
		s, rest, ok := cut(b)
		if !ok || n == 0 {
			return s
		}
		b = rest
		n--
	}
}

// cut splits a length and its octets from b.
func cut(b []byte) (s, rest []byte, ok bool) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return nil, nil, false
	}
	return b[k : k+int(n) : k+int(n)], b[k+int(n):], true
}

// Envelope returns the text of IMAP ENVELOPE: "(...)". Strings that need it are literals.
func (e Stored) Envelope() []byte { return e.section(secEnvelope) }

// BodyStructure returns the text of IMAP BODYSTRUCTURE: "(...)".
func (e Stored) BodyStructure() []byte { return e.section(secStructure) }

// Preview returns the preview text (UTF-8).
func (e Stored) Preview() []byte { return e.section(secPreview) }

// References iterates over the ids of Summary.References, oldest first.
func (e Stored) References(yield func(id []byte) bool) {
	b := e.section(secReferences)
	for len(b) > 0 {
		id, rest, ok := cut(b)
		if !ok || !yield(id) {
			return
		}
		b = rest
	}
}

// SortKeys returns what SORT and THREAD compare (RFC 5256 §2.1, §3; RFC 5957), without allocation:
// the keys were made when the message arrived. They are sub-slices of e.
func (e Stored) SortKeys() SortKeys {
	k, _, _ := e.keys()
	return k
}

func (e Stored) keys() (k SortKeys, size int64, ok bool) {
	b := e.section(secKeys)
	if len(b) == 0 {
		return k, 0, false
	}
	flags := b[0]
	b = b[1:]
	date, n1 := binary.Varint(b)
	if n1 <= 0 {
		return k, 0, false
	}
	zone, n2 := binary.Varint(b[n1:])
	if n2 <= 0 {
		return k, 0, false
	}
	sz, n3 := binary.Uvarint(b[n1+n2:])
	if n3 <= 0 {
		return k, 0, false
	}
	b = b[n1+n2+n3:]
	r := SortKeys{SentDate: date, SentZone: int16(zone), SentDateOK: flags&flagDate != 0,
		IsReplyOrForward: flags&flagReply != 0, HasAttachment: flags&flagAttachment != 0}
	for _, f := range [...]*[]byte{&r.Subject, &r.From, &r.To, &r.Cc, &r.DisplayFrom, &r.DisplayTo, &r.MessageID} {
		if *f, b, ok = cut(b); !ok {
			return k, 0, false
		}
	}
	return r, int64(sz), true
}
