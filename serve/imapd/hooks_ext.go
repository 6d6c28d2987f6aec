package imapd

// appendCompress announces COMPRESS while it is not on (RFC 4978 §3).
func (s *session) appendCompress(b []byte) []byte {
	if s.deflate != nil {
		return b
	}
	return append(b, " COMPRESS=DEFLATE"...)
}

// extCapabilities are capabilities of the search, sharing and notification families without a command of their own.
func extCapabilities() []string {
	return []string{
		"CONTEXT=SEARCH",        // RFC 5267
		"CONTEXT=SORT",          // RFC 5267
		"ESEARCH",               // RFC 4731
		"ESORT",                 // RFC 5267
		"I18NLEVEL=1",           // RFC 5255 §4.2: i;unicode-casemap
		"LIST-METADATA",         // RFC 9590
		"LIST-MYRIGHTS",         // RFC 8440
		"PARTIAL",               // RFC 9394
		"QUOTA=RES-MAILBOX",     // RFC 9208 §5.3
		"QUOTA=RES-MESSAGE",     // RFC 9208 §5.2
		"QUOTA=RES-STORAGE",     // RFC 9208 §5.1
		"RIGHTS=texk",           // RFC 4314 §2.2
		"SEARCH=FUZZY",          // RFC 6203
		"SEARCHRES",             // RFC 5182
		"SORT=DISPLAY",          // RFC 5957
		"THREAD=ORDEREDSUBJECT", // RFC 5256
		"THREAD=REFERENCES",     // RFC 5256
		"WITHIN",                // RFC 5032
	}
}
