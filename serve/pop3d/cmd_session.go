package pop3d

import (
	"strings"

	"bahnpost/mail"
)

// capa is RFC 2449 §5.
func capa(s *session, _ string) error {
	s.say("+OK")
	for _, name := range capaOrder {
		if line := s.srv.commands[name].capa(s); line != "" {
			s.say(line)
		}
	}
	s.out.WriteString(capaFixed)
	s.say(".")
	return nil
}

func capaSTLS(s *session) string {
	if s.state == authorization && s.conn.CanStartTLS() {
		return "STLS"
	}
	return ""
}

// stls is RFC 2595 §4. What came in clear behind it is thrown away, and what
// was learned before is forgotten: an attacker may have said it.
func stls(s *session, _ string) error {
	if !s.conn.CanStartTLS() {
		return refusal("TLS is not available")
	}
	s.say("+OK begin TLS")
	if err := s.out.Flush(); err != nil {
		s.end("connection broke")
		return nil
	}
	s.in.drop()
	s.user = ""
	if err := s.conn.StartTLS(s.ctx); err != nil {
		s.out.Reset(nil) // nothing more can be said
		s.end("TLS handshake failed")
		return nil
	}
	return nil
}

// utf8 is RFC 6856 §2. Headers and names go out as they are stored in either
// mode: downgrading (RFC 6857, RFC 6858) would make the octets differ from
// those of IMAP and of the size in LIST, and clients that cannot show UTF-8 are
// gone. So the command has nothing to switch.
func utf8(s *session, _ string) error {
	s.say("+OK UTF8 enabled")
	return nil
}

// lang is RFC 6856 §3: there is one language.
func lang(s *session, arg string) error {
	switch strings.ToLower(arg) {
	case "":
		s.say("+OK languages:")
		s.say("en English")
		s.say(".")
	case "*", "en", "i-default":
		s.say("+OK en texts follow in English")
	default:
		return refusal("language is not available")
	}
	return nil
}

func noop(s *session, _ string) error {
	s.say("+OK")
	return nil
}

// quit is RFC 1939 §5 and §6: in the transaction state it deletes, durably,
// before it says +OK.
func quit(s *session, _ string) error {
	defer s.end("quit")
	if s.state == transaction {
		n, err := s.drop.commit(s)
		if err != nil {
			if _, ok := err.(*mail.Error); !ok {
				return err
			}
			return &mail.Error{Kind: mail.KindOf(err), Text: "deleted messages were not removed", Err: err}
		}
		s.removed = n
	}
	s.say("+OK goodbye")
	return nil
}
