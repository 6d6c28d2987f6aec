package imapd

import (
	"context"

	"bahnpost/serve/listen"
	"bahnpost/store/mailstore"
)

// Server serves IMAP connections. It is safe for concurrent use.
type Server struct {
	cfg      Config
	store    *mailstore.Store
	gate     *listen.Gate
	crew     *crew
	pusher   *pusher
	commands map[string]*command
	caps     capabilities
}

var _ listen.Handler = (*Server)(nil)

// New returns a Server over store with the logins of gate.
func New(store *mailstore.Store, gate *listen.Gate, cfg Config) *Server {
	s := &Server{cfg: cfg.withDefaults(), store: store, gate: gate, crew: new(crew)}
	s.pusher = newPusher(s.crew)
	s.commands = commandTable()
	s.caps = makeCapabilities(s.commands, s.cfg)
	return s
}

// Serve implements listen.Handler.
func (srv *Server) Serve(ctx context.Context, c *listen.Conn) {
	srv.count(+1)
	defer srv.count(-1)
	newSession(srv.store.Patient(ctx), srv, c).serve()
}

func (srv *Server) count(d int) {
	if f := srv.cfg.Metrics.Session; f != nil {
		f(d)
	}
	srv.crew.count(int64(d))
}
