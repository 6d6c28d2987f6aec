package smtp

import (
	"bytes"
	"io"
)

// Reader reads command lines, message data and chunks from one connection
// through one buffer, which its owner may exchange: a small one while the
// session idles, a large one while a message flows.
type Reader struct {
	src  io.Reader
	buf  []byte
	r, w int // buf[r:w] is read and not yet taken
}

// NewReader returns a Reader of src that starts with buf (at least 64 octets).
func NewReader(src io.Reader, buf []byte) *Reader { return &Reader{src: src, buf: buf} }

// Buffered is the number of octets that can be had without reading from the connection.
func (r *Reader) Buffered() int { return r.w - r.r }

// Drop forgets what is buffered: plaintext that came behind STARTTLS (RFC 3207 §4.2).
func (r *Reader) Drop() int {
	n := r.w - r.r
	r.r, r.w = 0, 0
	return n
}

// Exchange continues in buf and returns the old buffer, or nil (and changes
// nothing) if what is buffered doesn't fit.
func (r *Reader) Exchange(buf []byte) (old []byte) {
	if len(buf) < 64 || r.Buffered() > len(buf) {
		return nil
	}
	old = r.buf
	n := copy(buf, old[r.r:r.w])
	r.buf, r.r, r.w = buf, 0, n
	return old
}

// Cap is the size of the current buffer.
func (r *Reader) Cap() int { return len(r.buf) }

// fill reads once. It makes room by moving, never by growing.
func (r *Reader) fill() error {
	if r.r > 0 {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	for range 100 { // a reader that returns 0, nil for ever is broken
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		switch {
		case n > 0:
			return nil
		case err != nil:
			return err
		}
	}
	return io.ErrNoProgress
}

// ReadLine returns the next line without its CRLF. It is valid until the next
// call. A line longer than limit (CRLF included) or one that holds a bare CR or
// ends in a bare LF is consumed and reported.
func (r *Reader) ReadLine(limit int) ([]byte, error) {
	seen := 0
	for {
		if i := bytes.IndexByte(r.buf[r.r+seen:r.w], '\n'); i >= 0 {
			line := r.buf[r.r : r.r+seen+i+1]
			r.r += len(line)
			return checkLine(line, limit)
		}
		seen = r.w - r.r
		if seen >= limit {
			return nil, r.skipLine()
		}
		if seen == len(r.buf) {
			r.grow(min(2*len(r.buf), limit))
		}
		if err := r.fill(); err != nil {
			if err == io.EOF && seen > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

func checkLine(line []byte, limit int) ([]byte, error) {
	n := len(line)
	switch {
	case n > limit:
		return nil, ErrLineTooLong
	case n < 2 || line[n-2] != '\r':
		return nil, ErrBareLF
	case bytes.IndexByte(line[:n-2], '\r') >= 0:
		return nil, ErrBareCR
	}
	return line[:n-2], nil
}

func (r *Reader) grow(n int) {
	buf := make([]byte, max(n, len(r.buf)+64))
	r.Exchange(buf)
}

// skipLine throws away the rest of an overlong line.
func (r *Reader) skipLine() error {
	for skipped := 0; skipped < maxSkip; {
		if i := bytes.IndexByte(r.buf[r.r:r.w], '\n'); i >= 0 {
			r.r += i + 1
			return ErrLineTooLong
		}
		skipped += r.Buffered()
		r.Drop()
		if err := r.fill(); err != nil {
			return err
		}
	}
	return ErrFlood
}
