package mailstore

import (
	"bahnpost/mail"
	"bahnpost/store/blob"
)

// maxSpoilt bounds how many damaged bodies are remembered; who has more has
// other worries.
const maxSpoilt = 1000

// spoil remembers a body in which damage was met.
func (b *bodies) spoil(ref blob.Ref) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.spoilt == nil {
		b.spoilt = make(map[blob.Ref]struct{})
	}
	if len(b.spoilt) < maxSpoilt {
		b.spoilt[ref] = struct{}{}
	}
}

func (b *bodies) isSpoilt(ref blob.Ref) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.spoilt[ref]
	return ok
}

// Sound says, before the length of n octets from off is announced to a client,
// what damage is in them: kind Corrupt. It costs nothing unless damage has been
// met in this body before; the first time, the client's connection breaks in
// the middle, and the next time it can be told.
func (r *Reader) Sound(off, n int64) error {
	if r.blob == nil || !r.s.bodies.isSpoilt(r.ref) {
		return nil
	}
	return r.CopyRange(discard{}, off, n)
}

// discard is io.Discard without its ReadFrom.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// damaged is readError that remembers.
func (r *Reader) damaged(err error) error {
	err = readError(err)
	if mail.KindOf(err) == mail.Corrupt {
		r.s.bodies.spoil(r.ref)
	}
	return err
}
