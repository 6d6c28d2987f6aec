package mailstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"golang.org/x/sync/errgroup"

	"bahnpost/mail"
	"bahnpost/store/blob"
	"bahnpost/store/internal/db"
)

const (
	sqlCopyPage = `SELECT m.id, m.mailbox_id, m.uid, m.thread_id, m.body_id, m.pop_order, m.uidl, m.prefix, m.summary, m.origin,
		b.refs+COALESCE(c.refs, 0), b.codec, b.rawsize, b.crc, b.sha256, b.ref, b.data, s.summary FROM messages m
		LEFT JOIN bodies b ON b.account_id=m.account_id AND b.body_id=m.body_id
		LEFT JOIN copied c ON c.account_id=m.account_id AND c.body_id=m.body_id
		LEFT JOIN summaries s ON s.account_id=m.account_id AND s.body_id=m.body_id
		WHERE m.account_id=? AND m.id>? AND m.id<=? ORDER BY m.id LIMIT 64`
	sqlCopyMessage = `INSERT INTO messages (account_id, id, mailbox_id, uid, thread_id, body_id, pop_order, uidl, prefix, summary, origin)
		VALUES (?,?,?,?,?,?,?,?,?,?,?)`
	sqlCopyKnown    = `SELECT ref FROM copy_blobs WHERE old=?`
	sqlCopyRemember = `INSERT INTO copy_blobs (old, ref) VALUES (?,?) ON CONFLICT DO NOTHING`
	sqlCopyCount    = `INSERT INTO copied (account_id, body_id, refs) VALUES (?,?,?)`
)

// copyPage is the LIMIT of sqlCopyPage: few, as each may bring a body of 1 MiB; copyStreams are the bodies of a page on their way at once.
const (
	copyPage    = 64
	copyStreams = 8
)

// messageCopy copies the messages of an account, with their bodies.
type messageCopy struct {
	*copying
	id       mail.AccountID
	bodies   map[int64]*copiedBody // those with several uses, by their number in the source
	messages int64
}

// copiedMessage is a row of messages in the source.
type copiedMessage struct {
	id                                     int64
	mailbox, uid, thread, popOrder, origin int64
	uidl                                   string
	prefix, summary                        []byte
	body                                   *copiedBody
	first                                  bool // the first that has the body
}

// copiedBody is a body under way.
type copiedBody struct {
	row     int64 // in the destination
	uses    int64 // in this account
	sha     []byte
	summary []byte
	storedBody
	old blob.Ref // of the source, if it is to be remembered
}

// run goes through the messages in the order of their ids. Each page is one commit: a body is there with the first message that has it.
func (m *messageCopy) run(ctx context.Context) error {
	end := messageKey(m.id, maxMessageID)
	for last := messageKey(m.id, 0) - 1; ; {
		page, err := m.read(ctx, last, end)
		if err != nil || len(page) == 0 {
			return err
		}
		if err := m.carry(ctx, page); err != nil {
			return err
		}
		if err := m.write(ctx, page); err != nil {
			return err
		}
		last = page[len(page)-1].id
		m.messages += int64(len(page))
		m.add(CopySum{Messages: int64(len(page))})
	}
}

// read reads a page of the source.
func (m *messageCopy) read(ctx context.Context, last, end int64) (page []copiedMessage, err error) {
	s := m.from
	err = s.db.View(ctx, func(c *db.Conn) error {
		page = nil
		for r, err := range c.Rows(sqlCopyPage, s.scope(m.id), db.Int(last), db.Int(end)) {
			if err != nil {
				return err
			}
			x := copiedMessage{id: r.Int(0), mailbox: r.Int(1), uid: r.Int(2), thread: r.Int(3), popOrder: r.Int(5), uidl: r.Text(6), prefix: r.Bytes(7),
				summary: r.Bytes(8), origin: r.Int(9)}
			old := r.Int(4)
			if r.Null(11) {
				return fmt.Errorf("message %d has no body: \"bahnpost check\" tells more", x.id&maxMessageID)
			}
			if x.body = m.bodies[old]; x.body == nil {
				x.first = true
				x.body = &copiedBody{sha: r.Bytes(14), summary: r.Bytes(17), storedBody: storedBody{codec: codec(r.Int(11)), size: r.Int(12), crc: uint32(r.Int(13)),
					ref: blob.Ref(r.Text(15)), data: r.Bytes(16)}}
				if r.Int(10) > 1 {
					m.bodies[old] = x.body
				}
			}
			x.body.uses++
			page = append(page, x)
		}
		return nil
	})
	return page, err
}

// carry brings the bodies of a page to where the destination keeps them.
func (m *messageCopy) carry(ctx context.Context, page []copiedMessage) error {
	known, err := m.known(ctx, page)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(copyStreams)
	for i := range page {
		x := &page[i]
		if !x.first {
			continue
		}
		if ref, ok := known[x.body.ref]; ok {
			x.body.ref = ref
			continue
		}
		g.Go(func() error {
			if err := m.body(ctx, x.body); err != nil {
				return fmt.Errorf("body of message %d: %w", x.id&maxMessageID, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// known finds blobs of the page that were carried before.
func (m *messageCopy) known(ctx context.Context, page []copiedMessage) (map[blob.Ref]blob.Ref, error) {
	out := make(map[blob.Ref]blob.Ref)
	err := m.to.db.View(ctx, func(c *db.Conn) error {
		for i := range page {
			x := page[i].body
			if !page[i].first || x.ref == "" {
				continue
			}
			var ref string
			if found, err := c.Row(sqlCopyKnown, db.Text(string(x.ref))).Scan(&ref); err != nil {
				return err
			} else if found {
				out[x.ref] = blob.Ref(ref)
			}
		}
		return nil
	})
	return out, err
}

var errCopyDamaged = errors.New("what is stored does not match its SHA-256 or its size")

// body verifies a body of the source and stores it as the destination would.
func (m *messageCopy) body(ctx context.Context, b *copiedBody) error {
	old := b.ref
	if old == "" {
		if crc32.Checksum(b.data, castagnoli()) != b.crc {
			return errChecksum
		}
	} else {
		r, err := m.from.blobs.Open(ctx, old)
		if err != nil {
			return err
		}
		defer r.Close()
		if r.Size() > streamAfter {
			return m.stream(ctx, b, r)
		}
		b.data = make([]byte, r.Size())
		if _, err := r.ReadAt(b.data, 0); err != nil && err != io.EOF {
			return err
		}
	}
	raw := b.data
	if b.codec == zstdWhole {
		var err error
		if raw, err = m.from.unpress(b.data, nil); err != nil {
			return err
		}
	}
	if sum := sha256.Sum256(raw); int64(len(raw)) != b.size || !bytes.Equal(sum[:], b.sha) {
		return errCopyDamaged
	}
	m.add(CopySum{Bodies: 1, Octets: b.size})
	b.ref, b.crc = "", 0
	if len(b.data) <= m.to.cfg.InlineMax {
		b.crc = crc32.Checksum(b.data, castagnoli())
		return nil
	}
	ref, err := m.to.blobs.Stage(ctx, b.data)
	b.ref, b.old, b.data = ref, old, nil
	return err
}

// stream is for a body that is too large for memory; these are stored as they came.
func (m *messageCopy) stream(ctx context.Context, b *copiedBody, r blob.Reader) error {
	w, err := m.to.blobs.Create(ctx)
	if err != nil {
		return err
	}
	defer w.Abort()
	h := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(h, w)}, io.NewSectionReader(r, 0, r.Size()), make([]byte, copyChunk))
	if err != nil {
		return err
	}
	if n != b.size || b.codec != plain || !bytes.Equal(h.Sum(nil), b.sha) {
		return errCopyDamaged
	}
	b.old = b.ref
	if b.ref, err = w.Commit(); err != nil {
		return err
	}
	m.add(CopySum{Bodies: 1, Octets: b.size})
	return nil
}

// write commits a page.
func (m *messageCopy) write(ctx context.Context, page []copiedMessage) error {
	s := m.to
	for i := range page {
		if x := &page[i]; x.first && s.shared {
			x.body.row = x.id & maxMessageID
		} else if x.first {
			x.body.row = s.nextBody.Add(1)
		}
	}
	err := s.db.UpdateFor(ctx, int64(m.id), nil, func(t *db.Tx) error {
		scope := s.scope(m.id)
		for i := range page {
			x := &page[i]
			if b := x.body; x.first {
				if b.ref != "" && s.blobs.Lost(b.ref) {
					return errBodyLost
				}
				t.Send(1, sqlInsertBody, scope, db.Int(b.row), db.Int(b.codec), db.Int(b.size), db.Int(b.crc), db.Blob(b.sha), db.Text(string(b.ref)), db.Blob(b.data))
				if b.summary != nil {
					t.Send(1, sqlInsertSummary, scope, db.Int(b.row), db.Blob(b.summary))
				}
				if b.old != "" {
					t.Send(db.AnyCount, sqlCopyRemember, db.Text(string(b.old)), db.Text(string(b.ref)))
				}
			}
			t.Send(1, sqlCopyMessage, scope, db.Int(x.id), db.Int(x.mailbox), db.Int(x.uid), db.Int(x.thread), db.Int(x.body.row), db.Int(x.popOrder),
				db.Text(x.uidl), db.Blob(x.prefix), db.Blob(x.summary), db.Int(x.origin))
		}
		return nil
	}, nil)
	for i := range page { // those with several uses stay known, without their octets
		b := page[i].body
		b.data, b.summary, b.sha = nil, nil, nil
	}
	return err
}

// countCopies counts the uses of bodies that have several.
func (m *messageCopy) countCopies(ctx context.Context) error {
	var many []*copiedBody
	for _, b := range m.bodies {
		if b.uses > 1 {
			many = append(many, b)
		}
	}
	for len(many) > 0 {
		part := many[:min(len(many), copyPage)]
		many = many[len(part):]
		err := m.to.db.UpdateFor(ctx, int64(m.id), nil, func(t *db.Tx) error {
			for _, b := range part {
				t.Send(1, sqlCopyCount, m.to.scope(m.id), db.Int(b.row), db.Int(b.uses-1))
			}
			return nil
		}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}
