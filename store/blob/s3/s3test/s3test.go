// Package s3test runs a real S3 server, versitygw, for tests, and puts a
// proxy before it that can fail in all the ways a network and a server can.
package s3test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Bucket is there from the start.
const Bucket = "bodies"

// The credentials of each server; Start puts them into a file.
const (
	keyID  = "bahnpost"
	secret = "only-for-tests-0123456789"
)

// Server is a running versitygw. Its objects are files below Dir/Bucket.
type Server struct {
	Dir      string
	Endpoint string // http://127.0.0.1:port
	Keys     string // file of credentials

	t    testing.TB
	path string
	cmd  *exec.Cmd
}

// program is where versitygw is: on PATH, or where go install puts it.
func program() (string, error) {
	if p, err := exec.LookPath("versitygw"); err == nil {
		return p, nil
	}
	out, err := exec.Command("go", "env", "GOPATH").Output()
	if err != nil {
		return "", err
	}
	return exec.LookPath(filepath.Join(strings.TrimSpace(string(out)), "bin", "versitygw"))
}

// Start runs a server of its own for the test, or skips the test when versitygw is not installed.
func Start(t testing.TB) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no other programs")
	}
	path, err := program()
	if err != nil {
		t.Skip("versitygw is not installed (test/peers/install.sh): no S3 to test with")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Dir: t.TempDir(), Endpoint: "http://" + l.Addr().String(), t: t, path: path}
	l.Close()
	if err := os.Mkdir(filepath.Join(s.Dir, Bucket), 0o700); err != nil {
		t.Fatal(err)
	}
	s.Keys = filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(s.Keys, []byte("[default]\naws_access_key_id = "+keyID+"\naws_secret_access_key = "+secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Run()
	t.Cleanup(s.Kill)
	return s
}

// Run starts the server, also after Kill: same port, same objects.
func (s *Server) Run() {
	s.t.Helper()
	host := strings.TrimPrefix(s.Endpoint, "http://")
	s.cmd = exec.Command(s.path, "--port", host, "--keep-alive", "--quiet", "posix", s.Dir)
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+keyID, "ROOT_SECRET_KEY="+secret)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; {
		c, err := net.Dial("tcp", host)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			s.t.Fatal("versitygw does not listen: ", err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// PID is the process of the running server.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Kill ends the server with SIGKILL. Kill twice does no harm.
func (s *Server) Kill() {
	if s.cmd != nil {
		s.cmd.Process.Signal(syscall.SIGCONT)
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

// Pause stops the server as SIGSTOP does: connections stay open, nothing is answered. Resume lets it go on.
func (s *Server) Pause()  { s.cmd.Process.Signal(syscall.SIGSTOP) }
func (s *Server) Resume() { s.cmd.Process.Signal(syscall.SIGCONT) }

// URL names the bucket at the given endpoints, or at the server itself.
func (s *Server) URL(endpoints ...string) string {
	if len(endpoints) == 0 {
		endpoints = []string{s.Endpoint}
	}
	return "s3://" + Bucket + "/test?credentials=" + url.QueryEscape(s.Keys) + "&endpoint=" + url.QueryEscape(strings.Join(endpoints, ","))
}

// Prefix is URL with another prefix: a place of its own for a part of a test.
func (s *Server) Prefix(name string, n int) string {
	return strings.Replace(s.URL(), "/test?", "/"+name+strconv.Itoa(n)+"?", 1)
}

// Proxy stands before a server. Fault is asked for each request and does what it likes, true: the
// request is done with. pass forwards it to the server and gives the answer back without sending it on.
type Proxy struct {
	*httptest.Server
	Fault func(w http.ResponseWriter, r *http.Request, pass func() *httptest.ResponseRecorder) bool
}

// Proxy starts one; set Fault before the first request or guard it yourself.
func (s *Server) Proxy(fault func(w http.ResponseWriter, r *http.Request, pass func() *httptest.ResponseRecorder) bool) *Proxy {
	to, err := url.Parse(s.Endpoint)
	if err != nil {
		s.t.Fatal(err)
	}
	p := &Proxy{Fault: fault}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // it is signed
	}, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { panic(http.ErrAbortHandler) }}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pass := func() *httptest.ResponseRecorder {
			a := httptest.NewRecorder()
			forward.ServeHTTP(a, r)
			return a
		}
		if p.Fault == nil || !p.Fault(w, r, pass) {
			forward.ServeHTTP(w, r)
		}
	}))
	s.t.Cleanup(func() {
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

// Drop cuts the connection without an answer.
func Drop() { panic(http.ErrAbortHandler) }
