package smtp

import (
	"bytes"
	"io"
)

// Data reads message data up to and including CRLF.CRLF and writes it to w
// without dot stuffing and without the terminating dot line (RFC 5321 §4.5.2).
//
// refused says why the message, although read to its end, can't be taken:
// ErrBareCR or ErrBareLF, ErrTooLarge (more than limit octets), or the error
// of w; w sees nothing more once the message is refused. err means that the
// connection is of no further use: its own error, or ErrFlood if the client
// went on for another limit octets after the first.
func (r *Reader) Data(w io.Writer, limit int64) (n int64, refused, err error) {
	d := data{w: w, limit: limit, bol: true}
	for {
		used, done := d.scan(r.buf[r.r:r.w])
		r.r += used
		if done {
			return d.n, d.refused, nil
		}
		if d.n > 2*limit+MaxLine {
			return d.n, d.refused, ErrFlood
		}
		if err := r.fill(); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return d.n, d.refused, err
		}
	}
}

// data is the state between two chunks.
type data struct {
	w       io.Writer
	limit   int64
	n       int64 // octets of the message so far
	refused error
	bol     bool // the next octet begins a line
}

// scan takes what it can of b. It leaves a CR at the end of b, and a dot line
// that is not complete, for the next call (at most 2 octets). So a CR and its
// LF are always seen together.
func (d *data) scan(b []byte) (used int, done bool) {
	start, i := 0, 0 // b[start:i] is looked at and not yet written
	lines := 0       // line ends in b[:i]
	for i < len(b) {
		if d.bol && b[i] == '.' {
			rest := b[i:]
			switch {
			case len(rest) < 2 || rest[1] == '\r' && len(rest) < 3:
				d.put(b[start:i])
				d.check(b[:i], lines)
				return i, false
			case rest[1] == '\r' && rest[2] == '\n':
				d.put(b[start:i])
				d.check(b[:i], lines)
				return i + 3, true
			}
			d.put(b[start:i])
			i++
			start = i
		}
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			i = len(b)
			if b[i-1] == '\r' {
				i--
			}
			d.bol = false // the next octet is this CR, or belongs to the line
			break
		}
		d.bol = j > 0 && b[i+j-1] == '\r'
		if d.bol {
			lines++
		} else {
			d.refuse(ErrBareLF)
		}
		i += j + 1
	}
	d.put(b[start:i])
	d.check(b[:i], lines)
	return i, false
}

// check finds a bare CR: b ends behind a line end or before a held-back CR,
// so it has as many CRs as line ends, if all is well.
func (d *data) check(b []byte, lines int) {
	if d.refused == nil && bytes.Count(b, []byte{'\r'}) != lines {
		d.refuse(ErrBareCR)
	}
}

func (d *data) refuse(err error) {
	if d.refused == nil {
		d.refused = err
	}
}

func (d *data) put(b []byte) {
	d.n += int64(len(b))
	if d.n > d.limit {
		d.refuse(ErrTooLarge)
	}
	if d.refused == nil && len(b) > 0 {
		if _, err := d.w.Write(b); err != nil {
			d.refuse(err)
		}
	}
}

// Chunk copies exactly size octets to w (RFC 3030 §2). refused is the error of
// w, which sees nothing more after it; err is the connection's.
func (r *Reader) Chunk(w io.Writer, size int64) (refused, err error) {
	for size > 0 {
		if r.Buffered() == 0 {
			if err := r.fill(); err != nil {
				if err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return refused, err
			}
		}
		b := r.buf[r.r:r.w]
		if int64(len(b)) > size {
			b = b[:size]
		}
		r.r += len(b)
		size -= int64(len(b))
		if refused == nil {
			_, refused = w.Write(b)
		}
	}
	return refused, nil
}
