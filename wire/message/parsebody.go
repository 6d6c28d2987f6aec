package message

import "bytes"

// body takes body octets up to and including the next line end that is
// followed by "--", or a line beginning with "--".
func (p *Parser) body(b []byte) []byte {
	if p.active == 0 {
		p.consume(b)
		return nil
	}
	if p.bol {
		return p.candidate(b)
	}
	var i int
	if p.eol == '\n' {
		i = bytes.Index(b, []byte("\n--"))
	} else {
		i = bytes.Index(b, []byte("\r--"))
	}
	if i >= 0 {
		p.consume(b[:i+1])
		p.bol = true
		return b[i+1:]
	}
	n := len(b)
	switch {
	case b[n-1] == p.eol:
		p.bol = true
	case n >= 2 && b[n-1] == '-' && b[n-2] == p.eol:
		n--
		p.cand = append(p.cand, '-')
		p.bol = true
	}
	p.consume(b[:n])
	return nil
}

// candidate decides about a line that may be a delimiter. It holds back octets
// only as long as they can't tell.
func (p *Parser) candidate(b []byte) []byte {
	n := 0
	for n < len(b) && len(p.cand)+n < 2 {
		if b[n] != '-' {
			return p.reject(b, 0)
		}
		n++
	}
	end := min(len(b), max(p.window-len(p.cand), n))
	whole := false
	if i := bytes.IndexByte(b[n:end], p.eol); i >= 0 {
		end, whole = n+i+1, true
	}
	if !whole && len(p.cand)+end < max(p.window, 2) {
		p.cand = append(p.cand, b[:end]...)
		return b[end:]
	}
	line := b[:end]
	if len(p.cand) > 0 {
		p.cand = append(p.cand, line...)
		line = p.cand
	}
	k, last := p.match(line)
	if k < 0 {
		held := len(line) - end
		p.cand = p.cand[:held]
		return p.reject(b, end)
	}
	p.cand = p.cand[:0]
	p.delimiter(k, last, p.pos, p.eolLen())
	p.pos += int64(len(line))
	p.note(line)
	if whole {
		p.lines++
		p.afterDelim()
	}
	return b[end:]
}

// reject makes body octets of what was held back and of b[:n].
func (p *Parser) reject(b []byte, n int) []byte {
	p.consume(p.cand)
	p.cand = p.cand[:0]
	p.consume(b[:n])
	p.bol = n > 0 && b[n-1] == p.eol
	return b[n:]
}

// consume counts body octets and keeps the beginning of those the preview needs.
func (p *Parser) consume(b []byte) {
	if len(b) == 0 {
		return
	}
	p.pos += int64(len(b))
	p.lines += int64(bytes.Count(b, []byte{p.eol}))
	if p.active > 0 {
		p.note(b)
	}
	if p.capture != nil {
		room := p.captureMax - len(*p.capture)
		*p.capture = append(*p.capture, b[:min(room, len(b))]...)
		if room <= len(b) {
			p.capture = nil
		}
	}
}

// note remembers what eolLen needs of the octets going by.
func (p *Parser) note(b []byte) {
	if n := len(b); n > 1 {
		p.prevCR = b[n-2] == '\r'
		p.lastCR = b[n-1] == '\r'
	} else if n == 1 {
		p.prevCR = p.lastCR
		p.lastCR = b[0] == '\r'
	}
}

// eolLen is the length of the line end just consumed.
func (p *Parser) eolLen() int64 {
	if p.prevCR && p.eol == '\n' {
		return 2
	}
	return 1
}

// delimRest skips the rest of a delimiter line.
func (p *Parser) delimRest(b []byte) []byte {
	i := bytes.IndexByte(b, p.eol)
	if i < 0 {
		p.pos += int64(len(b))
		p.note(b)
		return nil
	}
	p.pos += int64(i + 1)
	p.note(b[:i+1])
	p.lines++
	p.afterDelim()
	return b[i+1:]
}

// afterDelim goes on after a whole delimiter line.
func (p *Parser) afterDelim() {
	switch p.state {
	case inDelim:
		p.openHeader(p.cur, p.inner)
	case inDelimEnd:
		p.state, p.bol = inBody, true
	}
}

// delimiter is delimiterAt for a delimiter in a body: the line end before it, of n octets, is not the body's.
func (p *Parser) delimiter(k int, last bool, start, n int64) {
	p.delimiterAt(k, last, start-n, p.lines-1)
}

// delimiterAt closes the parts inside frame k at end, and opens the next part, or closes the frame.
func (p *Parser) delimiterAt(k int, last bool, end, lines int64) {
	p.closeTo(k+1, end, lines)
	f := &p.stack[k]
	if last {
		f.closed = true
		p.rewindow()
		p.cur, p.state = nil, inDelimEnd
		return
	}
	part := &Part{}
	f.part.Parts = append(f.part.Parts, part)
	p.cur, p.inner, p.state = part, false, inDelim
}

// closeTo ends the current part and all frames from index k on at end, where lines line ends are behind.
func (p *Parser) closeTo(k int, end, lines int64) {
	for p.state == inHeader {
		p.endHeader(end, lines)
		p.hdr = p.hdr[:0]
	}
	p.capture = nil
	if p.cur != nil {
		end, lines = p.cur.close(end, lines)
		p.cur = nil
	}
	for i := len(p.stack) - 1; i >= k; i-- {
		end, lines = p.stack[i].part.close(end, lines)
		p.stack[i] = frame{}
	}
	if k < len(p.stack) {
		p.stack = p.stack[:k]
		p.rewindow()
	}
}

// close sets the end; until then Lines holds the line count at the body's
// start. It returns the end in force, which holds for the parts around too.
func (part *Part) close(end, lines int64) (int64, int64) {
	if end < part.BodyStart { // the line end before the delimiter is the header's last
		end, lines = part.BodyStart, part.Lines
	}
	part.End = end
	part.Lines = max(lines-part.Lines, 0)
	return end, lines
}

// startCapture keeps the beginning of a text body that may give the preview: the first
// text/plain, else the first text/html, outside of nested messages and not an attachment.
func (p *Parser) startCapture(part *Part) {
	if part.Type != "TEXT" || part.Disposition == "ATTACHMENT" || p.plainP != nil {
		return
	}
	for i := range p.stack {
		if p.stack[i].part.Inner != nil {
			return
		}
	}
	switch {
	case part.Subtype == "PLAIN":
		p.plainP, p.capture, p.captureMax = part, &p.plain, capturePlain
	case part.Subtype == "HTML" && p.markupP == nil:
		p.markupP, p.capture, p.captureMax = part, &p.markup, captureMarkup
	}
}
