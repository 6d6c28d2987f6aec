package message

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	textChunk = 32 << 10 // octets read and yielded at a time
	maxWord   = 1 << 10  // a chunk ends between words if they are not longer
)

// Texts walks the searchable text of a message: every header field (decoded, of the outermost
// message; addresses with comments also without them), and of each part its MIME header fields, its text if it is text/* (decoded charset, HTML stripped to
// its text) and its file name. The header fields of nested messages come as those of parts: RFC 9051 §6.4.4 wants
// MIME header fields in TEXT and no header field in BODY; Dovecot does the same.
// r is the whole message, root its part tree.
// yield gets valid UTF-8, possibly in several chunks per part; a chunk ends at white space unless a
// word is longer than 1 KB, a part with a line end. Text is only valid during the call. yield may return false to stop.
func Texts(r io.ReaderAt, root *Part, yield func(kind TextKind, field string, text []byte) bool) error {
	return new(TextWalker).Texts(r, root, yield)
}

// TextWalker is for who walks many messages: it keeps its buffers. The zero value is ready; not safe for concurrent use.
type TextWalker struct {
	BodyOnly bool // leave out HeaderText and PartHeader

	w textWalk
}

// Texts is the function Texts.
func (t *TextWalker) Texts(r io.ReaderAt, root *Part, yield func(kind TextKind, field string, text []byte) bool) error {
	w := &t.w
	w.r, w.yield, w.stop, w.err, w.bodyOnly = r, yield, false, nil, t.BodyOnly
	w.header(root, HeaderText)
	w.part(root)
	w.r, w.yield = nil, nil
	return w.err
}

type textWalk struct {
	r     io.ReaderAt
	yield func(TextKind, string, []byte) bool
	buf   []byte
	name  []byte
	text  []byte            // an unfolded value
	names map[string]string // in lower case
	chunk textChunks
	stop  bool
	err   error

	bodyOnly bool
}

func (w *textWalk) fail(err error) {
	if err != nil && err != io.EOF {
		w.err, w.stop = err, true
	}
}

// header yields the fields of a message's header.
func (w *textWalk) header(p *Part, kind TextKind) {
	n := int(min(p.BodyStart-p.HeaderStart, MaxHeaderBytes))
	if w.stop || w.bodyOnly || n <= len("\r\n") { // no field at all
		return
	}
	if cap(w.buf) < n {
		w.buf = make([]byte, max(n, 8<<10))
	}
	b := w.buf[:n]
	if got, err := w.r.ReadAt(b, p.HeaderStart); got < n {
		w.fail(err)
		b = b[:got]
	}
	eachField(b, func(name, v, _ []byte) bool {
		field := w.lower(name)
		w.stop = !w.yield(kind, field, w.value(v))
		if !w.stop && kind == HeaderText && isAddressField(field) && bytes.IndexByte(v, '(') >= 0 {
			w.stop = !w.yield(kind, field, w.value(addressTexts(string(appendUnfolded(nil, v)))))
		}
		return !w.stop
	})
}

func isAddressField(name string) bool {
	switch name {
	case "from", "sender", "reply-to", "to", "cc", "bcc":
		return true
	}
	return false
}

// addressTexts is what ENVELOPE has of a field with comments: they may stand in
// the middle of an address, and RFC 9051 §6.4.4 searches the ENVELOPE.
func addressTexts(v string) (b []byte) {
	for _, a := range ParseAddressList(v) {
		if a.Mailbox != "" && a.Host != "" {
			b = append(append(append(append(b, a.Mailbox...), '@'), a.Host...), ' ')
		}
	}
	return b
}

// maxNames bounds the header names kept from message to message.
const maxNames = 1000

// lower returns a field's name in lower case.
func (w *textWalk) lower(name []byte) string {
	b := w.name[:0]
	for _, c := range name {
		if c >= utf8.RuneSelf {
			return strings.ToLower(string(name))
		}
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		b = append(b, c)
	}
	w.name = b
	s, ok := w.names[string(b)]
	if !ok {
		if w.names == nil || len(w.names) >= maxNames {
			w.names = make(map[string]string)
		}
		s = string(b)
		w.names[s] = s
	}
	return s
}

// value is DecodeHeader(unfold(v)); most values need neither.
func (w *textWalk) value(v []byte) []byte {
	v = bytes.Trim(v, " \t\r\n")
	plain, whole := true, true
	for _, c := range v {
		plain = plain && c < utf8.RuneSelf
		whole = whole && c != '\r' && c != '\n' && c != 0
	}
	if !whole {
		w.text = appendUnfolded(w.text[:0], v)
		v = w.text
	}
	if plain && !bytes.Contains(v, []byte("=?")) {
		return v
	}
	return []byte(DecodeHeader(string(v)))
}

// part yields the texts of one part and those inside; the depth is bounded by MaxDepth.
func (w *textWalk) part(p *Part) {
	if w.stop {
		return
	}
	if n := p.fileName(); n != "" && p.Type != "MULTIPART" {
		if w.stop = !w.yield(FileName, "", []byte(DecodeHeader(n))); w.stop {
			return
		}
	}
	switch {
	case p.Type == "MULTIPART":
		for _, c := range p.Parts {
			w.header(c, PartHeader)
			w.part(c)
		}
	case p.Inner != nil:
		w.header(p.Inner, PartHeader)
		w.part(p.Inner)
	case p.Type == "TEXT", p.Type == "MESSAGE": // message/delivery-status and its like are text too
		w.fail(w.chunk.textOf(p, io.NewSectionReader(w.r, p.BodyStart, p.End-p.BodyStart), func(b []byte) bool {
			w.stop = !w.yield(BodyText, "", b)
			return !w.stop
		}))
	}
}

// textChunks turns what a reader gives into chunks of valid UTF-8 that end between words.
type textChunks struct {
	guess bool
	dec   chunkReader
	buf   []byte
	html  stripper
}

// textOf yields the decoded text of a text part whose encoded octets r has.
func (c *textChunks) textOf(part *Part, r io.Reader, yield func([]byte) bool) error {
	if c.dec.reset(part.Encoding, r) && c.dec.kind != identity {
		r = &c.dec
	}
	name := param(part.Params, "CHARSET")
	k, _ := charset(name)
	if c.guess = k == charsetGuess; k != charsetUTF8 && !c.guess {
		r = CharsetReader(name, r)
	}
	defer func() { c.dec.r = nil }()
	if part.Subtype != "HTML" && part.Subtype != "XHTML" {
		return c.copy(r, yield)
	}
	c.html = stripper{yield: yield, out: c.html.out[:0], hold: c.html.hold[:0]}
	err := c.copy(r, c.html.write)
	c.html.close()
	return err
}

func (c *textChunks) copy(r io.Reader, yield func([]byte) bool) error {
	if c.buf == nil {
		c.buf = make([]byte, textChunk)
	}
	n := 0 // octets in buf
	for {
		k, err := r.Read(c.buf[n : len(c.buf)-1])
		n += k
		if err != nil {
			if n > 0 && c.buf[n-1] != '\n' {
				c.buf[n] = '\n'
				n++
			}
			if n > 0 {
				c.emit(c.buf[:n], yield)
			}
			if err == io.EOF {
				err = nil
			}
			return err
		}
		if n < len(c.buf)-1-maxWord {
			continue
		}
		end := cutWord(c.buf[:n])
		if !c.emit(c.buf[:end], yield) {
			return nil
		}
		n = copy(c.buf, c.buf[end:n])
	}
}

// cutWord is where to end a chunk: behind the last white space, else behind the last whole rune.
func cutWord(b []byte) int {
	tail := max(len(b)-maxWord, 0)
	if i := bytes.LastIndexAny(b[tail:], " \n"); i >= 0 {
		return tail + i + 1
	}
	return cutRune(b)
}

// cutRune is the length of b without an incomplete rune at its end.
func cutRune(b []byte) int {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; c < utf8.RuneSelf {
			break
		} else if utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return len(b) - i
			}
			break
		}
	}
	return len(b)
}

// emit yields b as valid UTF-8.
func (c *textChunks) emit(b []byte, yield func([]byte) bool) bool {
	if !utf8.Valid(b) {
		if c.guess {
			b = toUTF8("", b)
		} else {
			b = bytes.ToValidUTF8(b, []byte("\ufffd"))
		}
	}
	return yield(b)
}
