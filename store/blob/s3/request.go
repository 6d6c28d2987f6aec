package s3

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// request is one call, so that it can be tried more than once.
type request struct {
	method string
	key    string // "": the bucket
	query  string // canonical
	header http.Header
	body   io.ReaderAt
	size   int64  // of body
	sum    string // its SHA-256, hexadecimal
	travel int64  // octets that travel, for the time it may take
	take   func(*http.Response) error
	unsure bool // an attempt may have been carried out without our hearing of it
}

// Error is an answer that says no.
type Error struct {
	Status  int    // of HTTP
	Code    string // of S3, "" if the answer had none
	Message string
	region  string // that the bucket says to be in
	date    time.Time
}

func (e *Error) Error() string {
	s := fmt.Sprintf("s3: %d %s", e.Status, http.StatusText(e.Status))
	if e.Code != "" {
		s += " (" + e.Code
		if e.Message != "" {
			s += ": " + e.Message
		}
		s += ")"
	}
	if e.region != "" {
		s += "; the bucket is in region " + e.region
	}
	return s
}

// verdict is what an attempt's end means for the call.
type verdict int

const (
	done    verdict = iota // an answer, whatever it says
	broken                 // the way failed: another attempt, the breaker counts
	busy                   // the server asks for patience: another attempt, later
	refused                // bucket or credentials are not what they should be: no attempt helps, the breaker counts
	adapted                // we have learnt something: another attempt at once
)

// do tries r until it is answered, patience ends, or nobody is left to ask.
func (c *Client) do(ctx context.Context, slots chan struct{}, r *request) error {
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	until := time.Now().Add(c.cfg.Patience + travelTime(r.travel))
	tried := make(map[*endpoint]bool, len(c.endpoints))
	var last error
	for attempt := 1; ; attempt++ {
		e, fresh := c.pick(tried)
		if e == nil && c.justLost() && time.Now().Before(until) {
			if !sleep(ctx, jitter(firstProbe)) {
				return ctx.Err()
			}
			attempt--
			continue
		}
		if e == nil {
			return c.away(errors.Join(last, c.causeUnless(last)))
		}
		tried[e] = true
		start := time.Now()
		limit, cancel := c.watch(ctx, e, travelTime(r.travel))
		err := c.try(limit, e, r)
		cancel()
		if err != nil && ctx.Err() != nil {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) && time.Since(start) > c.cfg.Timeout/2 {
				c.failed(e, err)
			}
			return ctx.Err() // else the caller's end says nothing of the endpoint
		}
		v := c.judge(r, err)
		switch v {
		case done:
			e.answered(time.Since(start))
			return err
		case broken, refused:
			c.failed(e, err)
		case busy:
			c.stats.busy.Add(1)
		}
		last = err
		if v == refused || attempt >= c.cfg.Attempts || time.Now().After(until) {
			return c.away(last)
		}
		if v == adapted || v == broken && fresh && len(c.endpoints) > len(tried) {
			continue
		}
		if !sleep(ctx, jitter(min(firstPause<<(attempt-1), maxPause))) {
			return ctx.Err()
		}
	}
}

func (c *Client) causeUnless(err error) error {
	if err != nil {
		return nil
	}
	return c.cause()
}

func (c *Client) away(err error) error {
	c.stats.away.Add(1)
	return fmt.Errorf("%w: %w", ErrAway, err)
}

func travelTime(n int64) time.Duration {
	return time.Duration(n) * time.Second / minRate
}

// payload is the body of one attempt.
type payload struct {
	*io.SectionReader
	once    sync.Once
	sending *sync.WaitGroup
}

func newPayload(r *request, sending *sync.WaitGroup) *payload {
	sending.Add(1)
	return &payload{SectionReader: io.NewSectionReader(r.body, 0, r.size), sending: sending}
}

func (p *payload) Close() error {
	p.once.Do(p.sending.Done)
	return nil
}

// try sends r to e once and has the answer taken. When it returns, nobody reads r.body any more: a
// transport may do so for a while after it has answered.
func (c *Client) try(ctx context.Context, e *endpoint, r *request) error {
	var sending sync.WaitGroup
	defer sending.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	host, path := e.url.Host, ""
	if c.cfg.HostStyle {
		host = c.cfg.Bucket + "." + host
	} else {
		path = "/" + c.cfg.Bucket
	}
	path += "/" + r.key
	escaped := escape(path, true)
	u := &url.URL{Scheme: e.url.Scheme, Host: host, Path: path, RawPath: escaped, RawQuery: r.query}
	q := &http.Request{Method: r.method, URL: u, Host: host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}}
	for k, v := range r.header {
		q.Header[k] = v
	}
	sum := emptySum
	if r.body != nil {
		sum = r.sum
		q.ContentLength = r.size
		q.GetBody = func() (io.ReadCloser, error) { return newPayload(r, &sending), nil }
		q.Body, _ = q.GetBody()
	}
	sign(q.Header, c.keys.get(), r.method, host, escaped, r.query, c.cfg.Region, sum, time.Now().Add(time.Duration(c.skew.Load())))
	q.Header.Set("User-Agent", "bahnpost")
	a, err := c.transport.RoundTrip(q.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("s3: %s: %w", e.url.Host, plainly(err))
	}
	defer a.Body.Close()
	if a.StatusCode/100 != 2 {
		return refusal(a)
	}
	if err := r.take(a); err != nil {
		return fmt.Errorf("s3: %s: %w", e.url.Host, err)
	}
	return nil
}

// plainly says what a timeout was.
func plainly(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) { // the caller's end is told by his context
		return errors.New("no answer in time")
	}
	return err
}

const (
	maxRefusal = 64 << 10
	maxMessage = 200
)

// refusal reads an answer that says no.
func refusal(a *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(a.Body, maxRefusal))
	e := parseRefusal(b)
	e.Status = a.StatusCode
	e.date, _ = http.ParseTime(a.Header.Get("Date"))
	e.region = a.Header.Get("X-Amz-Bucket-Region")
	return e
}

func parseRefusal(b []byte) *Error {
	var x struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}
	if xml.Unmarshal(b, &x) != nil {
		return &Error{}
	}
	return &Error{Code: printable(x.Code), Message: printable(x.Message)}
}

// printable makes foreign text fit for a log line.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "")
	}
	return s
}

// errShort says that an answer ended before its time.
var errShort = errors.New("answer cut short")

// judge decides what follows from an attempt's end.
func (c *Client) judge(r *request, err error) verdict {
	if err == nil {
		return done
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		if errors.Is(err, ErrRange) || errors.Is(err, errForeign) {
			return done
		}
		r.unsure = true
		return broken
	}
	switch e.Code {
	case "NoSuchKey":
		return done
	case "AuthorizationHeaderMalformed", "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestTimeTooSkewed":
		return c.turnedAway(err) // some of them with status 400
	case "SlowDown", "ServiceUnavailable", "ConditionalRequestConflict", "OperationAborted":
		return busy
	case "RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", "InternalError":
		r.unsure = true
		return broken
	}
	switch e.Status {
	case http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
		return done
	case http.StatusTooManyRequests, http.StatusConflict:
		return busy
	case http.StatusNotImplemented:
		if r.header.Get("If-None-Match") != "" && !c.plain.Swap(true) {
			c.cfg.Log.Warn("S3 does not know If-None-Match; objects are put without it", "bucket", c.cfg.Bucket)
		}
		if r.header.Get("If-None-Match") != "" {
			r.header.Del("If-None-Match")
			return adapted
		}
		return done
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMovedPermanently, http.StatusTemporaryRedirect:
		// Clock, key, bucket, region. A 404 without NoSuchKey is a proxy's or another server's and no word about the object.
		return c.turnedAway(err)
	}
	if e.Status/100 == 5 {
		r.unsure = true
		return broken
	}
	return done
}

func (c *Client) turnedAway(err error) verdict {
	if c.adapt(err) {
		return adapted
	}
	return refused
}

// adapt learns the server's time or new credentials from a refusal; true: something is other than before.
func (c *Client) adapt(err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return false
	}
	if e.Code == "RequestTimeTooSkewed" {
		return c.setClock(e.date)
	}
	changed, err := c.keys.load()
	if err != nil {
		c.cfg.Log.Warn("cannot read the credentials of S3", "bucket", c.cfg.Bucket, "err", err)
	}
	return changed
}

// smallSkew is less than what a signature may be off (15 minutes).
const smallSkew = time.Minute

// setClock makes signatures bear the server's time.
func (c *Client) setClock(server time.Time) bool {
	if server.IsZero() {
		return false
	}
	skew := time.Until(server)
	if d := skew - time.Duration(c.skew.Load()); d.Abs() < smallSkew {
		return false
	}
	c.skew.Store(int64(skew))
	c.cfg.Log.Warn("our clock and S3's differ; requests are signed with S3's time", "bucket", c.cfg.Bucket, "ahead", skew.Round(time.Second))
	return true
}
