package message

import "strings"

const maxMessageID = 1000 // octets; longer ones are no ids

// nextMessageID finds the next message id "<" left "@" right ">" in s (RFC 5256 §3: normalised, that
// is without quoting, comments and white space) and returns it without the angle brackets. An empty
// id with a rest means junk was passed.
func nextMessageID(s string) (id, rest string) {
	i := strings.IndexByte(s, '<')
	if i < 0 {
		return "", ""
	}
	s = s[i+1:]
	quote := false
	for i := 0; i < len(s) && i <= maxMessageID; i++ {
		switch s[i] {
		case '"':
			quote = !quote
		case '\\':
			if quote {
				i++
			}
		case '<':
			if !quote {
				return "", s[i:]
			}
		case '>':
			if !quote {
				return normalID(s[:i]), s[i+1:]
			}
		}
	}
	return "", s
}

// normalID is the id with quotes and white space removed; "" if it has no @ inside.
func normalID(s string) string {
	if strings.ContainsAny(s, " \t\r\n\"(\\") {
		s = words(s, "")
	}
	at := strings.IndexByte(s, '@')
	if at <= 0 || at == len(s)-1 {
		return ""
	}
	return s
}

// messageIDs returns the ids in s, at most MaxReferences, the last ones.
func messageIDs(s string) []string {
	var l []string
	for s != "" {
		var id string
		if id, s = nextMessageID(s); id == "" {
			continue
		}
		if len(l) >= 2*MaxReferences {
			l = append(l[:0], l[len(l)-MaxReferences:]...)
		}
		l = append(l, id)
	}
	return l[max(0, len(l)-MaxReferences):]
}

// firstMessageID returns the first id in the value, "" if none.
func firstMessageID(v *string) string {
	if v == nil {
		return ""
	}
	for s := *v; s != ""; {
		var id string
		if id, s = nextMessageID(s); id != "" {
			return id
		}
	}
	return ""
}

// references are the ids that THREAD=REFERENCES links by (RFC 5256 §3): those of References,
// else the first of In-Reply-To.
func references(refs string, inReplyTo *string) []string {
	if l := messageIDs(refs); len(l) > 0 {
		return l
	}
	if id := firstMessageID(inReplyTo); id != "" {
		return []string{id}
	}
	return nil
}
