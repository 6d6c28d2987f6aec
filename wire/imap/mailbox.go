package imap

import (
	"strings"
	"unicode/utf8"
)

// Mailbox reads a mailbox name (RFC 9051 §5.1) and returns it in UTF-8; any
// case of INBOX, also before a separator, becomes "INBOX". Which names may be
// created is the store's business.
func (d *Decoder) Mailbox() string { return d.mailboxName(d.mailboxText(&mailboxChar)) }

// ListMailbox reads a LIST pattern (RFC 9051 §6.3.9 list-mailbox) in UTF-8.
func (d *Decoder) ListMailbox() string { return d.mailboxName(d.mailboxText(&listChar)) }

func (d *Decoder) mailboxText(chars *[256]bool) string {
	switch d.Peek() {
	case '"', '{':
		return d.String()
	case '~':
		// RFC 6855 §3 of old: no literal8 for names any more; a name may begin with ~.
	}
	return string(d.word("a mailbox name", MaxLine, chars))
}

func (d *Decoder) mailboxName(s string) string {
	if d.err != nil {
		return ""
	}
	if !utf8.ValidString(s) {
		d.Fail("mailbox name is not valid UTF-8")
		return ""
	}
	if !d.UTF8 {
		name, ok := DecodeUTF7(s)
		if !ok {
			d.Fail("mailbox name is not valid modified UTF-7 (RFC 3501 §5.1.3)")
			return ""
		}
		s = name
	}
	return FoldInbox(s)
}

// FoldInbox writes INBOX as first component in upper case.
func FoldInbox(name string) string {
	if len(name) < 5 || !strings.EqualFold(name[:5], "INBOX") || len(name) > 5 && name[5] != '/' {
		return name
	}
	return "INBOX" + name[5:]
}

// mailboxChar is astringChar and raw UTF-8.
var mailboxChar = class(func(c byte) bool { return astringChar[c] || c >= 0x80 })

// AppendMailbox prints a mailbox name: UTF-8 in quotes if utf8 is enabled,
// modified UTF-7 otherwise.
func AppendMailbox(b []byte, name string, utf8 bool) []byte {
	ascii := true
	for i := 0; i < len(name); i++ {
		if c := name[i]; c >= 0x7f || c < ' ' || c == '&' {
			ascii = false
			break
		}
	}
	if !ascii && !utf8 {
		var buf [256]byte
		return AppendAString(b, string(AppendUTF7(buf[:0], name)))
	}
	return AppendAString(b, name)
}

// MatchMailbox reports whether name matches a LIST pattern: "*" matches
// anything, "%" anything but sep (RFC 9051 §6.3.9). It takes time
// proportional to the product of both lengths at worst.
//
// INBOX, alone or before sep, matches in any case (RFC 9051 §5.1).
func MatchMailbox(pattern, name string, sep byte) bool {
	pattern = squeeze(pattern)
	fold := 0 // how much of name matches in any case
	if strings.HasPrefix(name, "INBOX") && (len(name) == 5 || name[5] == sep) {
		fold = 5
	}
	p, n := 0, 0
	starP, starN := -1, 0 // last wildcard and how far it reaches
	pctP, pctN := -1, 0
	for {
		if p < len(pattern) && pattern[p] == '*' {
			starP, starN, pctP = p, n, -1
			p++
			continue
		}
		if p < len(pattern) && pattern[p] == '%' {
			pctP, pctN = p, n
			p++
			continue
		}
		if p == len(pattern) && n == len(name) {
			return true
		}
		if p < len(pattern) && n < len(name) && (pattern[p] == name[n] || n < fold && upper(pattern[p]) == name[n]) {
			p++
			n++
			continue
		}
		if pctP >= 0 && pctN < len(name) && name[pctN] != sep {
			pctN++
			p, n = pctP+1, pctN
			continue
		}
		if starP >= 0 && starN < len(name) {
			starN++
			p, n, pctP = starP+1, starN, -1
			continue
		}
		return false
	}
}

// squeeze joins wildcards in a row: "**", "*%" and "%*" are "*", "%%" is "%".
func squeeze(p string) string {
	if !strings.Contains(p, "**") && !strings.Contains(p, "%%") && !strings.Contains(p, "*%") && !strings.Contains(p, "%*") {
		return p
	}
	b := make([]byte, 0, len(p))
	for i := 0; i < len(p); i++ {
		c := p[i]
		if k := len(b); k > 0 && (c == '*' || c == '%') && (b[k-1] == '*' || b[k-1] == '%') {
			if c == '*' {
				b[k-1] = '*'
			}
			continue
		}
		b = append(b, c)
	}
	return string(b)
}
