package smtpd

import (
	"encoding/base64"
	"errors"
	"strings"

	"bahnpost/mail"
	"bahnpost/serve/listen"
	"bahnpost/wire/smtp"
)

// failCost is what a refused login counts towards MaxErrors.
const failCost = 4

var errCancelled = &smtp.SyntaxError{Code: 501, Status: "5.7.0", Text: "authentication was cancelled"}
var errBase64 = &smtp.SyntaxError{Code: 501, Status: "5.5.2", Text: "this is not base64"}
var errMalformed = &smtp.SyntaxError{Code: 501, Status: "5.5.2", Text: "malformed authentication message"}

// auth: AUTH SP mechanism [ SP initial-response ]. RFC 4954 §4.
func auth(s *session, args string) {
	mech, initial, has := strings.Cut(args, " ")
	switch {
	case mech == "":
		s.fail(501, "5.5.4", "syntax: AUTH mechanism [initial-response]")
		return
	case s.login.Account != 0:
		s.fail(503, "5.5.1", "you are logged in already")
		return
	case !s.conn.MayLogin() && s.conn.CanStartTLS():
		s.fail(538, "5.7.11", "send STARTTLS first")
		return
	case s.srv.gate == nil || !s.conn.MayLogin():
		s.fail(502, "5.5.1", "nobody may log in here")
		return
	}
	login, err := s.exchange(strings.ToUpper(mech), strings.TrimSpace(initial), has)
	if s.closing {
		return
	}
	if err == nil {
		err = s.conn.Bind(login)
	}
	ok := err == nil
	if s.cfg.Metrics != nil {
		s.cfg.Metrics.Login(s.conn.Protocol(), ok)
	}
	if !ok {
		s.refuseLogin(err)
		return
	}
	s.login = login
	s.reply(235, "2.7.0", "welcome")
}

func (s *session) refuseLogin(err error) {
	a := s.answerTo(err)
	switch mail.KindOf(err) {
	case mail.AuthFailed:
		s.errors += failCost
		s.cfg.Log.Info("login failed", "session", s.id, "protocol", s.conn.Protocol(), "remote", s.conn.RemoteIP())
	case mail.BadInput:
		if _, ours := errors.AsType[*smtp.SyntaxError](err); !ours {
			a.code, a.status = 504, "5.5.4" // unknown mechanism, or one that can't be understood
		}
	case mail.Limit: // too many sessions: this one can't be of use
		s.bye(421, "4.7.0", a.text)
		return
	case mail.Disabled:
		a.code, a.status = 535, "5.7.13" // RFC 5248 §2.4 style: account disabled
	case mail.Unavailable, mail.Internal:
		if _, ours := errors.AsType[*smtp.SyntaxError](err); !ours {
			a.code, a.status = 454, "4.7.0" // RFC 4954 §6
		}
	}
	s.fail(a.code, a.status, a.text)
}

// exchange runs the SASL conversation. If the mechanism ends with data for the
// client, it goes as a challenge that wants an empty response (RFC 4422 §5, example C).
func (s *session) exchange(mech, initial string, has bool) (listen.Login, error) {
	x, err := s.srv.gate.Begin(s.ctx, s.conn, mech)
	if err != nil {
		return listen.Login{}, err
	}
	var response []byte // nil: no initial response
	if has {
		if response, err = decodeInitial(initial); err != nil {
			return listen.Login{}, err
		}
	}
	for {
		challenge, done, err := x.Next(s.ctx, response)
		if mail.KindOf(err) == mail.BadInput {
			return listen.Login{}, errMalformed
		}
		if err != nil {
			return listen.Login{}, err
		}
		if done && len(challenge) == 0 {
			return x.Login(), nil
		}
		if response, err = s.challenge(challenge); err != nil {
			return listen.Login{}, err
		}
		if done {
			if len(response) > 0 {
				return listen.Login{}, errCancelled
			}
			return x.Login(), nil
		}
	}
}

// decodeInitial: "=" stands for an empty one (RFC 4954 §4).
func decodeInitial(s string) ([]byte, error) {
	if s == "=" {
		return []byte{}, nil
	}
	b, err := base64.StdEncoding.AppendDecode([]byte{}, []byte(s))
	if err != nil {
		return nil, errBase64
	}
	return b, nil
}

// challenge sends a 334 and reads the response.
func (s *session) challenge(c []byte) ([]byte, error) {
	s.out = append(s.out, "334 "...)
	s.out = base64.StdEncoding.AppendEncode(s.out, c)
	s.out = append(s.out, '\r', '\n')
	s.reading = reading{}
	line, err := s.in.ReadLine(smtp.MaxAuthLine)
	switch {
	case errors.Is(err, smtp.ErrLineTooLong):
		return nil, &smtp.SyntaxError{Code: 500, Status: "5.5.6", Text: "response is too long"} // RFC 4954 §4
	case errors.Is(err, smtp.ErrBareCR), errors.Is(err, smtp.ErrBareLF):
		return nil, errBase64
	case err != nil:
		s.badLine(err)
		s.closing = true
		return nil, err
	case string(line) == "*":
		return nil, errCancelled
	}
	b, err := base64.StdEncoding.AppendDecode([]byte{}, line)
	if err != nil {
		return nil, errBase64
	}
	return b, nil
}
