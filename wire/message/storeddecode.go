package message

import (
	"encoding/binary"
	"strings"
)

// Body appends the text of IMAP BODY (without extension data), nothing if e is damaged.
func (e Stored) Body(b []byte) []byte {
	t := imapText{b: e.BodyStructure()}
	n := len(b)
	b = t.body(b, 0)
	if t.bad {
		return b[:n]
	}
	return b
}

// body copies one body structure without its extension data.
func (t *imapText) body(b []byte, depth int) []byte {
	if t.want('('); t.bad || depth > MaxDepth+1 {
		t.fail()
		return b
	}
	b = append(b, '(')
	if t.peek() == '(' {
		for t.peek() == '(' && !t.bad {
			b = t.body(b, depth+1)
		}
		b = t.copyValues(b, 1)
	} else {
		text, msg := t.hasType("TEXT"), t.hasMessageType()
		b = t.copyBare(b)
		b = t.copyValues(b, 6)
		if text {
			b = t.copyValues(b, 1)
		} else if msg && len(t.b) > 1 && t.b[1] == '(' {
			b = t.copyValues(b, 1)
			t.want(' ')
			b = append(b, ' ')
			b = t.body(b, depth+1)
			b = t.copyValues(b, 1)
		}
	}
	for !t.bad && !t.eat(')') {
		t.want(' ')
		t.skip()
	}
	return append(b, ')')
}

// hasType tells whether the string that is next is want.
func (t *imapText) hasType(want string) bool {
	c := *t
	s, _ := c.raw()
	return string(s) == want
}

func (t *imapText) hasMessageType() bool {
	c := *t
	if s, _ := c.raw(); string(s) != "MESSAGE" || !c.eat(' ') {
		return false
	}
	s, _ := c.raw()
	return string(s) == "RFC822" || string(s) == "GLOBAL"
}

// copyBare copies one value.
func (t *imapText) copyBare(b []byte) []byte {
	start := t.b
	t.skip()
	return append(b, start[:len(start)-len(t.b)]...)
}

// copyValues copies n values with the space before each.
func (t *imapText) copyValues(b []byte, n int) []byte {
	for ; n > 0 && !t.bad; n-- {
		t.want(' ')
		b = append(b, ' ')
		b = t.copyBare(b)
	}
	return b
}

// Root decodes the part tree (offsets, types, encodings, params).
func (e Stored) Root() (*Part, error) {
	d := partDecoder{t: imapText{b: e.BodyStructure()}, table: e.section(secTable)}
	p := d.part(0)
	if d.t.bad || d.bad || len(d.t.b) > 0 || len(d.table) > 0 {
		return nil, ErrCorrupt
	}
	return p, nil
}

// partDecoder joins BODYSTRUCTURE text and part table again.
type partDecoder struct {
	t     imapText
	table []byte
	prev  int64
	n     int
	bad   bool
}

func (d *partDecoder) uint() int64 {
	v, n := binary.Uvarint(d.table)
	if n <= 0 || v > 1<<62 {
		d.bad, d.table = true, nil
		return 0
	}
	d.table = d.table[n:]
	return int64(v)
}

func (d *partDecoder) str() string {
	s, rest, ok := cut(d.table)
	if !ok {
		d.bad, d.table = true, nil
		return ""
	}
	d.table = rest
	return string(s)
}

func (d *partDecoder) part(depth int) *Part {
	d.n++
	p := &Part{}
	d.prev += d.uint()
	p.HeaderStart = d.prev
	p.BodyStart = p.HeaderStart + d.uint()
	p.End = p.BodyStart + d.uint()
	p.Lines = d.uint()
	kind := d.uint()
	if depth > MaxDepth+1 || d.n > 2*MaxParts || p.HeaderStart < 0 || p.BodyStart < 0 || p.End < 0 {
		d.bad = true
	}
	t := &d.t
	t.want('(')
	if d.bad || t.bad {
		d.bad = true
		return p
	}
	if kind&kindMultipart != 0 {
		d.multipart(p, kind, depth)
	} else {
		d.single(p, kind, depth)
	}
	t.want(')')
	return p
}

func (d *partDecoder) multipart(p *Part, kind int64, depth int) {
	t := &d.t
	p.Type, p.Encoding = "MULTIPART", "7BIT"
	if kind&kindExtra != 0 {
		p.ID, p.Description, p.MD5, p.Encoding = d.str(), d.str(), d.str(), d.str()
	}
	n := d.uint()
	if n == 0 {
		t.skip()
	}
	for ; n > 0 && !d.bad && !t.bad; n-- {
		p.Parts = append(p.Parts, d.part(depth+1))
	}
	t.want(' ')
	p.Subtype = t.str()
	t.want(' ')
	p.Params = t.params()
	t.extension(p)
}

func (d *partDecoder) single(p *Part, kind int64, depth int) {
	t := &d.t
	p.Type = t.str()
	t.want(' ')
	p.Subtype = t.str()
	t.want(' ')
	p.Params = t.params()
	t.want(' ')
	p.ID = t.nstr()
	t.want(' ')
	p.Description = t.nstr()
	t.want(' ')
	p.Encoding = t.str()
	t.want(' ')
	t.number()
	switch {
	case p.Type == "TEXT":
		t.want(' ')
		t.number()
	case kind == kindMessage:
		t.want(' ')
		p.Envelope = &Envelope{}
		t.envelope(p.Envelope)
		t.want(' ')
		p.Inner = d.part(depth + 1)
		t.want(' ')
		t.number()
	}
	t.want(' ')
	p.MD5 = t.nstr()
	t.extension(p)
}

func (t *imapText) extension(p *Part) {
	t.want(' ')
	if !t.null() {
		t.want('(')
		p.Disposition = t.str()
		t.want(' ')
		p.DispParams = t.params()
		t.want(')')
	}
	t.want(' ')
	if t.eat('(') {
		for {
			p.Language = append(p.Language, t.str())
			if !t.eat(' ') {
				break
			}
		}
		t.want(')')
	} else if s := t.nstr(); s != "" {
		p.Language = []string{s}
	}
	t.want(' ')
	p.Location = t.nstr()
}

func (t *imapText) params() []Param {
	if t.null() {
		return nil
	}
	var l []Param
	t.want('(')
	for {
		name := t.str()
		t.want(' ')
		v := t.str()
		if strings.HasSuffix(name, "*") {
			name = name[:len(name)-1]
			v = string(appendPercent(nil, strings.TrimPrefix(v, "utf-8''")))
		}
		l = append(l, Param{name, v})
		if !t.eat(' ') || t.bad {
			break
		}
	}
	t.want(')')
	return l
}

func (t *imapText) envelope(e *Envelope) {
	t.want('(')
	e.Date = t.opt()
	t.want(' ')
	e.Subject = t.opt()
	for _, l := range [...]*[]Address{&e.From, &e.Sender, &e.ReplyTo, &e.To, &e.Cc, &e.Bcc} {
		t.want(' ')
		*l = t.addrs()
	}
	t.want(' ')
	e.InReplyTo = t.opt()
	t.want(' ')
	e.MessageID = t.opt()
	t.want(')')
}

func (t *imapText) addrs() []Address {
	if t.null() {
		return nil
	}
	var l []Address
	t.want('(')
	for t.eat('(') {
		var a Address
		a.Name = t.nstr()
		t.want(' ')
		a.Route = t.nstr()
		t.want(' ')
		a.Mailbox = t.nstr()
		t.want(' ')
		if t.null() {
			a.Group = true
		} else {
			a.Host = t.str()
		}
		t.want(')')
		l = append(l, a)
	}
	t.want(')')
	return l
}

// Decode decodes all.
func (e Stored) Decode() (*Summary, error) {
	root, err := e.Root()
	if err != nil {
		return nil, err
	}
	s := &Summary{Root: root}
	t := imapText{b: e.Envelope()}
	t.envelope(&s.Envelope)
	k, size, ok := e.keys()
	if t.bad || len(t.b) > 0 || !ok {
		return nil, ErrCorrupt
	}
	s.Size = size
	s.MessageID, s.BaseSubject = string(k.MessageID), string(k.Subject)
	s.IsReplyOrForward, s.HasAttachment = k.IsReplyOrForward, k.HasAttachment
	s.SentDate, s.SentDateOK, s.SentZone = k.SentDate, k.SentDateOK, k.SentZone
	for id := range e.References {
		s.References = append(s.References, string(id))
	}
	s.Preview = string(e.Preview())
	return s, nil
}
