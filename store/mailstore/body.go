package mailstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bahnpost/home"
	"bahnpost/mail"
	"bahnpost/store/blob"
	"bahnpost/wire/message"
)

const (
	// streamAfter is how much of a message is held in memory; beyond it goes to blob as it comes.
	streamAfter = 1 << 20
	// pooledBuffer is the largest buffer kept for the next message.
	pooledBuffer = 1 << 20
	firstBuffer  = 16 << 10 // more than the median message
)

// codec says how the stored octets of a body relate to the received ones. Numbers are stored.
type codec uint8

const (
	plain codec = iota
	zstdWhole
)

// Body is a received message that may be stored in any number of accounts.
type Body struct {
	s       *Store
	size    int64
	sha     [32]byte
	crc     uint32 // of the stored octets, CRC-32C, if inline
	codec   codec
	ref     blob.Ref
	inline  []byte  // stored octets, if ref is ""
	raw     *[]byte // received octets, nil if they were streamed
	summary []byte  // message.Stored, encoded once for all recipients

	threadKeys []int64
	row        atomic.Int64              // of the last try to store it, see bodyRow
	stored     atomic.Pointer[time.Time] // when that was first tried, see claimBlob
	released   atomic.Bool
}

var _ home.Body = (*Body)(nil)

// BodyWriter takes a message in; it hashes, parses and compresses on the way. Not safe for concurrent use.
type BodyWriter struct {
	s      *Store
	ctx    context.Context
	size   int64
	raw    *[]byte
	stream blob.Writer // once the message is large
	sum    hash.Hash
	parser *message.Parser
	err    error
}

// bodies holds what writers and readers of bodies share.
type bodies struct {
	buffers sync.Pool // *[]byte
	sums    sync.Pool // hash.Hash
	parsers sync.Pool // *message.Parser
	press   press

	mu   sync.Mutex
	held map[blob.Ref]struct{} // blobs that a living Body may yet refer to

	spoilt map[blob.Ref]struct{} // blobs in which damage was met, see Reader.Sound; guarded by mu
}

func (b *bodies) init() {
	b.buffers.New = func() any { p := make([]byte, 0, firstBuffer); return &p }
	b.sums.New = func() any { return sha256.New() }
	b.parsers.New = func() any { return message.NewParser() }
	b.held = make(map[blob.Ref]struct{})
}

func (b *bodies) giveBuffer(p *[]byte) {
	if p != nil && cap(*p) <= pooledBuffer {
		*p = (*p)[:0]
		b.buffers.Put(p)
	}
}

// hold keeps the reaper and the compactor from a blob until Release: a second
// recipient may come after the first one's copy is gone.
func (b *bodies) hold(ref blob.Ref) {
	b.mu.Lock()
	b.held[ref] = struct{}{}
	b.mu.Unlock()
}

func (b *bodies) letGo(ref blob.Ref) {
	b.mu.Lock()
	delete(b.held, ref)
	b.mu.Unlock()
}

func (b *bodies) isHeld(ref blob.Ref) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.held[ref]
	return ok
}

// NewBody starts a message of unknown size. Up to a named limit it stays in memory, beyond it streams to blob.
func (s *Store) NewBody(ctx context.Context) *BodyWriter {
	sum := s.bodies.sums.Get().(hash.Hash)
	sum.Reset()
	parser := s.bodies.parsers.Get().(*message.Parser)
	parser.Reset()
	return &BodyWriter{s: s, ctx: ctx, raw: s.bodies.buffers.Get().(*[]byte), sum: sum, parser: parser}
}

var errTooLarge = &mail.Error{Kind: mail.TooLarge, Text: "message is too large"}

// Write fails with kind TooLarge beyond MaxMessageSize.
func (w *BodyWriter) Write(p []byte) (int, error) {
	if w.err == nil && w.size+int64(len(p)) > MaxMessageSize {
		w.err = errTooLarge
	}
	if w.err != nil {
		return 0, w.err
	}
	w.size += int64(len(p))
	w.sum.Write(p)
	w.parser.Write(p)
	if w.stream == nil && w.size <= streamAfter {
		*w.raw = append(*w.raw, p...)
		return len(p), nil
	}
	if err := w.spill(p); err != nil {
		w.err = spacious(err)
		return 0, w.err
	}
	return len(p), nil
}

// spill writes to blob, at first what was held back.
func (w *BodyWriter) spill(p []byte) error {
	if w.stream == nil {
		s, err := w.s.blobs.Create(w.ctx)
		if err != nil {
			return err
		}
		w.stream = s
		if _, err := s.Write(*w.raw); err != nil {
			return err
		}
		w.s.bodies.giveBuffer(w.raw)
		w.raw = nil
	}
	_, err := w.stream.Write(p)
	return err
}

var errWriterDone = errors.New("mailstore: body writer was finished or aborted")

// Finish makes the body durable (or keeps it for the row, if small). The body is freed by Release or by being stored.
func (w *BodyWriter) Finish() (*Body, error) {
	if w.err != nil {
		err := w.err
		w.Abort()
		return nil, err
	}
	b := &Body{s: w.s, size: w.size, raw: w.raw}
	w.sum.Sum(b.sha[:0])
	sum := w.parser.Finish()
	b.summary = sum.Encode(make([]byte, 0, 1024))
	b.threadKeys = threadKeys(sum)
	var err error
	if w.stream != nil {
		b.ref, err = w.stream.Commit()
	} else {
		err = b.keep(w.ctx)
	}
	if err != nil {
		w.Abort()
		return nil, spacious(err)
	}
	if b.ref != "" {
		w.s.bodies.hold(b.ref)
	}
	w.raw, w.stream = nil, nil
	w.done()
	return b, nil
}

// keep compresses a body in memory where it pays, and stores it beside the row or in blob.
func (b *Body) keep(ctx context.Context) error {
	data := *b.raw
	packed := b.s.press(b.s.cfg.Compression, data)
	if packed != nil {
		b.codec, data = zstdWhole, packed
	}
	if len(data) <= b.s.cfg.InlineMax {
		b.inline = data
		b.crc = crc32.Checksum(data, castagnoli())
		return nil
	}
	ref, err := b.s.blobs.Stage(ctx, data)
	b.ref = ref
	b.s.bodies.press.give(packed)
	return err
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // the package keeps it

// threadKeys are the keys under which thread_ref knows the message: its parents', the nearest first, and its own.
func threadKeys(s *message.Summary) []int64 {
	refs := s.References
	if len(refs) > maxThreadRefs {
		refs = append([]string{refs[0]}, refs[len(refs)-maxThreadRefs+1:]...)
	}
	keys := make([]int64, 0, 1+len(refs))
	add := func(id string) {
		if k := threadKey(id, s.BaseSubject); !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	for _, r := range slices.Backward(refs) {
		add(r)
	}
	if s.MessageID != "" {
		add(s.MessageID)
	}
	return keys
}

// Abort forgets everything; a no-op after Finish.
func (w *BodyWriter) Abort() {
	if w.stream != nil {
		w.stream.Abort()
	}
	if w.raw != nil {
		w.s.bodies.giveBuffer(w.raw)
	}
	w.raw, w.stream = nil, nil
	w.done()
}

func (w *BodyWriter) done() {
	if w.sum != nil {
		w.s.bodies.sums.Put(w.sum)
		w.s.bodies.parsers.Put(w.parser)
	}
	w.sum, w.parser = nil, nil
	w.err = errWriterDone
}

// Size is the number of octets as received.
func (b *Body) Size() int64 { return b.size }

// SHA256 identifies the octets as received.
func (b *Body) SHA256() [32]byte { return b.sha }

// WriteTo streams the octets as received.
func (b *Body) WriteTo(w io.Writer) (int64, error) {
	if b.raw != nil {
		n, err := w.Write(*b.raw)
		return int64(n), err
	}
	r, err := b.s.blobs.Open(context.Background(), b.ref)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return io.Copy(w, io.NewSectionReader(r, 0, b.size))
}

// maxInlineCopies is how many octets a mail may put into rows, all its recipients together, where each has a row of its own.
const maxInlineCopies = 256 << 10

// Spread says that the body is about to be stored in so many accounts. If each is to have a row of its own (scope.go) and
// the octets are too many for that, they go to blob. To be called before the first Update that uses the body.
func (b *Body) Spread(ctx context.Context, accounts int) error {
	if !b.s.shared || b.ref != "" || len(b.inline)*accounts <= maxInlineCopies || b.row.Load() != 0 {
		return nil
	}
	ref, err := b.s.blobs.Stage(ctx, b.inline)
	if mail.KindOf(err) == mail.TooLarge {
		return nil // the cell has no place for bodies but rows
	}
	if err != nil {
		return spacious(err)
	}
	b.s.bodies.hold(ref)
	if b.codec == zstdWhole {
		b.s.bodies.press.give(b.inline)
	}
	b.ref, b.inline, b.crc = ref, nil, 0
	return nil
}

// Release gives memory back; if no row refers to the body its space becomes garbage. Call once, after the last Update that uses it.
func (b *Body) Release() {
	if b.released.Swap(true) {
		return
	}
	if b.ref != "" && b.row.Load() == 0 { // no Update ever tried to store it
		_ = b.s.blobs.Delete(context.Background(), b.ref) // a failure leaves garbage, which the sweep collects
	}
	if b.ref != "" {
		b.s.bodies.letGo(b.ref)
	}
	if b.codec == zstdWhole {
		b.s.bodies.press.give(b.inline)
	}
	b.s.bodies.giveBuffer(b.raw)
	b.raw, b.inline = nil, nil
}
