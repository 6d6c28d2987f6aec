package imapd

import (
	"bytes"
	"io"

	"bahnpost/mail"
	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
	"bahnpost/wire/message"
)

// partReader finds sections in a stored message. The prefix (trace header of
// this copy) belongs to the header of the message.
type partReader struct {
	r      *mailstore.Reader
	prefix int64
	root   *message.Part // nil if only the whole message is asked for
}

// span is a range of the stored message.
type span struct{ off, n int64 }

func (p *partReader) open(r *mailstore.Reader, m *mailstore.Meta) error {
	p.r, p.prefix = r, int64(r.Prefix())
	if m == nil {
		return nil
	}
	root, err := m.Summary.Root()
	if err != nil {
		return &mail.Error{Kind: mail.Corrupt, Text: "structure of the message is damaged", Err: err}
	}
	p.root = root
	return nil
}

// part finds a part by its number (RFC 9051 §6.4.5.1); without one it is the
// root. The single part of a message that is no multipart has number 1.
func (p *partReader) part(path []int) *message.Part {
	cur, whole := p.root, true // whole: cur is the root of a message, not yet one of its parts
	for _, n := range path {
		if !whole && cur.Inner != nil {
			cur, whole = cur.Inner, true
		}
		switch {
		case cur.Type == "MULTIPART" && n <= len(cur.Parts):
			cur = cur.Parts[n-1]
		case cur.Type == "MULTIPART" && n == 1: // BODYSTRUCTURE shows an empty part where there is none
			return &message.Part{HeaderStart: cur.End, BodyStart: cur.End, End: cur.End, Type: "TEXT", Subtype: "PLAIN", Encoding: "7BIT"}
		case cur.Type == "MULTIPART" || !whole || n != 1:
			return nil
		}
		whole = false
	}
	return cur
}

// section returns the span of a section; ok is false if there is no such part.
// Whole message and header of the root include the prefix.
func (p *partReader) section(sec *imap.Section) (sp span, ok bool) {
	if len(sec.Part) == 0 {
		switch sec.Spec {
		case imap.SpecNone:
			return span{0, p.r.Size()}, true
		case imap.SpecText:
			return p.at(p.root.BodyStart, p.root.End), true
		}
		return span{0, p.prefix + p.root.BodyStart}, true // HEADER and HEADER.FIELDS
	}
	part := p.part(sec.Part)
	if part == nil {
		return span{}, false
	}
	switch sec.Spec {
	case imap.SpecNone:
		return p.at(part.BodyStart, part.End), true
	case imap.SpecMIME:
		return p.at(part.HeaderStart, part.BodyStart), true
	}
	if part.Inner == nil { // HEADER and TEXT are of messages only
		return span{}, false
	}
	if sec.Spec == imap.SpecText {
		return p.at(part.Inner.BodyStart, part.Inner.End), true
	}
	return p.at(part.Inner.HeaderStart, part.Inner.BodyStart), true
}

func (p *partReader) at(from, to int64) span { return span{p.prefix + from, max(to-from, 0)} }

// cutPartial applies <offset.count> to n octets.
func cutPartial(it *imap.FetchItem, n int64) (off, count int64) {
	if !it.Partial {
		return 0, n
	}
	off = min(it.Offset, n)
	return off, min(it.Count, n-off)
}

// sendSection sends one item made of body octets.
func (s *session) sendSection(it *imap.FetchItem, p *partReader) error {
	switch it.Kind {
	case imap.ItemBinary:
		return s.sendBinary(it, p)
	case imap.ItemBinarySize:
		return s.sendBinarySize(it, p)
	}
	s.out.b = imap.AppendItemName(s.out.b, it)
	s.out.b = append(s.out.b, ' ')
	sec := &it.Section
	switch it.Kind {
	case imap.ItemRFC822Header:
		sec = &imap.Section{Spec: imap.SpecHeader}
	case imap.ItemRFC822Text:
		sec = &imap.Section{Spec: imap.SpecText}
	}
	sp, ok := p.section(sec)
	if !ok {
		s.out.b = append(s.out.b, "NIL"...) // RFC 3501 §6.4.5 is silent; all servers say NIL
		return nil
	}
	if hasFields(sec) {
		return s.sendFields(it, sec, p, sp)
	}
	off, n := cutPartial(it, sp.n)
	if err := p.r.Sound(sp.off+off, n); err != nil {
		return err
	}
	s.out.b = imap.AppendLiteralHeader(s.out.b, n)
	return s.copyRange(p.r, sp.off+off, n)
}

// copyRange streams stored octets to the client.
func (s *session) copyRange(r *mailstore.Reader, off, n int64) error {
	if n == 0 {
		return nil
	}
	if err := r.CopyRange(&s.out, off, n); err != nil {
		return s.midLiteral(err)
	}
	return nil
}

// midLiteral ends the session: a literal was announced and can't be completed,
// so nothing that follows would be understood.
func (s *session) midLiteral(err error) error {
	if s.out.err == nil {
		s.judge("FETCH", err) // logs it
	}
	return wrapConn(err)
}

func hasFields(sec *imap.Section) bool {
	return sec.Spec == imap.SpecFields || sec.Spec == imap.SpecFieldsNot
}

// readFields reads HEADER.FIELDS and HEADER.FIELDS.NOT (RFC 9051 §6.4.5.1).
// Of a header beyond message.MaxHeaderBytes the rest is not looked at.
func readFields(sec *imap.Section, p *partReader, sp span) ([]byte, error) {
	head := make([]byte, min(sp.n, message.MaxHeaderBytes+p.prefix))
	if _, err := p.r.ReadAt(head, sp.off); err != nil && err != io.EOF {
		return nil, err
	}
	return pickFields(head, sec.Fields, sec.Spec == imap.SpecFieldsNot), nil
}

// sendFields sends what readFields reads.
func (s *session) sendFields(it *imap.FetchItem, sec *imap.Section, p *partReader, sp span) error {
	picked, err := readFields(sec, p, sp)
	if err != nil {
		return err
	}
	off, n := cutPartial(it, int64(len(picked)))
	b := imap.AppendLiteralHeader(s.out.b, n)
	s.out.b = append(b, picked[off:off+n]...)
	return nil
}

// pickFields keeps the fields named (or, with not, all others) in their order
// and ends with an empty line.
func pickFields(head []byte, fields []string, not bool) []byte {
	out := make([]byte, 0, min(len(head), 4096)+2)
	keep := false
	for len(head) > 0 {
		i := bytes.IndexByte(head, '\n') + 1
		if i == 0 {
			i = len(head)
		}
		line := head[:i]
		head = head[i:]
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
		if line[0] != ' ' && line[0] != '\t' {
			keep = named(line, fields) != not
		}
		if keep {
			out = append(out, line...)
		}
	}
	return append(out, "\r\n"...)
}

// named reports whether a header line is one of fields.
func named(line []byte, fields []string) bool {
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return false
	}
	name := bytes.TrimRight(line[:i], " \t")
	for _, f := range fields {
		if len(f) == len(name) && bytes.EqualFold(name, []byte(f)) {
			return true
		}
	}
	return false
}
