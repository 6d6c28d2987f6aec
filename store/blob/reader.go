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
	source
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
	bufs sync.Pool                // *[]byte of scratchSize
}

func (hs *handles) init(d *Dir, limit int) {
	hs.d, hs.max = d, limit
	hs.open = make(map[uint64]*list.Element)
	hs.bufs.New = func() any { b := newScratch(); return &b }
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
	src, err := hs.d.openSource(hs.d.packPath(pack), os.O_RDWR)
	if err != nil {
		return nil, err
	}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if e := hs.open[pack]; e != nil { // somebody was faster
		src.close()
		h := e.Value.(*handle)
		h.refs++
		return h, nil
	}
	h := &handle{source: src, pack: pack, hs: hs, refs: 2}
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
		h.close()
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
	b := make([]byte, n)
	past, err := h.head(b, p, &d.handles.bufs)
	if err != nil {
		h.release()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
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
		past.free(&d.handles.bufs)
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
	r := &blockReader{src: h.source, base: p.off + bodyOffset(p.length), size: p.length, table: table,
		bufs: &d.handles.bufs, end: h.release, held: -1}
	if past.buf != nil {
		if err := r.adopt(past.buf, past.body); err != nil {
			r.Close()
			return nil, err
		}
	}
	return r, nil
}

// ahead is what a read past the page cache brought of a body besides its head.
type ahead struct {
	buf  *[]byte
	body []byte // its first block
}

func (a ahead) free(bufs *sync.Pool) {
	if a.buf != nil {
		bufs.Put(a.buf)
	}
}

// head fills b with the record's head, and its body if b has room for it. Where the disk had to be asked
// for a larger body, the first block came along.
func (h *handle) head(b []byte, p place, bufs *sync.Pool) (ahead, error) {
	done, err := h.cached(b, p.off)
	if done || err != nil {
		return ahead{}, err
	}
	buf := bufs.Get().(*[]byte)
	view, err := h.past(*buf, p.off, bodyOffset(p.length)+min(p.length, blockSize))
	if err != nil {
		bufs.Put(buf)
		return ahead{}, err
	}
	copy(b, view)
	if p.length <= eagerSize {
		bufs.Put(buf)
		return ahead{}, nil
	}
	return ahead{buf, view[bodyOffset(p.length):]}, nil
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
	src   source
	base  int64
	size  int64
	table []uint32
	bufs  *sync.Pool
	end   func()

	mu     sync.Mutex
	buf    *[]byte // holds the kept block
	kept   []byte
	held   int // its number; -1: none
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
		r.buf, r.kept = nil, nil
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
		length := int(min(blockSize, r.size-start))
		var m int
		if off == start && len(p)-n >= length {
			m, err = length, r.whole(p[n:n+length], i)
		} else {
			m, err = r.part(p[n:], i, int(off-start), length)
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

// whole reads block i into b, which has its length; without a copy if the page cache has it.
func (r *blockReader) whole(b []byte, i int) error {
	done, err := r.src.cached(b, r.base+int64(i)*blockSize)
	if err == nil && done {
		err = r.verify(b, i)
	}
	if done || err != nil {
		clearIf(b, err)
		return readError(err)
	}
	_, err = r.part(b, i, 0, len(b))
	return err
}

// clearIf wipes what was not verified.
func clearIf(b []byte, err error) {
	if err != nil {
		clear(b)
	}
}

func (r *blockReader) verify(b []byte, i int) error {
	if crc(b) != r.table[i] {
		return fmt.Errorf("blob: block %d: %w", i, ErrCorrupt)
	}
	return nil
}

func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("blob: body cut short: %w", ErrCorrupt)
	}
	return err
}

// adopt takes block 0, which was read with the head.
func (r *blockReader) adopt(buf *[]byte, block []byte) error {
	r.buf = buf
	if err := r.verify(block, 0); err != nil {
		return err
	}
	r.kept, r.held = block, 0
	return nil
}

// part copies a part of block i by way of the kept block.
func (r *blockReader) part(p []byte, i, from, length int) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, fs.ErrClosed
	}
	if r.held != i {
		if err := r.keep(i, length); err != nil {
			return 0, readError(err)
		}
	}
	return copy(p, r.kept[from:]), nil
}

// keep reads block i. mu is held.
func (r *blockReader) keep(i, length int) error {
	if r.buf == nil {
		r.buf = r.bufs.Get().(*[]byte)
	}
	r.held = -1
	off := r.base + int64(i)*blockSize
	b := (*r.buf)[:length]
	done, err := r.src.cached(b, off)
	if err == nil && !done {
		b, err = r.src.past(*r.buf, off, int64(length))
	}
	if err == nil {
		err = r.verify(b, i)
	}
	if err != nil {
		return err
	}
	r.kept, r.held = b, i
	return nil
}
