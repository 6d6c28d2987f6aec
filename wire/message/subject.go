package message

import "strings"

// maxSubject bounds the octets that a base subject is made of: a sort key needs no more.
const maxSubject = 4096

// BaseSubject extracts the base subject (RFC 5256 §2.1) from a raw Subject value: decoded, not
// folded. reply tells that it was a reply or a forward.
func BaseSubject(raw string) (base string, reply bool) {
	s := DecodeHeader(clip(raw, maxSubject))
	s = oneSpace(s) // (1)
	for {
		var r bool
		s, r = trimTrailers(s) // (2)
		reply = reply || r
		s, r = trimLeaders(s) // (3)-(5)
		reply = reply || r
		if len(s) < 6 || !strings.EqualFold(s[:5], "[fwd:") || s[len(s)-1] != ']' {
			return s, reply
		}
		s, reply = s[5:len(s)-1], true // (6)
	}
}

// oneSpace makes every run of white space one space.
func oneSpace(s string) string {
	ok := true
	for i := 0; i < len(s) && ok; i++ {
		c := s[i]
		ok = c != '\t' && c != '\r' && c != '\n' && (c != ' ' || i+1 == len(s) || s[i+1] != ' ')
	}
	if ok {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\t' || c == '\r' || c == '\n' {
			c = ' '
		}
		if c != ' ' || len(b) == 0 || b[len(b)-1] != ' ' {
			b = append(b, c)
		}
	}
	return string(b)
}

// trimTrailers removes subj-trailer = "(fwd)" / WSP as often as it matches.
func trimTrailers(s string) (string, bool) {
	fwd := false
	for {
		s = strings.TrimRight(s, " \t")
		if len(s) < 5 || !strings.EqualFold(s[len(s)-5:], "(fwd)") {
			return s, fwd
		}
		s, fwd = s[:len(s)-5], true
	}
}

// trimLeaders removes subj-leader = (*subj-blob subj-refwd) / WSP, and subj-blob where something is left.
func trimLeaders(s string) (string, bool) {
	reply := false
	for {
		s = strings.TrimLeft(s, " \t")
		rest := s
		for { // *subj-blob
			r, ok := trimBlob(rest)
			if !ok {
				break
			}
			rest = r
		}
		if r, ok := trimRefwd(rest); ok {
			s, reply = r, true
			continue
		}
		// No leader, and none will come by removing these blobs one by one: (4) takes
		// all of them, or all but the last if nothing is left.
		for {
			r, ok := trimBlob(s)
			if !ok || r == "" {
				return s, reply
			}
			s = r
		}
	}
}

// trimBlob removes subj-blob = "[" *BLOBCHAR "]" *WSP.
func trimBlob(s string) (string, bool) {
	if s == "" || s[0] != '[' {
		return s, false
	}
	i := strings.IndexAny(s[1:], "[]")
	if i < 0 || s[1+i] != ']' {
		return s, false
	}
	return strings.TrimLeft(s[i+2:], " \t"), true
}

// trimRefwd removes subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":".
func trimRefwd(s string) (string, bool) {
	if len(s) < 3 {
		return s, false
	}
	r := s[2:]
	switch {
	case strings.EqualFold(s[:2], "re"):
	case strings.EqualFold(s[:2], "fw"):
		if r[0]|0x20 == 'd' {
			r = r[1:]
		}
	default:
		return s, false
	}
	r = strings.TrimLeft(r, " \t")
	if b, ok := trimBlob(r); ok {
		r = b
	}
	if r == "" || r[0] != ':' {
		return s, false
	}
	return r[1:], true
}
