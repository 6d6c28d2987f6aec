package message

import (
	"io"
)

// Decoder undoes a Content-Transfer-Encoding (BASE64, QUOTED-PRINTABLE,
// 7BIT/8BIT/BINARY; X-UUENCODE where possible), leniently. ok is false for an
// unknown encoding (RFC 3516 §4.3 UNKNOWN-CTE); the octets come unchanged then.
func Decoder(encoding string, r io.Reader) (_ io.Reader, ok bool) {
	c := new(chunkReader)
	if ok = c.reset(encoding, r); !ok || c.kind == identity {
		return r, ok
	}
	return c, true
}

// stepper decodes in pieces; the zero value passes octets through.
type stepper struct {
	kind decoderKind
	b64  base64Step
	qp   qpStep
	uu   uuStep
}

type decoderKind uint8

const (
	identity decoderKind = iota
	base64Kind
	qpKind
	uuKind
)

// start makes d ready for a body; false for an unknown encoding.
func (d *stepper) start(encoding string) bool {
	d.b64, d.qp, d.uu = base64Step{}, qpStep{held: d.qp.held[:0]}, uuStep{held: d.uu.held[:0]}
	d.kind = identity
	switch upper(encoding) {
	case "7BIT", "8BIT", "BINARY", "":
	case "BASE64":
		d.kind = base64Kind
	case "QUOTED-PRINTABLE":
		d.kind = qpKind
	case "X-UUENCODE", "X-UUE", "UUENCODE":
		d.kind = uuKind
	default:
		return false
	}
	return true
}

// step appends to dst what src decodes to; it keeps what it can't decode yet, and decodes all with last set.
func (d *stepper) step(dst, src []byte, last bool) []byte {
	switch d.kind {
	case base64Kind:
		return d.b64.step(dst, src, last)
	case qpKind:
		return d.qp.step(dst, src, last)
	case uuKind:
		return d.uu.step(dst, src, last)
	}
	return append(dst, src...)
}

// chunkReader applies a stepper to blocks of r.
type chunkReader struct {
	stepper
	r   io.Reader
	in  []byte
	out []byte
	off int
	err error
}

const decodeBlock = 16 << 10

// reset makes c ready for another body, keeping its memory; false for an unknown encoding.
func (c *chunkReader) reset(encoding string, r io.Reader) bool {
	c.r, c.out, c.off, c.err = r, c.out[:0], 0, nil
	return c.start(encoding)
}

// Read implements io.Reader.
func (c *chunkReader) Read(b []byte) (int, error) {
	for c.off == len(c.out) {
		if c.err != nil {
			return 0, c.err
		}
		if len(b) == 0 {
			return 0, nil
		}
		if c.in == nil {
			c.in = make([]byte, decodeBlock)
		}
		n, err := c.r.Read(c.in)
		c.err = err
		c.off = 0
		c.out = c.step(c.out[:0], c.in[:n], err != nil)
	}
	n := copy(b, c.out[c.off:])
	c.off += n
	return n, nil
}

// base64Step decodes RFC 2045 §6.8: octets outside of the alphabet are ignored, padding
// ends a quantum, more may follow.
type base64Step struct {
	acc uint32
	n   uint // digits in acc
}

// base64Table maps an octet to its digit; 64 others, 65 padding.
const base64Table = "" +
	"\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40" +
	"\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40" +
	"\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x3e\x40\x40\x40\x3f" +
	"\x34\x35\x36\x37\x38\x39\x3a\x3b\x3c\x3d\x40\x40\x40\x41\x40\x40" +
	"\x40\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e" +
	"\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x40\x40\x40\x40\x40" +
	"\x40\x1a\x1b\x1c\x1d\x1e\x1f\x20\x21\x22\x23\x24\x25\x26\x27\x28" +
	"\x29\x2a\x2b\x2c\x2d\x2e\x2f\x30\x31\x32\x33\x40\x40\x40\x40\x40" +
	"\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40" +
	"\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40" +
	"\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40" +
	"\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40" +
	"\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40" +
	"\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40" +
	"\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40" +
	"\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40\x40"

func (s *base64Step) step(dst, src []byte, last bool) []byte {
	for i := 0; i < len(src); {
		if s.n == 0 {
			for i+4 <= len(src) {
				a, b, c, d := base64Table[src[i]], base64Table[src[i+1]], base64Table[src[i+2]], base64Table[src[i+3]]
				if a|b|c|d >= 64 {
					break
				}
				dst = append(dst, a<<2|b>>4, b<<4|c>>2, c<<6|d)
				i += 4
			}
			if i == len(src) {
				break
			}
		}
		switch v := base64Table[src[i]]; {
		case v < 64:
			s.acc = s.acc<<6 | uint32(v)
			if s.n++; s.n == 4 {
				dst = append(dst, byte(s.acc>>16), byte(s.acc>>8), byte(s.acc))
				s.acc, s.n = 0, 0
			}
		case v == 65:
			dst = s.flush(dst)
		}
		i++
	}
	if last {
		dst = s.flush(dst)
	}
	return dst
}

// flush writes the octets of an incomplete quantum.
func (s *base64Step) flush(dst []byte) []byte {
	switch s.n {
	case 2:
		dst = append(dst, byte(s.acc>>4))
	case 3:
		dst = append(dst, byte(s.acc>>10), byte(s.acc>>2))
	}
	s.acc, s.n = 0, 0
	return dst
}
