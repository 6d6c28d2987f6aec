package smtpd

import (
	"errors"
	"log/slog"
	"net"
	"time"

	"bahnpost/mail"
	"bahnpost/wire/smtp"
)

// dataCmd: DATA. RFC 5321 §4.1.1.4; for LMTP RFC 2033 §4.2.
func dataCmd(s *session, _ string) {
	t := &s.mail
	switch {
	case len(t.rcpts) == 0 && (s.cfg.Role == LMTP || t.tried == 0):
		s.fail(503, "5.5.1", "no recipient was accepted") // RFC 2033 §4.2: MUST be 503
		return
	case len(t.rcpts) == 0:
		s.fail(554, "5.5.1", "no valid recipients") // RFC 5321 §3.3
		return
	case t.env.Body == mail.BodyBinaryMIME:
		s.fail(503, "5.5.1", "BINARYMIME needs BDAT") // RFC 3030 §3
		return
	}
	if !s.open() {
		s.fail(errBusy.code, errBusy.status, errBusy.text)
		return
	}
	s.out = smtp.AppendReply(s.out, 354, "", "end data with <CR><LF>.<CR><LF>")
	s.startData(0)
	n, refused, err := s.in.Data(t.w, s.cfg.MaxMessageSize)
	s.octets += n
	if err != nil {
		s.dataLost(err)
		return
	}
	s.finish(n, refused)
}

// startData begins to count idleness and rate; got is what came in earlier chunks of the message.
func (s *session) startData(got int64) {
	if got == 0 || s.mail.since.IsZero() {
		s.mail.since = time.Now()
	}
	s.reading = reading{data: true, since: s.mail.since, n: got}
}

// dataLost ends a session in the middle of a message: nothing was delivered.
func (s *session) dataLost(err error) {
	s.reset()
	switch t, isNet := errors.AsType[net.Error](err); {
	case errors.Is(err, smtp.ErrFlood):
		s.bye(errSize.code, errSize.status, errSize.text)
	case errors.Is(err, errSlow):
		s.bye(421, "4.4.2", "too slow, closing connection")
	case s.ctx.Err() != nil:
		s.goodbye()
	case isNet && t.Timeout():
		s.bye(421, "4.4.2", s.cfg.Hostname+" timeout, closing connection")
	default:
		s.closing, s.why = true, "connection lost in a message"
	}
}

// finish delivers the message and answers: once, or (LMTP) for each recipient.
// A client that hangs up now does not stop the delivery.
func (s *session) finish(size int64, refused error) {
	t := &s.mail
	begin := time.Now()
	var fates [][]mail.Receipt
	if refused == nil {
		w := t.w
		t.w = nil // ended by Deliver
		fates, refused = w.Deliver(s.work, t.rcpts)
	}
	if refused != nil {
		s.refuseAll(s.answerTo(refused), size, begin)
	} else {
		s.answerFates(fates, size, begin)
	}
	s.mails++
	s.reset()
}

// refuseAll gives all recipients the same answer.
func (s *session) refuseAll(a answer, size int64, begin time.Time) {
	s.failed = true
	if a.code >= 500 {
		s.errors++
	}
	for i, orig := range s.mail.orig {
		s.logFate(slog.String("to", orig), a, size, mail.Receipt{}, begin)
		if s.cfg.Role == LMTP {
			s.reply(a.code, a.status, "<"+orig+"> "+a.text)
		} else if i == 0 {
			s.reply(a.code, a.status, a.text)
		}
	}
}

func (s *session) answerFates(fates [][]mail.Receipt, size int64, begin time.Time) {
	t := &s.mail
	var all []mail.Receipt
	if s.cfg.Role != LMTP && len(fates) == 1 {
		all = fates[0]
	}
	for i, rs := range fates {
		s.rcpts++
		s.hideAll(rs)
		s.logFates(rs, size, begin)
		if s.cfg.Role == LMTP {
			s.answerMail(s.merge(rs), "<"+t.orig[i]+"> ")
		} else if len(fates) > 1 {
			all = append(all, rs...)
		}
	}
	if s.cfg.Role != LMTP {
		s.answerMail(s.merge(all), "")
	}
}

func (s *session) answerMail(a answer, who string) {
	if a.code == 250 {
		s.chatter, s.fruit = 0, time.Now()
		a.text = "saved " + s.mail.env.Ref
	} else {
		s.failed = true
	}
	s.reply(a.code, a.status, who+a.text)
}

// logFates writes one line for each account that a recipient led to.
func (s *session) logFates(rs []mail.Receipt, size int64, begin time.Time) {
	for i := range rs {
		a := answer{250, "2.0.0", ""}
		if rs[i].Err != nil {
			a = s.answerTo(rs[i].Err)
		}
		s.logFate(slog.String("to", rs[i].To.String()), a, size, rs[i], begin)
	}
}

func (s *session) logFate(to slog.Attr, a answer, size int64, r mail.Receipt, begin time.Time) {
	fate := a.fate()
	if s.cfg.Metrics != nil {
		s.cfg.Metrics.Fate(s.conn.Protocol(), fate)
	}
	if !s.cfg.Log.Enabled(s.work, slog.LevelInfo) {
		return
	}
	attrs := [...]slog.Attr{slog.String("session", s.id), slog.String("mail", s.mail.env.Ref),
		slog.String("from", s.mail.env.From.String()), to, slog.Int64("size", size), slog.String("fate", fate),
		slog.Duration("duration", time.Since(begin)), slog.String("mailbox", r.Mailbox), slog.Uint64("uid", uint64(r.UID)),
		slog.String("status", a.status), slog.String("text", a.text)}
	n := len(attrs)
	if a.code == 250 {
		n -= 2
	}
	s.cfg.Log.LogAttrs(s.work, slog.LevelInfo, "recipient", attrs[:n]...)
}
