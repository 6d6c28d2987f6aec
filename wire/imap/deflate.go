package imap

import (
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

// Bounds of the Deflater.
const (
	deflateDict  = 8 << 10  // what the stateless compressor can look back to
	deflateRest  = 1 << 10  // of it that a waiting session keeps: enough for the words of IMAP
	deflateChunk = 16 << 10 // clear octets compressed at once; bounds the memory in use while writing
)

// Deflater writes a raw DEFLATE stream as RFC 4978 §3 wants: each Write ends with a sync flush, so that the
// client can read all of it. Between writes it holds only the last 8 KB of clear text, the
// dictionary of the next, and 1 KB after Rest. Put a buffer before it: a write costs 5 octets. Not safe for concurrent use.
type Deflater struct {
	dst  io.Writer
	dict []byte
}

// NewDeflater compresses to dst.
func NewDeflater(dst io.Writer) *Deflater { return &Deflater{dst: dst} }

// Write implements io.Writer.
func (d *Deflater) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		chunk := p[done:min(len(p), done+deflateChunk)]
		if err := d.compress(chunk); err != nil {
			return done, err
		}
		d.remember(chunk)
		done += len(chunk)
	}
	return len(p), nil
}

// compress makes one write of one flushed block.
func (d *Deflater) compress(chunk []byte) error {
	out := deflateBuffers.Get().(*deflateBuffer)
	defer deflateBuffers.Put(out)
	out.b = out.b[:0]
	if err := flate.StatelessDeflate(out, chunk, false, d.dict); err != nil {
		return err
	}
	_, err := d.dst.Write(out.b)
	return err
}

func (d *Deflater) remember(chunk []byte) {
	if n := len(chunk); n >= deflateDict {
		d.dict = append(d.dict[:0], chunk[n-deflateDict:]...)
		return
	}
	if over := len(d.dict) + len(chunk) - deflateDict; over > 0 {
		d.dict = d.dict[:copy(d.dict, d.dict[over:])]
	}
	d.dict = append(d.dict, chunk...)
}

// Rest gives back all but the end of the dictionary, for a session that waits. What follows compresses a little worse.
func (d *Deflater) Rest() {
	if n := len(d.dict); cap(d.dict) > deflateRest {
		d.dict = append(make([]byte, 0, deflateRest), d.dict[max(0, n-deflateRest):]...)
	}
}

type deflateBuffer struct{ b []byte }

func (o *deflateBuffer) Write(p []byte) (int, error) { o.b = append(o.b, p...); return len(p), nil }

// deflateBuffers holds what is compressed but not sent; shared, as only writing sessions need one.
var deflateBuffers = sync.Pool{New: func() any { return new(deflateBuffer) }}

// Held is how many octets of memory d keeps now.
func (d *Deflater) Held() int { return cap(d.dict) }
