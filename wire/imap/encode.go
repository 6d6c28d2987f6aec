package imap

import (
	"strconv"
	"unicode/utf8"
)

// maxQuoted is up to what length a string is printed in quotes.
const maxQuoted = 1024

// AppendString prints s as a quoted string, or as a literal if it has octets
// that may not stand in quotes. With utf8ok valid UTF-8 stands in quotes
// (RFC 9051 §4.3, RFC 6855 §3).
func AppendString(b []byte, s string, utf8ok bool) []byte {
	esc, literal, eight := false, len(s) > maxQuoted, false
	for i := 0; i < len(s) && !literal; i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			esc = true
		case c >= 0x80:
			eight = true
		case c == '\r' || c == '\n' || c == 0:
			literal = true
		}
	}
	if literal || eight && (!utf8ok || !utf8.ValidString(s)) {
		return AppendLiteral(b, s)
	}
	b = append(b, '"')
	if !esc {
		b = append(b, s...)
		return append(b, '"')
	}
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// AppendLiteral prints s as a literal, as literal8 if it has a NUL.
func AppendLiteral(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == 0 {
			b = append(b, '~')
			break
		}
	}
	b = AppendLiteralHeader(b, int64(len(s)))
	return append(b, s...)
}

// AppendLiteralHeader prints "{n}" CRLF.
func AppendLiteralHeader(b []byte, n int64) []byte {
	b = append(b, '{')
	b = strconv.AppendInt(b, n, 10)
	return append(b, '}', '\r', '\n')
}

// AppendNString prints s, or NIL if ok is false.
func AppendNString(b []byte, s string, ok, utf8ok bool) []byte {
	if !ok {
		return append(b, "NIL"...)
	}
	return AppendString(b, s, utf8ok)
}

// AppendAString prints s bare if it is an astring without doubt, else as a string with UTF-8 in quotes.
func AppendAString(b []byte, s string) []byte {
	if s == "" || len(s) > maxQuoted || len(s) == 3 && equalFold([]byte(s), "NIL") {
		return AppendString(b, s, true)
	}
	for i := 0; i < len(s); i++ {
		if !astringChar[s[i]] || s[i] == ']' {
			return AppendString(b, s, true)
		}
	}
	return append(b, s...)
}

// AppendUint prints a number.
func AppendUint[T ~uint32 | ~uint64 | ~int | ~int64](b []byte, n T) []byte {
	return strconv.AppendUint(b, uint64(n), 10)
}

// Text makes s fit for the free text of a response: one line, no control
// octets, never empty.
func Text(s string) string {
	clean := s != ""
	for i := 0; i < len(s) && clean; i++ {
		clean = s[i] >= ' ' && s[i] != 0x7f
	}
	if clean {
		return s
	}
	if s == "" {
		return "done"
	}
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}
