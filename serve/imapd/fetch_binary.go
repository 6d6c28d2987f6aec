package imapd

import (
	"bytes"
	"io"

	"bahnpost/wire/imap"
	"bahnpost/wire/message"
)

// maxBinary is how much of a decoded part is held in memory to know its size
// before it is sent; larger parts are decoded twice.
const maxBinary = 256 << 10

// binaryKnown refuses a FETCH whose BINARY items this message can't answer,
// before anything of its response is sent (RFC 3516 §4.3).
func (s *session) binaryKnown(p *fetchPlan, parts *partReader) error {
	for i := range p.items {
		it := &p.items[i]
		if it.Kind != imap.ItemBinary && it.Kind != imap.ItemBinarySize || len(it.Section.Part) == 0 || it.Section.Spec != imap.SpecNone {
			continue
		}
		part := parts.part(it.Section.Part)
		if part == nil || part.Type == "MULTIPART" {
			continue
		}
		if _, ok := message.Decoder(part.Encoding, bytes.NewReader(nil)); !ok {
			return no("UNKNOWN-CTE", "content transfer encoding is not known")
		}
	}
	return nil
}

// decoded opens the content of a part; ok is false if there is no such part.
// Multiparts, headers and TEXT, which have no encoding of their own, come as they are. Messages in messages
// have one at times, though RFC 2046 §5.2.1 forbids it: then BODYSTRUCTURE tells it, and this undoes it.
func (p *partReader) decoded(sec *imap.Section) (r io.Reader, raw *span, ok bool) {
	sp, ok := p.section(sec)
	if !ok {
		return nil, nil, false
	}
	if len(sec.Part) == 0 || sec.Spec != imap.SpecNone {
		return nil, &sp, true
	}
	part := p.part(sec.Part)
	if part.Type == "MULTIPART" || isIdentity(part.Encoding) {
		return nil, &sp, true
	}
	r, ok = message.Decoder(part.Encoding, io.NewSectionReader(p.r, sp.off, sp.n))
	if !ok {
		return nil, &sp, true // refused by binaryKnown before
	}
	return r, nil, true
}

func isIdentity(encoding string) bool {
	return encoding == "7BIT" || encoding == "8BIT" || encoding == "BINARY"
}

// sendBinary sends BINARY[part] (RFC 3516 §4.2).
func (s *session) sendBinary(it *imap.FetchItem, p *partReader) error {
	s.out.b = imap.AppendItemName(s.out.b, it)
	s.out.b = append(s.out.b, ' ')
	r, raw, ok := p.decoded(&it.Section)
	switch {
	case !ok:
		s.out.b = append(s.out.b, "NIL"...)
		return nil
	case hasFields(&it.Section):
		return s.sendFields(it, &it.Section, p, *raw)
	case raw != nil:
		return s.sendBinarySpan(it, p, *raw)
	}
	head, size, nul, err := measure(r)
	if err != nil {
		return err
	}
	off, n := cutPartial(it, size)
	if nul {
		s.out.b = append(s.out.b, '~') // RFC 3516 §4.2: literal8 because of NUL octets
	}
	s.out.b = imap.AppendLiteralHeader(s.out.b, n)
	if size <= int64(len(head)) {
		s.out.b = append(s.out.b, head[off:off+n]...)
		return nil
	}
	r, _, _ = p.decoded(&it.Section)
	if _, err := io.CopyN(io.Discard, r, off); err != nil {
		return s.midLiteral(err)
	}
	if _, err := io.CopyN(&s.out, r, n); err != nil {
		return s.midLiteral(err)
	}
	return nil
}

// sendBinarySpan sends a part that needs no decoding.
func (s *session) sendBinarySpan(it *imap.FetchItem, p *partReader, sp span) error {
	_, _, nul, err := measure(io.NewSectionReader(p.r, sp.off, sp.n))
	if err != nil {
		return err
	}
	off, n := cutPartial(it, sp.n)
	if nul {
		s.out.b = append(s.out.b, '~')
	}
	s.out.b = imap.AppendLiteralHeader(s.out.b, n)
	return s.copyRange(p.r, sp.off+off, n)
}

// measure reads r to its end: its first maxBinary octets, its size, and whether it has a NUL.
func measure(r io.Reader) (head []byte, size int64, nul bool, err error) {
	buf := largePool.Get().(*[largeInput]byte)
	defer largePool.Put(buf)
	for {
		n, err := r.Read(buf[:])
		if n > 0 {
			nul = nul || bytes.IndexByte(buf[:n], 0) >= 0
			size += int64(n)
			if size <= maxBinary {
				head = append(head, buf[:n]...)
			}
		}
		if err == io.EOF {
			return head, size, nul, nil
		}
		if err != nil {
			return nil, 0, false, err
		}
	}
}

// sendBinarySize sends BINARY.SIZE[part] (RFC 3516 §4.2).
func (s *session) sendBinarySize(it *imap.FetchItem, p *partReader) error {
	s.out.b = append(imap.AppendItemName(s.out.b, it), ' ')
	r, raw, ok := p.decoded(&it.Section)
	size := int64(0)
	switch {
	case !ok:
	case hasFields(&it.Section):
		picked, err := readFields(&it.Section, p, *raw)
		if err != nil {
			return err
		}
		size = int64(len(picked))
	case raw != nil:
		size = raw.n
	default:
		var err error
		if _, size, _, err = measure(r); err != nil {
			return err
		}
	}
	s.out.b = imap.AppendUint(s.out.b, size)
	return nil
}
