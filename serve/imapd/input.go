package imapd

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"bahnpost/wire/imap"
)

// Sizes of input buffers: nearly all command lines fit the small one.
const (
	smallInput = 4 << 10
	largeInput = 64 << 10
)

var (
	errLineTooLong = errors.New("imapd: line too long")
	smallPool      = sync.Pool{New: func() any { return new([smallInput]byte) }}
	largePool      = sync.Pool{New: func() any { return new([largeInput]byte) }}
)

// input is the buffered client side of a connection. It owns no buffer while empty.
type input struct {
	src   io.Reader
	small *[smallInput]byte
	buf   []byte // of small, or grown for one long line
	r, w  int
	lit   int64 // octets of the current literal not read yet
	total int64
	tag   []byte // the first word of a line that was too long, if it may be a tag
}

// buffered is how many octets are there already.
func (in *input) buffered() int { return in.w - in.r }

// rest gives an empty buffer back.
func (in *input) rest() {
	if in.buffered() > 0 || in.buf == nil {
		return
	}
	in.buf, in.r, in.w = nil, 0, 0
	if in.small != nil {
		smallPool.Put(in.small)
		in.small = nil
	}
}

// drop forgets what was received: after STARTTLS (RFC 9051 §6.2.1).
func (in *input) drop() { in.r, in.w = 0, 0 }

func (in *input) ready() {
	if in.buf == nil {
		in.small = smallPool.Get().(*[smallInput]byte)
		in.buf, in.r, in.w = in.small[:], 0, 0
	}
}

// Lend implements listen.Lender: the buffer for what ends the waiting.
func (in *input) Lend() []byte {
	in.ready()
	return in.buf[in.w:]
}

// Return implements listen.Lender.
func (in *input) Return() { in.rest() }

// took notes that n octets came into what was lent.
func (in *input) took(n int) {
	in.w += n
	in.total += int64(n)
}

// fill reads once more from the client.
func (in *input) fill() error {
	in.ready()
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
	if in.w == len(in.buf) {
		if in.r > 0 {
			copy(in.buf, in.buf[in.r:in.w])
			in.w -= in.r
			in.r = 0
		} else {
			grown := make([]byte, 2*len(in.buf))
			copy(grown, in.buf)
			in.buf = grown
		}
	}
	n, err := in.src.Read(in.buf[in.w:])
	in.w += n
	in.total += int64(n)
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// line returns the next line without its line end; valid until the next read.
// A bare LF ends a line too. errLineTooLong: the line was skipped.
func (in *input) line() ([]byte, error) {
	scan := in.r
	for {
		if i := bytes.IndexByte(in.buf[scan:in.w], '\n'); i >= 0 {
			l := in.buf[in.r : scan+i]
			in.r = scan + i + 1
			if n := len(l); n > 0 && l[n-1] == '\r' {
				l = l[:n-1]
			}
			if len(l) > imap.MaxLine {
				in.tag = imap.AppendTag(in.tag[:0], l)
				return nil, errLineTooLong
			}
			return l, nil
		}
		if in.buffered() > imap.MaxLine+1 {
			in.tag = imap.AppendTag(in.tag[:0], in.buf[in.r:in.w])
			return nil, in.skipLine()
		}
		done := in.buffered()
		if err := in.fill(); err != nil {
			return nil, err
		}
		scan = in.r + done
	}
}

// skipLine reads to the end of a line that is too long.
func (in *input) skipLine() error {
	for skipped := 0; skipped < maxSkippedLine; {
		if i := bytes.IndexByte(in.buf[in.r:in.w], '\n'); i >= 0 {
			in.r += i + 1
			return errLineTooLong
		}
		skipped += in.buffered()
		in.r = in.w
		if err := in.fill(); err != nil {
			return err
		}
	}
	return errGiveUp
}

// Read reads from the current literal.
func (in *input) Read(p []byte) (int, error) {
	if in.lit == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > in.lit {
		p = p[:in.lit]
	}
	var n int
	var err error
	if in.buffered() > 0 {
		n = copy(p, in.buf[in.r:in.w])
		in.r += n
	} else {
		n, err = in.src.Read(p)
		in.total += int64(n)
		if n > 0 {
			err = nil
		} else if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
	}
	in.lit -= int64(n)
	return n, err
}

// WriteTo copies the rest of the literal. An error of w does not end the
// reading of the literal: the caller decides (discard).
func (in *input) WriteTo(w io.Writer) (written int64, err error) {
	buf := largePool.Get().(*[largeInput]byte)
	defer largePool.Put(buf)
	for in.lit > 0 {
		n, err := in.Read(buf[:])
		if err != nil {
			return written, err
		}
		m, err := w.Write(buf[:n])
		written += int64(m)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// discard drops the rest of the literal.
func (in *input) discard() error {
	_, err := in.WriteTo(io.Discard)
	return err
}
