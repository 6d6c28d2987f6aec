package app

import (
	"net/http"
	"net/netip"

	"bahnpost/obs"
)

// httpHandler serves the HTTP ports: health and metrics today, JMAP and DAV later.
func httpHandler(m *obs.Metrics, metricsFrom []netip.Prefix, ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		w.Write([]byte("ready\n"))
	})
	metrics := m.Handler()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if !within(r.RemoteAddr, metricsFrom) {
			http.Error(w, "metrics are not for this address; see [http] metrics_from", http.StatusForbidden)
			return
		}
		metrics.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("This is a Bahnpost mail server. Read mail here by IMAP or POP3.\n"))
	})
	return mux
}

func within(remote string, nets []netip.Prefix) bool {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	a := ap.Addr().Unmap().WithZone("")
	for _, n := range nets {
		if n.Contains(a) {
			return true
		}
	}
	return false
}
