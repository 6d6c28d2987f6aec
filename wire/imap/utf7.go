package imap

import (
	"encoding/base64"
	"unicode/utf16"
	"unicode/utf8"
)

var utf7Base64 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding).Strict()

// DecodeUTF7 turns a mailbox name in modified UTF-7 (RFC 3501 §5.1.3) into
// UTF-8. ok is false for anything that the one right encoding of a name would
// not be: bad base64, lone surrogates, ASCII in base64, "&" not closed. Raw
// 8-bit text is taken as UTF-8 if it is valid.
func DecodeUTF7(s string) (name string, ok bool) {
	plain := true
	for i := 0; i < len(s); i++ {
		if s[i] == '&' || s[i] >= 0x80 {
			plain = false
			break
		}
	}
	if plain {
		return s, true
	}
	if !utf8.ValidString(s) {
		return "", false
	}
	b := make([]byte, 0, len(s)+8)
	closed := false // a base64 run has just ended: another must not follow at once
	for i := 0; i < len(s); {
		if s[i] != '&' {
			b = append(b, s[i])
			i++
			closed = false
			continue
		}
		j := i + 1
		for j < len(s) && s[j] != '-' {
			j++
		}
		if j == len(s) {
			return "", false
		}
		run := s[i+1 : j]
		i = j + 1
		if run == "" {
			b = append(b, '&')
			closed = false
			continue
		}
		if closed {
			return "", false
		}
		if b, ok = appendBase64Run(b, run); !ok {
			return "", false
		}
		closed = true
	}
	return string(b), true
}

func appendBase64Run(b []byte, run string) ([]byte, bool) {
	raw, err := utf7Base64.DecodeString(run)
	if err != nil || len(raw)%2 != 0 || len(raw) == 0 {
		return b, false
	}
	for k := 0; k < len(raw); k += 2 {
		r := rune(raw[k])<<8 | rune(raw[k+1])
		switch {
		case utf16.IsSurrogate(r):
			if k+3 >= len(raw) {
				return b, false
			}
			r = utf16.DecodeRune(r, rune(raw[k+2])<<8|rune(raw[k+3]))
			if r == utf8.RuneError {
				return b, false
			}
			k += 2
		case r >= 0x20 && r < 0x7f:
			return b, false // RFC 3501 §5.1.3: printable US-ASCII represents itself
		}
		b = utf8.AppendRune(b, r)
	}
	return b, true
}

// AppendUTF7 appends a UTF-8 name in modified UTF-7.
func AppendUTF7(b []byte, name string) []byte {
	var run []byte
	flush := func() {
		if len(run) > 0 {
			b = append(b, '&')
			b = utf7Base64.AppendEncode(b, run)
			b = append(b, '-')
			run = run[:0]
		}
	}
	for _, r := range name {
		if r >= 0x20 && r < 0x7f {
			flush()
			b = append(b, byte(r))
			if r == '&' {
				b = append(b, '-')
			}
			continue
		}
		if r1, r2 := utf16.EncodeRune(r); r >= 0x10000 {
			run = append(run, byte(r1>>8), byte(r1), byte(r2>>8), byte(r2))
		} else {
			run = append(run, byte(r>>8), byte(r))
		}
	}
	flush()
	return b
}
