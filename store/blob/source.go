package blob

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"unsafe"
)

// source reads a file that bodies are in: from the kernel's page cache what is
// there, past it what is not. A mail is read about once by each client, so to
// cache what is read would cost memory that the database and mail just come
// can use better, and the filling of pages (see recycler).
type source struct {
	f      *os.File
	direct *os.File // nil: all reads go through the page cache
	count  *reads
}

// reads counts what direct sources did.
type reads struct{ cached, past atomic.Int64 }

// openSource opens a file for reading, or as flag says.
func (d *Dir) openSource(path string, flag int) (source, error) {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil || d.cfg.Keep < 0 {
		return source{f: f, count: &d.reads}, err
	}
	direct, err := openDirect(path)
	if err != nil { // a file system that can't; or too many files: slower is better than not at all
		direct = nil
	}
	return source{f, direct, &d.reads}, nil
}

func (s source) close() error {
	if s.direct == nil {
		return s.f.Close()
	}
	return errors.Join(s.f.Close(), s.direct.Close())
}

// cached fills b from off if that needs no disk, or if there is only this way; else done is false.
func (s source) cached(b []byte, off int64) (done bool, err error) {
	if s.direct != nil {
		done = readCached(s.f, b, off)
		if done {
			s.count.cached.Add(1)
		}
		return done, nil
	}
	_, err = s.f.ReadAt(b, off)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err == nil, err
}

const (
	aligned     = 4096 // what direct reads are aligned to; no disk wants more
	scratchSize = blockSize + 3*aligned
)

// newScratch makes a buffer that holds any block with its head after a direct read.
func newScratch() []byte {
	b := make([]byte, scratchSize+aligned)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (aligned - 1))
	return b[skip : skip+scratchSize]
}

// past reads n octets from off straight from the disk into scratch and returns them.
func (s source) past(scratch []byte, off, n int64) ([]byte, error) {
	s.count.past.Add(1)
	from := off &^ (aligned - 1)
	to := (off + n + aligned - 1) &^ (aligned - 1)
	got, err := s.direct.ReadAt(scratch[:to-from], from)
	if int64(got) >= off-from+n {
		return scratch[off-from : off-from+n], nil
	}
	if err == nil || err == io.EOF {
		return nil, io.ErrUnexpectedEOF
	}
	if _, err := s.f.ReadAt(scratch[:n], off); err != nil { // a disk with other wishes
		return nil, err
	}
	return scratch[:n], nil
}
