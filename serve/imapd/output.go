package imapd

import (
	"io"
	"sync"
)

// Sizes of output: a buffer beyond flushAt is written; one that grew beyond
// keepOutput is not pooled.
const (
	flushAt     = 32 << 10
	keepOutput  = 128 << 10
	directWrite = 8 << 10 // pieces from this size on bypass the buffer
)

var outPool = sync.Pool{New: func() any { b := make([]byte, 0, flushAt+directWrite); return &b }}

// output collects responses. Commands append to b and call full now and then.
// It owns no buffer while empty. The first error sticks; later output is dropped.
type output struct {
	dst   io.Writer
	b     []byte
	held  *[]byte // the pooled buffer that b began in
	total int64
	err   error
}

// ready gets a buffer.
func (o *output) ready() {
	if o.b == nil {
		o.held = outPool.Get().(*[]byte)
		o.b = (*o.held)[:0]
	}
}

// full writes the buffer if it has become large.
func (o *output) full() {
	if len(o.b) >= flushAt {
		o.flush()
	}
}

// flush writes what is there.
func (o *output) flush() {
	if len(o.b) == 0 {
		return
	}
	o.write(o.b)
	o.b = o.b[:0]
}

func (o *output) write(p []byte) {
	if o.err == nil {
		var n int
		n, o.err = o.dst.Write(p)
		o.total += int64(n)
	}
}

// Write implements io.Writer for streams of body octets.
func (o *output) Write(p []byte) (int, error) {
	if len(p) >= directWrite {
		o.flush()
		o.write(p)
	} else {
		o.ready()
		o.b = append(o.b, p...)
		o.full()
	}
	if o.err != nil {
		return 0, o.err
	}
	return len(p), nil
}

// rest gives the buffer back; it must have been flushed.
func (o *output) rest() {
	if o.b == nil {
		return
	}
	if o.held != nil && cap(o.b) <= keepOutput {
		*o.held = o.b[:0]
		outPool.Put(o.held)
	}
	o.b, o.held = nil, nil
}
