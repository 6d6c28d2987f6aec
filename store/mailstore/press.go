package mailstore

import (
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	minPress  = 512     // shorter ones gain less than a row's overhead
	pressGain = 8       // compressed must be smaller by 1/8, or the reader's work buys nothing
	probes    = 32      // places looked at to tell base64 from text
	probeLen  = 48      // shorter than a base64 line
	window    = 1 << 20 // a body in memory is not larger
)

// press holds the zstd coder and decoder, made when first needed; both may be used concurrently.
type press struct {
	once sync.Once
	enc  *zstd.Encoder
	dec  *zstd.Decoder
	bufs sync.Pool // *[]byte
}

func (p *press) init() {
	p.once.Do(func() {
		// A nil writer or reader and valid options cannot fail.
		p.enc, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(window),
			zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
		p.dec, _ = zstd.NewReader(nil, zstd.WithDecoderMaxMemory(4*window), zstd.WithDecoderLowmem(true))
	})
}

func (p *press) take() []byte {
	if b, ok := p.bufs.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return nil
}

func (p *press) give(b []byte) {
	if cap(b) > 0 && cap(b) <= pooledBuffer {
		p.bufs.Put(&b)
	}
}

// press returns data compressed, nil if it does not pay. Encoded attachments of
// compressed data shrink by a quarter (base64's own slack) at several times the
// cost of all else that a delivery does: they stay as they are.
func (s *Store) press(mode string, data []byte) []byte {
	if mode == "off" || len(data) < minPress || mostlyBase64(data) {
		return nil
	}
	p := &s.bodies.press
	p.init()
	out := p.enc.EncodeAll(data, p.take())
	if len(out) > len(data)-len(data)/pressGain {
		p.give(out)
		return nil
	}
	return out
}

// unpress decompresses into buf's memory.
func (s *Store) unpress(data, buf []byte) ([]byte, error) {
	p := &s.bodies.press
	p.init()
	return p.dec.DecodeAll(data, buf[:0])
}

// mostlyBase64 looks at places spread over data.
func mostlyBase64(data []byte) bool {
	step := len(data) / probes
	if step < probeLen {
		return false
	}
	hits := 0
	for i := range probes {
		if isBase64(data[i*step : i*step+probeLen]) {
			hits++
		}
	}
	return hits > probes*5/8
}

func isBase64(b []byte) bool {
	upper, lower := 0, 0
	for _, c := range b {
		switch {
		case 'A' <= c && c <= 'Z':
			upper++
		case 'a' <= c && c <= 'z':
			lower++
		case '0' <= c && c <= '9', c == '+', c == '/', c == '=', c == '\r', c == '\n':
		default:
			return false
		}
	}
	return upper > probeLen/8 && lower > probeLen/8 // not a run of one letter: that is worth compressing
}
