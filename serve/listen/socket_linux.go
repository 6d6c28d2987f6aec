//go:build linux && !race

package listen

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is an accepted TCP connection whose reads and writes count as computing. As the descriptor never blocks, they are over
// in microseconds; net.TCPConn announces each as a call that may block, and each announcement on a node that was asleep
// wakes the runtime's monitor, which then looks around every 20 µs: a sixth of the CPU time of a node with
// hundreds of quiet sessions. The race detector has to see the calls, so its builds do without.
type socket struct {
	*net.TCPConn
	raw   syscall.RawConn
	read  transfer
	write transfer
	later later
	now   func(fd uintptr) bool // of WriteNow
}

// transfer is one direction. The functions are made once, for they would escape at each call.
type transfer struct {
	mu  sync.Mutex // one caller at a time
	try func(fd uintptr) bool
	p   []byte
	n   int
	err error
}

// later is the state of ReadLater; read.mu guards it.
type later struct {
	try func(fd uintptr) bool
	to  Lender
}

// quick returns nc as a socket if it is a TCP connection, else nc.
func quick(nc net.Conn) net.Conn {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nc
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nc
	}
	s := &socket{TCPConn: tcp, raw: raw}
	s.read.try, s.write.try, s.later.try, s.now = s.tryRead, s.tryWrite, s.tryLater, s.tryNow
	return s
}

// call is a system call that cannot block, repeated if a signal came.
func call(trap, fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, e := syscall.RawSyscall(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		if e != syscall.EINTR {
			return int(n), e
		}
	}
}

// got notes the result of a read; false: nothing is there yet.
func (t *transfer) got(n int, e syscall.Errno) bool {
	switch {
	case e == syscall.EAGAIN:
		return false
	case e != 0:
		t.err = os.NewSyscallError("read", e)
	case n == 0:
		t.err = io.EOF
	default:
		t.n = n
	}
	return true
}

func (s *socket) tryRead(fd uintptr) bool { return s.read.got(call(syscall.SYS_READ, fd, s.read.p)) }

func (s *socket) tryLater(fd uintptr) bool {
	done := s.read.got(call(syscall.SYS_READ, fd, s.later.to.Lend()))
	if !done {
		s.later.to.Return()
	}
	return done
}

// tryNow writes what goes at once and never waits.
func (s *socket) tryNow(fd uintptr) bool {
	s.tryWrite(fd)
	return true
}

func (s *socket) tryWrite(fd uintptr) bool {
	t := &s.write
	for t.n < len(t.p) {
		n, e := call(syscall.SYS_WRITE, fd, t.p[t.n:])
		if e == syscall.EAGAIN {
			return false
		}
		if e != 0 {
			t.err = os.NewSyscallError("write", e)
			return true
		}
		t.n += n
	}
	return true
}

// run moves octets; wait is RawConn's Read or Write.
func (t *transfer) run(wait func(func(uintptr) bool) error, try func(uintptr) bool) (int, error) {
	t.n, t.err = 0, nil
	if err := wait(try); err != nil {
		t.err = err // closed, or the deadline; of a write something may have gone out
	}
	t.p = nil
	return t.n, t.err
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.read.mu.Lock()
	defer s.read.mu.Unlock()
	s.read.p = p
	n, err := s.read.run(s.raw.Read, s.read.try)
	return n, s.named("read", err)
}

// ReadLater implements laterReader.
func (s *socket) ReadLater(to Lender) (int, error) {
	s.read.mu.Lock()
	defer s.read.mu.Unlock()
	s.later.to = to
	n, err := s.read.run(s.raw.Read, s.later.try)
	return n, s.named("read", err)
}

// Write implements net.Conn.
func (s *socket) Write(p []byte) (int, error) {
	s.write.mu.Lock()
	defer s.write.mu.Unlock()
	s.write.p = p
	n, err := s.write.run(s.raw.Write, s.write.try)
	return n, s.named("write", err)
}

// WriteNow implements quickWriter: n < len(p) without an error says that the rest would have to wait.
func (s *socket) WriteNow(p []byte) (int, error) {
	s.write.mu.Lock()
	defer s.write.mu.Unlock()
	s.write.p = p
	n, err := s.write.run(s.raw.Write, s.now)
	return n, s.named("write", err)
}

// named is err as net.TCPConn would say it.
func (s *socket) named(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: err}
}

// ReadFrom and WriteTo would go past Read and Write, to the calls that are announced.
func (s *socket) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{s}, r) }

// WriteTo see ReadFrom.
func (s *socket) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, struct{ io.Reader }{s}) }

// listenConfig has each connection ask whether its client is still there. Connections inherit the options of the socket that
// listens, which saves four calls for each.
func listenConfig(k net.KeepAliveConfig) net.ListenConfig {
	seconds := func(d time.Duration) int { return int(d / time.Second) }
	set := func(fd int) error {
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1),
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds(k.Idle)),
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, seconds(k.Interval)),
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, k.Count))
	}
	return net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		if err := c.Control(func(fd uintptr) { failed = set(int(fd)) }); err != nil {
			return err
		}
		return failed
	}}
}
