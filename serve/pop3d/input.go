package pop3d

import (
	"bufio"
	"bytes"
	"sync"

	"bahnpost/serve/listen"
)

// inputSize is that of the buffer for what a client says: nearly all lines fit.
const inputSize = 2 << 10

// input is the buffered client side of a connection. While it is empty it owns no buffer, so a session that waits holds none.
type input struct {
	conn *listen.Conn
	pool *sync.Pool // of *[inputSize]byte
	buf  *[inputSize]byte
	r, w int // what is there: buf[r:w]
}

// empty reports whether all that came was used.
func (in *input) empty() bool { return in.r == in.w }

// drop forgets what came.
func (in *input) drop() {
	in.r, in.w = 0, 0
	in.Return()
}

// Lend implements listen.Lender.
func (in *input) Lend() []byte {
	if in.buf == nil {
		in.buf = in.pool.Get().(*[inputSize]byte)
	}
	return in.buf[:]
}

// Return implements listen.Lender.
func (in *input) Return() {
	if in.buf != nil {
		in.pool.Put(in.buf)
		in.buf = nil
	}
}

// slice returns what is there up to the next LF, or with bufio.ErrBufferFull a whole buffer without one; valid until the next call.
func (in *input) slice() ([]byte, error) {
	for done := 0; ; {
		if in.buf != nil {
			if i := bytes.IndexByte(in.buf[in.r+done:in.w], '\n'); i >= 0 {
				b := in.buf[in.r : in.r+done+i+1]
				in.r += len(b)
				return b, nil
			}
		}
		if done = in.w - in.r; done == inputSize {
			in.r = in.w
			return in.buf[:], bufio.ErrBufferFull
		}
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads once more.
func (in *input) fill() (err error) {
	n := 0
	if in.empty() {
		in.drop()
		n, err = in.conn.ReadLater(in)
	} else {
		in.w = copy(in.buf[:], in.buf[in.r:in.w])
		in.r = 0
		n, err = in.conn.Read(in.buf[in.w:])
	}
	in.w += n
	if n > 0 {
		return nil
	}
	return err
}
