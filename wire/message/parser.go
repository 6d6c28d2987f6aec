package message

import (
	"bytes"
	"io"
)

// Bounds of the push parser beside those of message.go.
const (
	maxBoundary   = 2000     // octets compared of a boundary (RFC 2046 §5.1.1 allows 70); longer ones match by this prefix
	crProbe       = 64 << 10 // a message without any LF in its first crProbe octets is taken for one with bare CR line ends
	readChunk     = 32 << 10 // Parse reads this much at a time
	capturePlain  = 4 << 10  // raw octets of text/plain kept for the preview: 200 runes of 4 octets in base64, and some blank lines
	headersBudget = 8 << 20  // octets of all headers of a message that are looked at; then only the first headerRest of each
	headerRest    = 1 << 10  // (10,000 nested messages with long headers would make an ENVELOPE as long as the message)
	keepBuffer    = 64 << 10 // Reset lets go of longer buffers
	captureMarkup = 48 << 10 // raw octets of text/html kept for the preview: style sheets come first
)

// states of the parser
const (
	inHeader   uint8 = iota
	inBody           // of a leaf, or preamble or epilogue of a multipart
	inDelim          // rest of a delimiter line
	inDelimEnd       // rest of a close-delimiter line
)

// frame is an open multipart or message part.
type frame struct {
	part   *Part
	delim  string // "--" boundary; "" for message/rfc822
	closed bool   // close-delimiter seen: epilogue
	digest bool
}

// Parser is a push parser: Write the message in any chunks, then Finish. It
// keeps no body, only headers and (for the preview) a bounded start of the first text part.
// The zero value is ready for use; after Finish, Reset makes it ready for the next message.
//
// Choices where the standards are silent: a multipart or message/rfc822 is parsed whatever its
// Content-Transfer-Encoding says (RFC 2045 §6.4 forbids others than identity; Dovecot does the same);
// a multipart without boundary parameter is text/plain; a delimiter line is matched as RFC 2046
// §5.1.1 says, by prefix, but of several boundaries that match the longest counts.
type Parser struct {
	root   *Part
	state  uint8
	eol    byte // LF, or CR in a message that has no LF
	sawLF  bool
	bol    bool // body: at the beginning of a line
	prevCR bool // body: the octet before the last line end was CR
	lastCR bool // body: last octet consumed was CR

	pos    int64 // octets consumed
	lines  int64 // line ends consumed
	nparts int
	window int // octets of a line needed to tell whether it is a delimiter
	active int // frames with a live boundary

	stack []frame
	cur   *Part // part whose header or body is being read; nil in preamble and epilogue
	inner bool  // cur is the root of a message: its header has an envelope
	env   Envelope
	refs  string // raw References of the outermost header

	dashes    bool   // header: a line beginning with "--" was seen
	hdr       []byte // header so far; beyond MaxHeaderBytes only the beginning of the current line
	lineStart int    // of the current header line in hdr
	lineLen   int64  // octets of the current header line
	looked    int    // octets of headers looked at so far
	cand      []byte // beginning of a line that may be a delimiter

	plain, markup   []byte // start of the first text/plain and text/html bodies, still encoded
	plainP, markupP *Part
	pv              previewer
	capture         *[]byte
	captureMax      int
}

// NewParser returns a Parser; Reset makes one ready for the next message.
func NewParser() *Parser { return &Parser{} }

// Reset makes p ready for the next message, keeping its buffers (for a sync.Pool).
func (p *Parser) Reset() {
	clear(p.stack[:cap(p.stack)])
	if cap(p.hdr) > keepBuffer {
		p.hdr = nil
	}
	if cap(p.pv.text) > keepBuffer {
		p.pv.text = nil
	}
	*p = Parser{stack: p.stack[:0], hdr: p.hdr[:0], cand: p.cand[:0], plain: p.plain[:0], markup: p.markup[:0], pv: p.pv}
}

// Write implements io.Writer; it never fails and keeps nothing of b.
func (p *Parser) Write(b []byte) (int, error) {
	p.start()
	p.feed(b)
	return len(b), nil
}

func (p *Parser) start() {
	if p.root == nil {
		p.eol = '\n'
		if p.hdr == nil {
			p.hdr = make([]byte, 0, 4<<10) // most headers
		}
		p.root = &Part{}
		p.openHeader(p.root, true)
	}
}

func (p *Parser) feed(b []byte) {
	for len(b) > 0 {
		switch p.state {
		case inHeader:
			b = p.header(b)
		case inBody:
			b = p.body(b)
		default:
			b = p.delimRest(b)
		}
	}
}

// Finish ends the message. The Summary shares nothing with the Parser.
func (p *Parser) Finish() *Summary {
	p.start()
	if !p.sawLF && p.eol == '\n' && p.pos < crProbe {
		p.tryBareCR()
	}
	if p.state == inHeader && p.lineLen >= 2 {
		p.headerLine(false)
	}
	if len(p.cand) > 0 { // last line, without line end
		line := p.cand
		if k, last := p.match(line); k >= 0 {
			p.delimiter(k, last, p.pos, p.eolLen())
			p.pos += int64(len(line))
		} else {
			p.consume(line)
		}
		p.cand = p.cand[:0]
	}
	if p.state == inDelim { // delimiter at the end of the input: a last, empty part
		p.openHeader(p.cur, p.inner)
	}
	p.closeTo(0, p.pos, p.lines)
	return p.summary()
}

// Parse is Parser over r.
func Parse(r io.Reader) (*Summary, error) {
	p := NewParser()
	buf := make([]byte, readChunk)
	for {
		n, err := r.Read(buf)
		p.Write(buf[:n])
		if err == io.EOF {
			return p.Finish(), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// openHeader begins the header of part at the current position.
func (p *Parser) openHeader(part *Part, inner bool) {
	part.HeaderStart = p.pos
	p.nparts++
	p.cur, p.inner, p.state = part, inner, inHeader
	p.hdr, p.lineStart, p.lineLen, p.dashes = p.hdr[:0], 0, 0, false
}

// header takes one line (or the piece of one) of a header.
func (p *Parser) header(b []byte) []byte {
	n := bytes.IndexByte(b, p.eol) + 1
	whole := n > 0
	if !whole {
		n = len(b)
		if !p.sawLF && p.eol == '\n' && p.pos < crProbe && p.pos+int64(n) >= crProbe {
			n = int(crProbe - p.pos)
		}
	}
	keep := b[:n]
	if room := max(MaxHeaderBytes, p.lineStart+maxBoundary+8) - len(p.hdr); len(keep) > room {
		keep = keep[:max(room, 0)]
	}
	p.hdr = append(p.hdr, keep...)
	p.pos += int64(n)
	p.lineLen += int64(n)
	if !whole {
		if !p.sawLF && p.pos == crProbe && p.eol == '\n' {
			p.tryBareCR()
		}
		return b[n:]
	}
	p.lines++
	p.sawLF = true
	if p.headerLine(true) {
		return b[n:]
	}
	if p.lineStart >= MaxHeaderBytes {
		p.hdr = p.hdr[:p.lineStart]
	}
	p.lineStart, p.lineLen = len(p.hdr), 0
	return b[n:]
}

// headerLine looks at the header line just read; true if the header ended with it.
func (p *Parser) headerLine(whole bool) bool {
	line := p.hdr[p.lineStart:]
	if p.lineLen <= 2 && whole && (len(line) == 1 || len(line) == 2 && line[0] == '\r') {
		p.hdr = p.hdr[:p.lineStart]
		p.endHeader(p.pos, p.lines)
		return true
	}
	if line[0] != '-' || len(line) < 2 || line[1] != '-' {
		return false
	}
	start, lines := p.pos-p.lineLen, p.lines
	if whole {
		lines--
	}
	k, last := p.match(line)
	if own, end, ok := p.ownDelim(line); ok && (k < 0 || len(own) > len(p.stack[k].delim)) {
		k, last = len(p.stack), end
	}
	if k < 0 {
		return false
	}
	p.hdr = p.hdr[:p.lineStart]
	for p.state == inHeader { // a message part opens a header again
		p.endHeader(start, lines)
		p.hdr = p.hdr[:0]
	}
	p.delimiterAt(k, last, start, lines)
	if whole {
		p.afterDelim()
	}
	return true
}

// ownDelim is for a header without empty line whose own boundary follows at once: it
// reports the delimiter that match would find if the header ended before line. Only the first such
// line of a header is looked at, or it would cost a look at the header for each.
func (p *Parser) ownDelim(line []byte) (delim string, last, ok bool) {
	if p.lineStart == 0 || p.dashes || len(p.stack) >= MaxDepth {
		return "", false, false
	}
	p.dashes = true
	var h header
	h.scan(string(p.hdr[:p.lineStart]), false)
	typ, _, params := parseContentType(h.contentType)
	if typ != "MULTIPART" {
		return "", false, false
	}
	delim = delimOf(params)
	ok, last = matchDelim(line, delim)
	return delim, last, ok
}

// tryBareCR starts anew with CR as line end if the octets so far have one (bare CR files).
func (p *Parser) tryBareCR() {
	if i := bytes.IndexByte(p.hdr, '\r'); i < 0 || i == len(p.hdr)-1 { // a last CR may be half of a CRLF
		return
	}
	again := p.hdr
	p.hdr = nil
	p.eol, p.pos, p.lines, p.nparts = '\r', 0, 0, 0
	p.openHeader(p.root, true)
	p.feed(again)
}

// endHeader ends the header of cur: its body begins at start.
func (p *Parser) endHeader(start, lines int64) {
	part := p.cur
	part.BodyStart, part.Lines = start, lines
	digest := !p.inner && len(p.stack) > 0 && p.stack[len(p.stack)-1].digest
	p.readHeader(part, digest)
	p.state, p.bol = inBody, true
	p.lastCR, p.prevCR = false, false
	switch {
	case part.Type == "MULTIPART":
		delim := delimOf(part.Params)
		if delim == "" {
			part.Type, part.Subtype, part.Params = "TEXT", "PLAIN", defaultParams()
		} else if len(p.stack) < MaxDepth {
			p.push(frame{part: part, delim: delim, digest: part.Subtype == "DIGEST"})
			p.cur = nil
			return
		} else {
			part.octetStream()
		}
	case part.Type == "MESSAGE" && (part.Subtype == "RFC822" || part.Subtype == "GLOBAL"):
		if len(p.stack) < MaxDepth && p.nparts < MaxParts {
			p.push(frame{part: part})
			part.Inner, part.Envelope = &Part{}, &Envelope{}
			pos := p.pos
			p.pos = start
			p.openHeader(part.Inner, true)
			p.pos = pos
			return
		}
		part.octetStream()
	}
	p.startCapture(part)
}

func (part *Part) octetStream() {
	part.Type, part.Subtype, part.Params = "APPLICATION", "OCTET-STREAM", nil
}

func (p *Parser) push(f frame) {
	p.stack = append(p.stack, f)
	p.rewindow()
}

// rewindow recomputes what depends on the live boundaries.
func (p *Parser) rewindow() {
	p.active, p.window = 0, 0
	for i := range p.stack {
		if f := &p.stack[i]; f.delim != "" && !f.closed {
			p.active++
			p.window = max(p.window, len(f.delim)+2)
		}
	}
}

// delimOf returns the delimiter that params name, "" if none.
func delimOf(params []Param) string {
	for i := range params {
		if params[i].Name == "BOUNDARY" {
			if params[i].Value == "" {
				return ""
			}
			return "--" + clip(params[i].Value, maxBoundary)
		}
	}
	return ""
}

// match tells which open multipart line delimits: its index in the stack, -1 if
// none, and whether it is the close-delimiter. The longest boundary wins, then the innermost.
func (p *Parser) match(line []byte) (k int, last bool) {
	k = -1
	best := 0
	for i := len(p.stack) - 1; i >= 0; i-- {
		f := &p.stack[i]
		if f.closed || len(f.delim) <= best {
			continue
		}
		if ok, end := matchDelim(line, f.delim); ok {
			k, last, best = i, end, len(f.delim)
		}
	}
	if k >= 0 && !last && p.nparts >= MaxParts { // the rest belongs to the last part
		return -1, false
	}
	return k, last
}

// matchDelim compares the beginning of line with a delimiter (RFC 2046 §5.1.1).
func matchDelim(line []byte, delim string) (ok, last bool) {
	if delim == "" || len(line) < len(delim) || string(line[:len(delim)]) != delim {
		return false, false
	}
	rest := line[len(delim):]
	if len(rest) >= 2 && rest[0] == '-' && rest[1] == '-' {
		return true, true
	}
	return true, false
}
