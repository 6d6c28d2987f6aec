// Package admin is the administration API over HTTP: the CLI and (later) the
// web console are its clients, so every act exists once. It listens on a local
// socket that only the node's own user can open; "bahnpost" opens the same
// handler in process when the node does not run.
//
// It decides nothing about mail: directory and mailstore do. Errors are JSON
// {"error": text, "kind": …}; internal ones carry a reference that the log explains.
//
//	GET    /v1/version
//	GET    /v1/domains                 POST {name}            DELETE /v1/domains/{name}
//	GET    /v1/accounts                POST {address,…}
//	GET    /v1/accounts/{address}      PATCH {…}              DELETE
//	POST   /v1/accounts/{address}/password {password}
//	POST   /v1/import                  CSV in, one JSON line a row out
//	GET    /v1/aliases                 POST {from,targets}    DELETE /v1/aliases/{from}
//	GET    /v1/sessions
//	POST   /v1/check?bodies=true       one JSON line a problem or progress out
//	GET    /v1/nodes                   GET /v1/nodes/{name}
//	POST   /v1/nodes/{name}/drain      POST /v1/nodes/{name}/undrain
//	GET    /debug/pprof/…              Go's profiles
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/pprof"

	"bahnpost/mail"
	"bahnpost/obs"
	"bahnpost/serve/listen"
	"bahnpost/store/directory"
	"bahnpost/store/mailstore"
)

// MaxRequest bounds a request body that is not a stream.
const MaxRequest = 1 << 20

// Config holds what the API acts on. Hooks may be nil (offline).
type Config struct {
	Directory *directory.Directory
	Mailstore *mailstore.Store
	Log       *slog.Logger

	Version, Commit string
	DefaultQuota    int64 // octets; of accounts made without one
	QuotaWarn       []int

	Sessions func() []listen.SessionInfo
	Kick     func(mail.AccountID) int // ends an account's sessions
	Forget   func(mail.AccountID)     // drops its cached logins

	Self  string                                                  // name of this node; "": none serves
	Nodes func(context.Context) ([]Node, error)                   // of the cell; needed
	Wish  func(_ context.Context, name string, what string) error // leaves a wish for one; needed
}

// API is the handler. Safe for concurrent use.
type API struct {
	cfg Config
	mux *http.ServeMux
}

// New returns the API over cfg.
func New(cfg Config) *API {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	a := &API{cfg: cfg, mux: http.NewServeMux()}
	for pattern, h := range map[string]handler{
		"GET /v1/version":                      a.version,
		"GET /v1/domains":                      a.domains,
		"POST /v1/domains":                     a.addDomain,
		"DELETE /v1/domains/{name}":            a.removeDomain,
		"GET /v1/accounts":                     a.accounts,
		"POST /v1/accounts":                    a.addAccount,
		"GET /v1/accounts/{address}":           a.account,
		"PATCH /v1/accounts/{address}":         a.setAccount,
		"DELETE /v1/accounts/{address}":        a.removeAccount,
		"POST /v1/accounts/{address}/password": a.setPassword,
		"POST /v1/import":                      a.importAccounts,
		"GET /v1/aliases":                      a.aliases,
		"POST /v1/aliases":                     a.addAlias,
		"DELETE /v1/aliases/{from}":            a.removeAlias,
		"GET /v1/sessions":                     a.sessions,
		"POST /v1/check":                       a.check,
		"GET /v1/nodes":                        a.nodes,
		"GET /v1/nodes/{name}":                 a.node,
		"POST /v1/nodes/{name}/drain":          a.wish("drain"),
		"POST /v1/nodes/{name}/undrain":        a.wish(""),
	} {
		a.mux.HandleFunc(pattern, a.wrap(h))
	}
	a.mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	a.mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	a.mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return a
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// handler answers with a value to encode, or streams itself and returns nil, nil.
type handler func(w http.ResponseWriter, r *http.Request) (any, error)

func (a *API) wrap(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := h(w, r)
		switch {
		case err != nil:
			status, body := a.refusal(r, err)
			writeJSON(w, status, body)
		case v != nil:
			writeJSON(w, http.StatusOK, v)
		}
	}
}

// Refusal is the body of an error answer.
type Refusal struct {
	Error string `json:"error"`
	Kind  string `json:"kind"`
	Ref   string `json:"ref,omitempty"`
}

// statusOf is the one table from mail.Kind to HTTP.
var statusOf = map[mail.Kind]struct {
	status int
	name   string
}{
	mail.NoSuchAccount: {http.StatusNotFound, "no-such-account"},
	mail.NoSuchMailbox: {http.StatusNotFound, "no-such-mailbox"},
	mail.BadInput:      {http.StatusBadRequest, "bad-input"},
	mail.Conflict:      {http.StatusConflict, "conflict"},
	mail.TooLarge:      {http.StatusRequestEntityTooLarge, "too-large"},
	mail.Limit:         {http.StatusTooManyRequests, "limit"},
	mail.NoPermission:  {http.StatusForbidden, "no-permission"},
	mail.Policy:        {http.StatusForbidden, "policy"},
	mail.Unavailable:   {http.StatusServiceUnavailable, "unavailable"},
}

func (a *API) refusal(r *http.Request, err error) (int, Refusal) {
	if e, ok := errors.AsType[*mail.Error](err); ok {
		if s, ok := statusOf[e.Kind]; ok {
			return s.status, Refusal{Error: e.Text, Kind: s.name}
		}
	}
	ref := obs.Ref()
	a.cfg.Log.Error("admin request failed", "ref", ref, "method", r.Method, "path", r.URL.Path, "err", err)
	return http.StatusInternalServerError, Refusal{Error: "internal error, ref " + ref, Kind: "internal", Ref: ref}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.Encode(v)
}

// readJSON decodes a bounded body strictly.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, MaxRequest))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return &mail.Error{Kind: mail.BadInput, Text: "request is not the JSON expected: " + err.Error()}
	}
	return nil
}

// done is the answer of acts that return nothing.
type done struct {
	OK bool `json:"ok"`
}

func (a *API) version(http.ResponseWriter, *http.Request) (any, error) {
	return map[string]string{"version": a.cfg.Version, "commit": a.cfg.Commit}, nil
}

func (a *API) sessions(http.ResponseWriter, *http.Request) (any, error) {
	if a.cfg.Sessions == nil {
		return []listen.SessionInfo{}, nil
	}
	return a.cfg.Sessions(), nil
}
