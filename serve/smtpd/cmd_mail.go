package smtpd

import (
	"strconv"
	"strings"
	"time"

	"bahnpost/mail"
	"bahnpost/wire/smtp"
)

// transaction is a mail under way.
type transaction struct {
	env    *mail.Envelope
	size   int64 // announced, 0 if not
	rcpts  [][]mail.Recipient
	orig   []string  // of each accepted RCPT, for replies and logs
	tried  int       // RCPT commands
	w      Incoming  // message data, while it comes
	got    int64     // octets of chunks so far
	since  time.Time // the first octet of the message
	broken bool      // a chunk failed: only RSET helps (RFC 3030 §2)
	counts bool      // among Server.underWay
}

// reset forgets the mail under way.
func (s *session) reset() {
	if s.mail.w != nil {
		s.mail.w.Abort()
	}
	if s.mail.counts {
		s.srv.underWay.Add(-1)
	}
	s.mail = transaction{}
	if s.phase != fresh {
		s.phase = ready
	}
}

// open begins the message itself, if there is room for one more.
func (s *session) open() bool {
	if s.srv.underWay.Add(1) > int64(s.cfg.MaxUnderWay) {
		s.srv.underWay.Add(-1)
		return false
	}
	s.mail.counts = true
	s.widen()
	s.mail.w = s.srv.intake.Open(s.work, s.mail.env)
	return true
}

// mailFrom: MAIL FROM:<reverse-path> [ SP parameters ]. RFC 5321 §4.1.1.2; SIZE
// RFC 1870 §6; AUTH= RFC 4954 §5 is read and not trusted.
func mailFrom(s *session, args string) {
	s.mailN++
	if s.cfg.MaxMails > 0 && s.mailN > s.cfg.MaxMails {
		s.bye(421, "4.5.3", "too many mails in one session, connect again") // RFC 9422 §4.1
		return
	}
	if s.cfg.Role == Submission && s.login.Account == 0 {
		s.fail(530, "5.7.0", s.loginHint()) // RFC 4954 §6, RFC 6409 §4.3
		return
	}
	m, err := smtp.ParseMail(args)
	if err != nil {
		s.failErr(err)
		return
	}
	if m.Size > s.cfg.MaxMessageSize {
		s.failErr(smtp.ErrTooLarge)
		return
	}
	from := senderOf(m.From)
	if s.cfg.Role == Submission {
		if err := s.srv.intake.Sender(s.work, from, s.login.Account); err != nil {
			s.failErr(err)
			return
		}
	}
	s.mail = transaction{env: s.envelope(&m, from), size: max(m.Size, 0)}
	s.phase = mailing
	s.reply(250, "2.1.0", "sender ok")
}

// senderOf is the reverse path, in canonical form if it has one. The grammar
// was checked; a domain that is no proper host name (an underscore, a hyphen at
// an end) is its owner's affair, and no reason to refuse or bounce the mail.
func senderOf(p smtp.Path) mail.ReversePath {
	a, err := mail.ParseAddress(p.Mailbox)
	if err != nil {
		a = mail.Address{Local: p.Local, Domain: strings.ToLower(p.Domain)}
	}
	return mail.ReversePath{Address: a}
}

func (s *session) loginHint() string {
	if !s.conn.MayLogin() && s.conn.CanStartTLS() {
		return "authentication is required, and for it STARTTLS"
	}
	return "authentication is required"
}

func (s *session) envelope(m *smtp.Mail, from mail.ReversePath) *mail.Envelope {
	tls := s.conn.TLSVersion()
	env := &mail.Envelope{
		Ref: s.id + "-" + strconv.Itoa(s.mailN), From: from,
		Helo: s.helo, ClientIP: s.conn.RemoteIP(), TLS: tls, Received: time.Now(),
		Body: mail.BodyType(m.Body), SMTPUTF8: m.SMTPUTF8, DSNRet: m.Ret, DSNEnvID: m.EnvID,
	}
	if s.login.Account != 0 {
		env.Login = s.login.Address.String()
	}
	env.Protocol = smtp.With(s.cfg.Role == LMTP, s.ehlo, m.SMTPUTF8, tls != "", env.Login != "")
	return env
}
