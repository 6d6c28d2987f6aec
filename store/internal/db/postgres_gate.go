package db

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// The gate stands before all connections to the servers. It knows the ways there are, which of
// them leads to the primary, and when none does: then one prober looks for it, and
// nobody else dials; who is patient waits for the prober's word.

const (
	dialTimeout   = 2 * time.Second        // for one host, all of the login; connect_timeout in the DSN overrides it
	probeFirst    = 100 * time.Millisecond // between two looks of the prober …
	probeLongest  = time.Second            // … growing to this
	pathsEvery    = 15 * time.Second       // between two looks at hosts that nobody uses
	suspectAfter  = 750 * time.Millisecond // an answer that takes longer makes us ask whether the server lives
	watchEvery    = 250 * time.Millisecond
	pingPatience  = time.Second // for the answer to that
	patientMax    = 2000        // Updates and Views that wait for the database to return
	wakeSpread    = 200 * time.Millisecond
	wakeFew       = 32 // so many are woken at once; more come spread
	keepAliveIdle = 5 * time.Second
)

// gate is safe for concurrent use.
type gate struct {
	hosts    []*host
	settings string // what a new connection says first
	cfg      Config
	ctx      context.Context // ends with the database
	stop     context.CancelFunc
	work     sync.WaitGroup

	mu      sync.Mutex
	prefer  *host
	down    error         // nil: the primary was reached the last time
	turned  chan struct{} // closed when down changes
	waiting int           // who is patient
	conns   map[*pgConn]struct{}
	side    *side
	hints   hints
	counted sharedCounters
	node    string // number of this node, for its leases

	rewound    chan struct{}
	rewindOnce sync.Once
}

// host is one way. Guarded by gate.mu, but for cfg.
type host struct {
	cfg  *pgconn.Config
	path Path
}

// newGate takes the DSN apart into its hosts.
func newGate(cfg Config) (*gate, error) {
	pc, err := pgconn.ParseConfig(cfg.Postgres)
	if err != nil {
		return nil, err
	}
	g := &gate{cfg: cfg, turned: make(chan struct{}), rewound: make(chan struct{}), conns: make(map[*pgConn]struct{})}
	g.settings = sessionSettings(pc, cfg)
	pc.ConnectTimeout = cmp.Or(pc.ConnectTimeout, dialTimeout)
	if pc.ValidateConnect == nil {
		pc.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	pc.DialFunc = (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveIdle / 2, Count: 3}, Control: impatient}).DialContext
	pc.OnNotification = g.notified
	ways := append([]*pgconn.FallbackConfig{{Host: pc.Host, Port: pc.Port, TLSConfig: pc.TLSConfig}}, pc.Fallbacks...)
	for i, w := range ways {
		if i > 0 && w.Host == ways[i-1].Host && w.Port == ways[i-1].Port { // the same without TLS, or with it
			last := g.hosts[len(g.hosts)-1].cfg
			last.Fallbacks = append(last.Fallbacks, w)
			continue
		}
		one := pc.Copy()
		one.Host, one.Port, one.TLSConfig, one.Fallbacks = w.Host, w.Port, w.TLSConfig, nil
		name := w.Host
		if name == "" || name[0] != '/' {
			name = net.JoinHostPort(w.Host, strconv.Itoa(int(w.Port)))
		}
		g.hosts = append(g.hosts, &host{cfg: one, path: Path{Host: name}})
	}
	g.prefer = g.hosts[0]
	g.ctx, g.stop = context.WithCancel(context.Background())
	g.side = &side{g: g, one: make(chan struct{}, 1)}
	return g, nil
}

// start begins to watch over the connections.
func (g *gate) start() {
	g.work.Go(g.watch)
	g.work.Go(g.tell)
	g.work.Go(g.live)
	if len(g.hosts) > 1 {
		g.work.Go(g.look)
	}
}

// close ends the gate's work.
func (g *gate) close() {
	g.stop()
	g.work.Wait()
	g.side.close()
}

// reach opens a connection on one host.
func (g *gate) reach(ctx context.Context, h *host) (*pgconn.PgConn, error) {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.ConnectTimeout)
	defer cancel()
	c, err := pgconn.ConnectConfig(ctx, h.cfg)
	if err == nil {
		if err = c.Exec(ctx, g.settings).Close(); err != nil {
			c.Close(ctx)
			c = nil
		}
	}
	notPrimary := err != nil && readOnly(err)
	g.mu.Lock()
	defer g.mu.Unlock()
	p := &h.path
	if up, primary := err == nil || notPrimary, err == nil; p.Since.IsZero() || up != p.Up || primary != p.Primary {
		p.Up, p.Primary, p.Since = up, primary, time.Now()
	}
	if p.Err = err; notPrimary {
		p.Err = nil
	}
	if err == nil {
		g.prefer = h
	}
	return c, err
}

// readOnly reports whether a login succeeded, on a server that takes no writes.
func readOnly(err error) bool {
	return errors.Is(err, pgconn.ErrReadOnlyConnection) || errors.Is(err, pgconn.ErrStandbyConnection)
}

// refused reports whether a living primary said no to a login: a wrong password, too many connections.
// One that starts, stops, or cannot be reached by the pooler before it is away.
func refused(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && !strings.HasPrefix(e.Code, "57P") && !strings.HasPrefix(e.Code, "08")
}

// connect opens a connection to the primary: the host that was it the last time, then any.
// An error that wraps ErrAway says that there is none.
func (g *gate) connect(parent context.Context) (*pgconn.PgConn, error) {
	g.mu.Lock()
	down, turned, h := g.down, g.turned, g.prefer
	g.mu.Unlock()
	if down != nil {
		return nil, down
	}
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	go func() {
		select {
		case <-turned: // somebody found that there is none
			cancel()
		case <-ctx.Done():
		}
	}()
	c, err := g.reach(ctx, h)
	if err != nil && ctx.Err() == nil && len(g.hosts) > 1 {
		c, err = g.race(ctx)
	}
	switch {
	case err == nil:
		return c, nil
	case parent.Err() != nil:
		return nil, parent.Err()
	case refused(err):
		return nil, err
	}
	return nil, g.fall(err)
}

// race asks all hosts at once and takes the first connection to a primary.
func (g *gate) race(ctx context.Context) (*pgconn.PgConn, error) {
	type result struct {
		c   *pgconn.PgConn
		err error
	}
	results := make(chan result, len(g.hosts))
	for _, h := range g.hosts {
		go func() {
			c, err := g.reach(ctx, h)
			results <- result{c, err}
		}()
	}
	var errs []error
	for n := range g.hosts {
		r := <-results
		if r.err != nil {
			errs = append(errs, r.err)
			continue
		}
		go func() {
			for range len(g.hosts) - n - 1 { // there should be none, and none is left open
				if r := <-results; r.c != nil {
					r.c.Close(context.Background())
				}
			}
		}()
		return r.c, nil
	}
	return nil, errors.Join(errs...)
}

// fall notes that the database is away, and has one prober look for it.
func (g *gate) fall(cause error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.down == nil {
		g.counted.losses.Add(1)
		g.down = fmt.Errorf("%w: %w", ErrAway, cause)
		g.turn()
		g.side.stale.Store(true)
		for c := range g.conns { // they may lead to a server that hangs
			c.stale.Store(true)
		}
		if g.ctx.Err() == nil {
			g.work.Go(g.probe)
		}
	}
	return g.down
}

// turn wakes those who wait for a change. The caller holds mu.
func (g *gate) turn() {
	close(g.turned)
	g.turned = make(chan struct{})
}

// probe looks for the primary until it is found.
func (g *gate) probe() {
	for pause := probeFirst; ; pause = min(2*pause, probeLongest) {
		c, err := g.race(g.ctx)
		if err == nil {
			c.Close(g.ctx)
			g.mu.Lock()
			g.down = nil
			g.turn()
			g.mu.Unlock()
			return
		}
		if !sleep(g.ctx, pause/2+rand.N(pause)) {
			return
		}
	}
}

// look keeps Paths true for hosts that nobody dials.
func (g *gate) look() {
	for sleep(g.ctx, pathsEvery) {
		g.mu.Lock()
		prefer := g.prefer
		g.mu.Unlock()
		for _, h := range g.hosts {
			if h == prefer {
				continue
			}
			if c, err := g.reach(g.ctx, h); err == nil {
				c.Close(g.ctx)
			}
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// state returns why the database is away, nil if it is not, and what is closed when that changes.
func (g *gate) state() (down error, turned <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.down, g.turned
}

// wait waits until the database has returned or ctx or the end of patience has come, and reports the former.
func (g *gate) wait(ctx context.Context, until time.Time) bool {
	g.mu.Lock()
	if g.waiting >= patientMax {
		g.mu.Unlock()
		return false
	}
	g.waiting++
	crowd := g.waiting
	g.mu.Unlock()
	defer func() { g.mu.Lock(); g.waiting--; g.mu.Unlock() }()
	end := time.NewTimer(time.Until(until))
	defer end.Stop()
	for {
		down, turned := g.state()
		if down == nil {
			if crowd > wakeFew {
				return sleep(ctx, rand.N(wakeSpread)) && time.Now().Before(until)
			}
			return true
		}
		select {
		case <-turned:
		case <-end.C:
			return false
		case <-ctx.Done():
			return false
		case <-g.ctx.Done():
			return false
		}
	}
}

// watch looks for connections whose answer takes long, and asks on another whether the server lives.
// If not, theirs are cut: who waits on them shall hear.
func (g *gate) watch() {
	for sleep(g.ctx, watchEvery) {
		doubt := false
		for _, c := range g.stuck() {
			if c.stale.Load() {
				c.cutOff()
			} else {
				doubt = true
			}
		}
		if !doubt {
			continue
		}
		ctx, cancel := context.WithTimeout(g.ctx, pingPatience)
		err := g.side.ping(ctx)
		cancel()
		if err == nil || g.ctx.Err() != nil {
			continue
		}
		g.fall(err)
		for _, c := range g.stuck() {
			c.cutOff()
		}
	}
}

// open makes a connection of ours.
func (g *gate) open(ctx context.Context) (*pgConn, error) {
	h, err := g.connect(ctx)
	if err != nil {
		return nil, err
	}
	c := &pgConn{h: h, g: g, stmts: make(map[pgKey]*pgStmt), locks: make(map[string][2]string), laneOf: make(map[int64]int),
		sync: !g.cfg.NoSync, unordered: g.cfg.Unordered}
	c.live.Store(h)
	g.mu.Lock()
	g.conns[c] = struct{}{}
	g.mu.Unlock()
	return c, nil
}

func (g *gate) forget(c *pgConn) {
	g.mu.Lock()
	delete(g.conns, c)
	g.mu.Unlock()
}

// stuck lists the connections that have waited for an answer for suspectAfter.
func (g *gate) stuck() (list []*pgConn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now().UnixNano()
	for c := range g.conns {
		if since := c.since.Load(); since != 0 && now-since > int64(suspectAfter) {
			list = append(list, c)
		}
	}
	return list
}

// Rewound is closed when the database turns out to be in an earlier state than this process has brought it to. Nothing can be written
// any more, and what is in memory may be wrong: end, and start anew. Nil for SQLite.
func (d *DB) Rewound() <-chan struct{} {
	if d.gate == nil {
		return nil
	}
	return d.gate.rewound
}

// Paths lists the ways to the database in the order of the configuration; none for SQLite.
func (d *DB) Paths() []Path {
	if d.gate == nil {
		return nil
	}
	d.gate.mu.Lock()
	defer d.gate.mu.Unlock()
	var list []Path
	for _, h := range d.gate.hosts {
		list = append(list, h.path)
	}
	return list
}

// retry runs once, and again after the database was away, as long as ctx is patient and once has not gone too far.
func (g *gate) retry(ctx context.Context, once func() (final bool, err error)) error {
	var until time.Time
	if d, ok := ctx.Value(patience{}).(time.Duration); ok {
		until = time.Now().Add(d)
	}
	for {
		final, err := once()
		if final || err == nil || !errors.Is(err, ErrAway) || !time.Now().Before(until) || !g.wait(ctx, until) {
			return err
		}
	}
}
