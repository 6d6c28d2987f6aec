// Package app builds a node from its configuration: it reads, checks, opens
// the floors from the bottom up, lets neighbours meet, starts, reloads and
// drains in reverse. It is the only package that knows everybody.
//
// A Node's methods are safe for concurrent use. Two nodes fit in one process.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"bahnpost/flow/intake"
	"bahnpost/home"
	"bahnpost/home/cell"
	"bahnpost/obs"
	"bahnpost/serve/admin"
	"bahnpost/serve/listen"
)

// Node is one running process's worth of mail system.
type Node struct {
	dir       string
	name      string // among the cell's nodes
	cfg       atomic.Pointer[Config]
	log       *slog.Logger
	flushLog  func()
	level     *slog.LevelVar
	metrics   *obs.Metrics
	floor     *floor
	certs     certificates
	gate      *listen.Gate
	server    *listen.Server
	admin     *admin.API
	adminSock net.Listener
	handlers  map[string]listen.Handler // by protocol
	unbound   []endpoint                // addresses that this machine does not have; watchPaths' once Run runs
	pulse     *pulse
	paths     paths

	mu        sync.Mutex
	listening []Listening
	observed  int // ports that have metrics
	draining  atomic.Bool
	suspects  *suspects
}

// Listening is an address that the node serves.
type Listening struct {
	Protocol, Addr string
	Implicit       bool
}

// Options are what the program, not the configuration, decides.
type Options struct {
	Version, Commit string
	Log             io.Writer // [standard error]
}

// Start opens everything and binds every address, but accepts only in Run.
func Start(ctx context.Context, dir string, o Options) (_ *Node, err error) {
	if o.Log == nil {
		o.Log = os.Stderr
	}
	c, err := LoadConfig(dir)
	if err != nil {
		return nil, err
	}
	n := &Node{dir: dir, level: new(slog.LevelVar), metrics: obs.NewMetrics(o.Version, o.Commit),
		suspects: newSuspects()}
	n.cfg.Store(c)
	n.level.Set(logLevels[c.Log.Level])
	n.log, n.flushLog = obs.NewLog(o.Log, c.Log.Format == "json", n.level)
	defer n.flushLog() // and again at the end
	n.paths.log, n.paths.m = n.log, n.metrics
	if err := n.certs.load(dir, c.TLS); err != nil {
		return nil, err
	}
	for _, path := range secrets(dir, c) {
		if err := private(path); err != nil {
			n.log.Warn("a secret is none", "err", err)
		}
	}
	if n.name, err = nodeName(dir, c.Node.Hostname); err != nil {
		return nil, err
	}
	if n.floor, err = openFloor(ctx, dir, c, n.log, opening{wait: c.Store.StartWait.D(), version: o.Version}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if err := n.openDoors(ctx, o); err != nil {
		return nil, err
	}
	n.observe()
	if err := n.watchDirectory(ctx); err != nil {
		return nil, err
	}
	n.begin(ctx, o)
	n.log.Info("started", "version", o.Version, "commit", o.Commit, "hostname", c.Node.Hostname, "node", n.name, "pid", os.Getpid())
	return n, nil
}

// openDoors builds the floors above the store and binds the addresses.
func (n *Node) openDoors(ctx context.Context, o Options) error {
	c := n.cfg.Load()
	f := n.floor
	secret, err := f.directory.Secret(ctx, "scram-salts")
	if err != nil {
		return err
	}
	if _, err := f.directory.Identity(ctx); err != nil { // snapshots of the store have it then, see CopyStore
		return err
	}
	local := cell.New(f.mailstore, f.directory, cell.Config{Hostname: c.Node.Hostname, IgnoreDetails: !c.Mail.DetailToMailbox})
	n.gate = listen.NewGate(accounts{f.directory, local}, listen.GateConfig{
		CacheFor: c.Login.CacheFor.D(), HashConcurrency: c.Login.HashConcurrency,
		FailuresPerAccount: c.Login.FailuresPerAccount, FailuresPerIP: c.Login.FailuresPerIP, Window: c.Login.FailureWindow.D(),
		FakeSecret: secret, Log: n.log,
	})
	router := home.NewRouter(f.directory, map[home.ID]home.Door{home.Local: local})
	in := intake.New(intake.Config{Hostname: c.Node.Hostname, AnySender: !c.Mail.OwnSenderOnly, IgnoreDeliveredTo: !c.Mail.DeliveredToLoop}, resolver{f.directory}, local, doors{router})

	proxies, err := parseNets(c.Listen.ProxyFrom)
	if err != nil {
		return err
	}
	n.server = listen.New(listen.Config{TLS: n.certs.config(), MaxConns: c.Listen.MaxConns, MaxConnsPerIP: c.Listen.MaxConnsPerIP, MaxPerAccount: c.Listen.MaxPerAccount,
		AllowPlaintext: c.Login.PlaintextOnLoopback, TrustedProxies: proxies, Log: n.log})
	ac := adminConfig(f, c, n.log, o.Version, o.Commit)
	ac.Sessions, ac.Kick, ac.Forget, ac.Wish, ac.Self = n.server.Sessions, n.server.Kick, n.gate.Forget, n.wish, n.name
	n.admin = admin.New(ac)
	n.handlers = handlers(n, c, in, o.Version)
	if err := n.bind(); err != nil {
		return err
	}
	return n.bindAdmin()
}

// bind listens on every address. A machine without IPv6 (or without one of the
// addresses) goes on with the others, as long as each protocol has one.
func (n *Node) bind() error {
	c := n.cfg.Load()
	bound := map[string]bool{}
	var skipped []error
	for _, e := range c.Listen.endpoints() {
		err := n.listen(e)
		switch {
		case err == nil:
			bound[e.protocol] = true
		case noSuchAddress(err):
			skipped = append(skipped, err)
			n.unbound = append(n.unbound, e)
			n.log.Warn("address left out", "protocol", e.protocol, "addr", e.addr, "err", err)
		case errors.Is(err, unix.EADDRINUSE):
			return fmt.Errorf("%s: %w; find who listens there with \"ss -ltnp\", or take other ports ([listen] port_offset)", e.protocol, err)
		case errors.Is(err, fs.ErrPermission):
			return fmt.Errorf("%s: %w; "+lowPorts, e.protocol, err)
		default:
			return fmt.Errorf("%s: %w", e.protocol, err)
		}
	}
	for _, e := range c.Listen.endpoints() {
		if !bound[e.protocol] {
			return fmt.Errorf("%s: no address could be bound: %w", e.protocol, errors.Join(skipped...))
		}
	}
	return nil
}

// listen serves one address.
func (n *Node) listen(e endpoint) error {
	addr, err := n.server.Listen(listen.Endpoint{Protocol: e.protocol, Addr: e.addr, Implicit: e.implicit, Proxy: len(n.cfg.Load().Listen.ProxyFrom) > 0,
		Handler: n.handlers[e.protocol], Late: late(e.protocol), TooMany: tooMany[e.protocol]})
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listening = append(n.listening, Listening{e.protocol, addr.String(), e.implicit})
	return nil
}

// maxSocketPath is what fits sockaddr_un on every Unix.
const maxSocketPath = 103

// bindAdmin listens on the local socket. A socket file that nobody answers is what a killed node left.
func (n *Node) bindAdmin() (err error) {
	path := SocketPath(n.dir)
	if len(path) > maxSocketPath {
		return fmt.Errorf("%s: the path of the administration socket is longer than %d octets; use a shorter directory", path, maxSocketPath)
	}
	if isRunning(n.dir) {
		return fmt.Errorf("%s answers already", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	old := setUmask(0o177)
	n.adminSock, err = net.Listen("unix", path)
	setUmask(old)
	return err
}

// errRewound ends the process, for its supervisor to start it anew.
var errRewound = errors.New("the database has gone back to an earlier state (a backup was restored, or a server took over that had not heard of all): " +
	"what this node knows may not be true any more")

// Listening lists what is bound.
func (n *Node) Listening() []Listening {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.listening)
}

// Admin is the administration API, as on the local socket.
func (n *Node) Admin() http.Handler { return n.admin }

// Run serves until ctx ends, then drains: no new connections, sessions say
// goodbye within drain_grace, the store finishes and closes. A supervisor hears
// that the node is ready, reloads, and stops.
func (n *Node) Run(ctx context.Context) error {
	n.tell(stateReady) // the addresses are bound, so who comes from now on is answered
	back, stopBack := context.WithCancel(context.Background())
	g, gctx := errgroup.WithContext(ctx)
	adminServer := &http.Server{Handler: n.admin, ReadHeaderTimeout: 10 * time.Second}
	g.Go(func() error {
		if err := adminServer.Serve(n.adminSock); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		defer adminServer.Close()
		defer n.draining.Store(true)
		return n.server.Run(gctx, n.cfg.Load().Node.DrainGrace.D())
	})
	g.Go(func() error {
		select {
		case <-gctx.Done():
			return nil
		case <-n.floor.store.Rewound():
			return errRewound
		}
	})
	g.Go(func() error {
		<-gctx.Done()
		n.draining.Store(true)
		n.tell(stateStopping)
		n.log.Info("draining", "grace", n.cfg.Load().Node.DrainGrace.D())
		return nil
	})
	go tidy(back)
	var company sync.WaitGroup
	company.Go(func() { n.pulse.run(back) })
	company.Go(func() { n.watchPaths(back) })
	company.Go(func() { n.floor.directory.Run(back) })
	company.Go(func() { n.shutOut(back) })
	worked := make(chan error, 1)
	go func() { worked <- n.floor.mailstore.Run(back) }()
	err := g.Wait()
	stopBack()
	if e := <-worked; e != nil && !errors.Is(e, context.Canceled) {
		err = errors.Join(err, e)
	}
	company.Wait()
	err = errors.Join(err, n.floor.close())
	n.log.Info("stopped", "err", err)
	n.flushLog()
	return err
}

// Close ends a node that never ran.
func (n *Node) Close() error {
	defer n.flushLog()
	var errs []error
	if n.pulse != nil {
		n.pulse.bye(context.Background())
	}
	if n.adminSock != nil {
		errs = append(errs, n.adminSock.Close())
	}
	if n.server != nil {
		errs = append(errs, n.server.Close())
	}
	return errors.Join(append(errs, n.floor.close())...)
}

// ready says whether the node can serve: not draining, and the store takes commits.
func (n *Node) ready() error {
	if n.draining.Load() || n.pulse.drained.Load() {
		return listen.ErrDraining
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return n.floor.store.Ping(ctx)
}
