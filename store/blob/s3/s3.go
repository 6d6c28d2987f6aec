// Package s3 speaks the little of S3 that a store of bodies needs: PUT that
// never overwrites, ranged GET, DELETE of one and of many, ListObjectsV2.
// It knows nothing of mail or of what is in the objects.
//
// Several endpoints may lead to the same bucket. Each has a circuit breaker: after
// a few failures in a row, or when a probe beside a slow request is not answered either, nothing is sent there
// until a lone prober has got an answer; what was under way is given up. When none is left a call fails at once with ErrAway. Otherwise a call
// is tried a few times, with growing, jittered pauses, within Config.Patience.
//
// Put is durable when it returns nil. It may be repeated: a PUT whose answer was lost
// and whose repetition meets the object (412) has succeeded. After an error it is not
// known whether the object is there, and a late copy of the request may still bring it.
//
// All of Client is safe for concurrent use. Credentials are in no log and no error.
// The signature is AWS Signature Version 4; payloads are always signed, so that the
// server refuses what was damaged on the way.
package s3

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrAway says that S3 does not answer, or refuses everybody (bucket, credentials): try later.
	ErrAway = errors.New("s3: away")
	// ErrExists is Put's answer for a key that is taken.
	ErrExists = errors.New("s3: object exists")
	// ErrRange says that an object ends before the range that was asked for.
	ErrRange = errors.New("s3: range beyond the end of the object")
)

// Defaults of Config.
const (
	defaultRegion   = "us-east-1"
	defaultTimeout  = 5 * time.Second
	defaultPatience = 10 * time.Second
	defaultAttempts = 5
	defaultRequests = 64

	dialTimeout  = 2 * time.Second
	probeTimeout = 2 * time.Second
	suspectAfter = time.Second // an attempt as old makes a probe ask whether anybody is there
	minRate      = 256 << 10   // octets a second below which a transfer is given up
	idleTimeout  = 60 * time.Second
	breakAfter   = 3                      // failures in a row
	restartTime  = 500 * time.Millisecond // after a loss, in which calls wait for the prober
	firstPause   = 50 * time.Millisecond
	maxPause     = time.Second
	firstProbe   = 100 * time.Millisecond
	maxProbe     = 2 * time.Second
	maxAnswer    = 4 << 20 // octets of XML: a page of 1,000 keys has some 300 KB
	deleteMost   = 1000    // keys of one request, S3's limit
)

// Config says where a bucket is. The zero value of a field means the default in brackets.
type Config struct {
	Bucket      string
	Prefix      string        // of all keys, without slashes at its ends
	Endpoints   []string      // URLs that all lead to the bucket [AWS's for Region]
	Region      string        // [$AWS_REGION, us-east-1]
	HostStyle   bool          // bucket in the host's name instead of the path [only at AWS]
	Credentials string        // file in the form of ~/.aws/credentials [the environment: AWS_ACCESS_KEY_ID …]
	Profile     string        // section of that file [default]
	CA          string        // PEM file of authorities to trust besides the system's
	Timeout     time.Duration // for an answer to begin, beyond what its octets need at 256 KiB/s [5 s]
	Patience    time.Duration // no attempt begins later than this after the call [10 s]
	Attempts    int           // of one call [5]
	Requests    int           // at once, for reading and for all else each [64]
	Log         *slog.Logger  // a path lost, a path back [slog.Default]
}

// Client is an open bucket.
type Client struct {
	cfg       Config
	endpoints []*endpoint
	next      atomic.Uint32 // round robin
	transport *http.Transport
	reads     chan struct{}
	writes    chan struct{}
	skew      atomic.Int64 // nanoseconds that the server's clock is ahead of ours
	plain     atomic.Bool  // the server does not know If-None-Match
	keys      keyring
	stats     counters
	ctx       context.Context
	stop      context.CancelFunc
	probes    sync.WaitGroup
}

// Open prepares a client. It asks nothing of the network: a node starts also while S3 is away.
func Open(cfg Config) (*Client, error) {
	cfg.Region = cmp.Or(cfg.Region, os.Getenv("AWS_REGION"), defaultRegion)
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	cfg.Patience = cmp.Or(cfg.Patience, defaultPatience)
	cfg.Attempts = cmp.Or(cfg.Attempts, defaultAttempts)
	cfg.Requests = cmp.Or(cfg.Requests, defaultRequests)
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	cfg.Prefix = strings.Trim(cfg.Prefix, "/")
	if cfg.Bucket == "" {
		return nil, errors.New("s3: no bucket")
	}
	if len(cfg.Endpoints) == 0 {
		cfg.Endpoints, cfg.HostStyle = []string{"https://s3." + cfg.Region + ".amazonaws.com"}, true
	}
	c := &Client{cfg: cfg, reads: make(chan struct{}, cfg.Requests), writes: make(chan struct{}, cfg.Requests)}
	for _, s := range cfg.Endpoints {
		u, err := endpointURL(s)
		if err != nil {
			return nil, err
		}
		c.endpoints = append(c.endpoints, newEndpoint(u))
	}
	c.keys = keyring{file: cfg.Credentials, profile: cmp.Or(cfg.Profile, "default")}
	if _, err := c.keys.load(); err != nil {
		return nil, err
	}
	roots, err := authorities(cfg.CA)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}}
	c.transport = &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: dialTimeout,
		MaxIdleConnsPerHost: 2 * cfg.Requests,
		IdleConnTimeout:     idleTimeout,
		DisableCompression:  true,
		WriteBufferSize:     64 << 10,
		ReadBufferSize:      64 << 10,
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c, nil
}

// endpointURL takes "https://host:port" or "host:port".
func endpointURL(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("s3: an endpoint is https://host[:port] or http://host[:port]")
	}
	if u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("s3: endpoint %s: nothing may follow host and port, and credentials are not part of it", u.Host)
	}
	u.Path = ""
	return u, nil
}

func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("s3: authorities: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("s3: authorities: %s has no certificate", file)
	}
	return pool, nil
}

// String is the bucket for people: no endpoint, no secret.
func (c *Client) String() string {
	if c.cfg.Prefix == "" {
		return "s3://" + c.cfg.Bucket
	}
	return "s3://" + c.cfg.Bucket + "/" + c.cfg.Prefix
}

// Close ends the probers and the idle connections. Calls still work, so that who reads can finish.
func (c *Client) Close() {
	c.stop()
	c.probes.Wait()
	c.transport.CloseIdleConnections()
}

// Stats are counters since Open, for metrics.
type Stats struct {
	Puts, Gets, Deletes, Lists int64 // calls
	Faults                     int64 // attempts that failed on their way
	Busy                       int64 // times the server asked for patience
	Away                       int64 // calls that failed because no endpoint answered
}

type counters struct{ puts, gets, deletes, lists, faults, busy, away atomic.Int64 }

// Stats returns the counters; cheap.
func (c *Client) Stats() Stats {
	s := &c.stats
	return Stats{s.puts.Load(), s.gets.Load(), s.deletes.Load(), s.lists.Load(), s.faults.Load(), s.busy.Load(), s.away.Load()}
}

func missing(key string) error { return fmt.Errorf("s3: %s: %w", key, fs.ErrNotExist) }
