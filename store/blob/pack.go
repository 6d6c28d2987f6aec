package blob

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// packer appends bodies to the current pack. Staging a body writes it, in the
// caller's goroutine; flushing makes everything staged durable with one
// fdatasync. Whoever waits for durability shares the flush: group commit.
//
// Lock order: gate, mu. Neither is held while the disk syncs.
type packer struct {
	d *Dir

	// gate is held shared while a record is placed and written. A flush and
	// writing ahead take it exclusively for an instant: then no record that
	// was placed is still unwritten, and a synced pack has no holes.
	gate   sync.RWMutex
	staged atomic.Int64 // bodies written so far

	mu    sync.Mutex
	cur   *pack // nil: the next record begins one
	next  uint64
	dirty []*pack // with records that are not synced, and cur

	fmu      sync.Mutex
	fcond    sync.Cond // on fmu
	flushing bool
	shared   bool // the last flush served more than one
	synced   int64

	losses  atomic.Int64 // packs whose sync failed
	seen    int64        // losses that Flush has reported; its caller's
	lostMu  sync.Mutex
	lost    map[uint64]int64 // pack → everything from this offset on was lost
	flushes atomic.Int64
	usual   int64 // octets of a flush, a sliding mean; the flusher's
}

// pack is a pack being written.
type pack struct {
	n      uint64
	f      *os.File
	off    int64 // where the next record goes; under mu
	closed bool  // takes no more records; under mu
	synced int64 // durable below this; the flusher's
	zeroed int64 // written ahead up to this; the flusher's
}

const (
	aheadBytes = 1 << 20   // zeros written ahead at once
	aheadFlush = 128 << 10 // flushes that are usually of more than this do not want them
	usualOver  = 8         // flushes in the mean
	zeroBytes  = 64 << 10
)

func (p *packer) init(d *Dir, next uint64) {
	p.d, p.next = d, next
	p.fcond.L = &p.fmu
	p.lost = make(map[uint64]int64)
}

// stage writes a body. when is its time in Unix seconds; 0 is now.
func (p *packer) stage(data []byte, when int64) (ref Ref, seq int64, err error) {
	if when == 0 {
		when = time.Now().Unix()
	}
	n := int64(len(data))
	var sums [maxPutLimit / blockSize]uint32
	table := sum(sums[:0], data)
	var room [recHeader + 4*len(sums)]byte
	p.gate.RLock()
	defer p.gate.RUnlock()
	k, off, err := p.place(recordSize(n))
	if err != nil {
		return "", 0, fmt.Errorf("blob: put: %w", err)
	}
	head := appendRecordHead(room[:0], k.n, off, header{state: stateLive, length: n, time: when}, table)
	bufs := [2][]byte{head, data}
	if err := p.d.cfg.disk.write(k.f, bufs[:], off); err != nil {
		p.mu.Lock()
		p.end(k) // what went wrong once may go wrong again: begin anew
		p.mu.Unlock()
		return "", 0, fmt.Errorf("blob: put: %w", err)
	}
	return packRef(k.n, off, n), p.staged.Add(1), nil
}

// place reserves room for a record.
func (p *packer) place(size int64) (k *pack, off int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cur == nil {
		if err := p.begin(); err != nil {
			return nil, 0, err
		}
	}
	k = p.cur
	off = k.off
	k.off += size
	if k.off >= p.d.cfg.PackBytes {
		p.end(k)
	}
	return k, off, nil
}

// begin creates the next pack; its name is durable when it returns. mu is held.
func (p *packer) begin() error {
	var f *os.File
	for {
		var err error
		f, err = os.OpenFile(p.d.packPath(p.next), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			break
		}
		if !os.IsExist(err) {
			return err
		}
		p.next++
	}
	k := &pack{n: p.next, f: f, off: packHeader, synced: packHeader}
	p.next++
	b := binary.LittleEndian.AppendUint64([]byte(packMagic), k.n)
	err := p.d.cfg.disk.write(f, [][]byte{b}, 0)
	if err == nil {
		err = p.d.cfg.disk.syncDir(filepath.Join(p.d.path, "packs"))
	}
	if err != nil {
		f.Close()
		return err
	}
	p.cur = k
	p.dirty = append(p.dirty, k)
	return nil
}

// end closes k for new records. mu is held.
func (p *packer) end(k *pack) {
	k.closed = true
	if p.cur == k {
		p.cur = nil
	}
}

// flushTo returns when everything up to seq was synced or lost.
func (p *packer) flushTo(seq int64) {
	p.fmu.Lock()
	defer p.fmu.Unlock()
	for p.synced < seq {
		if p.flushing {
			p.fcond.Wait()
			continue
		}
		p.flushing = true
		before, shared := p.synced, p.shared
		p.fmu.Unlock()
		if shared {
			runtime.Gosched() // those the last flush woke are about to stage again
		}
		done := p.flush()
		p.fmu.Lock()
		p.flushing, p.synced, p.shared = false, done, done-before > 1
		p.fcond.Broadcast()
	}
}

// flush syncs every pack that has unsynced records. One at a time runs.
func (p *packer) flush() (upto int64) {
	p.gate.Lock()
	p.mu.Lock()
	upto = p.staged.Load()
	work := slices.Clone(p.dirty)
	ends := make([]int64, len(work))
	for i, k := range work {
		ends[i] = k.off
	}
	p.mu.Unlock()
	p.gate.Unlock()
	for i, k := range work {
		if ends[i] > k.synced {
			p.syncPack(k, ends[i])
		}
		if p.retirePack(k) {
			p.d.recycler.wrote(p.d.packPath(k.n), k.off)
		}
	}
	return upto
}

// syncPack makes k durable below end. A pack whose sync failed is left for
// good, with all that was not synced before: an fdatasync that failed once may
// report success the next time without having written anything.
func (p *packer) syncPack(k *pack, end int64) {
	p.flushes.Add(1)
	if err := p.d.cfg.disk.sync(k.f); err != nil {
		p.lostMu.Lock()
		p.lost[k.n] = k.synced
		p.lostMu.Unlock()
		p.mu.Lock()
		p.end(k)
		p.mu.Unlock()
		p.losses.Add(1)
		return
	}
	batch := end - k.synced
	k.synced = end
	if p.usual == 0 {
		p.usual = batch
	}
	p.usual += (batch - p.usual) / usualOver
	if p.usual <= aheadFlush {
		p.ahead(k)
	}
}

// retirePack closes the file of a pack that is closed and fully synced, or lost; true: it did.
func (p *packer) retirePack(k *pack) bool {
	p.gate.Lock()
	defer p.gate.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	lost := p.isLost(k.n, k.off-1)
	if !k.closed || k.off > k.synced && !lost {
		return false
	}
	if k.zeroed > k.off {
		k.f.Truncate(k.off) // give back what was written ahead
	}
	k.f.Close()
	p.dirty = slices.DeleteFunc(p.dirty, func(x *pack) bool { return x == k })
	return true
}

// ahead writes zeros where the next records will go. Overwriting blocks that
// exist spares the fdatasync the journal commit that new blocks need: half the
// latency and CPU of a small flush (preallocation with fallocate does not
// help: unwritten extents need the journal too). Large flushes do not gain
// enough to write everything twice.
func (p *packer) ahead(k *pack) {
	if p.d.cfg.NoSync {
		return
	}
	p.gate.Lock() // nobody may be given the room we write to
	defer p.gate.Unlock()
	p.mu.Lock()
	off, closed := k.off, k.closed
	p.mu.Unlock()
	if closed || k.zeroed-off >= aheadBytes/4 {
		return
	}
	from := max(k.zeroed, off)
	zeros := make([]byte, zeroBytes)
	bufs := make([][]byte, aheadBytes/zeroBytes)
	for i := range bufs {
		bufs[i] = zeros
	}
	if p.d.cfg.disk.write(k.f, bufs, from) == nil {
		k.zeroed = from + aheadBytes
	}
}

func (p *packer) isLost(pack uint64, off int64) bool {
	if p.losses.Load() == 0 {
		return false
	}
	p.lostMu.Lock()
	defer p.lostMu.Unlock()
	from, ok := p.lost[pack]
	return ok && off >= from
}

// newest is the number of the pack that is written to or comes next.
func (p *packer) newest() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cur != nil {
		return p.cur.n
	}
	return p.next
}

// close flushes and closes what is open; nobody stages any more.
func (p *packer) close() error {
	p.flushTo(p.staged.Load())
	p.mu.Lock()
	if p.cur != nil {
		p.end(p.cur)
	}
	work := slices.Clone(p.dirty)
	p.mu.Unlock()
	for _, k := range work {
		k.synced = max(k.synced, k.off) // records of failed writes at the end hold nothing
		p.retirePack(k)
	}
	return nil
}

// errLost is what those hear whose body did not reach the disk.
var errLost = errors.New("blob: sync failed")

// put stages data and waits until it is durable.
func (p *packer) put(data []byte) (Ref, error) {
	ref, seq, err := p.stage(data, 0)
	if err != nil {
		return "", err
	}
	p.flushTo(seq)
	if p.d.Lost(ref) {
		return "", errLost
	}
	return ref, nil
}

// Stage is Store.Stage.
func (d *Dir) Stage(ctx context.Context, data []byte) (Ref, error) {
	if !d.cfg.Flushed || len(data) > d.cfg.PutLimit {
		return d.Put(ctx, data)
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := d.enter(); err != nil {
		return "", err
	}
	defer d.writers.Done()
	ref, _, err := d.packs.stage(data, 0)
	return ref, err
}

// Lost is Store.Lost.
func (d *Dir) Lost(ref Ref) bool {
	if d.packs.losses.Load() == 0 {
		return false
	}
	p, err := parseRef(ref)
	return err == nil && p.pack > 0 && d.packs.isLost(p.pack, p.off)
}

// Flush is Store.Flush.
func (d *Dir) Flush() error {
	p := &d.packs
	p.flushTo(p.staged.Load())
	if n := p.losses.Load(); n != p.seen {
		p.seen = n
		return errLost
	}
	return nil
}
