package smtpd

import (
	"strconv"
	"strings"

	"bahnpost/mail"
)

// ehlo: EHLO SP ( Domain / address-literal ), LHLO alike. RFC 5321 §4.1.1.1,
// RFC 2033 §4.1. It resets like RSET (RFC 5321 §4.1.4). What the client calls
// itself is not checked: RFC 5321 §4.1.4 forbids refusing mail for it.
func ehlo(s *session, args string) {
	if !s.hello(args) {
		return
	}
	s.ehlo = true
	s.reply(250, "", s.cfg.Hostname+"\n"+strings.Join(s.extensions(), "\n"))
}

// helo: HELO SP Domain. RFC 5321 §4.1.1.1.
func helo(s *session, args string) {
	if !s.hello(args) {
		return
	}
	s.ehlo = false
	s.reply(250, "", s.cfg.Hostname)
}

func (s *session) hello(args string) bool {
	if args == "" || len(args) > mail.MaxDomain {
		s.fail(501, "5.5.4", "say who you are: a domain or an address literal")
		return false
	}
	s.reset()
	s.helo, s.phase = args, ready
	return true
}

// extensions is what EHLO offers now.
func (s *session) extensions() []string {
	limits := "LIMITS RCPTMAX=" + strconv.Itoa(min(s.cfg.MaxRecipients, 999999)) // RFC 9422 §4.2
	if s.cfg.MaxMails > 0 {
		limits += " MAILMAX=" + strconv.Itoa(min(s.cfg.MaxMails, 999999)) // RFC 9422 §4.1
	}
	ext := []string{"PIPELINING", "SIZE " + strconv.FormatInt(s.cfg.MaxMessageSize, 10), "8BITMIME", "SMTPUTF8",
		"CHUNKING", "BINARYMIME", "ENHANCEDSTATUSCODES", "DSN", limits}
	if s.conn.CanStartTLS() {
		ext = append(ext, "STARTTLS")
	}
	if m := s.mechanisms(); len(m) > 0 && s.login.Account == 0 {
		ext = append(ext, "AUTH "+strings.Join(m, " "))
	}
	return append(ext, "HELP")
}

// mechanisms is empty where nobody may log in.
func (s *session) mechanisms() []string {
	if s.cfg.Role != Submission || s.srv.gate == nil {
		return nil
	}
	return s.srv.gate.Mechanisms(s.conn)
}
