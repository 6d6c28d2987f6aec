package smtpd

import (
	"io"
	"time"

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
	s.startData(t.got)
	s.phase = chunked
	t.got += size
	var deny error // known before an octet of it is read
	switch {
	case t.got > s.cfg.MaxMessageSize:
		deny = smtp.ErrTooLarge
	case t.w == nil && !s.open():
		deny = errManyMails
	}
	var w io.Writer = t.w
	if deny != nil {
		w = io.Discard
	}
	refused, err := s.in.Chunk(w, size)
	if refused == nil {
		refused = deny
	}
	s.octets += size
	switch {
	case err != nil:
		s.dataLost(err)
	case last:
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
	case t.broken && last: // in LMTP too a reply for each recipient (RFC 2033 §4.3); and the message is over
		s.refuseAll(answer{503, "5.5.1", "a chunk was refused"}, t.got, time.Now())
		s.reset()
	case t.broken:
		s.fail(503, "5.5.1", "a chunk was refused, send RSET")
	case s.cfg.Role == LMTP && last: // RFC 2033 §4.3: a reply for each recipient, and there is none
		s.reset()
	default:
		s.fail(503, "5.5.1", "no recipient was accepted")
	}
}
