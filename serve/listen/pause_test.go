package listen

import (
	"bufio"
	"context"
	"net"
	"testing"
	"time"
)

// TestPause: a node that is taken out of service says goodbye, refuses, and is back after Resume; its Late endpoints answer meanwhile.
func TestPause(t *testing.T) {
	t.Parallel()
	s := New(Config{})
	addr, err := s.Listen(Endpoint{Protocol: "imap", Addr: "127.0.0.1:0", Handler: handle(echo)})
	must(t, err)
	health, err := s.Listen(Endpoint{Protocol: "http", Addr: "127.0.0.1:0", Handler: handle(echo), Late: true})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, 10*time.Second) }()
	greeted := func(a net.Addr) *bufio.Reader {
		t.Helper()
		r := bufio.NewReader(dial(t, a.String()))
		if got := line(t, r); got != "hello 127.0.0.1" {
			t.Errorf("heard %q", got)
		}
		return r
	}
	for round := range 2 {
		var rs []*bufio.Reader
		for range 5 {
			rs = append(rs, greeted(addr))
		}
		s.Pause(t.Context(), 50*time.Millisecond)
		for _, r := range rs {
			if got := line(t, r); got != "bye: "+ErrDraining.Error() {
				t.Errorf("round %d: heard %q", round, got)
			}
		}
		if c, err := net.Dial("tcp", addr.String()); err == nil {
			c.Close()
			t.Error("a paused endpoint takes connections")
		}
		greeted(health)
		late, err := s.Listen(Endpoint{Protocol: "pop3", Addr: "127.0.0.1:0", Handler: handle(echo)})
		must(t, err)
		if c, err := net.Dial("tcp", late.String()); err == nil {
			c.Close()
			t.Error("an endpoint that came during the pause takes connections")
		}
		must(t, s.Resume())
		greeted(addr)
		greeted(late)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestPauseIsTakenBack: sessions that were not asked yet stay, and an address that somebody else took comes back when it is free.
func TestPauseIsTakenBack(t *testing.T) {
	t.Parallel()
	s := New(Config{})
	addr, err := s.Listen(Endpoint{Protocol: "imap", Addr: "127.0.0.1:0", Handler: handle(echo)})
	must(t, err)
	other, err := s.Listen(Endpoint{Protocol: "pop3", Addr: "127.0.0.1:0", Handler: handle(echo)})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, 10*time.Second) }()
	var cs []net.Conn
	var rs []*bufio.Reader
	for range 3 {
		c := dial(t, addr.String())
		cs, rs = append(cs, c), append(rs, bufio.NewReader(c))
		line(t, rs[len(rs)-1])
	}
	pausing, back := context.WithCancel(t.Context())
	paused := make(chan struct{})
	go func() { s.Pause(pausing, time.Hour); close(paused) }()
	first := make(chan int, len(rs))
	for i, r := range rs {
		go func() {
			if s, err := r.ReadString('\n'); err == nil && s[:4] == "bye:" {
				first <- i
			}
		}()
	}
	gone := <-first
	back()
	<-paused
	taken, err := Bind(other.String())
	must(t, err)
	if err := s.Resume(); err == nil {
		t.Error("Resume does not say that an address is taken")
	}
	if got := line(t, bufio.NewReader(dial(t, addr.String()))); got != "hello 127.0.0.1" {
		t.Errorf("heard %q", got)
	}
	taken.Close()
	must(t, s.Resume())
	if got := line(t, bufio.NewReader(dial(t, other.String()))); got != "hello 127.0.0.1" {
		t.Errorf("heard %q", got)
	}
	for i, c := range cs {
		if i != gone {
			if _, err := c.Write([]byte("still here\r\n")); err != nil {
				t.Error(err)
			}
		}
	}
	if n := s.Stats()[0].Open; n < 2 {
		t.Errorf("%d sessions are left", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
