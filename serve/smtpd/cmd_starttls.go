package smtpd

// startTLS: STARTTLS. RFC 3207 §4; all that was learnt in clear is forgotten (§4.2).
func startTLS(s *session, _ string) {
	if !s.conn.CanStartTLS() {
		s.fail(502, "5.5.1", "TLS is not available, or already on")
		return
	}
	s.reply(220, "2.0.0", "ready for TLS")
	if s.flush() != nil {
		s.closing, s.why = true, "connection lost"
		return
	}
	if n := s.in.Drop(); n > 0 { // a command smuggled in clear in front of the handshake
		s.cfg.Log.Warn("dropped what came in clear behind STARTTLS", "session", s.id, "remote", s.conn.RemoteIP(), "octets", n)
	}
	if err := s.conn.StartTLS(s.ctx); err != nil {
		s.closing, s.why = true, "TLS handshake failed"
		s.outErr = err // nothing can be said any more
		return
	}
	s.reset()
	s.phase, s.helo, s.ehlo = fresh, "", false
}
