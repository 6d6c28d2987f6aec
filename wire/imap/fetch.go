package imap

import (
	"math"
	"strconv"
)

// ItemKind is what a FETCH item asks for.
type ItemKind uint8

// FETCH items.
const (
	ItemNone          ItemKind = iota
	ItemUID                    // RFC 9051 §6.4.5
	ItemFlags                  // RFC 9051 §6.4.5
	ItemInternalDate           // RFC 9051 §6.4.5
	ItemSize                   // RFC822.SIZE
	ItemEnvelope               // RFC 9051 §7.5.2
	ItemBody                   // BODY, the non-extensible BODYSTRUCTURE
	ItemBodyStructure          // RFC 9051 §7.5.2
	ItemSection                // BODY[section]<partial>, BODY.PEEK[…]
	ItemRFC822                 // RFC 3501 §6.4.5
	ItemRFC822Header           // RFC 3501 §6.4.5
	ItemRFC822Text             // RFC 3501 §6.4.5
	ItemBinary                 // BINARY[section]<partial>, BINARY.PEEK[…] (RFC 3516)
	ItemBinarySize             // BINARY.SIZE[section]
	ItemPreview                // RFC 8970
	ItemEmailID                // RFC 8474 §5.3
	ItemThreadID               // RFC 8474 §5.3
	ItemSaveDate               // RFC 8514
	ItemModSeq                 // RFC 7162 §3.1.5
)

// Spec is the text part of a section.
type Spec uint8

// Section texts (RFC 9051 §6.4.5.1).
const (
	SpecNone Spec = iota
	SpecHeader
	SpecFields
	SpecFieldsNot
	SpecText
	SpecMIME
)

// Section names a part of a message: BODY[1.2.HEADER.FIELDS (SUBJECT)].
type Section struct {
	Part   []int // empty: the message itself
	Spec   Spec
	Fields []string // as the client wrote them
}

// FetchItem is one item of a FETCH.
type FetchItem struct {
	Kind    ItemKind
	Peek    bool // does not set \Seen
	Lazy    bool // PREVIEW (LAZY)
	Partial bool
	Section Section
	Offset  int64 // of Partial
	Count   int64
}

// SetsSeen reports whether fetching the item marks the message as read.
func (f *FetchItem) SetsSeen() bool {
	switch f.Kind {
	case ItemSection, ItemBinary:
		return !f.Peek
	case ItemRFC822, ItemRFC822Text:
		return true
	}
	return false
}

// FetchModifiers are RFC 4466 fetch modifiers.
type FetchModifiers struct {
	ChangedSince    uint64 // RFC 7162 §3.1.4
	HasChangedSince bool
	Vanished        bool          // RFC 7162 §3.2.6
	Partial         *PartialRange // RFC 9394 §3.3
}

// FetchItems reads what FETCH wants: a macro, an item or a list of items.
// Doubles are dropped.
func (d *Decoder) FetchItems() []FetchItem {
	switch {
	case d.Is("ALL"):
		return macro(ItemFlags, ItemInternalDate, ItemSize, ItemEnvelope)
	case d.Is("FAST"):
		return macro(ItemFlags, ItemInternalDate, ItemSize)
	case d.Is("FULL"):
		return macro(ItemFlags, ItemInternalDate, ItemSize, ItemEnvelope, ItemBody)
	}
	if d.Peek() != '(' {
		it := d.FetchItem()
		return []FetchItem{it}
	}
	var items []FetchItem
	d.List(false, func() { items = appendItem(items, d.FetchItem()) })
	return items
}

func macro(ks ...ItemKind) (items []FetchItem) {
	for _, k := range ks {
		items = append(items, FetchItem{Kind: k})
	}
	return items
}

// appendItem drops an item that would be answered by the same text as an earlier one.
func appendItem(items []FetchItem, it FetchItem) []FetchItem {
	name := string(AppendItemName(nil, &it))
	for i := range items {
		if old := &items[i]; old.Kind == it.Kind && string(AppendItemName(nil, old)) == name && old.Count == it.Count {
			old.Peek = old.Peek && it.Peek
			old.Lazy = old.Lazy && it.Lazy
			return items
		}
	}
	return append(items, it)
}

var simpleItems = map[string]ItemKind{
	"UID": ItemUID, "FLAGS": ItemFlags, "INTERNALDATE": ItemInternalDate, "RFC822.SIZE": ItemSize,
	"ENVELOPE": ItemEnvelope, "BODYSTRUCTURE": ItemBodyStructure, "RFC822": ItemRFC822,
	"RFC822.HEADER": ItemRFC822Header, "RFC822.TEXT": ItemRFC822Text, "EMAILID": ItemEmailID,
	"THREADID": ItemThreadID, "SAVEDATE": ItemSaveDate, "MODSEQ": ItemModSeq,
}

var itemChar = class(func(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-'
})

// FetchItem reads one item.
func (d *Decoder) FetchItem() (it FetchItem) {
	name := upperString(d.word("a FETCH item", MaxAtom, &itemChar))
	if k, ok := simpleItems[name]; ok {
		it.Kind = k
		return it
	}
	switch name {
	case "":
	case "BODY", "BODY.PEEK":
		if it.Kind = ItemBody; name == "BODY" && d.Peek() != '[' {
			return it
		}
		it.Kind, it.Peek = ItemSection, name == "BODY.PEEK"
		it.Section = d.section()
		d.partial(&it)
	case "BINARY", "BINARY.PEEK":
		it.Kind, it.Peek = ItemBinary, name == "BINARY.PEEK"
		it.Section = d.section()
		d.partial(&it)
	case "BINARY.SIZE":
		it.Kind = ItemBinarySize
		it.Section = d.section()
	case "PREVIEW":
		it.Kind = ItemPreview
		it.Lazy = d.previewModifiers()
	default:
		d.Fail("FETCH item %s is not known", clip(name))
	}
	return it
}

// previewModifiers reads " (LAZY)" if it is there (RFC 8970 §3.1).
func (d *Decoder) previewModifiers() (lazy bool) {
	r := d.Rest()
	if len(r) < 2 || r[0] != ' ' || r[1] != '(' {
		return false
	}
	save := d.pos
	d.pos++
	d.Open()
	if !d.Is("LAZY") { // not ours: "FETCH 1 PREVIEW (CHANGEDSINCE 5)"
		d.pos = save
		return false
	}
	d.Close()
	return true
}

// section reads "[" [section-spec] "]" (RFC 9051 §9). Of BINARY that grammar
// knows part numbers only; clients of Dovecot may ask for BINARY[2.TEXT] and the like as well.
func (d *Decoder) section() (s Section) {
	d.Expect('[')
	for c := d.Peek(); c >= '0' && c <= '9'; c = d.Peek() {
		if len(s.Part) >= MaxNesting {
			d.Fail("section has more than %d levels", MaxNesting)
			return s
		}
		n := d.NzNumber()
		if n > 1<<30 {
			d.Fail("part number is too large")
			return s
		}
		s.Part = append(s.Part, int(n))
		if !d.Take('.') {
			d.Expect(']')
			return s
		}
		if c := d.Peek(); c == ']' || c == 0 {
			d.wanted("a section text")
		}
	}
	if d.Take(']') {
		return s
	}
	d.sectionText(&s)
	d.Expect(']')
	return s
}

func (d *Decoder) sectionText(s *Section) {
	switch name := upperString(d.word("a section text", MaxAtom, &itemChar)); name {
	case "HEADER":
		s.Spec = SpecHeader
	case "TEXT":
		s.Spec = SpecText
	case "MIME":
		if s.Spec = SpecMIME; len(s.Part) == 0 {
			d.Fail("MIME needs a part number before it")
		}
	case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
		if s.Spec = SpecFields; name == "HEADER.FIELDS.NOT" {
			s.Spec = SpecFieldsNot
		}
		d.SP()
		d.List(false, func() { s.Fields = append(s.Fields, d.AString()) })
	case "":
	default:
		d.Fail("section text %s is not known", clip(name))
	}
}

// partial reads "<" number "." nz-number ">" (RFC 9051 §9), and "<" number ">"
// for all that follows, as Dovecot does.
func (d *Decoder) partial(it *FetchItem) {
	if !d.Take('<') {
		return
	}
	it.Partial = true
	it.Offset = d.Number64()
	if d.Take('>') {
		it.Count = math.MaxInt64
		return
	}
	d.Expect('.')
	it.Count = d.Number64()
	if d.err == nil && it.Count == 0 {
		d.Fail("partial length must not be zero")
	}
	d.Expect('>')
}

// FetchModifiers reads SP "(" modifiers ")" if it is there.
func (d *Decoder) FetchModifiers() (m FetchModifiers) {
	if !d.TakeSP() {
		return m
	}
	d.List(false, func() {
		switch kw := d.Keyword(); kw {
		case "CHANGEDSINCE":
			d.SP()
			m.ChangedSince, m.HasChangedSince = d.ModSeq(), true
		case "VANISHED":
			m.Vanished = true
		case "PARTIAL":
			d.SP()
			p := d.PartialRange()
			m.Partial = &p
		case "":
		default:
			d.Fail("FETCH modifier %s is not known", clip(kw))
		}
	})
	return m
}

// ModSeq reads a mod-sequence-value (RFC 7162 §7): 63 bits, zero allowed where
// the caller says so by not objecting.
func (d *Decoder) ModSeq() uint64 { return uint64(d.Number64()) }

// clip shortens a client's word for an answer.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

// AppendItemName prints the item as a FETCH response names it: the request
// without .PEEK, with only the offset of a partial (RFC 9051 §7.5.2).
func AppendItemName(b []byte, it *FetchItem) []byte {
	switch it.Kind {
	case ItemSection:
		b = append(b, "BODY"...)
	case ItemBinary:
		b = append(b, "BINARY"...)
	case ItemBinarySize:
		b = append(b, "BINARY.SIZE"...)
	default:
		return append(b, itemNames[it.Kind]...)
	}
	b = AppendSection(append(b, '['), &it.Section)
	b = append(b, ']')
	if it.Partial {
		b = strconv.AppendInt(append(b, '<'), it.Offset, 10)
		b = append(b, '>')
	}
	return b
}

var itemNames = [...]string{ItemUID: "UID", ItemFlags: "FLAGS", ItemInternalDate: "INTERNALDATE",
	ItemSize: "RFC822.SIZE", ItemEnvelope: "ENVELOPE", ItemBody: "BODY", ItemBodyStructure: "BODYSTRUCTURE",
	ItemRFC822: "RFC822", ItemRFC822Header: "RFC822.HEADER", ItemRFC822Text: "RFC822.TEXT",
	ItemPreview: "PREVIEW", ItemEmailID: "EMAILID", ItemThreadID: "THREADID", ItemSaveDate: "SAVEDATE",
	ItemModSeq: "MODSEQ"}

// AppendSection prints a section without its brackets.
func AppendSection(b []byte, s *Section) []byte {
	for i, n := range s.Part {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	if s.Spec == SpecNone {
		return b
	}
	if len(s.Part) > 0 {
		b = append(b, '.')
	}
	b = append(b, specNames[s.Spec]...)
	if s.Spec == SpecFields || s.Spec == SpecFieldsNot {
		b = append(b, " ("...)
		for i, f := range s.Fields {
			if i > 0 {
				b = append(b, ' ')
			}
			b = AppendAString(b, f)
		}
		b = append(b, ')')
	}
	return b
}

var specNames = [...]string{SpecHeader: "HEADER", SpecFields: "HEADER.FIELDS", SpecFieldsNot: "HEADER.FIELDS.NOT",
	SpecText: "TEXT", SpecMIME: "MIME"}
