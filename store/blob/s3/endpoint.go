package s3

import (
	"context"
	"math/rand/v2"
	"net/http"
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
	e.fails++
	e.err, e.errAt = err, time.Now()
	opens := e.fails >= breakAfter && !e.open && c.ctx.Err() == nil
	if opens {
		e.open, e.since = true, time.Now()
		c.probes.Add(1)
	}
	e.mu.Unlock()
	if opens {
		c.cfg.Log.Warn("path to S3 lost", "endpoint", e.url.Host, "bucket", c.cfg.Bucket, "err", err)
		go c.probe(e)
	}
}

// probe asks until there is an answer; then the breaker closes.
func (c *Client) probe(e *endpoint) {
	defer c.probes.Done()
	for pause := firstProbe; ; pause = min(pause*3/2, maxProbe) {
		if !sleep(c.ctx, jitter(pause)) {
			return
		}
		ctx, cancel := context.WithTimeout(c.ctx, probeTimeout)
		start := time.Now()
		err := c.try(ctx, e, c.listing("", "", 1, func(*http.Response) error { return nil }))
		cancel()
		e.mu.Lock()
		if err == nil {
			down := time.Since(e.since)
			e.open, e.fails, e.since, e.latency = false, 0, time.Now(), time.Since(start)
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
