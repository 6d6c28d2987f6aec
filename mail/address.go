package mail

import (
	"strings"
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
		if p, err := idna.Lookup.ToASCII(d); err == nil {
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
	if len(local) > MaxLocalPart {
		return Address{}, badAddress("local part is longer than 64 octets")
	}
	d, err := ParseDomain(domain)
	if err != nil {
		return Address{}, err
	}
	return Address{norm.NFC.String(local), d}, nil
}

// ParseDomain canonicalises a domain name or an address literal in brackets.
func ParseDomain(s string) (string, error) {
	switch {
	case s == "":
		return "", badAddress("domain is missing")
	case len(s) > MaxDomain:
		return "", badAddress("domain is longer than 255 octets")
	case s[0] == '[':
		if len(s) < 3 || s[len(s)-1] != ']' {
			return "", badAddress("address literal lacks its closing bracket")
		}
		return strings.ToLower(s), nil
	}
	d, err := domainProfile.ToUnicode(strings.TrimSuffix(s, "."))
	if err != nil {
		return "", badAddress("domain is not a valid (internationalised) host name")
	}
	d = norm.NFC.String(strings.ToLower(d))
	for label := range strings.SplitSeq(d, ".") {
		if label == "" {
			return "", badAddress("domain has an empty label")
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return "", badAddress("a label of the domain begins or ends with a hyphen")
		}
	}
	return d, nil
}

var domainProfile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(true), idna.VerifyDNSLength(true))

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
