package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// body makes n octets that are the same for the same seed.
func body(seed uint64, n int) []byte {
	b := make([]byte, n)
	var k [32]byte
	k[0], k[1], k[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	rand.NewChaCha8(k).Read(b)
	return b
}

// same reports how the stored body differs from want.
func same(s Store, ref Ref, want []byte) error {
	r, err := s.Open(context.Background(), ref)
	if err != nil {
		return err
	}
	defer r.Close()
	got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("%s: content differs", ref)
	}
	return err
}

var errFault = errors.New("fault point")

// acked collects what Put and Commit promised.
type acked struct {
	mu   sync.Mutex
	refs map[Ref][2]int // seed, size
	errs int
}

// putters stores bodies from several goroutines and notes the promises.
func (a *acked) putters(d *Dir, seed, workers, each int, isCut func() bool) {
	var flush sync.Mutex // Flush is for one goroutine
	a.refs = make(map[Ref][2]int)
	var wg sync.WaitGroup
	for g := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(seed), uint64(g)))
			for i := range each {
				id := g*each + i
				n := 1 + r.IntN(20_000)
				if r.IntN(20) == 0 {
					n = 100_000 + r.IntN(300_000)
				}
				var ref Ref
				var err error
				if id%2 == 0 {
					ref, err = d.Put(context.Background(), body(uint64(id), n))
				} else if ref, err = d.Stage(context.Background(), body(uint64(id), n)); err == nil {
					flush.Lock()
					if err = d.Flush(); d.Lost(ref) {
						err = errLost
					}
					flush.Unlock()
				}
				a.mu.Lock()
				if err != nil {
					a.errs++
				} else if !isCut() { // a promise made after the cut left nobody's wire
					a.refs[ref] = [2]int{id, n}
				}
				a.mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func (a *acked) lost(d *Dir) (lost int, first error) {
	for ref, v := range a.refs {
		if err := same(d, ref, body(uint64(v[0]), v[1])); err != nil {
			lost++
			first = cmpErr(first, err)
		}
	}
	return lost, first
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// TestFaults fails the n-th call that promises durability, once, for every n
// until nothing fails any more: the Puts of that batch hear an error, every
// other promise holds, now and after a restart.
func TestFaults(t *testing.T) {
	t.Parallel()
	type kind struct {
		name string
		set  func(k *disk, n int, hit *bool)
	}
	for _, f := range []kind{
		{"write", func(k *disk, n int, hit *bool) {
			k.write = func(f *os.File, bufs [][]byte, off int64) error {
				if n--; n == 0 {
					*hit = true
					return errFault
				}
				return writeAll(f, bufs, off)
			}
		}},
		{"short write", func(k *disk, n int, hit *bool) {
			k.write = func(f *os.File, bufs [][]byte, off int64) error {
				if n--; n == 0 {
					*hit = true
					f.WriteAt(bufs[0][:len(bufs[0])/2], off)
					return errFault
				}
				return writeAll(f, bufs, off)
			}
		}},
		{"sync", func(k *disk, n int, hit *bool) {
			k.sync = func(*os.File) error {
				if n--; n == 0 {
					*hit = true
					return errFault
				}
				return nil
			}
		}},
		{"syncDir", func(k *disk, n int, hit *bool) {
			k.syncDir = func(string) error {
				if n--; n == 0 {
					*hit = true
					return errFault
				}
				return nil
			}
		}},
		{"rename", func(k *disk, n int, hit *bool) {
			k.rename = func(from, to string) error {
				if n--; n == 0 {
					*hit = true
					return errFault
				}
				return os.Rename(from, to)
			}
		}},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			hits := 0
			for n := 1; ; n++ {
				if !faultRound(t, n, f.set) {
					break
				}
				hits++
			}
			if hits == 0 {
				t.Fatal("the fault point was never reached")
			}
		})
	}
}

func faultRound(t *testing.T, n int, set func(*disk, int, *bool)) (hit bool) {
	dir := t.TempDir()
	cfg := DirConfig{NoSync: true, PutLimit: 100_000, PackBytes: 60_000}
	d, err := OpenDir(dir, cfg) // make the layout without faults
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	set(&cfg.disk, n, &hit)
	cfg.NoSync = false
	if cfg.disk.sync == nil {
		cfg.disk.sync = func(*os.File) error { return nil }
	}
	if cfg.disk.syncDir == nil {
		cfg.disk.syncDir = func(string) error { return nil }
	}
	if d, err = OpenDir(dir, cfg); err != nil {
		if hit && errors.Is(err, errFault) {
			return true // refused cleanly
		}
		t.Fatal(err)
	}
	refs, errs := map[Ref]int{}, 0
	for i := range 12 {
		size := 1000 + i*1000
		if i%4 == 3 {
			size = 150_000
		}
		ref, err := d.Put(t.Context(), body(uint64(i), size))
		if err != nil {
			if !errors.Is(err, errFault) && !errors.Is(err, errLost) || ref != "" {
				t.Fatalf("n=%d: Put %d: %q %v", n, i, ref, err)
			}
			errs++
			continue
		}
		refs[ref] = i*1_000_000 + size
	}
	if errs > 1 || errs == 1 && !hit { // no error at all: zeros written ahead need not arrive
		t.Fatalf("n=%d: %d errors, hit %v: the store did not go on", n, errs, hit)
	}
	check := func(d *Dir) {
		for ref, v := range refs {
			if err := same(d, ref, body(uint64(v/1_000_000), v%1_000_000)); err != nil {
				t.Fatalf("n=%d: acknowledged body lost: %v", n, err)
			}
		}
	}
	check(d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = OpenDir(dir, DirConfig{NoSync: true}); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	check(d)
	left, _ := os.ReadDir(filepath.Join(dir, "tmp"))
	if len(left) > 0 {
		t.Fatalf("n=%d: tmp holds %v after a restart", n, left)
	}
	return hit
}

// lossyDisk remembers what was not synced, so that a power cut can take it away.
type lossyDisk struct {
	mu      sync.Mutex
	pending map[string][]sector // by path at the time of writing
	newName map[string]string   // name whose directory was not synced → name it had before, "" if it is new
	cut     bool
	lying   bool // sync says yes and does nothing: the negative control
}

type sector struct{ off, n int64 }

func (l *lossyDisk) hooks() disk {
	return disk{write: l.write, sync: l.sync, syncDir: l.syncDir, rename: l.rename}
}

func (l *lossyDisk) write(f *os.File, bufs [][]byte, off int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return errFault
	}
	name := f.Name()
	if off == 0 && filepath.Ext(name) == ".pack" {
		l.newName[name] = ""
	}
	n := int64(0)
	for _, b := range bufs {
		n += int64(len(b))
	}
	for o := off; o < off+n; {
		next := min(off+n, (o/512+1)*512)
		l.pending[name] = append(l.pending[name], sector{o, next - o})
		o = next
	}
	return writeAll(f, bufs, off)
}

func (l *lossyDisk) sync(f *os.File) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return errFault
	}
	if !l.lying {
		delete(l.pending, f.Name())
	}
	return nil
}

func (l *lossyDisk) syncDir(path string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return errFault
	}
	for name := range l.newName {
		if filepath.Dir(name) == path {
			delete(l.newName, name)
		}
	}
	return nil
}

func (l *lossyDisk) rename(from, to string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return errFault
	}
	if p, ok := l.pending[from]; ok {
		l.pending[to] = p
		delete(l.pending, from)
	}
	l.newName[to] = from
	return os.Rename(from, to)
}

// powerCut takes away a random half of what was not synced: sectors become
// zeros, names vanish, sizes shrink.
func (l *lossyDisk) powerCut(t *testing.T, r *rand.Rand) {
	for name, secs := range l.pending {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range secs {
			if r.IntN(2) == 0 {
				f.WriteAt(make([]byte, s.n), s.off)
			}
		}
		if r.IntN(3) == 0 {
			f.Truncate(secs[0].off)
		}
		f.Close()
	}
	for name, before := range l.newName {
		if r.IntN(2) == 0 {
			continue
		}
		if before == "" {
			os.Remove(name)
		} else {
			os.Rename(name, before)
		}
	}
}

func cutRound(t *testing.T, seed int, lying bool) (promised, lost int, first error) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(uint64(seed), 7))
	l := &lossyDisk{pending: map[string][]sector{}, newName: map[string]string{}, lying: lying}
	d, err := OpenDir(dir, DirConfig{PutLimit: 100_000, PackBytes: 200_000, Flushed: true, disk: l.hooks()})
	if err != nil {
		t.Fatal(err)
	}
	puts := 0
	limit := 30 + r.IntN(200)
	isCut := func() bool { // called under a.mu after every Put
		l.mu.Lock()
		defer l.mu.Unlock()
		if puts++; puts == limit {
			l.cut = true
		}
		return l.cut
	}
	var a acked
	a.putters(d, seed, 8, 40, isCut)
	d.Close()
	l.powerCut(t, r)
	if d, err = OpenDir(dir, DirConfig{NoSync: true}); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if lost, first = a.lost(d); lost > 0 {
		return len(a.refs), lost, first
	}
	for _, err := range d.All(t.Context()) { // a torn tail must not trouble the walk
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
	}
	_, _, err = d.Sweep(t.Context(), -time.Hour, func(r Ref) (bool, error) { _, ok := a.refs[r]; return ok, nil })
	if err != nil && !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	for i := range 20 { // and what comes after must not damage what was there
		if _, err := d.Put(t.Context(), body(uint64(i), 5000)); err != nil {
			t.Fatal(err)
		}
	}
	lost, first = a.lost(d)
	return len(a.refs), lost, first
}

// TestPowerCut loses power at a random moment, again and again: no promise is broken.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	total := 0
	for seed := range 40 {
		n, lost, err := cutRound(t, seed, false)
		total += n
		if lost > 0 {
			t.Fatalf("seed %d: %d of %d acknowledged bodies lost: %v", seed, lost, n, err)
		}
	}
	t.Logf("40 power cuts, %d acknowledged bodies, none lost", total)
}

// TestPowerCutControl shows that the simulator can lose: a disk that lies about syncs does.
func TestPowerCutControl(t *testing.T) {
	t.Parallel()
	for seed := range 20 {
		if _, lost, _ := cutRound(t, seed, true); lost > 0 {
			return
		}
	}
	t.Fatal("a disk that never syncs lost nothing: the simulator proves nothing")
}

// TestCorrupt flips every octet region of a record: wrong octets are never handed out.
func TestCorrupt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, err := OpenDir(dir, DirConfig{NoSync: true, PutLimit: 300_000})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for i, n := range []int{1, 5000, 65536, 65537, 200_000, 400_000} {
		want := body(uint64(i), n)
		ref, err := d.Put(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := parseRef(ref)
		path, from, size := d.packPath(p.pack), p.off, recordSize(p.length)
		if p.pack == 0 {
			path, from, size = d.filePath(p.file), 0, int64(n)+4*int64(blocks(int64(n)))+recHeader
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(3, uint64(i)))
		offs := []int64{0, 1, 4, 8, 16, 24, 28, recHeader, recHeader + 1, size - 9, size - recHeader, size - 1}
		for range 30 {
			offs = append(offs, r.Int64N(size))
		}
		for _, o := range offs {
			if o < 0 || o >= size {
				continue
			}
			var b [1]byte
			f.ReadAt(b[:], from+o)
			f.WriteAt([]byte{b[0] ^ 0x10}, from+o)
			err := same(d, ref, want)
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%d octets, flip at %d: %v, want ErrCorrupt or nothing (padding)", n, o, err)
			}
			f.WriteAt(b[:], from+o)
		}
		f.Close()
		if err := same(d, ref, want); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStageLost fails the sync under staged bodies: Flush says so once, Lost
// tells which bodies it took, and the store goes on in a new pack.
func TestStageLost(t *testing.T) {
	t.Parallel()
	var fail bool
	dir := t.TempDir()
	d, err := OpenDir(dir, DirConfig{Flushed: true, disk: disk{
		sync:    func(*os.File) error { return cmpErr(map[bool]error{true: errFault}[fail], nil) },
		syncDir: func(string) error { return nil },
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	stage := func(seed uint64) Ref {
		ref, err := d.Stage(t.Context(), body(seed, 5000))
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}
	good := stage(1)
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	bad1, bad2 := stage(2), stage(3)
	fail = true
	if _, err := d.Put(t.Context(), body(4, 100)); !errors.Is(err, errLost) { // somebody else's flush
		t.Fatalf("Put: %v", err)
	}
	fail = false
	late := stage(5)
	if err := d.Flush(); !errors.Is(err, errLost) {
		t.Fatalf("Flush after a loss: %v", err)
	}
	if err := d.Flush(); err != nil {
		t.Fatalf("second Flush: %v", err)
	}
	if d.Lost(good) || !d.Lost(bad1) || !d.Lost(bad2) || d.Lost(late) {
		t.Fatal("Lost:", d.Lost(good), d.Lost(bad1), d.Lost(bad2), d.Lost(late))
	}
	for seed, ref := range map[uint64]Ref{1: good, 5: late} {
		if err := same(d, ref, body(seed, 5000)); err != nil {
			t.Fatal(err)
		}
	}
	if a, _ := parseRef(good); true {
		if b, _ := parseRef(late); a.pack == b.pack {
			t.Fatal("a pack whose sync failed was written to again")
		}
	}
}
