package smtpd

import (
	"io"

	"bahnpost/wire/smtp"
)

// bdat: BDAT SP size [ SP LAST ]. RFC 3030 §2; for LMTP RFC 2033 §4.3. The
// octets follow at once, whatever we think of the command, so they are always
// read; if we can't tell how many there are, we hang up.
func bdat(s *session, args string) {
	size, last, err := smtp.ParseBDAT(args)
	if err != nil {
		s.failErr(err)
		s.closing, s.linger, s.why = true, true, "bad BDAT"
		return
	}
	t := &s.mail
	if size > 2*s.cfg.MaxMessageSize { // not worth reading only to refuse it
		s.bye(errSize.code, errSize.status, errSize.text)
		return
	}
	mailing := s.phase == mailing || s.phase == chunked
	if !mailing || t.broken || len(t.rcpts) == 0 {
		s.skipChunk(size, last, mailing)
		return
	}
	s.widen()
	s.startData(t.got)
	if t.w == nil {
		t.w = s.srv.intake.Open(s.work, t.env)
		s.phase = chunked
	}
	t.got += size
	var w io.Writer = t.w
	if t.got > s.cfg.MaxMessageSize {
		w = refuser{smtp.ErrTooLarge}
	}
	refused, err := s.in.Chunk(w, size)
	s.octets += size
	switch {
	case err != nil:
		s.dataLost(err)
	case last:
		if refused == nil && t.got > s.cfg.MaxMessageSize {
			refused = smtp.ErrTooLarge
		}
		s.finish(t.got, refused)
	case refused != nil:
		t.broken = true
		s.failErr(refused)
	default:
		s.reply(250, "2.0.0", "chunk ok")
	}
}

// skipChunk reads a chunk that is refused.
func (s *session) skipChunk(size int64, last, mailing bool) {
	s.startData(0)
	if _, err := s.in.Chunk(io.Discard, size); err != nil {
		s.dataLost(err)
		return
	}
	t := &s.mail
	switch {
	case !mailing:
		s.fail(503, "5.5.1", s.outOfPhase("BDAT"))
	case t.broken:
		s.fail(503, "5.5.1", "a chunk was refused, send RSET")
	case s.cfg.Role == LMTP && last: // RFC 2033 §4.3: a reply for each recipient, and there is none
		s.reset()
	default:
		s.fail(503, "5.5.1", "no recipient was accepted")
	}
}

// refuser is a writer that refuses.
type refuser struct{ err error }

func (r refuser) Write([]byte) (int, error) { return 0, r.err }
