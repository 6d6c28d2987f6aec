// Package blob keeps immutable bodies. It knows nothing of accounts or SQL.
//
// A body is durable when Put or Commit has returned; only then may a row refer
// to it (law 3: body before row, row's end before body's end). Stage is the
// quicker way for the hot path: durable with the commit that brings the row.
// A body without a row is garbage and is swept; a row without a body is corruption.
//
// Dir, the store of one machine, has two kinds of home for a body: small and
// middling ones are appended to large pack files (one fdatasync for all that
// wait: group commit), large ones are files of their own. Every stored block
// of 64 KiB has a CRC-32C that each read verifies.
package blob

import (
	"context"
	"errors"
	"io"
	"time"
)

// ErrCorrupt says that stored octets do not match their checksum. They are never handed out.
var ErrCorrupt = errors.New("blob: checksum mismatch")

// ErrClosed is returned by every call after Close.
var ErrClosed = errors.New("blob: closed")

// Entry describes one stored body; see Dir.All.
type Entry struct {
	Ref  Ref
	Size int64     // octets of the body
	Time time.Time // when it was stored, to the second
}

// Ref names a stored body. It is opaque outside this package, at most 64
// octets long, and never reused.
type Ref string

// Store is the seam: Dir now, S3 later. Safe for concurrent use.
type Store interface {
	// Put stores data and returns when it is durable. data may be reused then.
	Put(ctx context.Context, data []byte) (Ref, error)
	// Stage stores data so that it is durable after the next Flush, or fails.
	// The database calls Flush before each commit; the transaction that writes
	// the row must first see that Lost(ref) is false. So one batch of
	// deliveries costs one sync of bodies and one of rows. A store that cannot
	// do it makes the body durable at once. A body staged and never referred
	// to is garbage like any other.
	Stage(ctx context.Context, data []byte) (Ref, error)
	// Lost reports whether a staged body is known not to have become durable.
	// It is for the function that runs inside the transaction, each time it runs.
	Lost(ref Ref) bool
	// Flush makes durable what was staged before. It fails also if another
	// flush lost something since the last call: the transaction is then to be
	// rolled back and its functions are to ask Lost again. It is called by one
	// goroutine, the database's writer.
	Flush() error
	// Create starts a body that is too large for memory.
	Create(ctx context.Context) (Writer, error)
	// Open opens a body for reading. A body that is not there: an error that
	// wraps fs.ErrNotExist. One that fails its checksum: wraps ErrCorrupt, from Open or from the read that sees it.
	Open(ctx context.Context, ref Ref) (Reader, error)
	// Delete gives the space back, at once or (packs) when enough of its
	// neighbours went too. Deleting twice does no harm.
	Delete(ctx context.Context, refs ...Ref) error
	// Close waits for running writes.
	Close() error
}

// Writer streams one body. Exactly one of Commit and Abort ends it; Abort after Commit is a no-op.
type Writer interface {
	io.Writer
	Commit() (Ref, error) // durable when it returns
	Abort()
}

// Reader reads a body; safe for concurrent ReadAt. Every octet handed out was verified.
type Reader interface {
	io.ReaderAt
	io.Closer
	Size() int64
}
