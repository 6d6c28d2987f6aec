package s3_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bahnpost/store/blob/s3"
	"bahnpost/store/blob/s3/s3test"
)

func open(t *testing.T, url string, change ...func(*s3.Config)) *s3.Client {
	t.Helper()
	cfg, err := s3.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	for _, f := range change {
		f(&cfg)
	}
	c, err := s3.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func put(c *s3.Client, key, body string, fresh bool) error {
	return c.Put(context.Background(), key, strings.NewReader(body), int64(len(body)), sha256.Sum256([]byte(body)), fresh)
}

func get(c *s3.Client, key string, off int64, n int) (string, int64, error) {
	b := make([]byte, n)
	total, err := c.Get(context.Background(), key, off, b)
	return string(b), total, err
}

func want(t *testing.T, c *s3.Client, key, body string) {
	t.Helper()
	got, total, err := get(c, key, 0, len(body))
	if err != nil || got != body || total != int64(len(body)) {
		t.Fatalf("%s = %q of %d, %v; want %q", key, got, total, err, body)
	}
}

func TestClient(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	c := open(t, s.URL())
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := put(c, "ab/x", "hello, world", true); err != nil {
		t.Fatal(err)
	}
	want(t, c, "ab/x", "hello, world")
	if err := put(c, "ab/x", "another", true); !errors.Is(err, s3.ErrExists) {
		t.Errorf("Put on a key that is taken: %v", err)
	}
	want(t, c, "ab/x", "hello, world")
	if got, total, err := get(c, "ab/x", 7, 5); got != "world" || total != 12 || err != nil {
		t.Errorf("range: %q of %d, %v", got, total, err)
	}
	for _, off := range []int64{8, 12, 100} {
		if _, _, err := get(c, "ab/x", off, 5); !errors.Is(err, s3.ErrRange) {
			t.Errorf("range from %d beyond the end: %v", off, err)
		}
	}
	if _, _, err := get(c, "ab/y", 0, 1); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, s3.ErrAway) {
		t.Errorf("missing object: %v", err)
	}
	if err := put(c, "ab/x", "another", false); err != nil {
		t.Fatal(err)
	}
	want(t, c, "ab/x", "another")
	var keys []string
	for i := range 1103 { // more than a page
		keys = append(keys, fmt.Sprintf("cd/%04d", i))
		if err := put(c, keys[i], fmt.Sprint(i), true); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for o, err := range c.List(t.Context(), "cd/") {
		if err != nil || o.Key != keys[n] || o.Size != int64(len(fmt.Sprint(n))) || o.Age < -time.Second || o.Age > time.Hour {
			t.Fatalf("listing: %+v, %v", o, err)
		}
		n++
	}
	if n != len(keys) {
		t.Errorf("%d keys listed, %d put", n, len(keys))
	}
	if err := c.Delete(t.Context(), append(keys, "never/was")...); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), "ab/x"); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), "ab/x"); err != nil {
		t.Error("deleting twice:", err)
	}
	for o, err := range c.List(t.Context(), "") {
		t.Error("left:", o, err)
	}
}

// A fault proxy fails the first n requests of a method in one way; what was asked must be done nevertheless.
func TestFaults(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	for _, x := range []struct {
		name  string
		fault func(w http.ResponseWriter, r *http.Request, pass func() *httptest.ResponseRecorder) bool
	}{
		{"dropped", func(http.ResponseWriter, *http.Request, func() *httptest.ResponseRecorder) bool {
			s3test.Drop()
			return true
		}},
		{"answer lost", func(_ http.ResponseWriter, _ *http.Request, pass func() *httptest.ResponseRecorder) bool {
			pass()
			s3test.Drop()
			return true
		}},
		{"SlowDown", func(w http.ResponseWriter, _ *http.Request, _ func() *httptest.ResponseRecorder) bool {
			w.WriteHeader(503)
			w.Write([]byte("<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"))
			return true
		}},
		{"500 after it was done", func(w http.ResponseWriter, _ *http.Request, pass func() *httptest.ResponseRecorder) bool {
			pass()
			w.WriteHeader(500)
			w.Write([]byte("<Error><Code>InternalError</Code></Error>"))
			return true
		}},
		{"502 of a proxy", func(w http.ResponseWriter, _ *http.Request, _ func() *httptest.ResponseRecorder) bool {
			w.WriteHeader(502)
			w.Write([]byte("<html><body>Bad Gateway"))
			return true
		}},
		{"answer hangs", func(_ http.ResponseWriter, r *http.Request, pass func() *httptest.ResponseRecorder) bool {
			pass()
			<-r.Context().Done()
			return true
		}},
		{"cut short", func(w http.ResponseWriter, _ *http.Request, pass func() *httptest.ResponseRecorder) bool {
			a := pass()
			for k, v := range a.Header() {
				w.Header()[k] = v
			}
			w.Header().Set("Content-Length", fmt.Sprint(a.Body.Len()+5))
			w.WriteHeader(a.Code)
			w.Write(a.Body.Bytes())
			return true
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			var left atomic.Int64
			p := s.Proxy(func(w http.ResponseWriter, r *http.Request, pass func() *httptest.ResponseRecorder) bool {
				return left.Add(-1) >= 0 && x.fault(w, r, pass)
			})
			c := open(t, s.URL(p.URL), func(cfg *s3.Config) { cfg.Timeout = 700 * time.Millisecond })
			key := "faults/" + strings.ReplaceAll(x.name, " ", "-")
			for n := range int64(3) {
				key := fmt.Sprint(key, n)
				left.Store(n)
				if err := put(c, key, "some octets", true); err != nil {
					t.Fatalf("Put after %d faults: %v", n, err)
				}
				left.Store(n)
				want(t, c, key, "some octets")
				left.Store(n)
				seen := 0
				for o, err := range c.List(t.Context(), key) {
					if err != nil || o.Key != key {
						t.Fatal(o, err)
					}
					seen++
				}
				left.Store(n)
				if err := c.Delete(t.Context(), key, key+"x"); err != nil || seen != 1 {
					t.Fatal(seen, err)
				}
				left.Store(n)
				if _, _, err := get(c, key, 0, 1); !errors.Is(err, fs.ErrNotExist) {
					t.Fatalf("deleted object: %v", err)
				}
			}
		})
	}
}

// What was damaged on its way there is refused by the server and sent again.
func TestDamagedUpload(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	var puts atomic.Int64
	p := s.Proxy(func(_ http.ResponseWriter, r *http.Request, _ func() *httptest.ResponseRecorder) bool {
		if r.Method == "PUT" && puts.Add(1) <= 2 {
			r.Body = readCloser{bytes.NewReader([]byte("some 0ctets"))}
		}
		return false
	})
	c := open(t, s.URL(p.URL))
	if err := put(c, "x", "some octets", true); err != nil {
		t.Fatal(err)
	}
	want(t, c, "x", "some octets")
	if puts.Load() != 3 {
		t.Errorf("%d puts, want 3", puts.Load())
	}
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// The server is gone: calls fail, then fail at once, and work again by themselves when it is back.
func TestBreaker(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	c := open(t, s.URL())
	if err := put(c, "x", "1", true); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	if err := put(c, "y", "2", true); !errors.Is(err, s3.ErrAway) {
		t.Fatalf("Put with S3 gone: %v", err)
	}
	before := c.Stats().Faults
	for range 100 {
		if _, _, err := get(c, "x", 0, 1); !errors.Is(err, s3.ErrAway) || errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("Get with S3 gone: %v", err)
		}
	}
	if n := c.Stats().Faults - before; n > 0 {
		t.Errorf("the breaker is open and %d requests were sent", n)
	}
	if p := c.Paths(); len(p) != 1 || p[0].Up || p[0].Err == "" || strings.Contains(p[0].Err, "only-for-tests") {
		t.Errorf("%+v", p)
	}
	s.Run()
	back(t, c)
	want(t, c, "x", "1")
}

// back waits until all paths are up.
func back(t *testing.T, c *s3.Client) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		up := 0
		for _, p := range c.Paths() {
			if p.Up {
				up++
			}
		}
		if up == len(c.Paths()) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%+v", c.Paths())
		}
	}
}

// A server that hangs (SIGSTOP) is as good as gone, and so is one that accepts and never reads (half open).
func TestHangs(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	c := open(t, s.URL(), func(cfg *s3.Config) { cfg.Timeout = 500 * time.Millisecond })
	s.Pause()
	if err := put(c, "x", "1", true); !errors.Is(err, s3.ErrAway) {
		t.Fatal(err)
	}
	s.Resume()
	back(t, c)
	if err := put(c, "x", "1", true); err != nil && !errors.Is(err, s3.ErrExists) { // a late attempt may have come through
		t.Fatal(err)
	}
	want(t, c, "x", "1")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	two := open(t, s.URL("http://"+l.Addr().String(), s.Endpoint), func(cfg *s3.Config) { cfg.Timeout = 500 * time.Millisecond })
	body := strings.Repeat("x", 1<<20)
	for i := range 10 {
		if err := put(two, fmt.Sprint("two/", i), body, true); err != nil {
			t.Fatal(err)
		}
	}
	if p := two.Paths(); p[0].Up || !p[1].Up {
		t.Errorf("%+v", p)
	}
}

// All connections are cut at once, again and again, as when a server or a load balancer is started again: no call fails.
func TestConnectionsCut(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	p := s.Proxy(nil)
	c := open(t, s.URL(p.URL))
	var n atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for g := range 32 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := put(c, fmt.Sprint(g, "/", i), "some octets", true); err != nil {
					t.Error(err)
					return
				}
				n.Add(1)
			}
		})
	}
	for range 5 {
		for before := n.Load(); n.Load() < before+100 && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
		p.CloseClientConnections()
	}
	close(stop)
	wg.Wait()
	if c.Stats().Faults == 0 {
		t.Error("nothing was cut")
	}
}

// A server that is slow with one request, but there, is waited for.
func TestSlow(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	p := s.Proxy(func(_ http.ResponseWriter, r *http.Request, _ func() *httptest.ResponseRecorder) bool {
		if r.Method == "PUT" {
			time.Sleep(2500 * time.Millisecond)
		}
		return false
	})
	c := open(t, s.URL(p.URL))
	if err := put(c, "x", "1", true); err != nil {
		t.Fatal(err)
	}
	if st, p := c.Stats(), c.Paths(); st.Faults != 0 || !p[0].Up {
		t.Errorf("%+v, %+v", st, p)
	}
}

// A server with a certificate of one's own: it is trusted if the configuration names it, else not.
func TestAuthority(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	p := s.Proxy(nil)
	to := httptest.NewTLSServer(p.Config.Handler)
	defer to.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: to.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	trusting := open(t, s.URL(to.URL), func(cfg *s3.Config) { cfg.CA = file })
	if err := put(trusting, "x", "1", true); err != nil {
		t.Fatal(err)
	}
	want(t, trusting, "x", "1")
	if err := put(open(t, s.URL(to.URL)), "y", "1", true); !errors.Is(err, s3.ErrAway) || !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
}

// Of two endpoints one dies under load: no call fails.
func TestTwoEndpoints(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	a, b := s.Proxy(nil), s.Proxy(nil)
	c := open(t, s.URL(a.URL, b.URL))
	for i := range 30 {
		if i == 10 {
			a.CloseClientConnections()
			a.Close()
		}
		if err := put(c, fmt.Sprint(i), "x", true); err != nil {
			t.Fatal(err)
		}
		want(t, c, fmt.Sprint(i), "x")
	}
	if p := c.Paths(); p[0].Up || !p[1].Up {
		t.Errorf("%+v", p)
	}
}

// A bucket that is gone is no answer about an object.
func TestBucketGone(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	c := open(t, s.URL())
	if err := put(c, "x", "1", true); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(s.Dir, s3test.Bucket)
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := get(c, "x", 0, 1); !errors.Is(err, s3.ErrAway) || errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Get without a bucket: %v", err)
	}
	if err := put(c, "y", "1", true); !errors.Is(err, s3.ErrAway) {
		t.Fatalf("Put without a bucket: %v", err)
	}
	if err := c.Ready(t.Context()); !errors.Is(err, s3.ErrAway) || !strings.Contains(err.Error(), "NoSuchBucket") {
		t.Fatal(err)
	}
	if err := os.Rename(dir+"-away", dir); err != nil {
		t.Fatal(err)
	}
	back(t, c)
	want(t, c, "x", "1")
}

// Somebody else's 404 (a proxy, a web server) is none either.
func TestForeign404(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	p := s.Proxy(func(w http.ResponseWriter, r *http.Request, _ func() *httptest.ResponseRecorder) bool {
		http.NotFound(w, r)
		return true
	})
	c := open(t, s.URL(p.URL))
	if _, _, err := get(c, "x", 0, 1); !errors.Is(err, s3.ErrAway) || errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

// The server's clock is an hour ahead, and it says so.
func TestWrongClock(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	var ok, refused atomic.Int64
	p := s.Proxy(func(w http.ResponseWriter, r *http.Request, _ func() *httptest.ResponseRecorder) bool {
		now := time.Now().Add(time.Hour)
		at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if d := now.Sub(at); err == nil && d.Abs() < 15*time.Minute {
			ok.Add(1)
			w.Header().Set("Content-Range", "bytes 0-0/1")
			w.WriteHeader(http.StatusPartialContent)
			w.Write([]byte("1"))
			return true
		}
		refused.Add(1)
		w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusForbidden)
		w.Write([]byte("<Error><Code>RequestTimeTooSkewed</Code></Error>"))
		return true
	})
	c := open(t, s.URL(p.URL))
	for range 3 {
		want(t, c, "x", "1")
	}
	if ok.Load() != 3 || refused.Load() != 1 {
		t.Errorf("%d requests in time, %d refused; want 3 and 1", ok.Load(), refused.Load())
	}
}

// A server that does not know conditional puts gets plain ones.
func TestWithoutConditions(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	var refused atomic.Int64
	p := s.Proxy(func(w http.ResponseWriter, r *http.Request, _ func() *httptest.ResponseRecorder) bool {
		if r.Header.Get("If-None-Match") == "" {
			return false
		}
		refused.Add(1)
		w.WriteHeader(http.StatusNotImplemented)
		w.Write([]byte("<Error><Code>NotImplemented</Code></Error>"))
		return true
	})
	c := open(t, s.URL(p.URL))
	for i := range 3 {
		if err := put(c, fmt.Sprint(i), "x", true); err != nil {
			t.Fatal(err)
		}
	}
	if refused.Load() != 1 {
		t.Errorf("refused %d times, want once", refused.Load())
	}
}

// Credentials that were renewed in their file are taken when the old ones are refused; no error shows any.
func TestRenewedCredentials(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	good, err := os.ReadFile(s.Keys)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "keys")
	write := func(b []byte) {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write([]byte("[default]\naws_access_key_id = nobody\naws_secret_access_key = geheim\n"))
	c := open(t, "s3://"+s3test.Bucket+"?endpoint="+url.QueryEscape(s.Endpoint)+"&credentials="+url.QueryEscape(file))
	err = put(c, "x", "1", true)
	if !errors.Is(err, s3.ErrAway) || strings.Contains(err.Error(), "geheim") {
		t.Fatal(err)
	}
	write(good)
	if err := put(c, "x", "1", true); err != nil {
		t.Fatal(err)
	}
	want(t, c, "x", "1")
}
