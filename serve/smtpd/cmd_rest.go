package smtpd

// rset: RSET. RFC 5321 §4.1.1.5.
func rset(s *session, _ string) {
	s.reset()
	s.reply(250, "2.0.0", "forgotten")
}

// noop: NOOP [ SP string ]. RFC 5321 §4.1.1.9.
func noop(s *session, _ string) { s.reply(250, "2.0.0", "ok") }

// quit: QUIT. RFC 5321 §4.1.1.10.
func quit(s *session, _ string) {
	s.reply(221, "2.0.0", s.cfg.Hostname+" closing connection")
	s.closing, s.why = true, "quit"
}

// vrfy: VRFY SP string. RFC 5321 §3.5.3: 252 tells nobody who is here.
func vrfy(s *session, args string) {
	if args == "" {
		s.fail(501, "5.5.4", "syntax: VRFY string")
		return
	}
	s.reply(252, "2.5.0", "can't verify, but will take mail for our users")
}

// expn: EXPN SP string. RFC 5321 §3.5.2, §7.3: lists are not shown.
func expn(s *session, _ string) { s.fail(502, "5.5.1", "EXPN is not served") }
