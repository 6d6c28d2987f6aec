package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"text/tabwriter"

	"bahnpost/app"
	"bahnpost/serve/admin"
)

// manage is what every verb that manages takes.
type manage struct {
	Dir  string `help:"The node's directory." env:"BAHNPOST_DIR" required:"" placeholder:"DIR"`
	JSON bool   `name:"json" help:"Print JSON."`
}

// api speaks to the running node over its socket, or to its store in this process when it does not run.
type api struct {
	http  http.Client
	close func() error
}

func (m *manage) open() (*api, error) { return openAPI(m.Dir) }

func openAPI(dir string) (*api, error) {
	socket := app.SocketPath(dir)
	if c, err := net.Dial("unix", socket); err == nil {
		c.Close()
		return &api{http: http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}}}, close: func() error { return nil }}, nil
	}
	off, err := app.OpenOffline(context.Background(), dir, version, commit)
	if err != nil {
		return nil, err
	}
	return &api{http: http.Client{Transport: inProcess{off.API}}, close: off.Close}, nil
}

// do sends in as JSON (a []byte or io.Reader as it is) and decodes the answer into out, if not nil.
func (a *api) do(method, path string, in, out any) error {
	resp, err := a.send(method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

func (a *api) send(method, path string, in any) (*http.Response, error) {
	var body io.Reader
	switch v := in.(type) {
	case nil:
	case io.Reader:
		body = v
	default:
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, "http://node"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		var r admin.Refusal
		if json.NewDecoder(resp.Body).Decode(&r) != nil || r.Error == "" {
			r.Error = "the node answered " + resp.Status
		}
		return nil, errors.New(r.Error)
	}
	return resp, nil
}

// call opens the API, runs f and closes.
func (m *manage) call(f func(*api) error) error {
	a, err := m.open()
	if err != nil {
		return err
	}
	return errors.Join(f(a), a.close())
}

// inProcess is a RoundTripper that calls a handler.
type inProcess struct{ h http.Handler }

// RoundTrip implements http.RoundTripper; the answer streams.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	pr, pw := io.Pipe()
	w := &pipeWriter{header: http.Header{}, pw: pw, ready: make(chan struct{})}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	r.RequestURI = r.URL.RequestURI()
	go func() {
		t.h.ServeHTTP(w, r)
		w.WriteHeader(http.StatusOK)
		pw.Close()
	}()
	<-w.ready
	return &http.Response{StatusCode: w.status, Status: http.StatusText(w.status), Header: w.header, Body: pr, Request: r, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}, nil
}

type pipeWriter struct {
	header http.Header
	status int
	pw     *io.PipeWriter
	ready  chan struct{}
}

func (w *pipeWriter) Header() http.Header { return w.header }
func (w *pipeWriter) Flush()              {}

func (w *pipeWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		close(w.ready)
	}
}

func (w *pipeWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pw.Write(b)
}

func escape(s string) string { return url.PathEscape(s) }

func printJSON(v any) error {
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// table prints aligned columns.
func table(header string, rows func(line func(format string, args ...any))) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, header)
	rows(func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) })
	return w.Flush()
}
