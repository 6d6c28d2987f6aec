package listen

import (
	"context"
	"errors"
	"time"
)

// Pause takes the node out of service while Run goes on: the listeners of all endpoints but Late ones
// are closed, and their sessions are asked to end (ErrDraining), one after another within
// over, so that the clients do not come to the other nodes all at once. It returns when all were
// asked; a session ends after the command it is at. When ctx ends, those not yet asked stay.
// Before Run it keeps Run from accepting; once Run drains it does nothing.
func (s *Server) Pause(ctx context.Context, over time.Duration) {
	s.pausing.Lock()
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		s.pausing.Unlock()
		return
	}
	s.paused = true
	closePorts(s.ports, false)
	for _, p := range s.ports {
		p.down = p.down || !p.Late
	}
	conns := make([]*Conn, 0, len(s.conns)) // in no order
	for c := range s.conns {
		if !c.port.Late {
			conns = append(conns, c)
		}
	}
	s.mu.Unlock()
	s.pausing.Unlock()
	begin := time.Now()
	tick := time.NewTimer(0)
	defer tick.Stop()
	for i, c := range conns {
		tick.Reset(time.Until(begin.Add(over * time.Duration(i) / time.Duration(len(conns)))))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.end(ErrDraining)
		}
	}
}

// Resume undoes Pause: it binds the addresses again and accepts. An address that can't be bound is named
// in the error and tried again by the next Resume; the others are served. Listeners of ListenOn are bound by their address.
func (s *Server) Resume() error {
	s.pausing.Lock()
	defer s.pausing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil
	}
	s.paused = false
	var errs []error
	for _, p := range s.ports {
		if !p.down {
			continue
		}
		ln, err := Bind(p.ln.Addr().String())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p.ln, p.down = ln, false
		s.begin(p)
	}
	return errors.Join(errs...)
}
