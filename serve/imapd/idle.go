package imapd

import (
	"bahnpost/wire/imap"
)

// idleState is an IDLE that waits for DONE.
type idleState struct{ tag string }

// idle: "IDLE" (RFC 9051 §6.3.13, RFC 2177). The tagged OK comes after DONE.
func idle(s *session, d *imap.Decoder) error {
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	s.idle = &idleState{tag: string(s.cmd.tag)}
	s.line("+ idling")
	if s.mbox != nil {
		s.sayNews(true)
	}
	s.idling.Store(true)
	if s.mbox != nil && s.mbox.view.Dirty() { // a commit between the two lines above
		s.news.Store(true)
	}
	return nil
}

// idleLine reads the line that ends IDLE: DONE and nothing else.
func (s *session) idleLine() {
	line, err := s.in.line()
	if err != nil {
		s.lineFailed(err)
		return
	}
	s.cmd = current{tag: append(s.cmd.tag[:0], s.idle.tag...), name: "IDLE", row: s.srv.commands["IDLE"]}
	s.idle = nil
	s.idling.Store(s.notify != nil)
	s.out.ready()
	if len(line) != 4 || string(appendUpper(make([]byte, 0, 4), line)) != "DONE" {
		s.answer(bad("IDLE is ended by DONE"))
		return
	}
	s.answer(nil)
}
