package blob

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"
)

const (
	firstSpan = 4 * blockSize // what Open reads of a body: most are smaller
	mostSpan  = 8 * blockSize // what is read ahead, and held, of a long body
)

// fetcher fills dst with verified octets from block first on.
type fetcher func(ctx context.Context, first int, dst []byte) error

// spanReader reads a body in spans of whole blocks. The last span is kept; whoever reads on and on gets longer ones.
type spanReader struct {
	length int64
	fetch  fetcher
	most   int // octets of the longest span
	ctx    context.Context
	cancel context.CancelFunc
	end    func() // what fetch holds is let go

	mu     sync.Mutex // held while it fetches: readers of one body share its spans
	span   []byte
	from   int64 // where span begins
	next   int   // octets of the next span
	closed bool
}

// openSpan reads the first span, so that a body that is not there is noticed.
func openSpan(ctx context.Context, length int64, most int, fetch fetcher, end func()) (*spanReader, error) {
	first := int64(min(firstSpan, most))
	r := &spanReader{length: length, fetch: fetch, end: end, most: most, next: most, span: make([]byte, min(length, first))}
	if err := fetch(ctx, 0, r.span); err != nil {
		end()
		return nil, err
	}
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx)) // Reader: Close ends it, nothing else
	return r, nil
}

func (r *spanReader) Size() int64 { return r.length }

func (r *spanReader) Close() error {
	r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.closed, r.span = true, nil
		r.end()
	}
	return nil
}

func (r *spanReader) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("blob: negative offset")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for n < len(p) && off < r.length {
		if r.closed {
			return n, fs.ErrClosed
		}
		m := 0
		if off >= r.from && off < r.from+int64(len(r.span)) {
			m = copy(p[n:], r.span[off-r.from:])
		} else if m, err = r.load(p[n:], off); err != nil {
			return n, err
		}
		n += m
		off += int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// load brings octets from off on: into p itself if it wants whole blocks, else into the span (and 0 is returned).
func (r *spanReader) load(p []byte, off int64) (int, error) {
	first := off / blockSize
	start := first * blockSize
	if whole := min(int64(len(p)), r.length-off); off == start && (whole >= int64(r.most) || whole == r.length-off && whole >= blockSize) {
		p = p[:min(whole, int64(r.most))]
		return len(p), r.fetch(r.ctx, int(first), p)
	}
	want := int64(blockSize)
	if start == r.from+int64(len(r.span)) { // reading on
		want = int64(r.next)
		r.next = min(2*r.next, r.most)
	} else {
		r.next = min(firstSpan, r.most)
	}
	want = min(max(want, 1), r.length-start)
	if int64(cap(r.span)) < want {
		r.span = make([]byte, 0, want)
	}
	r.span, r.from = r.span[:0], start
	span := r.span[:want]
	if err := r.fetch(r.ctx, int(first), span); err != nil {
		return 0, err
	}
	r.span = span
	return 0, nil
}
