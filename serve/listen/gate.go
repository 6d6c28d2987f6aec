package listen

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"bahnpost/mail"
)

// GateConfig has a working zero value; defaults in brackets.
type GateConfig struct {
	CacheFor                          time.Duration // verified logins remembered [5m]
	CacheSize                         int           // [50000]
	HashConcurrency                   int           // slow hashes at once [GOMAXPROCS: they are pure computing, more at once only cost memory]; others wait up to HashWait
	HashWait                          time.Duration // [10s]; then kind Unavailable
	HashQueue                         int           // logins that wait for a hash at once; more are Unavailable [1000: each holds a session's buffers, some 80 KB, and they would not have their turn within HashWait anyway]
	FailuresPerAccount, FailuresPerIP int           // within Window before answers become AuthThrottled [10, 100]; loopback IPs are not throttled by IP
	Window                            time.Duration // [5m]
	// Mechanisms are the SASL mechanisms to offer, strongest first [all]. A
	// system whose accounts came with foreign hashes has no SCRAM keys until
	// each account has logged in once with PLAIN, and better leaves SCRAM out.
	Mechanisms []string
	// FakeSecret makes the salts of unknown accounts; keep it, so that they
	// stay the same over restarts [random].
	FakeSecret []byte
	Log        *slog.Logger
}

// Defaults of GateConfig.
const (
	DefaultCacheFor           = 5 * time.Minute
	DefaultCacheSize          = 50000
	DefaultHashWait           = 10 * time.Second
	DefaultHashQueue          = 1000
	DefaultFailuresPerAccount = 10
	DefaultFailuresPerIP      = 100
	DefaultWindow             = 5 * time.Minute
)

func (c GateConfig) withDefaults() GateConfig {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	dur := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	dur(&c.CacheFor, DefaultCacheFor)
	dur(&c.HashWait, DefaultHashWait)
	dur(&c.Window, DefaultWindow)
	def(&c.CacheSize, DefaultCacheSize)
	def(&c.HashConcurrency, runtime.GOMAXPROCS(0))
	def(&c.HashQueue, DefaultHashQueue)
	def(&c.FailuresPerAccount, DefaultFailuresPerAccount)
	def(&c.FailuresPerIP, DefaultFailuresPerIP)
	if c.Mechanisms == nil {
		c.Mechanisms = allMechanisms()
	}
	if len(c.FakeSecret) == 0 {
		c.FakeSecret = make([]byte, 32)
		rand.Read(c.FakeSecret)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Gate is the login dialogue shared by all protocols: cache, throttle, bounded hashing, SASL.
//
// A password that was verified in the last minutes is known again without its
// slow hash. What is remembered is HMAC-SHA256 under a key that lives only in
// this process's memory, so a stolen log or database helps nobody; who can
// read the memory of the process could as well watch passwords arrive. A wrong
// password that comes again (a telephone that was not told of the change) is
// remembered too: it costs no hash and does not count as another failure, so
// it does not lock its owner out.
type Gate struct{ gate }

type gate struct {
	dir    Directory
	cfg    GateConfig
	macs   sync.Pool     // *loginMAC
	slots  chan struct{} // slow hashes at once
	queue  atomic.Int64  // logins that wait for a slot
	stats  gateCounters
	byName throttle
	bySite throttle

	scramOff atomic.Bool // see OfferSCRAM

	mu      sync.Mutex
	good    cache[verified]
	changed map[mail.AccountID]uint64 // the era of its last Forget: logins verified before do not hold
	bad     cache[struct{}]
	flights map[loginKey]*flight
	era     uint64 // grows with each Forget: what was verified before must not enter the cache after
}

type loginKey [sha256.Size]byte

// verified is a Login as of an era.
type verified struct {
	Login
	era uint64
}

// flight is a verification under way that others with the same password join.
type flight struct {
	done  chan struct{}
	login Login
	err   error
}

type gateCounters struct {
	hits, verified, failed, throttled, busy atomic.Int64
}

// GateStats are counters since the start.
type GateStats struct {
	CacheHits int64 // passwords known from the last minutes
	Verified  int64 // passwords and SCRAM proofs that were right
	Failed    int64 // that were wrong
	Throttled int64 // not looked at
	Busy      int64 // gave up waiting for a free slot to hash
	Cached    int   // logins remembered now
}

// NewGate returns a Gate over d.
func NewGate(d Directory, cfg GateConfig) *Gate {
	g := new(Gate)
	g.dir, g.cfg = d, cfg.withDefaults()
	key := make([]byte, 32)
	rand.Read(key)
	g.macs.New = func() any { return &loginMAC{h: hmac.New(sha256.New, key)} }
	g.slots = make(chan struct{}, g.cfg.HashConcurrency)
	g.flights = make(map[loginKey]*flight)
	g.changed = make(map[mail.AccountID]uint64)
	g.good.init(g.cfg.CacheSize, g.cfg.CacheFor)
	g.bad.init(g.cfg.CacheSize, g.cfg.Window)
	g.byName.init(g.cfg.FailuresPerAccount, g.cfg.Window)
	g.bySite.init(g.cfg.FailuresPerIP, g.cfg.Window)
	return g
}

// Stats returns the counters.
func (g *Gate) Stats() GateStats {
	g.mu.Lock()
	n := len(g.good.m)
	g.mu.Unlock()
	return GateStats{CacheHits: g.stats.hits.Load(), Verified: g.stats.verified.Load(), Failed: g.stats.failed.Load(),
		Throttled: g.stats.throttled.Load(), Busy: g.stats.busy.Load(), Cached: n}
}

// Errors a client may hear.
var (
	errAuthFailed = &mail.Error{Kind: mail.AuthFailed, Text: "authentication failed"}
	errThrottled  = &mail.Error{Kind: mail.AuthThrottled, Text: "too many failed logins, try again later"}
	errBusy       = &mail.Error{Kind: mail.Unavailable, Text: "too many logins at once, try again later"}
	errNoTLS      = &mail.Error{Kind: mail.Policy, Text: "TLS is required before login"}
)

// maxPassword is far above any real one: hashing is linear in it.
const maxPassword = 1024

// Password verifies LOGIN / USER+PASS. Errors: AuthFailed, AuthThrottled, Disabled, Unavailable, Policy (no TLS), or
// internal. It does not Bind.
func (g *Gate) Password(ctx context.Context, c *Conn, login, password string) (Login, error) {
	if !c.MayLogin() {
		return Login{}, errNoTLS
	}
	if len(login) > maxPassword || len(password) > maxPassword || login == "" || password == "" {
		return Login{}, errAuthFailed
	}
	key := g.keyOf(login, password)
	for {
		g.mu.Lock()
		if l, ok := g.known(key); ok {
			g.mu.Unlock()
			g.stats.hits.Add(1)
			return g.place(ctx, l)
		}
		if _, ok := g.bad.get(key); ok {
			g.mu.Unlock()
			g.fail(c, login, errAuthFailed, "the same wrong password as before")
			return Login{}, errAuthFailed
		}
		if f := g.flights[key]; f != nil {
			g.mu.Unlock()
			select {
			case <-f.done:
			case <-ctx.Done():
				return Login{}, context.Cause(ctx)
			}
			if f.err == nil {
				return g.place(ctx, f.login)
			}
			if errors.Is(f.err, context.Canceled) || errors.Is(f.err, ErrDraining) || errors.Is(f.err, ErrKicked) {
				continue // its session ended, not ours
			}
			return Login{}, f.err
		}
		f := &flight{done: make(chan struct{})}
		g.flights[key] = f
		era := g.era
		g.mu.Unlock()
		return g.fly(ctx, c, f, key, era, login, password)
	}
}

// known returns a login that was verified lately. The caller holds mu.
func (g *Gate) known(key loginKey) (Login, bool) {
	v, ok := g.good.get(key)
	if ok && v.era < g.changed[v.Account] {
		delete(g.good.m, key)
		ok = false
	}
	return v.Login, ok
}

// fly verifies and tells those who joined.
func (g *Gate) fly(ctx context.Context, c *Conn, f *flight, key loginKey, era uint64, login, password string) (Login, error) {
	f.err = errors.New("listen: verification panicked") // for who joined, if it does
	defer func() {
		g.mu.Lock()
		delete(g.flights, key)
		if g.era == era {
			switch {
			case f.err == nil:
				g.good.put(key, verified{f.login, era})
			case mail.KindOf(f.err) == mail.AuthFailed:
				g.bad.put(key, struct{}{})
			}
		}
		g.mu.Unlock()
		close(f.done)
	}()
	f.login, f.err = g.verify(ctx, c, login, password)
	if f.err != nil {
		return Login{}, f.err
	}
	return g.place(ctx, f.login)
}

// verify asks the directory, within the throttle and the bound of hashes.
func (g *Gate) verify(ctx context.Context, c *Conn, login, password string) (Login, error) {
	if err := g.mayTry(c, login); err != nil {
		return Login{}, err
	}
	if err := g.takeSlot(ctx); err != nil {
		return Login{}, err
	}
	defer func() { <-g.slots }()
	// Guesses that waited together must not all be looked at: meanwhile others failed.
	if err := g.mayTry(c, login); err != nil {
		return Login{}, err
	}
	id, addr, err := g.dir.Verify(ctx, login, password)
	if err != nil {
		g.failed(c, login, err)
		return Login{}, err
	}
	g.stats.verified.Add(1)
	g.byName.clear(g.byName.name(login))
	return Login{Account: id, Address: addr}, nil
}

// takeSlot waits for permission to hash. Memory of the hash times slots is the bound.
func (g *Gate) takeSlot(ctx context.Context) error {
	select {
	case g.slots <- struct{}{}:
		return nil
	default:
	}
	defer g.queue.Add(-1)
	if g.queue.Add(1) > int64(g.cfg.HashQueue) {
		g.stats.busy.Add(1)
		return errBusy
	}
	t := time.NewTimer(g.cfg.HashWait)
	defer t.Stop()
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-t.C:
		g.stats.busy.Add(1)
		return errBusy
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// place completes a login with the account's epoch, which may change while the login stays cached.
func (g *Gate) place(ctx context.Context, l Login) (Login, error) {
	p, err := g.dir.Placement(ctx, l.Account)
	if err != nil {
		if mail.KindOf(err) == mail.NoSuchAccount { // removed a moment ago
			return Login{}, errAuthFailed
		}
		return Login{}, err
	}
	l.Epoch = p.Epoch
	return l, nil
}

// mayTry answers AuthThrottled when the name or the client has failed too often.
func (g *Gate) mayTry(c *Conn, login string) error {
	what := ""
	if g.byName.over(g.byName.name(login)) {
		what = "account"
	} else if !c.local() && g.bySite.over(g.bySite.site(c.site)) {
		what = "address"
	}
	if what == "" {
		return nil
	}
	g.stats.throttled.Add(1)
	g.cfg.Log.Info("login throttled", "session", c.ID(), "protocol", c.Protocol(), "remote", c.RemoteIP(), "login", login, "by", what)
	return errThrottled
}

// failed counts and logs a failure; an internal fault counts against nobody.
func (g *Gate) failed(c *Conn, login string, err error) {
	switch mail.KindOf(err) {
	case mail.AuthFailed:
		g.byName.hit(g.byName.name(login))
		if !c.local() {
			g.bySite.hit(g.bySite.site(c.site))
		}
		g.fail(c, login, err, "")
	case mail.Disabled:
		g.fail(c, login, err, "")
	default:
		g.cfg.Log.Error("login could not be verified", "session", c.ID(), "protocol", c.Protocol(), "login", login, "err", err)
	}
}

// fail writes the log line of a refusal. The name is what the client sent:
// people mistake the field and type passwords there, but without the name the
// line would be of no use to whoever helps them.
func (g *Gate) fail(c *Conn, login string, err error, why string) {
	g.stats.failed.Add(1)
	if why == "" {
		var m *mail.Error
		if errors.As(err, &m) {
			why = m.Text
		}
	}
	g.cfg.Log.Info("login failed", "session", c.ID(), "protocol", c.Protocol(), "remote", c.RemoteIP(), "login", login, "reason", why)
}

// Forget drops cached logins of an account after a change of its password or state, of account 0 those of all. Wrong passwords are
// forgotten for all accounts: one of them may be right now. It costs the same however
// many logins are remembered, for an import may change a million accounts.
func (g *Gate) Forget(a mail.AccountID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.era++
	g.changed[a] = g.era
	if a == 0 || len(g.changed) > g.cfg.CacheSize {
		clear(g.good.m)
		clear(g.changed)
	}
	if len(g.bad.m) > 0 {
		clear(g.bad.m)
	}
}

// loginMAC computes keys without allocation.
type loginMAC struct {
	h   hash.Hash
	buf []byte
}

// keyOf is HMAC(process key, len(login) login password).
func (g *Gate) keyOf(login, password string) (k loginKey) {
	m := g.macs.Get().(*loginMAC)
	m.h.Reset()
	m.buf = binary.AppendUvarint(m.buf[:0], uint64(len(login)))
	m.buf = append(append(m.buf, login...), password...)
	m.h.Write(m.buf)
	clear(m.buf) // the password should not lie about
	m.h.Sum(k[:0])
	g.macs.Put(m)
	return k
}
