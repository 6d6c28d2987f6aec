package pop3d

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"bahnpost/mail"
	"bahnpost/serve/listen"
)

// session is one client's conversation. One goroutine owns it.
type session struct {
	srv  *Server
	conn *listen.Conn
	ctx  context.Context
	in   input
	out  *bufio.Writer
	long []byte // a line that does not fit in's buffer

	state state
	user  string // of USER
	login listen.Login
	drop  maildrop

	started       time.Time
	bad, failures int
	retrieved     int
	removed       int
	sent          int64
	reason        string
}

func newSession(ctx context.Context, srv *Server, c *listen.Conn) *session {
	s := &session{srv: srv, conn: c, ctx: ctx, state: authorization, started: time.Now()}
	s.in = input{conn: c, pool: &srv.inputs}
	s.write()
	return s
}

// write takes an output buffer.
func (s *session) write() {
	s.out = s.srv.writers.Get().(*bufio.Writer)
	s.out.Reset(timedWriter{s})
}

// timedWriter gives each write the time that a client may refuse to read.
type timedWriter struct{ s *session }

func (w timedWriter) Write(p []byte) (int, error) {
	n, err := w.s.conn.WriteWithin(p, w.s.srv.cfg.WriteTimeout)
	w.s.sent += int64(n)
	return n, err
}

func (s *session) close() {
	s.out.Flush()
	s.in.drop()
	s.out.Reset(nil)
	s.srv.writers.Put(s.out)
	s.logEnd()
}

// run is the session: greet, then read, look up, run, until it is over.
func (s *session) run() {
	s.out.WriteString("+OK ")
	if h := s.srv.cfg.Hostname; h != "" {
		s.out.WriteString(h + " ")
	}
	s.out.WriteString("POP3 ready\r\n")
	for s.state != over {
		line, err := s.line()
		switch {
		case err == errLineTooLong:
			s.refuse("line is too long")
		case err != nil:
			s.part(err)
			return
		default:
			s.command(line)
		}
		if s.bad >= s.srv.cfg.MaxBad && s.state != over {
			s.say("-ERR too many bad commands")
			s.end("bad commands")
		}
	}
}

var (
	errLineTooLong = errors.New("pop3d: line too long") // and skipped
	errEndlessLine = errors.New("pop3d: endless line")
)

// line returns the next line without its end; valid until the next call.
// Answers are sent before it waits (RFC 2449 §6.8). A bare LF ends a line too.
func (s *session) line() (string, error) {
	if s.in.empty() {
		if err := s.out.Flush(); err != nil {
			return "", err
		}
		s.out.Reset(io.Discard)
		s.srv.writers.Put(s.out) // the large buffer is not an idle client's
		s.out = nil
		defer s.write()
		until := time.Now().Add(s.srv.cfg.IdleTimeout)
		if s.state == authorization { // from the start: who says CAPA again and again does not stay
			until = s.started.Add(s.srv.cfg.LoginTimeout)
		}
		s.conn.SetReadDeadline(until)
	}
	b, err := s.in.slice()
	if err == bufio.ErrBufferFull {
		b, err = s.longLine(b)
	}
	if err != nil {
		return "", err
	}
	b = b[:len(b)-1]
	if n := len(b); n > 0 && b[n-1] == '\r' {
		b = b[:n-1]
	}
	return string(b), nil
}

// longLine goes on where the buffer ends.
func (s *session) longLine(b []byte) ([]byte, error) {
	s.long = s.long[:0]
	for skipped := 0; ; {
		if skipped == 0 && len(s.long)+len(b) <= maxLine {
			s.long = append(s.long, b...)
		} else if skipped += len(b); skipped > maxSkipped {
			return nil, errEndlessLine
		}
		if n := len(b); n > 0 && b[n-1] == '\n' {
			if skipped > 0 {
				return nil, errLineTooLong
			}
			return s.long, nil
		}
		var err error
		if b, err = s.in.slice(); err != nil && err != bufio.ErrBufferFull {
			return nil, err
		}
	}
}

// refuse counts a bad line.
func (s *session) refuse(text string) {
	s.bad++
	s.say("-ERR " + text)
}

// command runs one line.
func (s *session) command(line string) {
	name, arg, _ := strings.Cut(line, " ")
	name = strings.ToUpper(name)
	row, ok := s.srv.commands[name]
	switch {
	case !ok && isHTTP(name):
		// A browser that was lured here (ALPACA) must not get to smuggle commands in a body.
		s.say("-ERR this is not a web server")
		s.end("HTTP")
		return
	case !ok:
		s.refuse("unknown command")
		return
	case row.in&s.state == 0 && s.state == authorization:
		s.refuse("log in first")
		return
	case row.in&s.state == 0:
		s.refuse("you are logged in already")
		return
	}
	if err := row.check(&arg); err != nil {
		s.refuse(err.Error())
		return
	}
	begin := time.Now()
	err := row.run(s, arg)
	if err != nil {
		s.answer(name, err)
	} else {
		s.bad = 0
	}
	s.record(name, time.Since(begin), err)
}

// record counts a command, and writes its line at level debug.
func (s *session) record(name string, took time.Duration, err error) {
	if f := s.srv.cfg.Metrics.Command; f != nil {
		f(name, took, err == nil)
	}
	if log := s.srv.cfg.Log; log.Enabled(context.Background(), slog.LevelDebug) {
		log.Debug("pop3 command", "session", s.conn.ID(), "command", name, "took", took, "err", err)
	}
}

// check counts the words of arg and trims it, unless it is one with its spaces.
func (c *command) check(arg *string) error {
	if c.max < 0 {
		if *arg == "" {
			return errors.New("argument is missing")
		}
		return nil
	}
	*arg = strings.Trim(*arg, " ")
	n := 0
	if *arg != "" {
		n = strings.Count(*arg, " ") + 1
	}
	switch {
	case n < c.min:
		return errors.New("argument is missing")
	case n > c.max:
		return errors.New("too many arguments")
	}
	return nil
}

func isHTTP(name string) bool {
	switch name {
	case "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE":
		return true
	}
	return false
}

// say writes one line.
func (s *session) say(line string) {
	s.out.WriteString(line)
	s.out.WriteString("\r\n")
}

// end makes the session over; reason is for the log.
func (s *session) end(reason string) {
	s.state, s.reason = over, reason
}

// part ends a session whose client went away, fell silent, or has to go.
// Nothing is deleted (RFC 1939 §6).
func (s *session) part(err error) {
	switch {
	case s.ctx.Err() != nil:
		text := "server is shutting down"
		if m, ok := errors.AsType[*mail.Error](context.Cause(s.ctx)); ok {
			text = m.Text
		}
		s.say("-ERR [SYS/TEMP] " + text)
		s.end(text)
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.end("timeout") // RFC 1939 §3: close without a word
	case errors.Is(err, io.EOF):
		s.end("client went away")
	case errors.Is(err, errEndlessLine):
		s.say("-ERR line is too long")
		s.end("endless line")
	default:
		s.end("connection broke")
	}
}

// logEnd writes the one line of a session.
func (s *session) logEnd() {
	s.srv.cfg.Log.LogAttrs(context.Background(), slog.LevelInfo, "pop3 session", slog.String("session", s.conn.ID()),
		slog.String("protocol", s.conn.Protocol()), slog.String("remote", s.conn.RemoteIP()), slog.String("login", s.login.Address.String()),
		slog.Bool("tls", s.conn.TLSState() != nil), slog.Duration("took", time.Since(s.started).Round(time.Microsecond)),
		slog.Int("messages", len(s.drop.msgs)), slog.Int("retrieved", s.retrieved), slog.Int("deleted", s.removed),
		slog.Int64("sent", s.sent), slog.String("end", s.reason))
}
