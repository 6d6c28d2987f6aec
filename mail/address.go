package mail

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// Limits of an address in octets. RFC 5321 §4.5.3.1.1–3.
const (
	MaxLocalPart = 64
	MaxDomain    = 255
	MaxPath      = 254
)

// Address is a mailbox address in canonical form: the local part in NFC
// without needless quoting, the domain in lower-case U-label form (NFC, IDNA
// checked). RFC 5321 §4.1.2, RFC 6531 §3.3. The zero value is "no address".
type Address struct{ Local, Domain string }

// IsZero reports whether a is the zero address (the null reverse path).
func (a Address) IsZero() bool { return a == Address{} }

// String returns a as it is written in SMTP, the local part quoted if it must be.
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	if a.Domain == "" {
		return quoteLocal(a.Local)
	}
	return quoteLocal(a.Local) + "@" + a.Domain
}

// ASCII returns a with its domain as A-labels, and whether the whole is ASCII then.
func (a Address) ASCII() (string, bool) {
	d := a.Domain
	if !isASCII(d) {
		if p, err := domainProfile.ToASCII(d); err == nil {
			d = p
		}
	}
	s := Address{a.Local, d}.String()
	return s, isASCII(s)
}

// ParseAddress reads "local@domain" as a person or an SMTP client writes it.
// Errors are *Error of kind BadInput that say what is wrong with which part.
func ParseAddress(s string) (Address, error) {
	if !utf8.ValidString(s) {
		return Address{}, badAddress("address is not valid UTF-8")
	}
	if len(s) > MaxPath {
		return Address{}, badAddress("address is longer than 254 octets")
	}
	local, domain, err := splitAddress(s)
	if err != nil {
		return Address{}, err
	}
	if local == "" {
		return Address{}, badAddress("address has no local part before @")
	}
	local = norm.NFC.String(local)
	if len(local) > MaxLocalPart {
		return Address{}, badAddress("local part is longer than 64 octets")
	}
	if strings.ContainsFunc(local, isUnseen) {
		return Address{}, badAddress("local part has a control character or an invisible line break")
	}
	d, err := ParseDomain(domain)
	if err != nil {
		return Address{}, err
	}
	return Address{local, d}, nil
}

// ParseDomain canonicalises a domain name or an address literal in brackets
// (RFC 5321 §4.1.3; the tag is written IPv6, the address as in RFC 5952).
//
// A label may have "--" in its third and fourth place without being "xn--":
// RFC 5891 §4.2.3.1 reserves such names, but they are registered and get mail.
func ParseDomain(s string) (string, error) {
	switch {
	case s == "":
		return "", badAddress("domain is missing")
	case len(s) > MaxDomain:
		return "", badAddress("domain is longer than 255 octets")
	case s[0] == '[':
		return parseLiteral(s)
	}
	s = strings.TrimSuffix(s, ".")
	if isPlainDomain(s) {
		return s, checkLabels(s)
	}
	d, err := domainProfile.ToUnicode(s)
	if err != nil {
		return "", badAddress("domain is not a valid (internationalised) host name")
	}
	d = norm.NFC.String(strings.ToLower(d))
	// Lengths count in A-labels: that is what the DNS has to carry.
	a, err := domainProfile.ToASCII(d)
	if err != nil {
		return "", badAddress("domain is not a valid (internationalised) host name")
	}
	return d, checkLabels(a)
}

// isPlainDomain finds the names that are canonical as they stand: lower-case letters, digits, hyphens, dots, and no A-label.
func isPlainDomain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.') {
			return false
		}
	}
	return !strings.Contains(s, "xn--")
}

// maxLabel is RFC 1035 §2.3.4's length of a label, in octets.
const maxLabel = 63

func checkLabels(d string) error {
	for label := range strings.SplitSeq(d, ".") {
		switch {
		case label == "":
			return badAddress("domain has an empty label")
		case len(label) > maxLabel:
			return badAddress("a label of the domain is longer than 63 octets")
		case label[0] == '-' || label[len(label)-1] == '-':
			return badAddress("a label of the domain begins or ends with a hyphen")
		}
	}
	if len(d) > MaxDomain-2 { // the root and the first length octet count in the DNS
		return badAddress("domain is longer than 253 octets")
	}
	return nil
}

// parseLiteral reads [192.0.2.1] and [IPv6:2001:db8::1]; no other kind was ever registered.
func parseLiteral(s string) (string, error) {
	if len(s) < 3 || s[len(s)-1] != ']' {
		return "", badAddress("address literal lacks its closing bracket")
	}
	inner := s[1 : len(s)-1]
	const tag = "IPv6:"
	if len(inner) > len(tag) && strings.EqualFold(inner[:len(tag)], tag) {
		if ip, err := netip.ParseAddr(inner[len(tag):]); err == nil && ip.Is6() && ip.Zone() == "" {
			return "[" + tag + ip.String() + "]", nil
		}
	} else if ip, err := netip.ParseAddr(inner); err == nil && ip.Is4() {
		return "[" + ip.String() + "]", nil
	}
	return "", badAddress("address literal is neither [a.b.c.d] nor [IPv6:…]")
}

var domainProfile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(true),
	idna.VerifyDNSLength(true), idna.CheckHyphens(false))

func badAddress(text string) *Error { return &Error{Kind: BadInput, Text: text} }

// splitAddress separates the parts and removes the quoting of the local part.
func splitAddress(s string) (local, domain string, err error) {
	if s == "" || s[0] != '"' {
		i := strings.LastIndexByte(s, '@')
		if i < 0 {
			return "", "", badAddress("address has no @")
		}
		local, domain = s[:i], s[i+1:]
		if local != "" && !isDotString(local) {
			return "", "", badAddress("local part has a character that must be quoted, or a misplaced dot")
		}
		return local, domain, nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			if i+1 >= len(s) || s[i+1] != '@' {
				return "", "", badAddress("address has no @ after the quoted local part")
			}
			return b.String(), s[i+2:], nil
		case c == '\\' && i+1 < len(s):
			i++
			if s[i] < ' ' || s[i] == 0x7f {
				return "", "", badAddress("local part has a control character")
			}
			b.WriteByte(s[i])
		case c < ' ' || c == 0x7f:
			return "", "", badAddress("local part has a control character")
		default:
			b.WriteByte(c)
		}
	}
	return "", "", badAddress("quoted local part is not closed")
}

// isUnseen finds what RFC 6531 §3.3 would let pass and no mailbox should have:
// C1 controls and line separators, which break logs and headers.
func isUnseen(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }

// isDotString is RFC 5321's Dot-string with RFC 6531's UTF-8 atoms.
func isDotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x80 || c == '.' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0 {
			continue
		}
		return false
	}
	return true
}

func quoteLocal(l string) string {
	if isDotString(l) {
		return l
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(l); i++ {
		if l[i] == '"' || l[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(l[i])
	}
	b.WriteByte('"')
	return b.String()
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
