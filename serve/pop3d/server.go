package pop3d

import (
	"bufio"
	"context"
	"io"
	"sync"

	"bahnpost/serve/listen"
	"bahnpost/store/mailstore"
)

// outputSize is large because messages stream through it.
const outputSize = 32 << 10

// Server serves POP3 connections. It is safe for concurrent use.
type Server struct {
	cfg      Config
	format   *UIDLFormat
	store    *mailstore.Store
	gate     *listen.Gate
	commands map[string]command
	imports  imports
	inputs   sync.Pool // *[inputSize]byte
	writers  sync.Pool // *bufio.Writer
}

var _ listen.Handler = (*Server)(nil)

// New returns a Server over store with the logins of gate. A UIDLFormat that
// ParseUIDL refuses is replaced by the default, with a warning.
func New(store *mailstore.Store, gate *listen.Gate, cfg Config) *Server {
	s := &Server{cfg: cfg.withDefaults(), store: store, gate: gate, commands: commandTable()}
	s.format = s.parseFormat(s.cfg.UIDLFormat)
	s.imports.init()
	s.inputs.New = func() any { return new([inputSize]byte) }
	s.writers.New = func() any { return bufio.NewWriterSize(io.Discard, outputSize) }
	return s
}

func (srv *Server) parseFormat(text string) *UIDLFormat {
	f, err := ParseUIDL(text)
	if err != nil {
		srv.cfg.Log.Warn("UIDL template is not usable, the default stands in", "template", text, "err", err)
		f, _ = ParseUIDL(DefaultUIDLFormat)
	}
	return f
}

// Serve implements listen.Handler.
func (srv *Server) Serve(ctx context.Context, c *listen.Conn) {
	if f := srv.cfg.Metrics.Session; f != nil {
		f(+1)
		defer f(-1)
	}
	s := newSession(srv.store.Patient(ctx), srv, c)
	defer s.close()
	s.run()
}
