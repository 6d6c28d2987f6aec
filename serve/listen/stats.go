package listen

// Stats are the counters of one endpoint since the start.
type Stats struct {
	Protocol, Addr string
	Open           int64 // connections now
	LoggedIn       int64 // of them with a login
	Accepted       int64
	Refused        int64 // over a limit
	Crowded        int64 // logins refused because the account has too many sessions
	TLSFailed      int64 // handshakes
	ProxyFailed    int64 // connections without the PROXY header that must come
	Panics         int64 // bugs that cost a session
}

// Stats returns the counters of each endpoint, in the order of Listen.
func (s *Server) Stats() []Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := make(map[*port]int64, len(s.ports))
	for c := range s.conns {
		if c.login.Account != 0 {
			in[c.port]++
		}
	}
	out := make([]Stats, 0, len(s.ports))
	for _, p := range s.ports {
		out = append(out, Stats{Protocol: p.Protocol, Addr: p.Addr, Open: p.open.Load(), LoggedIn: in[p], Accepted: p.accepted.Load(),
			Refused: p.refused.Load(), Crowded: p.crowded.Load(), TLSFailed: p.tlsFailed.Load(), ProxyFailed: p.proxyFailed.Load(), Panics: p.panics.Load()})
	}
	return out
}
