//go:build unix

package imapd

import (
	"errors"
	"io"
	"net"
	"syscall"

	"bahnpost/serve/listen"
)

// rawInput reads from a plain TCP connection into a buffer that is taken from
// the pool only when there is something to read: waiting costs no buffer, and a
// command costs one read less than with the octet that await reads otherwise.
type rawInput struct {
	conn syscall.RawConn
	try  func(fd uintptr) bool
	n    int
	err  error
}

// newRawInput returns nil if c is not a plain TCP connection.
func newRawInput(c *listen.Conn, in *input) *rawInput {
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	conn, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	r := &rawInput{conn: conn}
	r.try = func(fd uintptr) bool { return r.read(int(fd), in) }
	return r
}

// read is called by the poller when the socket may be readable; false: wait on.
func (r *rawInput) read(fd int, in *input) bool {
	in.ready()
	for {
		n, err := syscall.Read(fd, in.buf[in.w:])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			in.rest()
			return false
		case err != nil:
			r.n, r.err = 0, err
		case n == 0:
			r.n, r.err = 0, io.EOF
		default:
			r.n, r.err = n, nil
		}
		return true
	}
}

// await waits for input and puts it into the buffer.
func (r *rawInput) await(in *input) error {
	if err := r.conn.Read(r.try); err != nil {
		return err
	}
	in.w += r.n
	in.total += int64(r.n)
	return r.err
}
