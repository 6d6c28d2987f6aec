package imapd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"time"

	"bahnpost/mail"
	"bahnpost/wire/imap"
)

// command reads one command, runs it and answers.
func (s *session) command() {
	line, err := s.in.line()
	if err != nil {
		s.lineFailed(err)
		return
	}
	d := &s.dec
	d.UTF8 = s.utf8()
	d.Reset((*source)(s), line)
	s.cmd = current{tag: append(s.cmd.tag[:0], d.Tag()...)}
	s.out.ready()
	if d.Err() != nil {
		s.untaggedBad(line)
		return
	}
	begun := time.Now()
	s.commands++
	err = s.run(d)
	if s.cmd.row == nil || err != nil || d.Unfinished() {
		if skip := s.skipCommand(d); skip != nil && s.state != loggedOut {
			s.part(skip)
			return
		}
	}
	s.record(time.Since(begun), err)
	if err == nil && (s.cmd.answered || s.cmd.row.silent) {
		return
	}
	s.answer(err)
}

// record counts a command, and writes its line at level debug.
func (s *session) record(took time.Duration, err error) {
	if s.cmd.row == nil {
		return
	}
	if f := s.srv.cfg.Metrics.Command; f != nil {
		f(s.cmd.name, took, err == nil)
	}
	if log := s.srv.cfg.Log; log.Enabled(context.Background(), slog.LevelDebug) {
		log.Debug("imap command", "session", s.conn.ID(), "login", s.login.Address.String(), "command", s.cmd.name, "took", took, "err", err)
	}
}

// run looks the command up, checks whether it is allowed now, and runs it.
func (s *session) run(d *imap.Decoder) error {
	d.SP()
	row := s.lookup(d)
	if d.Err() != nil {
		return d.Err()
	}
	if row == nil {
		if s.state == notAuthenticated && isHTTP(s.cmd.tag) {
			s.byeNow("this is no web server")
		}
		return bad("command is not known")
	}
	s.cmd.row = row
	if err := s.allowed(row); err != nil {
		return err
	}
	if err := row.run(s, d); err != nil {
		return err
	}
	return d.Err()
}

// isHTTP recognises a browser that was made to speak to us (cross-protocol
// attacks: ALPACA): its header lines must not be taken for commands.
func isHTTP(tag []byte) bool {
	switch string(tag) {
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH":
		return true
	}
	return false
}

// lookup reads the name of a command, with UID before it if it stands there.
func (s *session) lookup(d *imap.Decoder) *command {
	var key [32]byte
	k := appendUpper(key[:0], d.Atom())
	if string(k) == "UID" {
		d.SP()
		k = appendUpper(append(k, ' '), d.Atom())
		s.cmd.uid = true
	}
	row := s.srv.commands[string(k)]
	if row != nil {
		s.cmd.name = row.name
	}
	return row
}

func appendUpper(b, word []byte) []byte {
	if len(word) > 24 {
		word = word[:24] // no command is longer
	}
	for _, c := range word {
		if 'a' <= c && c <= 'z' {
			c -= 32
		}
		b = append(b, c)
	}
	return b
}

// allowed checks what the table says of a command.
func (s *session) allowed(row *command) error {
	switch {
	case row.in&s.state == 0 && s.state == notAuthenticated:
		return bad("log in first")
	case row.in&s.state == 0 && row.in&selected != 0:
		return bad("no mailbox is selected")
	case row.in&s.state == 0:
		return bad("not allowed now")
	case s.has(uidOnly) && row.numbers && !s.cmd.uid:
		s.cmd.code = "UIDREQUIRED" // RFC 9586 §3
		return bad("message numbers are not allowed once UIDONLY is enabled")
	case row.writesBox && s.mbox.readOnly:
		return no("READ-ONLY", "mailbox is selected read-only")
	}
	return nil
}

// answer says what happened meanwhile, then how the command ended.
func (s *session) answer(err error) {
	v := verdict{word: "OK", code: s.cmd.code, text: s.cmd.text}
	if err != nil {
		if ioError(err) || s.ctx.Err() != nil && errors.Is(err, context.Canceled) {
			s.part(err)
			return
		}
		v = s.judge(s.cmd.name, err)
		if v.code == "" {
			v.code = s.cmd.code
		}
	} else if v.text == "" {
		v.text = s.cmd.name + " completed"
	}
	if v.word == "BAD" {
		s.malformed()
	} else {
		s.badRow = 0
	}
	if s.mbox != nil && s.cmd.row != nil && s.state == selected {
		s.sayNews(s.cmd.row.seqs != uses || s.cmd.uid || s.has(uidOnly))
	}
	if err == nil && s.cmd.modSeq != 0 {
		v.code = s.codeModSeq()
	}
	s.tagged(v)
	if v.bye {
		s.byeNow(v.text)
	}
}

func (s *session) byeNow(text string) {
	s.line("* BYE " + text)
	s.end(text)
}

// tagged appends the tagged response.
func (s *session) tagged(v verdict) {
	s.out.ready()
	b := append(s.out.b, s.cmd.tag...)
	b = append(append(b, ' '), v.word...)
	b = append(b, ' ')
	if v.code != "" {
		b = append(append(append(b, '['), v.code...), "] "...)
	}
	b = append(b, imap.Text(v.text)...)
	s.out.b = append(b, "\r\n"...)
}

// line appends one line to the output.
func (s *session) line(text string) {
	s.out.ready()
	s.out.b = append(append(s.out.b, text...), "\r\n"...)
}

// ioError reports whether err came from the connection, so that no answer has a reader.
// An error of the store that tells a client something is none, whatever connection of the store's it is about; but in
// the middle of a literal there is nothing left to say.
func ioError(err error) bool {
	if errors.Is(err, errConn) || errors.Is(err, errGiveUp) {
		return true
	}
	if _, said := errors.AsType[*mail.Error](err); said {
		return false
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrDeadlineExceeded)
}

// errConn marks errors of the connection.
var errConn = errors.New("imapd: connection")

func (s *session) lineFailed(err error) {
	if errors.Is(err, errLineTooLong) {
		s.out.ready()
		if s.cmd = (current{tag: append(s.cmd.tag[:0], s.in.tag...)}); len(s.cmd.tag) == 0 {
			s.cmd.tag = append(s.cmd.tag, '*')
		}
		s.tagged(verdict{word: "BAD", text: "line is longer than 65536 octets"})
		s.malformed()
		return
	}
	s.part(err)
}

// untaggedBad answers a line without a tag.
func (s *session) untaggedBad(line []byte) {
	s.dec.Reset((*source)(s), line)
	if skip := s.skipCommand(&s.dec); skip != nil {
		s.part(skip)
		return
	}
	s.line("* BAD a command begins with a tag")
	s.malformed()
}

// malformed counts malformed commands; too many in a row end the session.
func (s *session) malformed() {
	limit := s.srv.cfg.MaxBad
	if s.state != notAuthenticated {
		limit *= maxBadKnown
	}
	if s.badRow++; s.badRow >= limit {
		s.byeNow("too many malformed commands")
	}
}

// skipCommand reads to the end of a command that was refused midway: what is
// left of a literal, and further non-synchronising literals, which the client
// sends without being asked (RFC 7888 §4). A synchronising one it will not
// send, since it hears an answer instead of "+".
func (s *session) skipCommand(d *imap.Decoder) error {
	line := d.Rest()
	if d.Unfinished() {
		if err := s.in.discard(); err != nil {
			return wrapConn(err)
		}
		var err error
		if line, err = s.in.line(); err != nil {
			return wrapConn(err)
		}
	}
	for {
		a, ok := imap.ParseAnnounced(line)
		if !ok || !a.NonSync {
			return nil
		}
		if a.Size > maxDiscard {
			return errGiveUp
		}
		s.in.lit = a.Size
		if err := s.in.discard(); err != nil {
			return wrapConn(err)
		}
		var err error
		if line, err = s.in.line(); err != nil {
			if errors.Is(err, errLineTooLong) {
				return nil
			}
			return wrapConn(err)
		}
	}
}

func wrapConn(err error) error { return errors.Join(errConn, err) }

// source is the session as the decoder sees it.
type source session

// Line implements imap.Source.
func (s *source) Line() ([]byte, error) {
	l, err := s.in.line()
	if errors.Is(err, errLineTooLong) {
		return nil, bad("line is longer than 65536 octets")
	}
	if err != nil {
		return nil, wrapConn(err)
	}
	return l, nil
}

// Literal implements imap.Source.
func (s *source) Literal(n int64, wait bool) (io.Reader, error) {
	if wait {
		s.out.ready()
		s.out.b = append(s.out.b, "+ OK\r\n"...)
		s.out.flush()
	}
	s.in.lit = n
	return &s.in, nil
}
