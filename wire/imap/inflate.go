package imap

import (
	"errors"
	"io"
)

// Bounds of the Inflater.
const (
	inflateWindow    = 32 << 10 // RFC 1951 §2: distances reach back so far
	inflateWindowMin = 1 << 10  // the window grows from here with what was read: most clients say little
	inflateInputMin  = 512      // raw octets asked for at once; grows to inflateInput under load
	inflateInput     = 8 << 10
	maxLitCodes      = 286
	maxDistCodes     = 30
	inflateFast      = 9 // bits of the direct table; longer codes are walked
)

// ErrDeflate says that a COMPRESS=DEFLATE stream is damaged.
var ErrDeflate = errors.New("imap: damaged deflate stream")

// Inflater reads a raw DEFLATE stream (RFC 1951) as RFC 4978 §3 has clients send it. Unlike
// compress/flate it gives away every octet that the input so far determines before it asks
// its source for more: clients flush with Z_PARTIAL_FLUSH, whose empty block does not end on an octet,
// and a reader that waits for more input there waits for ever (RFC 4978 leaves the flush to the sender).
//
// Memory: the window grows with the data up to 32 KB; 512 octets of input. Not safe for concurrent use.
type Inflater struct {
	src io.Reader
	in  []byte // unread raw input
	buf []byte
	err error // sticky, given out after the data before it

	bits  uint64
	nbits uint

	win  []byte
	wpos int // octets written so far, saturating above len(win)

	state inflateState
	final bool
	n     int // stored: octets left; match: length left
	dist  int

	one              [1]byte
	lens             [maxLitCodes + 2 + maxDistCodes + 2]uint8
	nlen, ndist, ncl int
	idx              int
	lit, dst         *huffman
	dyn              *[2]huffman
}

type inflateState uint8

const (
	inBlock inflateState = iota
	inStoredLen
	inStored
	inDynHead
	inDynCodes
	inDynLens
	inSymbols
	inMatch
	inEnd
)

// NewInflater reads from src, beginning with what was already read behind the COMPRESS command: pre.
func NewInflater(src io.Reader, pre []byte) *Inflater {
	z := &Inflater{src: src}
	if len(pre) > 0 {
		z.in = append([]byte(nil), pre...)
	}
	return z
}

// Read implements io.Reader. It blocks in the source only when nothing more can be told from the input so far.
func (z *Inflater) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n := z.decode(p)
		if n > 0 {
			return n, nil
		}
		if z.err != nil {
			return 0, z.err
		}
		if z.state == inEnd {
			return 0, io.EOF
		}
		z.fill()
	}
}

// Await blocks until a clear octet is known and puts it in p, which has room for one. While it waits for the first raw
// octet it holds no buffer but the window: this is where the idle session of a client that compresses waits.
func (z *Inflater) Await(p []byte) error {
	if z.decode(p[:1]) > 0 {
		return nil
	}
	if z.err == nil && z.state != inEnd {
		n, err := z.src.Read(z.one[:])
		if z.in = z.one[:n]; n == 0 {
			return err
		}
	}
	_, err := z.Read(p[:1])
	return err
}

// Rest gives the raw buffer back if it is used up, and the code tables if no block is open; the window stays, as the
// client may refer to it.
func (z *Inflater) Rest() {
	if len(z.in) == 0 {
		z.in, z.buf = nil, nil
	}
	if z.state == inBlock {
		z.lit, z.dst, z.dyn = nil, nil, nil
	}
}

// Buffered reports whether raw octets are there that were not looked at yet.
func (z *Inflater) Buffered() bool { return len(z.in) > 0 }

// fill reads more raw input; the buffer grows while reads fill it.
func (z *Inflater) fill() {
	if z.buf == nil {
		z.buf = make([]byte, inflateInputMin)
	}
	n, err := z.src.Read(z.buf)
	z.in = z.buf[:n]
	if n == len(z.buf) && n < inflateInput {
		z.buf = make([]byte, n*2)
	}
	switch {
	case err == io.EOF:
		z.err = io.EOF
		if n > 0 {
			z.err = nil // next Read says it again
		}
	case err != nil && n == 0:
		z.err = err
	}
}

// need makes n bits available (n <= 48), or says that input is missing.
func (z *Inflater) need(n uint) bool {
	for z.nbits <= 56 && len(z.in) > 0 {
		z.bits |= uint64(z.in[0]) << z.nbits
		z.nbits += 8
		z.in = z.in[1:]
	}
	return z.nbits >= n
}

func (z *Inflater) take(n uint) int {
	v := z.bits & (1<<n - 1)
	z.bits >>= n
	z.nbits -= n
	return int(v)
}

func (z *Inflater) put(c byte) {
	if z.wpos >= len(z.win) && len(z.win) < inflateWindow {
		z.grow()
	}
	z.win[z.wpos&(len(z.win)-1)] = c
	z.wpos++
	if z.wpos == 4*inflateWindow {
		z.wpos -= 2 * inflateWindow
	}
}

// grow doubles a window that was never wrapped; indexes stay.
func (z *Inflater) grow() {
	w := make([]byte, max(inflateWindowMin, 2*len(z.win)))
	copy(w, z.win)
	z.win = w
}

// decode fills p as far as the input goes.
func (z *Inflater) decode(p []byte) (n int) {
	for n < len(p) && z.err == nil {
		switch z.state {
		case inBlock:
			if !z.block() {
				return n
			}
		case inStoredLen:
			if !z.storedLen() {
				return n
			}
		case inStored, inMatch:
			m, ok := z.run(p[n:])
			n += m
			if !ok {
				return n
			}
		case inDynHead, inDynCodes, inDynLens:
			if !z.dynamic() {
				return n
			}
		case inSymbols:
			m, ok := z.symbols(p[n:])
			n += m
			if !ok {
				return n
			}
		default:
			return n
		}
	}
	return n
}

func (z *Inflater) fail() bool { z.err = ErrDeflate; return false }

// block reads a block header, RFC 1951 §3.2.3.
func (z *Inflater) block() bool {
	if z.final {
		z.state = inEnd
		return false
	}
	if !z.need(3) {
		return false
	}
	z.final = z.take(1) == 1
	switch z.take(2) {
	case 0:
		z.take(z.nbits & 7)
		z.state = inStoredLen
	case 1:
		z.lit, z.dst = &fixedLit, &fixedDist
		z.state = inSymbols
	case 2:
		z.state = inDynHead
	default:
		return z.fail()
	}
	return true
}

func (z *Inflater) storedLen() bool {
	if !z.need(32) {
		return false
	}
	n := z.take(16)
	if z.take(16) != n^0xffff {
		return z.fail()
	}
	z.n, z.state = n, inStored
	return true
}

// run copies a stored block or a match.
func (z *Inflater) run(p []byte) (n int, ok bool) {
	if z.state == inMatch {
		for n < len(p) && z.n > 0 {
			c := z.win[(z.wpos-z.dist)&(len(z.win)-1)]
			z.put(c)
			p[n] = c
			n++
			z.n--
		}
		if z.n == 0 {
			z.state = inSymbols
		}
		return n, true
	}
	for n < len(p) && z.n > 0 {
		if !z.need(8) {
			return n, false
		}
		c := byte(z.take(8))
		z.put(c)
		p[n] = c
		n++
		z.n--
	}
	if z.n == 0 {
		z.state = inBlock
	}
	return n, true
}

// RFC 1951 §3.2.5.
var (
	lengthBase  = [...]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra = [...]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase    = [...]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distExtra   = [...]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// symbols decodes literals and matches. A step consumes its bits wholly or not at all, so it can stop at any octet.
func (z *Inflater) symbols(p []byte) (n int, ok bool) {
	for n < len(p) {
		z.need(48)
		s, used := z.lit.find(z.bits, z.nbits)
		if used == 0 {
			return n, false
		}
		if s < 256 {
			if s < 0 {
				return n, z.fail()
			}
			z.take(used)
			z.put(byte(s))
			p[n] = byte(s)
			n++
			continue
		}
		if s == 256 {
			z.take(used)
			z.state = inBlock
			return n, true
		}
		if !z.match(s-257, used) {
			return n, false
		}
		return n, true
	}
	return n, true
}

// match reads length and distance behind a length symbol of used bits.
func (z *Inflater) match(s int, used uint) bool {
	if s >= len(lengthBase) {
		return z.fail()
	}
	bits, have := z.bits>>used, z.nbits-used
	x := uint(lengthExtra[s])
	if have < x {
		return false
	}
	length := int(lengthBase[s]) + int(bits&(1<<x-1))
	bits, have = bits>>x, have-x
	d, dused := z.dst.find(bits, have)
	if dused == 0 {
		return false
	}
	if d < 0 || d >= len(distBase) {
		return z.fail()
	}
	bits, have = bits>>dused, have-dused
	y := uint(distExtra[d])
	if have < y {
		return false
	}
	dist := int(distBase[d]) + int(bits&(1<<y-1))
	if dist > z.wpos || dist > inflateWindow {
		return z.fail()
	}
	z.bits, z.nbits = bits>>y, have-y
	z.n, z.dist, z.state = length, dist, inMatch
	return true
}

var clOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// dynamic reads the code lengths of a dynamic block, RFC 1951 §3.2.7.
func (z *Inflater) dynamic() bool {
	if z.dyn == nil {
		z.dyn = new([2]huffman)
	}
	switch z.state {
	case inDynHead:
		if !z.need(14) {
			return false
		}
		z.nlen, z.ndist, z.ncl = z.take(5)+257, z.take(5)+1, z.take(4)+4
		if z.nlen > maxLitCodes || z.ndist > maxDistCodes {
			return z.fail()
		}
		clear(z.lens[:])
		z.idx, z.state = 0, inDynCodes
	case inDynCodes:
		for ; z.idx < z.ncl; z.idx++ {
			if !z.need(3) {
				return false
			}
			z.lens[clOrder[z.idx]] = uint8(z.take(3))
		}
		if !z.dyn[0].build(z.lens[:19]) {
			return z.fail()
		}
		clear(z.lens[:])
		z.idx, z.state = 0, inDynLens
	default:
		return z.dynLens()
	}
	return true
}

func (z *Inflater) dynLens() bool {
	for z.idx < z.nlen+z.ndist {
		z.need(14)
		s, used := z.dyn[0].find(z.bits, z.nbits)
		if used == 0 {
			return false
		}
		if s < 0 {
			return z.fail()
		}
		if s < 16 {
			z.take(used)
			z.lens[z.idx] = uint8(s)
			z.idx++
			continue
		}
		extra, base, val := uint(2), 3, uint8(0)
		switch s {
		case 16:
			if z.idx == 0 {
				return z.fail()
			}
			val = z.lens[z.idx-1]
		case 17:
			extra = 3
		case 18:
			extra, base = 7, 11
		}
		if z.nbits < used+extra {
			return false
		}
		z.take(used)
		n := base + z.take(extra)
		if z.idx+n > z.nlen+z.ndist {
			return z.fail()
		}
		for range n {
			z.lens[z.idx] = val
			z.idx++
		}
	}
	if z.lens[256] == 0 || !z.dyn[0].build(z.lens[:z.nlen]) || !z.dyn[1].build(z.lens[z.nlen:z.nlen+z.ndist]) {
		return z.fail()
	}
	z.lit, z.dst, z.state = &z.dyn[0], &z.dyn[1], inSymbols
	return true
}

// huffman is a canonical code: a direct table for short codes, counts for the walk of long ones.
type huffman struct {
	fast   [1 << inflateFast]uint16 // symbol<<4 | length; 0: long or none
	count  [16]uint16
	symbol [maxLitCodes + 2]uint16
}

// find decodes the symbol at the front of bits. used 0: more bits needed; s < 0 no such code.
func (h *huffman) find(bits uint64, n uint) (s int, used uint) {
	if e := h.fast[bits&(1<<inflateFast-1)]; e != 0 {
		if u := uint(e & 15); u <= n {
			return int(e >> 4), u
		}
		return 0, 0
	}
	code, first, index := 0, 0, 0
	for l := uint(1); l <= 15; l++ {
		if l > n {
			return 0, 0
		}
		code |= int(bits & 1)
		bits >>= 1
		c := int(h.count[l])
		if code-c < first {
			return int(h.symbol[index+code-first]), l
		}
		index += c
		first = (first + c) << 1
		code <<= 1
	}
	return -1, 15
}

// build makes the code of lens. As zlib does, an incomplete code is refused unless it has at most one symbol.
func (h *huffman) build(lens []uint8) bool {
	clear(h.fast[:])
	clear(h.count[:])
	for _, l := range lens {
		h.count[l]++
	}
	used := len(lens) - int(h.count[0])
	h.count[0] = 0
	left := 1
	var offs [16]uint16
	var code [16]int
	for l := 1; l <= 15; l++ {
		left = left<<1 - int(h.count[l])
		if left < 0 {
			return false
		}
		if l < 15 {
			offs[l+1] = offs[l] + h.count[l]
			code[l+1] = (code[l] + int(h.count[l])) << 1
		}
	}
	if left > 0 && (used > 1 || used == 1 && h.count[1] != 1) {
		return false
	}
	for s, l := range lens {
		if l == 0 {
			continue
		}
		h.symbol[offs[l]] = uint16(s)
		offs[l]++
		if l <= inflateFast {
			r := reverse(code[l], uint(l))
			for ; r < 1<<inflateFast; r += 1 << l {
				h.fast[r] = uint16(s)<<4 | uint16(l)
			}
		}
		code[l]++
	}
	return true
}

func reverse(code int, n uint) (r int) {
	for range n {
		r = r<<1 | code&1
		code >>= 1
	}
	return r
}

// The fixed codes of RFC 1951 §3.2.6; never written after their making.
var fixedLit, fixedDist = fixedCodes()

func fixedCodes() (lit, dist huffman) {
	var l [288]uint8
	for i := range l {
		switch {
		case i < 144, i >= 280:
			l[i] = 8
		case i < 256:
			l[i] = 9
		default:
			l[i] = 7
		}
	}
	lit.build(l[:])
	var d [32]uint8
	for i := range d {
		d[i] = 5
	}
	dist.build(d[:])
	return lit, dist
}
