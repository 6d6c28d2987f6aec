package smtpd

import (
	"log/slog"
	"time"

	"bahnpost/mail"
	"bahnpost/wire/smtp"
)

// rcptTo: RCPT TO:<forward-path> [ SP parameters ]. RFC 5321 §4.1.1.3; DSN RFC 3461 §4.
func rcptTo(s *session, args string) {
	t := &s.mail
	t.tried++
	if t.tried > s.cfg.MaxRecipients {
		s.fail(452, "4.5.3", "too many recipients") // RFC 5321 §4.5.3.1.10
		return
	}
	begin := time.Now()
	r, err := smtp.ParseRcpt(args, t.env.SMTPUTF8)
	if err != nil {
		s.failErr(err)
		return
	}
	to := mail.Recipient{Orig: r.To.Mailbox, DSNNotify: r.Notify, DSNOrcpt: r.Orcpt}
	if r.To.Domain == "" { // <Postmaster>, RFC 5321 §4.5.1
		to.Address.Local = r.To.Local
	} else if to.Address, err = mail.ParseAddress(r.To.Mailbox); err != nil {
		s.fail(501, "5.1.3", "bad recipient address: "+s.answerTo(err).text)
		return
	}
	group, err := s.srv.intake.Recipient(s.work, t.env, t.size, to)
	if err != nil {
		s.refuseRcpt(&to, err, begin)
		return
	}
	t.rcpts = append(t.rcpts, group)
	t.orig = append(t.orig, to.Orig)
	s.reply(250, "2.1.5", "recipient ok")
}

// refuseRcpt is the fate of a recipient that got no further.
func (s *session) refuseRcpt(to *mail.Recipient, err error, begin time.Time) {
	a := s.answerTo(err)
	s.failed = true
	if a.code >= 500 {
		s.unknown++
	}
	s.reply(a.code, a.status, "<"+to.Orig+"> "+a.text)
	s.logFate(slog.String("to", to.Orig), a, s.mail.size, mail.Receipt{}, begin)
	if s.cfg.Role == MX && s.unknown > s.cfg.MaxUnknown {
		s.bye(421, "4.7.0", "too many unknown recipients")
	}
}
