package smtpd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"bahnpost/mail"
	"bahnpost/serve/listen"
	"bahnpost/wire/smtp"
)

// session is one connection. One goroutine owns it.
type session struct {
	srv   *Server
	cfg   *Config
	conn  *listen.Conn
	ctx   context.Context // ends when the session shall
	work  context.Context // the same, not cancelled: what was begun is finished
	id    string
	start time.Time

	in      *smtp.Reader
	large   *[]byte // from the server's pool, while in use
	out     []byte  // replies not yet sent; they go out together when we must wait for the client (RFC 2920 §3.2)
	outErr  error
	reading reading
	closing bool
	linger  bool   // the client may still be sending
	why     string // the session ended, for the log

	phase phase
	helo  string
	ehlo  bool // extensions are in use
	login listen.Login
	mail  transaction

	failed              bool // the running command was answered with an error
	errors, unknown     int
	chatter             int
	fruit               time.Time // a mail was taken last, or the session began
	mails, rcpts, mailN int
	octets              int64

	small [idleSize]byte
}

// reading says what timeouts count while we wait for the client.
type reading struct {
	data  bool
	armed bool      // the deadline stands: a command line has one, from its begin to its end
	since time.Time // begin of the message
	last  time.Time // when the data deadline was moved last
	n     int64     // octets of the message
}

var errSlow = errors.New("smtpd: message comes too slowly")

// Read implements io.Reader for in: whatever waits to be said is said before we wait.
func (s *session) Read(p []byte) (int, error) {
	if err := s.flush(); err != nil {
		return 0, err
	}
	r := &s.reading
	switch {
	case !r.data && !r.armed:
		s.conn.SetReadDeadline(time.Now().Add(s.cfg.CommandTimeout))
		r.armed = true
	case r.data:
		now := time.Now()
		if d := now.Sub(r.since); d > rateGrace && r.n < s.cfg.MinRate*int64(d/time.Second) {
			return 0, errSlow
		}
		if now.Sub(r.last) > time.Second {
			s.conn.SetReadDeadline(now.Add(s.cfg.DataTimeout))
			r.last = now
		}
	}
	n, err := s.conn.Read(p)
	r.n += int64(n)
	return n, err
}

func (s *session) flush() error {
	if len(s.out) == 0 || s.outErr != nil {
		return s.outErr
	}
	s.conn.SetWriteDeadline(time.Now().Add(s.cfg.WriteTimeout))
	_, s.outErr = s.conn.Write(s.out)
	if cap(s.out) > keepOut {
		s.out = nil
	}
	s.out = s.out[:0]
	return s.outErr
}

// run is the whole conversation.
func (s *session) run() {
	defer s.end()
	s.phase = fresh
	if !s.greet() {
		return
	}
	for !s.closing {
		if s.in.Buffered() == 0 {
			s.shrink()
		}
		s.reading = reading{}
		line, err := s.in.ReadLine(s.lineLimit())
		if err != nil {
			if s.badLine(err) {
				return
			}
			continue
		}
		s.command(line)
		if s.errors > s.cfg.MaxErrors && !s.closing {
			s.bye(421, "4.7.0", "too many errors")
		}
	}
	s.flush()
}

func (s *session) command(line []byte) {
	verb, args, err := smtp.Command(line)
	s.failed = false
	begin := time.Now()
	if err != nil {
		s.failErr(err)
		verb = ""
	} else {
		s.dispatch(verb, args)
	}
	if _, known := s.srv.commands[verb]; !known {
		verb = "other"
	}
	if s.cfg.Metrics != nil {
		s.cfg.Metrics.Command(s.conn.Protocol(), verb, time.Since(begin), !s.failed)
	}
	if s.cfg.Log.Enabled(s.work, slog.LevelDebug) {
		s.cfg.Log.Debug("smtp command", "session", s.id, "protocol", s.conn.Protocol(), "command", verb, "took", time.Since(begin), "ok", !s.failed)
	}
}

// greet says the banner, to those who can wait for it (RFC 5321 §4.3.1).
func (s *session) greet() bool {
	word := " ESMTP ready"
	if s.cfg.Role == LMTP {
		word = " LMTP ready"
	}
	if s.cfg.GreetPause > 0 && !s.conn.RemoteAddrIP().IsLoopback() { // nobody on this machine needs to be tested
		s.conn.SetReadDeadline(time.Now().Add(s.cfg.GreetPause))
		n, err := s.conn.Conn.Read(s.small[:1])
		switch t, isNet := errors.AsType[net.Error](err); {
		case s.ctx.Err() != nil:
			s.goodbye()
			return false
		case n > 0:
			s.bye(554, "5.5.0", s.cfg.Hostname+" talks first; you did not wait")
			s.flush()
			return false
		case err != nil && !(isNet && t.Timeout()):
			s.why = "gone before the banner"
			return false
		}
	}
	s.out = smtp.AppendReply(s.out, 220, "", s.cfg.Hostname+word)
	return true
}

// badLine answers what ReadLine could not read; true ends the session.
func (s *session) badLine(err error) bool {
	switch t, isNet := errors.AsType[net.Error](err); {
	case errors.Is(err, smtp.ErrLineTooLong):
		s.fail(500, "5.5.6", "line too long")
	case errors.Is(err, smtp.ErrBareCR), errors.Is(err, smtp.ErrBareLF):
		s.fail(500, "5.5.2", "lines end in CR LF") // and what it said is not done: RFC 5321 §2.3.8
	case errors.Is(err, smtp.ErrFlood):
		s.bye(500, "5.5.6", "line too long")
	case s.ctx.Err() != nil:
		s.goodbye()
	case isNet && t.Timeout():
		s.bye(421, "4.4.2", s.cfg.Hostname+" timeout, closing connection")
	default:
		if s.why = "connection lost"; err == io.EOF {
			s.why = "closed by client"
		}
		s.closing = true
	}
	if s.errors > s.cfg.MaxErrors && !s.closing {
		s.bye(421, "4.7.0", "too many errors")
	}
	if s.closing {
		s.flush()
	}
	return s.closing
}

// goodbye says why the node ends the session (RFC 5321 §3.8).
func (s *session) goodbye() {
	text := listen.ErrDraining.Text
	if e, ok := errors.AsType[*mail.Error](context.Cause(s.ctx)); ok {
		text = e.Text
	}
	s.bye(421, "4.3.2", s.cfg.Hostname+" "+text)
	s.flush()
}

func (s *session) lineLimit() int {
	if s.cfg.Role == Submission && s.login.Account == 0 {
		return smtp.MaxAuthLine
	}
	return smtp.MaxLine
}

// reply, fail and bye queue a reply; fail counts it as an error, bye hangs up after it.
func (s *session) reply(code int, status, text string) {
	s.out = smtp.AppendReply(s.out, code, status, text)
}

func (s *session) fail(code int, status, text string) {
	s.failed = true
	s.errors++
	s.reply(code, status, text)
}

func (s *session) bye(code int, status, text string) {
	s.fail(code, status, text)
	s.closing, s.linger = true, true
	if s.why == "" {
		s.why = text
	}
}

func (s *session) failErr(err error) {
	a := s.answerTo(err)
	s.fail(a.code, a.status, a.text)
}

// widen takes a large buffer for a message; shrink gives it back.
func (s *session) widen() {
	if s.large != nil {
		return
	}
	s.large = s.srv.bufs.Get().(*[]byte)
	s.in.Exchange(*s.large)
}

func (s *session) shrink() {
	if s.in.Cap() != idleSize {
		s.in.Exchange(s.small[:])
	}
	if s.large != nil {
		s.srv.bufs.Put(s.large)
		s.large = nil
	}
}

// wait takes what a client still sends after our last words: closing with
// unread input would reset the connection and take those words from it.
func (s *session) wait() {
	if c, ok := s.conn.Conn.(interface{ CloseWrite() error }); ok { // TCP and TLS: the client sees the end at once
		c.CloseWrite()
	}
	if s.conn.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	for taken := 0; taken < lingerMax; {
		n, err := s.conn.Read(s.small[:])
		if taken += n; err != nil {
			return
		}
	}
}

// end cleans up, whatever happened, and writes the session's line.
func (s *session) end() {
	if p := recover(); p != nil {
		s.cfg.Log.Error("panic in session", "session", s.id, "panic", p, "stack", string(debug.Stack()))
		s.why = "panic"
		s.reply(421, "4.3.0", "internal error")
		s.flush()
	}
	s.reset()
	s.in.Drop()
	if s.linger && s.outErr == nil {
		s.wait()
	}
	s.shrink()
	s.cfg.Log.LogAttrs(s.work, slog.LevelInfo, "session ended",
		slog.String("session", s.id), slog.String("protocol", s.conn.Protocol()), slog.String("remote", s.conn.RemoteIP()),
		slog.String("helo", s.helo), slog.String("login", s.login.Address.String()),
		slog.Int("mails", s.mails), slog.Int("recipients", s.rcpts), slog.Int64("octets", s.octets), slog.Int("errors", s.errors),
		slog.Duration("duration", time.Since(s.start)), slog.String("end", s.why))
}
