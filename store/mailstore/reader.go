package mailstore

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"

	"bahnpost/mail"
	"bahnpost/store/blob"
	"bahnpost/store/internal/db"
	"bahnpost/wire/message"
)

// Reader reads a stored message, prefix included. Every octet was verified against its checksum; damage gives kind Corrupt.
// ReadAt is safe for concurrent use.
type Reader struct {
	s       *Store
	prefix  []byte
	size    int64  // prefix and body
	body    []byte // all of it, if it is in memory
	blob    blob.Reader
	ref     blob.Ref       // of blob
	packed  bool           // body came from the pool
	summary message.Stored // only if it was read by the page, for search
}

const sqlOpenMessage = `SELECT m.prefix, b.codec, b.rawsize, b.crc, b.ref, b.data FROM messages m
	JOIN bodies b ON b.account_id=m.account_id AND b.body_id=m.body_id WHERE m.account_id=? AND m.id=?`

// storedBody is a row of bodies.
type storedBody struct {
	codec codec
	size  int64
	crc   uint32
	ref   blob.Ref
	data  []byte
}

// OpenMessage opens a message for reading. Gone: kind NoSuchMessage.
func (s *Store) OpenMessage(ctx context.Context, a mail.AccountID, m MessageID) (*Reader, error) {
	r := &Reader{s: s}
	var b storedBody
	found := false
	err := s.view(ctx, func(c *db.Conn) (err error) {
		found, err = c.Row(sqlOpenMessage, s.scope(a), db.Int(messageKey(a, m))).Scan(&r.prefix, &b.codec, &b.size, &b.crc, &b.ref, &b.data)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errNoMessage
	}
	if err := r.open(ctx, &b); err != nil {
		return nil, err
	}
	return r, nil
}

func corrupt(err error) error {
	return &mail.Error{Kind: mail.Corrupt, Text: "stored message is damaged", Err: err}
}

var errChecksum = errors.New("checksum does not match")

// open makes the body of r readable.
func (r *Reader) open(ctx context.Context, b *storedBody) (err error) {
	r.size = int64(len(r.prefix)) + b.size
	data := b.data
	if b.ref == "" {
		if crc32.Checksum(data, castagnoli()) != b.crc {
			return corrupt(errChecksum)
		}
	} else {
		r.ref = b.ref
		r.blob, err = r.s.blobs.Open(ctx, b.ref)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return errNoMessage // expunged and reaped since we read the row
		case errors.Is(err, blob.ErrCorrupt):
			return corrupt(err)
		case err != nil:
			return spacious(err)
		}
	}
	if b.codec == zstdWhole {
		err = r.unpack(data)
	} else if r.blob == nil {
		r.body = data
	}
	if err == nil && (r.blob == nil && int64(len(r.body)) != b.size || r.blob != nil && r.blob.Size() != b.size) {
		err = corrupt(errors.New("size does not match"))
	}
	if err != nil {
		r.Close()
	}
	return err
}

// unpack decompresses the whole body into pooled memory: it is at most streamAfter octets.
func (r *Reader) unpack(data []byte) error {
	p := &r.s.bodies
	if r.blob != nil {
		in := p.buffers.Get().(*[]byte)
		defer p.giveBuffer(in)
		n := int(min(r.blob.Size(), streamAfter))
		if cap(*in) < n {
			*in = make([]byte, 0, n)
		}
		data = (*in)[:n]
		if _, err := r.blob.ReadAt(data, 0); err != nil && err != io.EOF {
			return readError(err)
		}
		r.blob.Close()
		r.blob = nil
	}
	out := p.buffers.Get().(*[]byte)
	body, err := r.s.unpress(data, *out)
	if err != nil {
		p.giveBuffer(out)
		return corrupt(err)
	}
	r.body, r.packed = body, true
	return nil
}

func readError(err error) error {
	if errors.Is(err, blob.ErrCorrupt) {
		return corrupt(err)
	}
	return spacious(err)
}

// Size is the whole size in octets.
func (r *Reader) Size() int64 { return r.size }

// Prefix is how many octets stand before the body as received.
func (r *Reader) Prefix() int { return len(r.prefix) }

// ReadAt implements io.ReaderAt over prefix and body.
func (r *Reader) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("mailstore: negative offset")
	}
	if off < int64(len(r.prefix)) {
		n = copy(p, r.prefix[off:])
		off += int64(n)
		p = p[n:]
	}
	if len(p) == 0 {
		return n, nil
	}
	off -= int64(len(r.prefix))
	var m int
	if r.blob != nil {
		m, err = r.blob.ReadAt(p, off)
		if err != nil && err != io.EOF {
			err = readError(err)
		}
	} else {
		if off < int64(len(r.body)) {
			m = copy(p, r.body[off:])
		}
		if m < len(p) {
			err = io.EOF
		}
	}
	return n + m, err
}

// copyChunk is a multiple of blob's block, so that no block is verified twice.
const copyChunk = 256 << 10

// CopyRange streams n octets from off to w with few copies.
func (r *Reader) CopyRange(w io.Writer, off, n int64) error {
	n = min(n, r.size-off)
	if n <= 0 {
		return nil
	}
	pre := int64(len(r.prefix))
	if off < pre {
		k := min(n, pre-off)
		if _, err := w.Write(r.prefix[off : off+k]); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	off -= pre
	if n == 0 {
		return nil
	}
	if r.blob == nil {
		_, err := w.Write(r.body[off : off+n])
		return err
	}
	return r.stream(w, off, n)
}

func (r *Reader) stream(w io.Writer, off, n int64) error {
	in := r.s.bodies.buffers.Get().(*[]byte)
	defer r.s.bodies.giveBuffer(in)
	size := int(min(n, copyChunk))
	if cap(*in) < size {
		*in = make([]byte, 0, size)
	}
	for n > 0 {
		buf := (*in)[:min(n, copyChunk-off%copyChunk, int64(cap(*in)))]
		k, err := r.blob.ReadAt(buf, off)
		if k > 0 {
			if _, err := w.Write(buf[:k]); err != nil {
				return err
			}
		}
		off, n = off+int64(k), n-int64(k)
		if err != nil && n > 0 {
			return r.damaged(err)
		}
	}
	return nil
}

// Close ends reading.
func (r *Reader) Close() error {
	if r.packed {
		b := r.body
		r.s.bodies.giveBuffer(&b)
		r.packed = false
	}
	r.body = nil
	if r.blob != nil {
		b := r.blob
		r.blob = nil
		return b.Close()
	}
	return nil
}
