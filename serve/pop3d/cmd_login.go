package pop3d

import (
	"encoding/base64"
	"strings"

	"bahnpost/mail"
	"bahnpost/serve/listen"
)

// mechanisms of this connection, without those that POP3 can't carry.
func (s *session) mechanisms() []string { return s.srv.gate.Mechanisms(s.conn) }

func capaUSER(s *session) string {
	if s.state == authorization && !s.conn.MayLogin() {
		return ""
	}
	return "USER"
}

func capaSASL(s *session) string {
	if ms := s.mechanisms(); len(ms) > 0 {
		return "SASL " + strings.Join(ms, " ")
	}
	return ""
}

// user is RFC 1939 §7: USER name. It never tells whether the name exists.
func user(s *session, arg string) error {
	if !s.conn.MayLogin() {
		return &mail.Error{Kind: mail.Policy, Text: "TLS is required before login"}
	}
	s.user = arg
	s.say("+OK")
	return nil
}

// pass is RFC 1939 §7: PASS string, spaces and all.
func pass(s *session, arg string) error {
	if s.user == "" {
		return refusal("USER comes first")
	}
	name := s.user
	s.user = ""
	l, err := s.srv.gate.Password(s.ctx, s.conn, name, arg)
	if err != nil {
		return s.failed(err)
	}
	return s.enter(l)
}

// failed counts a login that went wrong; too many end the connection.
func (s *session) failed(err error) error {
	if s.failures++; s.failures >= s.srv.cfg.MaxFailures {
		s.end("failed logins")
	}
	return err
}

// enter opens the maildrop and answers the login.
func (s *session) enter(l listen.Login) error {
	if err := s.conn.Bind(l); err != nil {
		return s.failed(err)
	}
	if err := s.drop.open(s, l); err != nil {
		s.conn.Bind(listen.Login{})
		return s.failed(err)
	}
	s.login = l
	s.state = transaction
	s.say("+OK maildrop has " + count(s.drop.left) + " messages (" + octets(s.drop.size) + " octets)")
	return nil
}

// auth is RFC 5034 §4:
//
//	AUTH mechanism [initial-response]
//
// Without a mechanism it lists them, as clients from before CAPA expect (RFC 1734's practice, Outlook).
func auth(s *session, arg string) error {
	mechanism, initial, has := strings.Cut(arg, " ")
	if mechanism == "" {
		s.say("+OK")
		for _, m := range s.mechanisms() {
			s.say(m)
		}
		s.say(".")
		return nil
	}
	x, err := s.srv.gate.Begin(s.ctx, s.conn, mechanism)
	if err != nil {
		return err
	}
	var response []byte
	if has {
		if response, err = decode(strings.TrimLeft(initial, " ")); err != nil {
			return err
		}
	}
	for {
		challenge, done, err := x.Next(s.ctx, response)
		if err != nil {
			return s.failed(err)
		}
		if done && len(challenge) == 0 {
			return s.enter(x.Login())
		}
		if response, err = s.challenge(challenge); err != nil {
			return err
		}
		if done { // the mechanism's last word went as a challenge (RFC 5034 §4); the answer must be empty
			if len(response) > 0 {
				return refusal("unexpected response")
			}
			return s.enter(x.Login())
		}
	}
}

// challenge sends "+ base64" and reads the answer; "*" cancels.
func (s *session) challenge(c []byte) ([]byte, error) {
	s.say("+ " + base64.StdEncoding.EncodeToString(c))
	line, err := s.line()
	if err == errLineTooLong {
		return nil, refusal("line is too long")
	}
	if err != nil {
		s.part(err)
		return nil, refusal("authentication was interrupted")
	}
	if line == "*" {
		return nil, refusal("authentication was cancelled")
	}
	return decode(line)
}

// decode reads base64; "=" is the empty response (RFC 5034 §4). Never nil.
func decode(s string) ([]byte, error) {
	if s == "=" || s == "" {
		return []byte{}, nil
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, refusal("response is not base64")
	}
	return b, nil
}
