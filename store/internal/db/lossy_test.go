package db

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// lossyVFS is a disk in memory that knows, for each file, what a power cut
// would leave: the image of the last sync plus any subset of the 512-octet
// sectors written since. It can also fail on demand.
type lossyVFS struct {
	mu    sync.Mutex
	files map[string]*lossyFile
	dead  atomic.Bool

	failSync, failWrite atomic.Int64 // counts down; the call that reaches 0 fails
}

type lossyFile struct {
	mu           sync.Mutex
	now, durable []byte
	pending      []lossyWrite
}

type lossyWrite struct {
	off      int64
	data     []byte
	truncate bool // to off
}

func (w lossyWrite) apply(img []byte) []byte {
	if w.truncate {
		return img[:min(int64(len(img)), w.off)]
	}
	if end := w.off + int64(len(w.data)); end > int64(len(img)) {
		old := len(img)
		if int64(cap(img)) < end {
			img = append(make([]byte, 0, 2*end), img...)
		}
		img = img[:end]
		clear(img[old:])
	}
	copy(img[w.off:], w.data)
	return img
}

// newLossy registers a fresh disk under the test's name.
func newLossy(t *testing.T, name string) *lossyVFS {
	v := &lossyVFS{files: map[string]*lossyFile{}}
	vfs.Register(name, v)
	t.Cleanup(func() { vfs.Unregister(name) })
	return v
}

func (v *lossyVFS) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f := v.files[name]
	if f == nil {
		f = &lossyFile{}
		v.files[name] = f
	}
	return &lossyHandle{v: v, f: f}, flags, nil
}

func (v *lossyVFS) Delete(name string, _ bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.files, name)
	return nil
}

func (v *lossyVFS) Access(name string, _ vfs.AccessFlag) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f := v.files[name]
	return f != nil && len(f.now) > 0, nil
}

func (v *lossyVFS) FullPathname(name string) (string, error) { return name, nil }

type lossyHandle struct {
	v    *lossyVFS
	f    *lossyFile
	lock vfs.LockLevel
}

func (h *lossyHandle) Close() error { return nil }

func (h *lossyHandle) ReadAt(b []byte, off int64) (int, error) {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	if off >= int64(len(h.f.now)) {
		return 0, io.EOF
	}
	n := copy(b, h.f.now[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h *lossyHandle) WriteAt(b []byte, off int64) (int, error) {
	if h.v.failWrite.Add(-1) == 0 {
		return 0, sqlite3.IOERR_WRITE
	}
	h.change(lossyWrite{off: off, data: append([]byte(nil), b...)})
	return len(b), nil
}

func (h *lossyHandle) Truncate(n int64) error {
	h.change(lossyWrite{off: n, truncate: true})
	return nil
}

func (h *lossyHandle) change(w lossyWrite) {
	h.f.mu.Lock()
	h.f.now = w.apply(h.f.now)
	h.f.pending = append(h.f.pending, w)
	h.f.mu.Unlock()
}

func (h *lossyHandle) Sync(vfs.SyncFlag) error {
	if h.v.dead.Load() || h.v.failSync.Add(-1) == 0 {
		return sqlite3.IOERR_FSYNC
	}
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	for _, w := range h.f.pending {
		h.f.durable = w.apply(h.f.durable)
	}
	h.f.pending = nil
	return nil
}

func (h *lossyHandle) Size() (int64, error) {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	return int64(len(h.f.now)), nil
}

func (h *lossyHandle) Lock(l vfs.LockLevel) error       { h.lock = l; return nil }
func (h *lossyHandle) Unlock(l vfs.LockLevel) error     { h.lock = l; return nil }
func (h *lossyHandle) CheckReservedLock() (bool, error) { return h.lock >= vfs.LOCK_RESERVED, nil }
func (h *lossyHandle) SectorSize() int                  { return 512 }
func (h *lossyHandle) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return 0
}

// cut stops the disk and writes to dir what it might hold after a power cut.
func (v *lossyVFS) cut(t *testing.T, dir string, r *rand.Rand) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range v.files {
		f.mu.Lock()
	}
	v.dead.Store(true)
	for name, f := range v.files {
		img := append([]byte(nil), f.durable...)
		for _, w := range survivors(f.pending, r) {
			img = w.apply(img)
		}
		if filepath.Ext(name) != ".db-journal" {
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), img, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		f.mu.Unlock()
	}
}

// survivors is a random half of the unsynced sectors, in any order.
func survivors(pending []lossyWrite, r *rand.Rand) (out []lossyWrite) {
	for _, w := range pending {
		if w.truncate {
			if r.IntN(2) == 0 {
				out = append(out, w)
			}
			continue
		}
		for o := 0; o < len(w.data); o += 512 {
			if r.IntN(2) == 0 {
				out = append(out, lossyWrite{off: w.off + int64(o), data: w.data[o:min(len(w.data), o+512)]})
			}
		}
	}
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}
