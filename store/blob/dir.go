package blob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of DirConfig.
const (
	defaultPutLimit  = 1 << 20   // storage.md §2: a file of its own wins from about here
	defaultPackBytes = 128 << 20 // what one compaction may have to rewrite
	defaultOpenPacks = 64        // descriptors
	defaultRetire    = time.Minute
	defaultGrace     = 24 * time.Hour
	defaultKeep      = 1 << 30
	maxPutLimit      = 1 << 20 // the block table of a record is a fixed array
	shards           = 256     // directories for files of their own
)

// DirConfig names Dir's limits. The zero value of a field means the default in brackets.
type DirConfig struct {
	PutLimit  int           // bodies above this many octets become files [1 MiB, which is also the maximum]
	PackBytes int64         // size at which a new pack begins [128 MiB]
	OpenPacks int           // pack files kept open for reading [64]
	Retire    time.Duration // how long a compacted pack can still be opened by its old refs [1 min]
	Grace     time.Duration // a body younger than this may still wait for its row [24 h]
	Keep      int64         // octets written last that are left in the kernel's page cache; negative: the kernel decides [1 GiB]
	Flushed   bool          // somebody calls Flush before each commit that may refer to a staged body; false: Stage is Put
	NoSync    bool          // tests only

	// Fault, for tests of what stands on blob: asked before each "write", "sync" and "rename" that promises
	// durability; its error is the call's.
	Fault func(op string) error

	disk disk // tests only: the fault points
}

// disk is what can fail: the calls that promise durability. Tests replace them.
type disk struct {
	write   func(f *os.File, bufs [][]byte, off int64) error
	sync    func(f *os.File) error // data and size
	syncDir func(path string) error
	rename  func(from, to string) error
}

// Dir keeps bodies below one directory. Only one process may have it open
// (package store holds the lock). Layout:
//
//	packs/<number>.pack   append-only packs, see format.go
//	files/ab/abcd…        large bodies
//	tmp/                  large bodies under way; emptied at start
//
// After a crash nothing needs repair: the next start begins a new pack and never looks at a torn tail.
type Dir struct {
	path    string
	cfg     DirConfig
	packs   packer
	handles handles
	sharded [shards]atomic.Bool // directories of files/ that are durable
	solid   atomic.Bool         // the file system can't punch holes: disk space tells nothing about dead records
	chores  sync.Mutex          // one Sweep or Compact at a time; taken before mu

	recycler recycler

	mu      sync.Mutex
	closed  bool
	writers sync.WaitGroup // running Puts and open Writers; Add under mu
	retired map[uint64]*time.Timer
}

var _ Store = (*Dir)(nil)

// OpenDir opens or creates a body store at path.
func OpenDir(path string, cfg DirConfig) (*Dir, error) {
	cfg.PutLimit = min(cmp.Or(cfg.PutLimit, defaultPutLimit), maxPutLimit)
	cfg.PackBytes = cmp.Or(cfg.PackBytes, defaultPackBytes)
	cfg.OpenPacks = cmp.Or(cfg.OpenPacks, defaultOpenPacks)
	cfg.Retire = cmp.Or(cfg.Retire, defaultRetire)
	cfg.Grace = cmp.Or(cfg.Grace, defaultGrace)
	cfg.Keep = cmp.Or(cfg.Keep, defaultKeep)
	cfg.disk.fill(cfg.NoSync)
	cfg.disk.ask(cfg.Fault)
	d := &Dir{path: path, cfg: cfg, retired: make(map[uint64]*time.Timer)}
	if err := d.layout(); err != nil {
		return nil, fmt.Errorf("blob: open %s: %w", path, err)
	}
	nums, err := d.packNumbers()
	if err != nil {
		return nil, fmt.Errorf("blob: open %s: %w", path, err)
	}
	next := uint64(1)
	if len(nums) > 0 {
		next = nums[len(nums)-1] + 1 // the newest pack is never removed, so numbers are never reused
	}
	d.solid.Store(!punches)
	d.handles.init(d, cfg.OpenPacks)
	d.recycler.limit = cfg.Keep
	d.recycler.adopt(d, nums)
	d.packs.init(d, next)
	return d, nil
}

func (k *disk) fill(noSync bool) {
	if k.write == nil {
		k.write = writeAll
	}
	if k.sync == nil {
		k.sync = syncData
	}
	if k.syncDir == nil {
		k.syncDir = syncDir
	}
	if k.rename == nil {
		k.rename = os.Rename
	}
	if noSync {
		k.sync = func(*os.File) error { return nil }
		k.syncDir = func(string) error { return nil }
	}
}

// ask has fault asked first.
func (k *disk) ask(fault func(op string) error) {
	if fault == nil {
		return
	}
	write, sync, rename := k.write, k.sync, k.rename
	k.write = func(f *os.File, bufs [][]byte, off int64) error {
		if err := fault("write"); err != nil {
			return err
		}
		return write(f, bufs, off)
	}
	k.sync = func(f *os.File) error {
		if err := fault("sync"); err != nil {
			return err
		}
		return sync(f)
	}
	k.rename = func(from, to string) error {
		if err := fault("rename"); err != nil {
			return err
		}
		return rename(from, to)
	}
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// layout makes the directories and empties tmp.
func (d *Dir) layout() error {
	for _, sub := range []string{"packs", "files", "tmp"} {
		if err := os.MkdirAll(filepath.Join(d.path, sub), 0o700); err != nil {
			return err
		}
	}
	left, err := os.ReadDir(filepath.Join(d.path, "tmp"))
	if err != nil {
		return err
	}
	for _, e := range left {
		if err := os.Remove(filepath.Join(d.path, "tmp", e.Name())); err != nil {
			return err
		}
	}
	return errors.Join(d.cfg.disk.syncDir(filepath.Join(d.path, "files")),
		d.cfg.disk.syncDir(d.path), d.cfg.disk.syncDir(filepath.Dir(filepath.Clean(d.path))))
}

func (d *Dir) packPath(n uint64) string {
	return filepath.Join(d.path, "packs", fmt.Sprintf("%08d.pack", n))
}

// packNumbers lists the packs in ascending order.
func (d *Dir) packNumbers() ([]uint64, error) {
	entries, err := os.ReadDir(filepath.Join(d.path, "packs"))
	if err != nil {
		return nil, err
	}
	var nums []uint64
	for _, e := range entries {
		if s, ok := strings.CutSuffix(e.Name(), ".pack"); ok {
			if n, err := strconv.ParseUint(s, 10, 63); err == nil && n > 0 {
				nums = append(nums, n)
			}
		}
	}
	slices.Sort(nums)
	return nums, nil
}

// enter registers a write; leave must follow.
func (d *Dir) enter() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	d.writers.Add(1)
	return nil
}

// Put is Store.Put. Once the body is written, Put waits for the outcome even if ctx ends.
func (d *Dir) Put(ctx context.Context, data []byte) (Ref, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if len(data) > d.cfg.PutLimit {
		w, err := d.Create(ctx)
		if err != nil {
			return "", err
		}
		defer w.Abort()
		if _, err := w.Write(data); err != nil {
			return "", err
		}
		return w.Commit()
	}
	if err := d.enter(); err != nil {
		return "", err
	}
	defer d.writers.Done()
	return d.packs.put(data)
}

// Delete is Store.Delete: a file is unlinked, a pack record is marked dead and
// the whole disk blocks inside it are given back. Neither is synced: after a
// power cut a body may be back, as garbage that Sweep finds.
func (d *Dir) Delete(ctx context.Context, refs ...Ref) error {
	var errs []error
	for _, r := range refs {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		p, err := parseRef(r)
		if err != nil {
			continue // nothing we ever gave out: nothing there
		}
		if p.pack == 0 {
			err = os.Remove(d.filePath(p.file))
		} else {
			err = d.bury(p)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("blob: delete %s: %w", r, err))
		}
	}
	return errors.Join(errs...)
}

// bury marks a record dead and punches the disk blocks of its body out.
func (d *Dir) bury(p place) error {
	h, err := d.handles.get(p.pack)
	if err != nil {
		return err
	}
	defer h.release()
	var b [recHeader]byte
	if _, err := h.f.ReadAt(b[:], p.off); err != nil {
		return fs.ErrNotExist
	}
	hd, ok := parseHeader(b[:], p.pack, p.off)
	if !ok || hd.length != p.length || hd.state == stateDead {
		return fs.ErrNotExist
	}
	if _, err := h.f.WriteAt([]byte{stateDead}, p.off+4); err != nil {
		return err
	}
	const page = 4096
	from := (p.off + bodyOffset(p.length) + page - 1) &^ (page - 1)
	to := (p.off + recordSize(p.length)) &^ (page - 1)
	if to <= from {
		return nil
	}
	done, err := punch(h.f, from, to-from)
	if !done {
		d.solid.Store(true)
	}
	return err
}

// Stats is a snapshot of counters since OpenDir, for metrics.
type Stats struct {
	Puts    int64 // bodies put or staged into packs
	Flushes int64 // syncs they took: Puts/Flushes is the mean batch
	Lost    int64 // syncs that failed: look at the disk
}

// Stats returns the counters; cheap.
func (d *Dir) Stats() Stats {
	return Stats{Puts: d.packs.staged.Load(), Flushes: d.packs.flushes.Load(), Lost: d.packs.losses.Load()}
}

// Close waits for running writes, also for open Writers. Readers stay usable.
func (d *Dir) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	d.mu.Unlock()
	d.writers.Wait()
	err := d.packs.close()
	d.retireNow()
	d.handles.clear()
	return err
}
