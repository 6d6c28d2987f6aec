package pop3d

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"bahnpost/store/mailstore"
)

// maxUIDL is RFC 1939 §7's length of a unique id.
const maxUIDL = 70

// UIDLFormat makes the unique id of a message. A template is text with variables:
//
//	%u  UID            %v  UIDVALIDITY
//	%m  message id: a number that the account never uses twice, and a move between mailboxes keeps
//	%%  a per cent sign
//
// Between % and the letter may stand a width, with 0 before it to fill with zeros, and X for lower-case hexadecimal, as in
// Dovecot's pop3_uidl_format; so a moved account goes on with the ids its clients know:
//
//	Dovecot  %08Xu%08Xv      Cyrus  %v.%u      Courier  UID%u-%v      UW  %08Xv%08Xu
type UIDLFormat struct{ parts []uidlPart }

type uidlPart struct {
	text  string // before the variable
	v     byte   // u v m, 0: none
	width int
	hex   bool
}

// maxUIDLWidth bounds padding.
const maxUIDLWidth = 20

// Errors of ParseUIDL.
var (
	errUIDLSyntax = errors.New("UIDL template has an unknown variable or modifier")
	errUIDLChars  = errors.New("UIDL template has a character that is not printable ASCII, or a space")
	errUIDLUnique = errors.New("UIDL template needs %u or %m: without, two messages would have one id")
	errUIDLLong   = errors.New("UIDL template may give ids longer than 70 characters")
)

// ParseUIDL reads a template and refuses what could break RFC 1939 §7: ids of
// more than 70 characters, or of others than 0x21 to 0x7E, or not unique.
func ParseUIDL(template string) (*UIDLFormat, error) {
	f, p := new(UIDLFormat), uidlPart{}
	longest, unique := 0, false
	for i := 0; i < len(template); i++ {
		c := template[i]
		if c < 0x21 || c > 0x7e {
			return nil, errUIDLChars
		}
		if c != '%' {
			p.text += string(c)
			continue
		}
		n, err := p.variable(template[i+1:])
		if err != nil {
			return nil, err
		}
		i += n
		if p.v == '%' {
			p.text, p.v = p.text+"%", 0
			continue
		}
		unique = unique || p.v != 'v'
		longest += max(p.width, len("4294967295")) + len(p.text)
		f.parts = append(f.parts, p)
		p = uidlPart{}
	}
	if p.text != "" {
		f.parts = append(f.parts, p)
		longest += len(p.text)
	}
	switch {
	case !unique:
		return nil, errUIDLUnique
	case longest > maxUIDL:
		return nil, errUIDLLong
	}
	return f, nil
}

// variable reads what stands after the per cent sign and returns its length.
func (p *uidlPart) variable(s string) (int, error) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			if p.width = p.width*10 + int(c-'0'); p.width > maxUIDLWidth {
				return 0, errUIDLSyntax
			}
		case c == 'X' && !p.hex:
			p.hex = true
		case strings.IndexByte("uvm%", c) >= 0:
			p.v = c
			return i + 1, nil
		default:
			return 0, errUIDLSyntax
		}
	}
	return 0, errUIDLSyntax
}

// Append appends the id of a message to b.
func (f *UIDLFormat) Append(b []byte, validity uint32, uid mailstore.UID, id mailstore.MessageID) []byte {
	for i := range f.parts {
		p := &f.parts[i]
		b = append(b, p.text...)
		v, base := uint64(0), 10
		switch p.v {
		case 'u':
			v = uint64(uid)
		case 'v':
			v = uint64(validity)
		case 'm':
			v = uint64(id)
		default:
			continue
		}
		if p.hex {
			base = 16
		}
		b = p.number(b, v, base)
	}
	return b
}

func (p *uidlPart) number(b []byte, v uint64, base int) []byte {
	var digits [maxUIDLWidth]byte
	d := strconv.AppendUint(digits[:0], v, base)
	for n := len(d); n < p.width; n++ {
		b = append(b, '0') // a space may not stand in an id, so a width without 0 before it fills the same way
	}
	return append(b, d...)
}

// cleanUIDL returns a stored id if it may be said, else a hash that stands for it.
func cleanUIDL(s string) string {
	if s == "" {
		return ""
	}
	ok := len(s) <= maxUIDL
	for i := 0; i < len(s); i++ {
		ok = ok && s[i] >= 0x21 && s[i] <= 0x7e
	}
	if ok {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:20])
}
