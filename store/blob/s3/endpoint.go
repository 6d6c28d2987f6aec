package s3

import (
	"context"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"
)

// endpoint is one way to the bucket, and its circuit breaker.
type endpoint struct {
	url *url.URL

	mu      sync.Mutex
	fails   int       // in a row
	open    bool      // the breaker: nothing is sent but a probe
	since   time.Time // of open
	err     error     // the last failure
	errAt   time.Time
	latency time.Duration // of an attempt that was answered, a sliding mean
	asking  bool          // a request is slow, and a probe asks whether the server is there at all
	alive   context.Context
	cut     context.CancelFunc // ends alive when the breaker opens: what is under way is given up
}

func newEndpoint(u *url.URL) *endpoint {
	e := &endpoint{url: u, since: time.Now()}
	e.alive, e.cut = context.WithCancel(context.Background())
	return e
}

// Path is what is known of an endpoint, for doctor and metrics.
type Path struct {
	Name    string // host and port
	Up      bool
	Since   time.Time // it is up or down
	Err     string    // the last failure, also of one that is up again; "" if there was none
	ErrTime time.Time
	Latency time.Duration // of an attempt that was answered, a sliding mean
}

// Paths tells of all endpoints.
func (c *Client) Paths() []Path {
	var out []Path
	for _, e := range c.endpoints {
		e.mu.Lock()
		p := Path{Name: e.url.Host, Up: !e.open, Since: e.since, ErrTime: e.errAt, Latency: e.latency}
		if e.err != nil {
			p.Err = e.err.Error()
		}
		e.mu.Unlock()
		out = append(out, p)
	}
	return out
}

// pick chooses the next endpoint whose breaker is closed, one that is not in tried if there is one; nil: none.
func (c *Client) pick(tried map[*endpoint]bool) (e *endpoint, fresh bool) {
	at := int(c.next.Add(1))
	for i := range c.endpoints {
		x := c.endpoints[(at+i)%len(c.endpoints)]
		x.mu.Lock()
		open := x.open
		x.mu.Unlock()
		switch {
		case open:
		case !tried[x]:
			return x, true
		case e == nil:
			e = x
		}
	}
	return e, false
}

// justLost reports whether an endpoint was up a moment ago: a server that was started again cuts all connections at once, and
// nobody shall fail for it.
func (c *Client) justLost() bool {
	for _, e := range c.endpoints {
		e.mu.Lock()
		since := e.since
		e.mu.Unlock()
		if time.Since(since) < restartTime {
			return true
		}
	}
	return false
}

// cause is why nothing is up.
func (c *Client) cause() (err error) {
	var last time.Time
	for _, e := range c.endpoints {
		e.mu.Lock()
		if e.err != nil && e.errAt.After(last) {
			err, last = e.err, e.errAt
		}
		e.mu.Unlock()
	}
	return err
}

const meanOver = 16 // answers in the mean latency

// answered is told of each answer, good or not, that shows the way is there.
func (e *endpoint) answered(after time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fails = 0
	if e.latency == 0 {
		e.latency = after
	}
	e.latency += (after - e.latency) / meanOver
}

// failed counts a failure and opens the breaker when there were enough in a row.
func (c *Client) failed(e *endpoint, err error) {
	c.stats.faults.Add(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fails++
	e.err, e.errAt = err, time.Now()
	if e.fails >= breakAfter {
		c.lose(e)
	}
}

// lose opens the breaker and starts the prober. e.mu is held.
func (c *Client) lose(e *endpoint) {
	if e.open || c.ctx.Err() != nil {
		return
	}
	e.open, e.since = true, time.Now()
	e.cut()
	c.cfg.Log.Warn("path to S3 lost", "endpoint", e.url.Host, "bucket", c.cfg.Bucket, "err", e.err)
	c.probes.Go(func() { c.probe(e) })
}

// suspect asks whether a server that is slow with a request answers anybody. If not, it is lost.
func (c *Client) suspect(e *endpoint) {
	e.mu.Lock()
	if e.asking || e.open || c.ctx.Err() != nil {
		e.mu.Unlock()
		return
	}
	e.asking = true
	c.probes.Add(1)
	e.mu.Unlock()
	defer c.probes.Done()
	err := c.ask(e)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asking = false
	if err != nil && c.ctx.Err() == nil {
		e.err, e.errAt = err, time.Now()
		c.lose(e)
	}
}

// ask is one probe: the smallest listing.
func (c *Client) ask(e *endpoint) error {
	ctx, cancel := context.WithTimeout(c.ctx, probeTimeout)
	defer cancel()
	return c.try(ctx, e, c.listing(c.path(""), "", 1, drain))
}

// probe asks until there is an answer; then the breaker closes.
func (c *Client) probe(e *endpoint) {
	for pause := firstProbe; ; pause = min(pause*3/2, maxProbe) {
		if !sleep(c.ctx, jitter(pause)) {
			return
		}
		start := time.Now()
		err := c.ask(e)
		e.mu.Lock()
		if err == nil {
			down := time.Since(e.since)
			e.open, e.fails, e.since, e.latency = false, 0, time.Now(), time.Since(start)
			e.alive, e.cut = context.WithCancel(context.Background())
			e.mu.Unlock()
			c.cfg.Log.Info("path to S3 is back", "endpoint", e.url.Host, "bucket", c.cfg.Bucket, "down", down.Round(time.Millisecond))
			return
		}
		if c.ctx.Err() == nil {
			e.err, e.errAt = err, time.Now()
		}
		e.mu.Unlock()
		c.adapt(err)
	}
}

// watch bounds an attempt: by time, by the breaker, and by a second look when it is slow.
func (c *Client) watch(ctx context.Context, e *endpoint, travel time.Duration) (context.Context, context.CancelFunc) {
	e.mu.Lock()
	alive := e.alive
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout+travel)
	unlink := context.AfterFunc(alive, cancel)
	slow := time.AfterFunc(suspectAfter, func() { c.suspect(e) })
	return ctx, func() {
		slow.Stop()
		unlink()
		cancel()
	}
}

// jitter spreads d over half to one and a half of it.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// sleep reports whether d passed before ctx ended.
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
