package pop3d

import (
	"errors"
	"math"
	"strings"

	"bahnpost/mail"
	"bahnpost/store/mailstore"
)

// retr is RFC 1939 §5.
func retr(s *session, arg string) error {
	_, m, err := s.drop.message(arg)
	if err != nil {
		return err
	}
	if err := s.send(m, -1); err != nil {
		return err
	}
	m.read = true
	s.retrieved++
	return nil
}

// top is RFC 1939 §7: TOP msg n: the header, the empty line, n lines of the body.
func top(s *session, arg string) error {
	msg, lines, _ := strings.Cut(arg, " ")
	_, m, err := s.drop.message(msg)
	if err != nil {
		return err
	}
	lines = strings.TrimLeft(lines, " ")
	n, ok := number(lines)
	if len(lines) > 9 && strings.Trim(lines, "0123456789") == "" { // RFC 1939 sets no bound: all of it
		n, ok = math.MaxInt32, true
	}
	if !ok {
		return refusal("number of lines is not a number")
	}
	return s.send(m, n)
}

// send streams a message; lines below zero is all of it.
func (s *session) send(m *msg, lines int) error {
	r, err := s.srv.store.OpenMessage(s.ctx, s.login.Account, m.id)
	if err != nil {
		if mail.KindOf(err) == mail.NoSuchMessage {
			return errGone
		}
		return err
	}
	defer r.Close()
	return s.stream(r, lines)
}

// errGone says that another session expunged the message (doc.go).
var errGone = &mail.Error{Kind: mail.NoSuchMessage, Text: "message was removed by another session"}

// breakOff ends a session in the middle of a message. The answer was +OK and
// some of the message is gone out: the only honest end is no end. A client that
// misses the dot keeps nothing.
func (s *session) breakOff(err error) {
	if s.out.Flush() != nil { // the error stays with the writer: it was the client who went away
		s.end("connection broke")
		return
	}
	s.srv.cfg.Log.Error("pop3 message broke off", "session", s.conn.ID(), "login", s.login.Address.String(), "err", err)
	s.conn.Close()
	s.end("message broke off")
}

func (s *session) stream(r *mailstore.Reader, lines int) error {
	if err := r.Sound(0, r.Size()); err != nil && lines < 0 {
		return err
	}
	if lines < 0 {
		s.say("+OK " + octets(r.Size()) + " octets")
	} else {
		s.say("+OK top of message follows")
	}
	st := newStuffer(s.out, lines)
	err := r.CopyRange(st, 0, r.Size())
	if err != nil && !errors.Is(err, errEnough) {
		s.breakOff(err)
		return nil
	}
	st.end()
	return nil
}
