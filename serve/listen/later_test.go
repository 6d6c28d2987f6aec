package listen

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// lent counts what ReadLater does with buffers.
type lent struct {
	buf       [64]byte
	out, home int
}

func (l *lent) Lend() []byte { l.out++; return l.buf[:] }
func (l *lent) Return()      { l.home++ }

// TestReadLaterHoldsNoBuffer: while a session waits, what it lent is back.
func TestReadLaterHoldsNoBuffer(t *testing.T) {
	t.Parallel()
	waits, found, failed := make(chan struct{}), make(chan string), make(chan error, 1)
	h := handle(func(_ context.Context, c *Conn) {
		var l lent
		for {
			n, err := c.ReadLater(&l)
			if err != nil {
				failed <- err
				return
			}
			if l.out-l.home != 1 {
				t.Errorf("%d lent, %d returned when something came", l.out, l.home)
			}
			l = lent{buf: l.buf}
			found <- string(l.buf[:n])
			<-waits
		}
	})
	_, addr := run(t, Config{}, Endpoint{Protocol: "pop3", Handler: h})
	c := dial(t, addr)
	for _, say := range []string{"one", "two"} {
		io.WriteString(c, say)
		for got := ""; got != say; { // on some systems it comes octet by octet
			got += <-found
			waits <- struct{}{}
		}
	}
	c.Close()
	if err := <-failed; !errors.Is(err, io.EOF) {
		t.Fatalf("after the end: %v", err)
	}
}

// TestDeadlineAndLargeWrites: a quick connection keeps what net.Conn promises.
func TestDeadlineAndLargeWrites(t *testing.T) {
	t.Parallel()
	const size = 8 << 20 // more than the sockets' buffers
	failed := make(chan error, 2)
	h := handle(func(_ context.Context, c *Conn) {
		c.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := c.Read(make([]byte, 1))
		failed <- err
		c.SetReadDeadline(time.Time{})
		if _, err := c.Read(make([]byte, 0)); err != nil {
			t.Errorf("empty read: %v", err)
		}
		n, err := c.Write(bytes.Repeat([]byte("x"), size))
		if n != size || err != nil {
			t.Errorf("wrote %d, %v", n, err)
		}
		c.Close()
		_, err = c.Write([]byte("x"))
		failed <- err
	})
	_, addr := run(t, Config{}, Endpoint{Protocol: "pop3", Handler: h})
	c := dial(t, addr)
	if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("deadline: %v", err)
	}
	if n, err := io.Copy(io.Discard, c); n != size || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestConnectionsKeepAlive: who vanished in silence is found out.
func TestConnectionsKeepAlive(t *testing.T) {
	t.Parallel()
	ln, err := Bind("127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	dial(t, ln.Addr().String())
	c, err := ln.Accept()
	must(t, err)
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	must(t, err)
	on := 0
	must(t, raw.Control(func(fd uintptr) { on, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE) }))
	must(t, err)
	if on == 0 {
		t.Error("SO_KEEPALIVE is off")
	}
}
