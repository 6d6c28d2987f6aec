package imap

import (
	"strings"

	"github.com/xdg-go/stringprep"
)

// AllRights are the rights of RFC 4314 §2.1 in the order in which we print them.
const AllRights = "lrswipkxtea"

// MaxIdentifier bounds an ACL identifier in octets: longer than any address.
const MaxIdentifier = 512

// RightsChange is the third argument of SETACL, RFC 4314 §3.1, without virtual rights.
type RightsChange struct {
	Op     byte // '+', '-' or 0: replace
	Rights string
}

// Rights reads the argument of SETACL. The obsolete rights stand for their members (RFC 4314 §2.1.1):
// c for k and x, d for t and e.
func (d *Decoder) Rights() (c RightsChange) {
	s := d.AString()
	if s != "" && (s[0] == '+' || s[0] == '-') {
		c.Op, s = s[0], s[1:]
	}
	for i := 0; i < len(s); i++ {
		switch r := s[i]; {
		case r == 'c':
			c.Rights += "kx"
		case r == 'd':
			c.Rights += "te"
		case r >= 'A' && r <= 'Z':
			d.Fail("uppercase rights are not allowed")
		case strings.IndexByte(AllRights, r) < 0:
			d.Fail("the right %s is not supported", show(r))
		default:
			c.Rights += s[i : i+1]
		}
	}
	c.Rights = sortRights(c.Rights)
	return c
}

// Apply returns what becomes of old.
func (c RightsChange) Apply(old string) string {
	switch c.Op {
	case '+':
		return sortRights(old + c.Rights)
	case '-':
		return strings.Map(func(r rune) rune {
			if strings.ContainsRune(c.Rights, r) {
				return -1
			}
			return r
		}, old)
	}
	return c.Rights
}

func sortRights(s string) string {
	var b strings.Builder
	for i := 0; i < len(AllRights); i++ {
		if strings.IndexByte(s, AllRights[i]) >= 0 {
			b.WriteByte(AllRights[i])
		}
	}
	return b.String()
}

// AppendRights prints rights with the virtual ones that old clients look for (RFC 4314 §2.1.1).
func AppendRights(b []byte, rights string) []byte {
	s := rights
	if strings.ContainsAny(rights, "kx") {
		s += "c"
	}
	if strings.ContainsAny(rights, "te") {
		s += "d"
	}
	return AppendAString(b, s)
}

// Identifier reads an ACL identifier. prepared is its SASLprep form (RFC 4314 §3), raw what the client wrote.
func (d *Decoder) Identifier() (raw, prepared string) {
	raw = d.AString()
	if d.err != nil {
		return "", ""
	}
	if len(raw) > MaxIdentifier {
		d.Fail("identifier is longer than %d octets", MaxIdentifier)
		return "", ""
	}
	prepared, err := stringprep.SASLprep.Prepare(raw)
	if err != nil || prepared == "" || prepared == "-" {
		d.Fail("identifier is empty or has characters that SASLprep forbids (RFC 4314 §3)")
		return "", ""
	}
	return raw, prepared
}
