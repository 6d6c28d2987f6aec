package imap

import "strconv"

// AppendSearchKey prints k so that the Decoder reads it back to the same key. The keys of a
// top-level KeyAnd stand side by side. Text that can't stand in quotes becomes a literal.
func AppendSearchKey(b []byte, k *SearchKey) []byte {
	if k.Op == KeyAnd {
		return appendKeys(b, k.Subs)
	}
	return appendKey(b, k)
}

func appendKeys(b []byte, ks []SearchKey) []byte {
	for i := range ks {
		if i > 0 {
			b = append(b, ' ')
		}
		b = appendKey(b, &ks[i])
	}
	return b
}

var keyNames = [...]string{KeyAll: "ALL", KeyOr: "OR", KeyNot: "NOT", KeyFuzzy: "FUZZY", KeyUID: "UID", KeyRecent: "RECENT",
	KeyKeyword: "KEYWORD", KeyHeader: "HEADER", KeyBody: "BODY", KeyText: "TEXT", KeyLarger: "LARGER", KeySmaller: "SMALLER",
	KeyBefore: "BEFORE", KeyOn: "ON", KeySince: "SINCE", KeySentBefore: "SENTBEFORE", KeySentOn: "SENTON",
	KeySentSince: "SENTSINCE", KeySavedBefore: "SAVEDBEFORE", KeySavedOn: "SAVEDON", KeySavedSince: "SAVEDSINCE",
	KeySaveDateSupported: "SAVEDATESUPPORTED", KeyOlder: "OLDER", KeyYounger: "YOUNGER", KeyModSeq: "MODSEQ",
	KeyEmailID: "EMAILID", KeyThreadID: "THREADID"}

func appendKey(b []byte, k *SearchKey) []byte {
	switch k.Op {
	case KeyAnd:
		b = appendKeys(append(b, '('), k.Subs)
		return append(b, ')')
	case KeySeq:
		return appendNumSet(b, k.Set)
	case KeyFlag:
		return append(b, upperString([]byte(k.Text[1:]))...)
	}
	b = append(b, keyNames[k.Op]...)
	switch k.Op {
	case KeyOr, KeyNot, KeyFuzzy:
		b = appendKeys(append(b, ' '), k.Subs)
	case KeyUID:
		b = appendNumSet(append(b, ' '), k.Set)
	case KeyKeyword:
		b = append(append(b, ' '), k.Text...)
	case KeyHeader:
		b = AppendAString(append(b, ' '), k.Field)
		b = AppendAString(append(b, ' '), k.Text)
	case KeyBody, KeyText, KeyEmailID, KeyThreadID:
		b = AppendAString(append(b, ' '), k.Text)
	case KeyLarger, KeySmaller, KeyOlder, KeyYounger, KeyModSeq:
		b = strconv.AppendInt(append(b, ' '), k.Num, 10)
	case KeyBefore, KeyOn, KeySince, KeySentBefore, KeySentOn, KeySentSince, KeySavedBefore, KeySavedOn, KeySavedSince:
		b = k.Date.AppendFormat(append(b, ' '), "2-Jan-2006")
	}
	return b
}

func appendNumSet(b []byte, s NumSet) []byte {
	if s.Saved {
		return append(b, '$')
	}
	return AppendRanges(b, s.Ranges)
}
