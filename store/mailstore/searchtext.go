package mailstore

import (
	"bytes"
	"context"
	"io"
	"unsafe"

	"bahnpost/mail"
	"bahnpost/store/blob"
	"bahnpost/store/internal/db"
	"bahnpost/store/internal/fts"
	"bahnpost/wire/message"
)

// textWalk reads the searchable text of stored messages, folded: the one
// definition of what searching means, for the index and for verifying.
type textWalk struct {
	names map[string][]byte // folded header names
	buf   []byte
	line  []byte
	yield func(t *foldedText) bool
	text  foldedText
	texts message.TextWalker
}

// foldedText is a chunk of text. A header field's value is one chunk.
type foldedText struct {
	field fts.Field
	name  string // of the header field, in lower case
	fold  []byte // name folded
	text  []byte // valid during the call
	end   bool   // no more of this text
}

// wholeChunk: a shorter chunk of a body that does not end at white space is the end of its text (message.Texts).
const wholeChunk = 1 << 10

// maxNames bounds the folded names kept from message to message.
const maxNames = 1000

// walk calls yield with the texts of r, or with those of its body alone, until it returns false.
func (w *textWalk) walk(r *Reader, header bool, yield func(t *foldedText) bool) error {
	root, err := r.summary.Root()
	if err != nil {
		return corrupt(err)
	}
	w.texts.BodyOnly = !header
	if w.names == nil || len(w.names) > maxNames {
		w.names = make(map[string][]byte)
	}
	w.yield = yield
	w.text = foldedText{}
	n := int64(r.Prefix())
	stopped := false
	chunk := func(kind message.TextKind, field string, text []byte) bool {
		stopped = !w.chunk(kind, field, text)
		return !stopped
	}
	if n > 0 && header { // the trace header is a header without a body
		err = w.texts.Texts(io.NewSectionReader(r, 0, n), &message.Part{BodyStart: n, End: n, Type: "APPLICATION", Subtype: "OCTET-STREAM"}, chunk)
	}
	if err == nil && !stopped {
		err = w.texts.Texts(io.NewSectionReader(r, n, r.Size()-n), root, chunk)
	}
	return err
}

func (w *textWalk) chunk(kind message.TextKind, field string, text []byte) bool {
	t := &w.text
	if t.field == fts.Body && !t.end && kind != message.BodyText {
		if *t = (foldedText{field: fts.Body, end: true}); !w.yield(t) {
			return false
		}
	}
	*t = foldedText{end: true}
	switch kind {
	case message.HeaderText:
		t.field, t.name, t.fold = fts.FieldOf(field), field, w.fold(field)
		text = bytes.Trim(text, " \t")
	case message.FileName:
		t.field = fts.File
	case message.PartHeader: // a needle may reach from the name into the value
		t.field = fts.Mime
		w.line = append(append(append(w.line[:0], field...), ": "...), bytes.Trim(text, " \t")...)
		text = w.line
	default:
		t.field = fts.Body
		n := len(text)
		t.end = n > 0 && n < wholeChunk && text[n-1] > ' '
	}
	w.buf = message.Fold(w.buf[:0], unsafe.String(unsafe.SliceData(text), len(text)))
	t.text = w.buf
	return w.yield(t)
}

func (w *textWalk) fold(name string) []byte {
	f := w.names[name]
	if f == nil {
		f = message.Fold([]byte{}, name)
		w.names[name] = f
	}
	return f
}

// verifier reads messages to decide what the index left open.
type verifier struct {
	s       *Store
	account mail.AccountID
	rows    messageRows
	walk    textWalk
	open    []openPart
	tail    []byte // end of the body text before the chunk at hand
	line    []byte
}

// openPart is a part still to be found.
type openPart struct {
	leaf *textLeaf
	part *textPart
	n    int // its number
}

func newVerifier(s *Store, a mail.AccountID) *verifier { return &verifier{s: s, account: a} }

// page decides rows by reading the messages and calls hit with those that match. One that is gone
// meanwhile or cannot be read matches no text; Check will tell.
func (x *verifier) page(ctx context.Context, p *searchPlan, rows []Row, b *Box, hit func(e *evaluation)) error {
	err := x.s.view(ctx, func(c *db.Conn) error {
		x.rows.reset()
		for i := range rows {
			for r, err := range c.Rows(sqlReadMessage, x.s.scope(x.account), db.Int(messageKey(x.account, rows[i].Message))) {
				if err != nil {
					return err
				}
				x.rows.add(x.s, r)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, j := 0, 0; i < len(rows) && j < len(x.rows.all); i++ {
		m := &x.rows.all[j]
		if m.id != rows[i].Message {
			continue // gone
		}
		j++
		if err := ctx.Err(); err != nil {
			return err
		}
		e := evaluation{row: rows[i], more: moreOf(b, &rows[i])}
		err := x.read(ctx, p, m, &e)
		if k := mail.KindOf(err); err != nil && k != mail.NoSuchMessage && k != mail.Corrupt {
			return err
		}
		if err == nil && p.root.eval(&e) == yes {
			hit(&e)
		}
	}
	return nil
}

// read fills e with the verdicts of all parts that are undecided, and with the facts of Meta.
func (x *verifier) read(ctx context.Context, p *searchPlan, stored *readMessage, e *evaluation) error {
	r := &stored.r
	err := r.open(ctx, &stored.body)
	if err != nil {
		return err
	}
	defer r.Close()
	if p.meta || len(p.sent) > 0 {
		m := Meta{Summary: r.summary}
		if p.thread {
			if m.Thread, err = x.s.threadOf(ctx, x.account, e.row.Message); err != nil {
				return err
			}
		}
		e.facts = factsOf(&m)
	}
	texts := make([]verdict, p.parts())
	x.open = x.open[:0]
	longest, deep, header := 0, false, false
	for _, l := range p.leaves {
		for i := range l.parts {
			v := l.part(e, i)
			if v == unknown {
				v = no // until found
				x.open = append(x.open, openPart{l, &l.parts[i], l.first + i})
				longest = max(longest, len(l.parts[i].needle))
				deep = deep || l.op != QHeader
				header = header || l.op != QBody
			}
			texts[l.first+i] = v
		}
	}
	e.texts = texts
	if len(x.open) == 0 {
		return nil
	}
	x.tail = x.tail[:0]
	return x.walk.walk(r, header, func(t *foldedText) bool {
		if t.name == "" && !deep {
			return false
		}
		x.find(t, texts, longest)
		return len(x.open) > 0
	})
}

// find looks for the open parts in a chunk and closes those found.
func (x *verifier) find(t *foldedText, texts []verdict, longest int) {
	text := t.text
	if t.field == fts.Body && len(x.tail) > 0 {
		x.tail = append(x.tail, text...)
		text = x.tail
	}
	whole := text // "name: value"
	if t.name != "" {
		x.line = append(append(append(x.line[:0], t.fold...), ": "...), text...)
		whole = x.line
	}
	left := x.open[:0]
	for _, o := range x.open {
		if o.leaf.hasIn(t, o.part.needle, text, whole) {
			texts[o.n] = yes
		} else {
			left = append(left, o)
		}
	}
	x.open = left
	if t.field == fts.Body {
		keep := text[len(text)-min(len(text), max(longest-1, 0)):]
		if t.end {
			keep = nil
		}
		x.tail = append(x.tail[:0], keep...)
	}
}

// hasIn reports whether needle is in the text, if that is in the leaf's scope.
func (l *textLeaf) hasIn(t *foldedText, needle, text, whole []byte) bool {
	switch l.op {
	case QText:
		return bytes.Contains(whole, needle)
	case QBody:
		return t.field == fts.Body && bytes.Contains(text, needle)
	}
	return t.name != "" && t.name == l.field && bytes.Contains(text, needle)
}

const (
	readColumns = `SELECT m.id, m.prefix, COALESCE(s.summary, m.summary), b.codec, b.rawsize, b.crc, b.ref, b.data FROM messages m
	JOIN bodies b ON b.account_id=m.account_id AND b.body_id=m.body_id LEFT JOIN summaries s ON s.account_id=m.account_id AND s.body_id=m.body_id`
	sqlReadMessage  = readColumns + ` WHERE m.account_id=? AND m.id=?`
	sqlReadMessages = readColumns + ` WHERE m.account_id=? AND m.id>? AND m.id<=? ORDER BY m.id LIMIT ?`
)

// messageRows are messages read under one snapshot, in memory that is used again for the next ones.
type messageRows struct {
	all    []readMessage
	octets []byte // of all
}

// readMessage is a message as its rows are. Its Reader is to be opened with body.
type readMessage struct {
	id   MessageID
	r    Reader
	body storedBody
}

func (m *messageRows) reset() { m.all, m.octets = m.all[:0], m.octets[:0] }

// add takes in a row of readColumns.
func (m *messageRows) add(s *Store, r *db.Row) {
	m.all = append(m.all, readMessage{
		id:   MessageID(r.Int(0) & maxMessageID),
		r:    Reader{s: s, prefix: m.keep(r.RawBytes(1)), summary: m.keep(r.RawBytes(2))},
		body: storedBody{codec: codec(r.Int(3)), size: r.Int(4), crc: uint32(r.Int(5)), ref: blob.Ref(r.Text(6)), data: m.keep(r.RawBytes(7))},
	})
}

func (m *messageRows) keep(b []byte) []byte {
	n := len(m.octets)
	m.octets = append(m.octets, b...)
	return m.octets[n:len(m.octets):len(m.octets)]
}
