package imap

import "strings"

// MaxMetadataEntry bounds an entry name in octets.
const MaxMetadataEntry = 255

// GetMetadata is a GETMETADATA command (RFC 5464 §4.2).
type GetMetadata struct {
	Mailbox  string   // "": the server
	Entries  []string // lower case
	MaxSize  int64    // -1: none
	Depth    int      // 0 or 1
	Infinity bool
}

// MetadataValue is one entry that SETMETADATA changes; a nil Value removes it.
type MetadataValue struct {
	Entry string // lower case
	Value []byte
}

// GetMetadataArgs reads the arguments of GETMETADATA. The options may stand before the mailbox, as the
// grammar of RFC 5464 §5 has them, or behind it, as its examples do (and most clients).
func (d *Decoder) GetMetadataArgs() (g GetMetadata) {
	g.MaxSize = -1
	d.SP()
	if d.Peek() == '(' {
		d.List(false, func() { d.metadataOption(&g) })
		d.SP()
	}
	g.Mailbox = d.Mailbox()
	d.SP()
	if d.Peek() != '(' {
		d.bareEntries(&g)
		return g
	}
	options := false
	d.List(false, func() {
		if c := d.Peek(); c != '/' && c != '"' && c != '{' {
			options = true
			d.metadataOption(&g)
			return
		}
		g.Entries = append(g.Entries, d.MetadataEntry(false))
	})
	if !options {
		return g
	}
	if len(g.Entries) > 0 {
		d.Fail("options and entries can't share a list")
	}
	d.SP()
	if d.Peek() != '(' {
		d.bareEntries(&g)
		return g
	}
	d.List(false, func() { g.Entries = append(g.Entries, d.MetadataEntry(false)) })
	return g
}

// bareEntries reads entries without parentheses: one, or several as the example of RFC 5464 §4.4.1 has them.
func (d *Decoder) bareEntries(g *GetMetadata) {
	g.Entries = []string{d.MetadataEntry(false)}
	for d.TakeSP() && !d.AtEnd() {
		if len(g.Entries) >= MaxItems {
			d.Fail("list has more than %d members", MaxItems)
			return
		}
		g.Entries = append(g.Entries, d.MetadataEntry(false))
	}
}

func (d *Decoder) metadataOption(g *GetMetadata) {
	switch kw := d.Keyword(); kw {
	case "MAXSIZE":
		d.SP()
		g.MaxSize = d.Number64()
	case "DEPTH":
		d.SP()
		d.MetadataDepth(&g.Depth, &g.Infinity)
	case "":
	default:
		d.Fail("GETMETADATA option %s is not known", clip(kw))
	}
}

// SetMetadataArgs reads the arguments of SETMETADATA (RFC 5464 §4.3).
func (d *Decoder) SetMetadataArgs() (mailbox string, vs []MetadataValue) {
	d.SP()
	mailbox = d.Mailbox()
	d.SP()
	d.List(false, func() {
		v := MetadataValue{Entry: d.MetadataEntry(true)}
		d.SP()
		v.Value = d.Bytes8()
		vs = append(vs, v)
	})
	return mailbox, vs
}

// MetadataEntry reads an entry name (RFC 5464 §3.2) and returns it in lower case. whole asks for a name that can have a
// value: two components at least, four below /…/vendor.
func (d *Decoder) MetadataEntry(whole bool) string {
	s := d.AString()
	if d.err != nil {
		return ""
	}
	e := strings.ToLower(s)
	if reason := badEntry(e, whole); reason != "" {
		d.Fail("metadata entry %s", reason)
		return ""
	}
	return e
}

func badEntry(e string, whole bool) string {
	if len(e) > MaxMetadataEntry {
		return "is too long"
	}
	for i := 0; i < len(e); i++ {
		if c := e[i]; c <= 0x19 || c >= 0x7f || c == '*' || c == '%' {
			return "has a character that is not allowed in entry names"
		}
	}
	if !strings.HasPrefix(e, "/") || strings.HasSuffix(e, "/") || strings.Contains(e, "//") {
		return "must begin with a slash, not end with one and have no empty component"
	}
	c := strings.Split(e[1:], "/")
	if c[0] != "private" && c[0] != "shared" {
		return "must begin with /private/ or /shared/"
	}
	if whole && (len(c) < 2 || c[1] == "vendor" && len(c) < 4) {
		return "has too few components"
	}
	return ""
}

// Matches reports whether a stored entry answers g: it is one of Entries, or below one within the depth.
func (g *GetMetadata) Matches(entry string) bool {
	for _, e := range g.Entries {
		rest, ok := strings.CutPrefix(entry, e)
		switch {
		case !ok || rest != "" && rest[0] != '/':
		case rest == "", g.Infinity, g.Depth == 1 && strings.IndexByte(rest[1:], '/') < 0:
			return true
		}
	}
	return false
}

// AppendMetadataValue prints an entry and its value, NIL if nil, as literal8 if it has a NUL.
func AppendMetadataValue(b []byte, entry string, value []byte) []byte {
	b = append(AppendAString(b, entry), ' ')
	if value == nil {
		return append(b, "NIL"...)
	}
	return AppendString(b, string(value), true)
}
