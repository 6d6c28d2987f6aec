package imapd

import (
	"slices"
	"strconv"
	"strings"
)

// capabilities are the ready texts of CAPABILITY.
type capabilities struct {
	before string // login; mechanisms and STARTTLS are added
	after  string
}

// baseCapabilities are those of the base protocols and those that are no
// command of their own: options, items, response codes. What is written here
// works; commands announce themselves by their row.
func baseCapabilities(cfg Config) []string {
	return []string{
		"APPENDLIMIT=" + strconv.FormatInt(cfg.MaxMessage, 10), // RFC 7889
		"BINARY",             // RFC 3516
		"CATENATE",           // RFC 4469
		"CHILDREN",           // RFC 3348
		"CONDSTORE",          // RFC 7162
		"CREATE-SPECIAL-USE", // RFC 6154
		"INPROGRESS",         // RFC 9585
		"LIST-EXTENDED",      // RFC 5258
		"LIST-STATUS",        // RFC 5819
		"LITERAL+",           // RFC 7888
		"MULTIAPPEND",        // RFC 3502
		"OBJECTID",           // RFC 8474
		"PREVIEW",            // RFC 8970
		"QRESYNC",            // RFC 7162
		"SASL-IR",            // RFC 4959
		"SAVEDATE",           // RFC 8514
		"SPECIAL-USE",        // RFC 6154
		"STATUS=SIZE",        // RFC 8438
		"UIDONLY",            // RFC 9586
		"UTF8=ACCEPT",        // RFC 6855
	}
}

func makeCapabilities(rows map[string]*command, cfg Config) (c capabilities) {
	all := append(baseCapabilities(cfg), extCapabilities()...)
	var early []string
	for _, row := range rows {
		if row.ext != "" {
			all = append(all, row.ext)
			if row.in&notAuthenticated != 0 {
				early = append(early, row.ext)
			}
		}
	}
	const base = "IMAP4rev2 IMAP4rev1 "
	slices.Sort(all)
	slices.Sort(early)
	c.after = base + strings.Join(slices.Compact(all), " ")
	c.before = base + "LITERAL+ SASL-IR ENABLE " + strings.Join(slices.Compact(early), " ")
	return c
}

// appendCapabilities appends what this session may be told now.
func (s *session) appendCapabilities(b []byte) []byte {
	if s.state != notAuthenticated {
		return s.appendCompress(append(b, s.srv.caps.after...))
	}
	b = append(b, s.srv.caps.before...)
	if s.conn.CanStartTLS() {
		b = append(b, " STARTTLS"...)
	}
	if !s.conn.MayLogin() {
		return append(b, " LOGINDISABLED"...) // RFC 9051 §6.2.3
	}
	for _, m := range s.srv.gate.Mechanisms(s.conn) {
		b = append(append(b, " AUTH="...), m...)
	}
	return b
}

// appendGreeting appends the first line (RFC 9051 §7.1.1).
func (s *session) appendGreeting(b []byte) []byte {
	b = append(b, "* OK [CAPABILITY "...)
	b = s.appendCapabilities(b)
	b = append(b, "] "...)
	if h := s.srv.cfg.Hostname; h != "" {
		b = append(append(b, h...), ' ')
	}
	return append(b, "Bahnpost ready\r\n"...)
}
