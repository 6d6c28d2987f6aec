package blob

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
)

// handle is an open pack, shared by readers and the cache. It lives until the last user lets go,
// also when the pack was removed meanwhile.
type handle struct {
	f    *os.File
	pack uint64
	hs   *handles
	refs int // under hs.mu; the cache counts as one
}

// handles keeps the packs used last open.
type handles struct {
	d   *Dir
	max int

	mu   sync.Mutex
	open map[uint64]*list.Element // of *handle
	lru  list.List                // front: used last
	bufs sync.Pool                // *[]byte of blockSize
}

func (hs *handles) init(d *Dir, limit int) {
	hs.d, hs.max = d, limit
	hs.open = make(map[uint64]*list.Element)
	hs.bufs.New = func() any { b := make([]byte, blockSize); return &b }
}

// get opens a pack or finds it open.
func (hs *handles) get(pack uint64) (*handle, error) {
	hs.mu.Lock()
	if e := hs.open[pack]; e != nil {
		h := e.Value.(*handle)
		h.refs++
		hs.lru.MoveToFront(e)
		hs.mu.Unlock()
		return h, nil
	}
	hs.mu.Unlock()
	f, err := os.OpenFile(hs.d.packPath(pack), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	readExactly(f)
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if e := hs.open[pack]; e != nil { // somebody was faster
		f.Close()
		h := e.Value.(*handle)
		h.refs++
		return h, nil
	}
	h := &handle{f: f, pack: pack, hs: hs, refs: 2}
	hs.open[pack] = hs.lru.PushFront(h)
	for hs.lru.Len() > hs.max {
		hs.evict(hs.lru.Back())
	}
	return h, nil
}

// evict takes a handle out of the cache. hs.mu is held.
func (hs *handles) evict(e *list.Element) {
	h := hs.lru.Remove(e).(*handle)
	delete(hs.open, h.pack)
	h.drop()
}

func (h *handle) drop() {
	if h.refs--; h.refs == 0 {
		h.f.Close()
	}
}

func (h *handle) release() {
	h.hs.mu.Lock()
	h.drop()
	h.hs.mu.Unlock()
}

// forget drops a pack that was removed.
func (hs *handles) forget(pack uint64) {
	hs.mu.Lock()
	if e := hs.open[pack]; e != nil {
		hs.evict(e)
	}
	hs.mu.Unlock()
}

func (hs *handles) clear() {
	hs.mu.Lock()
	for hs.lru.Len() > 0 {
		hs.evict(hs.lru.Back())
	}
	hs.mu.Unlock()
}

// eagerSize: bodies up to this are read with their header, in one call.
const eagerSize = 16 << 10

// Open is Store.Open. A small body is read and verified at once; a larger one as it is read.
func (d *Dir) Open(ctx context.Context, ref Ref) (Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, err := parseRef(ref)
	if err != nil {
		return nil, err
	}
	var r Reader
	if p.pack == 0 {
		r, err = d.openFile(p)
	} else {
		r, err = d.openRecord(p)
	}
	if err != nil {
		return nil, fmt.Errorf("blob: open %s: %w", ref, err)
	}
	return r, nil
}

func (d *Dir) openRecord(p place) (Reader, error) {
	h, err := d.handles.get(p.pack)
	if err != nil {
		return nil, err
	}
	n := bodyOffset(p.length)
	if p.length <= eagerSize {
		n += p.length
	}
	if p.length > eagerSize {
		willRead(h.f, p.off, bodyOffset(p.length)+min(p.length, blockSize))
	}
	b := make([]byte, n)
	if _, err := h.f.ReadAt(b, p.off); err != nil {
		h.release()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("beyond the end of pack %d: %w", p.pack, ErrCorrupt)
		}
		return nil, err
	}
	hd, ok := parseHeader(b, p.pack, p.off)
	switch {
	case !ok || hd.length != p.length:
		err = fmt.Errorf("header: %w", ErrCorrupt)
	case hd.state == stateDead:
		err = fs.ErrNotExist
	}
	var table []uint32
	if err == nil {
		table, err = parseTable(b[recHeader:bodyOffset(p.length)], hd)
	}
	if err != nil {
		h.release()
		return nil, err
	}
	if p.length <= eagerSize {
		h.release()
		body := b[bodyOffset(p.length):]
		if len(table) == 1 && crc(body) != table[0] {
			return nil, ErrCorrupt
		}
		return memReader(body), nil
	}
	return &blockReader{f: h.f, base: p.off + bodyOffset(p.length), size: p.length, table: table,
		bufs: &d.handles.bufs, end: h.release}, nil
}

// memReader is a body that is in memory and verified.
type memReader []byte

func (m memReader) Size() int64  { return int64(len(m)) }
func (m memReader) Close() error { return nil }
func (m memReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("blob: negative offset")
	}
	if off >= int64(len(m)) {
		return 0, io.EOF
	}
	n := copy(p, m[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// blockReader reads blocks from a file and verifies each before it hands out a
// single octet. The block that was cut last is kept, so that small sequential
// reads cost one disk read a block.
type blockReader struct {
	f     *os.File
	base  int64
	size  int64
	table []uint32
	bufs  *sync.Pool
	end   func()

	mu     sync.Mutex
	buf    *[]byte // the kept block
	held   int     // its number
	closed bool
}

func (r *blockReader) Size() int64 { return r.size }

func (r *blockReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	if r.buf != nil {
		r.bufs.Put(r.buf)
		r.buf = nil
	}
	r.end()
	return nil
}

func (r *blockReader) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("blob: negative offset")
	}
	for n < len(p) && off < r.size {
		i := int(off / blockSize)
		start := int64(i) * blockSize
		length := min(blockSize, r.size-start)
		var m int
		if off == start && int64(len(p)-n) >= length {
			m, err = int(length), r.load(p[n:n+int(length)], i)
		} else {
			m, err = r.part(p[n:], i, int(off-start), int(length))
		}
		if err != nil {
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

// load reads block i into b, which has its length.
func (r *blockReader) load(b []byte, i int) error {
	if _, err := r.f.ReadAt(b, r.base+int64(i)*blockSize); err != nil {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("blob: body cut short: %w", ErrCorrupt)
		}
		return err
	}
	if crc(b) != r.table[i] {
		clear(b)
		return fmt.Errorf("blob: block %d: %w", i, ErrCorrupt)
	}
	return nil
}

// part copies a part of block i by way of the kept block.
func (r *blockReader) part(p []byte, i, from, length int) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, fs.ErrClosed
	}
	if r.buf == nil {
		r.buf, r.held = r.bufs.Get().(*[]byte), -1
	}
	b := (*r.buf)[:length]
	if r.held != i {
		r.held = -1
		if err := r.load(b, i); err != nil {
			return 0, err
		}
		r.held = i
	}
	return copy(p, b[from:]), nil
}
