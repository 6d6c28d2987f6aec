package imapd

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"bahnpost/mail"
	"bahnpost/serve/listen"
	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
)

// state is how far a session has come (RFC 9051 §3). Values are bits: a command names those it may be given in.
type state uint8

const (
	notAuthenticated state = 1 << iota
	authenticated
	selected
	loggedOut

	anyState = notAuthenticated | authenticated | selected
	loggedIn = authenticated | selected
)

// features are what the client has enabled (RFC 5161).
type features uint8

const (
	condstore features = 1 << iota // RFC 7162 §3.1
	qresync                        // RFC 7162 §3.2
	utf8Names                      // RFC 6855
	rev2                           // RFC 9051
	uidOnly                        // RFC 9586
)

// session is one client's conversation. All but the atomics is guarded by mu.
type session struct {
	srv  *Server
	conn *listen.Conn
	ctx  context.Context

	mu   sync.Mutex
	in   input
	out  output
	dec  imap.Decoder
	done chan struct{} // a job of this session has ended

	state   state
	enabled features
	login   listen.Login
	mbox    *selection // while state is selected
	cmd     current
	idle    *idleState
	notify  *notifyState // RFC 5465
	own     ownStep      // last step made by this session while notify is set
	deflate *deflateState

	pushing bool // news are being said outside of a command

	idling atomic.Bool // news are to be said at once
	news   atomic.Bool // something was committed since we looked
	over   atomic.Bool // state is loggedOut: for those without the lock

	patience time.Duration // how long await may wait; set at the end of each turn
	watched  time.Time     // when the read deadline was last moved within a turn

	started  time.Time
	strange  time.Time // since when the session has nobody logged in, for PreAuthTimeout
	commands int
	badRow   int // malformed commands in a row
	reason   string
	clientID string
}

// current is the command being run.
type current struct {
	tag  []byte
	name string
	row  *command
	uid  bool   // written with UID before it
	code string // response code of the tagged OK, without brackets
	text string // of the tagged OK, "" for "NAME completed"
	// modSeq is that of an expunge, for HIGHESTMODSEQ in the tagged OK; 0: none.
	modSeq mailstore.ModSeq
	// answered: the tagged response was sent already.
	answered bool
}

func newSession(ctx context.Context, srv *Server, c *listen.Conn) *session {
	s := &session{srv: srv, conn: c, ctx: ctx, state: notAuthenticated, started: time.Now()}
	s.strange = s.started
	s.done = make(chan struct{}, 1)
	s.in.src, s.out.dst = timedReader{s}, timedWriter{s}
	return s
}

// timedWriter gives each write the time that a client may refuse to read.
type timedWriter struct{ s *session }

func (w timedWriter) Write(p []byte) (int, error) {
	limit := w.s.srv.cfg.WriteTimeout
	if w.s.pushing {
		limit = min(limit, pushPatience)
	}
	return w.s.conn.WriteWithin(p, limit)
}

// timedReader moves the deadline while the client keeps sending: CommandTimeout
// is for silence, not for the whole of a large message.
type timedReader struct{ s *session }

func (r timedReader) Read(p []byte) (int, error) {
	s := r.s
	s.out.flush() // the client may wait for an answer before it goes on
	if now := time.Now(); now.Sub(s.watched) > s.srv.cfg.CommandTimeout/16 {
		s.watched = now
		s.readUntil(now.Add(s.srv.cfg.CommandTimeout))
	}
	return s.conn.Read(p)
}

// readUntil sets the read deadline, unless the session is to end at once. (When
// ctx ends, listen.Conn cuts the deadline itself.)
func (s *session) readUntil(t time.Time) {
	if s.state == notAuthenticated { // an octet now and then does not keep a stranger's connection
		if end := s.strange.Add(s.srv.cfg.PreAuthTimeout); end.Before(t) {
			t = end
		}
	}
	s.conn.SetReadDeadline(t)
	if s.over.Load() { // whoever set it also cut the deadline, maybe before the line above
		s.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// serve runs the session on the goroutine of the connection, which only waits;
// everything that needs stack or buffers is done by the crew.
func (s *session) serve() {
	s.srv.crew.run((*greet)(s))
	<-s.done
	for !s.over.Load() {
		err := s.await()
		if err != nil {
			s.srv.crew.run(&parting{s, err})
			<-s.done
			break
		}
		s.srv.crew.run((*turn)(s))
		<-s.done
	}
	s.srv.crew.run((*closing)(s))
	<-s.done
}

// await waits until there is input. It touches only what nobody else does
// while no turn runs.
func (s *session) await() error {
	s.readUntil(time.Now().Add(s.patience))
	if s.deflate != nil {
		return s.deflate.await()
	}
	n, err := s.conn.ReadLater(&s.in)
	s.in.took(n)
	return err
}

// Jobs of a session for the crew.
type (
	greet   session
	turn    session
	closing session
	parting struct {
		s   *session
		err error
	}
)

func (g *greet) do() {
	(*session)(g).job(func(s *session) {
		s.out.ready()
		s.out.b = s.appendGreeting(s.out.b)
		s.settle()
	})
}

func (t *turn) do() { (*session)(t).job((*session).turn) }

func (p *parting) do() {
	p.s.job(func(s *session) {
		s.part(p.err)
		s.settle()
	})
}

// job runs fn with the lock held and tells the waiting goroutine. A panic ends
// this session only.
func (s *session) job(fn func(*session)) {
	defer func() { s.done <- struct{}{} }()
	func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		defer s.recover()
		fn(s)
	}()
	s.push() // what came while we held the lock
}

// recover ends the session after a panic: a bug of ours.
func (s *session) recover() {
	if p := recover(); p != nil {
		s.srv.cfg.Log.Error("imap panic", "session", s.conn.ID(), "command", s.cmd.name, "panic", p, "stack", string(debug.Stack()))
		if f := s.srv.cfg.Metrics.Panicked; f != nil {
			f()
		}
		s.end("panic")
		s.conn.Close()
	}
}

// turn runs the commands that the client has sent.
func (s *session) turn() {
	s.watched = time.Now()
	s.readUntil(s.watched.Add(s.srv.cfg.CommandTimeout))
	for {
		if s.idle != nil {
			s.idleLine()
		} else {
			s.command()
		}
		if s.state == loggedOut || s.ctx.Err() != nil || s.in.buffered() == 0 {
			break
		}
		if len(s.out.b) > maxPipelined {
			s.out.flush()
		}
	}
	s.settle()
}

// settle ends a turn: what is to be said is said, buffers go back.
func (s *session) settle() {
	s.out.flush()
	s.out.rest()
	s.in.rest()
	if s.deflate != nil {
		s.deflate.rest()
	}
	if s.out.err != nil && s.state != loggedOut {
		s.end("client does not read: " + reasonOf(s.out.err))
	}
	s.patience = s.srv.cfg.AutoLogout
	if s.state == notAuthenticated {
		s.patience = s.srv.cfg.PreAuthTimeout
	}
}

// end makes this turn the last one.
func (s *session) end(reason string) {
	s.state = loggedOut
	s.over.Store(true)
	if s.reason == "" {
		s.reason = reason
	}
}

// part says goodbye because reading failed with err.
func (s *session) part(err error) {
	text := ""
	switch {
	case s.state == loggedOut:
		return
	case s.ctx.Err() != nil:
		text = "[UNAVAILABLE] " + causeText(s.ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		text = "Autologout; idle for too long"
	case errors.Is(err, errGiveUp):
		text = "too much that is no IMAP"
	}
	if text != "" {
		s.out.ready()
		s.out.b = append(s.out.b, "* BYE "...)
		s.out.b = append(s.out.b, text...)
		s.out.b = append(s.out.b, "\r\n"...)
		s.end(text)
		return
	}
	s.end(reasonOf(err))
}

func causeText(ctx context.Context) string {
	if m, ok := errors.AsType[*mail.Error](context.Cause(ctx)); ok {
		return imap.Text(m.Text)
	}
	return "server is shutting down"
}

func reasonOf(err error) string {
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return "client closed the connection"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err.Error()
	}
	return err.Error()
}

func (c *closing) do() { (*session)(c).job((*session).close) }

func (s *session) close() {
	s.idling.Store(false)
	s.deselect()
	s.dropNotify()
	s.in.drop()
	s.in.rest()
	s.out.rest()
	s.conn.Close()
	s.srv.cfg.Log.Info("imap session", "session", s.conn.ID(), "login", s.login.Address.String(),
		"protocol", s.conn.Protocol(), "remote", s.conn.RemoteIP(), "client", s.clientID,
		"in", s.in.total, "out", s.out.total, "commands", s.commands,
		"duration", time.Since(s.started).Round(time.Millisecond), "reason", s.reason)
}

// ticket is what this session writes with.
func (s *session) ticket() mailstore.Ticket {
	return mailstore.Ticket{Account: s.login.Account, Epoch: s.login.Epoch}
}

// update is store.Update with this session's ticket.
func (s *session) update(fn func(*mailstore.Tx) error) error {
	if s.notify == nil {
		return s.srv.store.Update(s.ctx, s.ticket(), fn)
	}
	err := s.srv.store.Update(s.ctx, s.ticket(), func(tx *mailstore.Tx) error {
		s.own.Store(uint64(tx.ModSeq())) // before the commit tells the watchers
		return fn(tx)
	})
	s.forgiveNames()
	return err
}

// has reports whether all of f is enabled.
func (s *session) has(f features) bool { return s.enabled&f == f }

// enableCondstore notes that the client knows mod-sequences: it has used one.
// The first time, it hears where the selected mailbox stands (RFC 7162 §3.1).
func (s *session) enableCondstore() {
	if s.enabled&condstore != 0 {
		return
	}
	s.enabled |= condstore
	if m := s.mbox; m != nil {
		now := m.box.Mailbox().ModSeq
		if m.view.Dirty() { // there is news to tell first
			now = m.view.ModSeq()
		}
		s.sayModSeq(now, "highest")
	}
}

func (s *session) sayModSeq(m mailstore.ModSeq, text string) {
	b := append(s.out.b, "* OK [HIGHESTMODSEQ "...)
	b = append(imap.AppendUint(b, uint64(max(m, 1))), "] "...)
	s.out.b = append(append(b, text...), "\r\n"...)
}

// utf8 reports whether names and strings may be UTF-8.
func (s *session) utf8() bool { return s.enabled&(utf8Names|rev2) != 0 }
