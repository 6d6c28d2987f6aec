package blob

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"testing"
	"time"
)

// rows plays the tables above: which body each key refers to.
type rows struct {
	mu   sync.Mutex
	refs map[int]Ref
}

func (r *rows) live(ref Ref) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, have := range r.refs {
		if have == ref {
			return true, nil
		}
	}
	return false, nil
}

func (r *rows) moved(_ context.Context, old, new Ref) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, have := range r.refs {
		if have == old {
			r.refs[k] = new
			return nil
		}
	}
	return fs.ErrNotExist
}

func (r *rows) check(t *testing.T, d *Dir) {
	t.Helper()
	for k, ref := range r.refs {
		if err := same(d, ref, body(uint64(k), 4000+k*100)); err != nil {
			t.Fatalf("row %d: %v", k, err)
		}
	}
}

// filled makes a store with several full packs and deletes most of the bodies.
func filled(t *testing.T, dir string, cfg DirConfig) (*Dir, *rows) {
	t.Helper()
	cfg.NoSync, cfg.PackBytes = true, 300_000
	d, err := OpenDir(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &rows{refs: map[int]Ref{}}
	for k := range 300 {
		if r.refs[k], err = d.Put(t.Context(), body(uint64(k), 4000+k*100)); err != nil {
			t.Fatal(err)
		}
	}
	for k := range 300 {
		if k%5 != 0 {
			if err := d.Delete(t.Context(), r.refs[k]); err != nil {
				t.Fatal(err)
			}
			delete(r.refs, k)
		}
	}
	return d, r
}

func TestCompact(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, r := filled(t, dir, DirConfig{Retire: time.Hour})
	r.check(t, d)
	before, _ := d.packNumbers()
	old := r.refs[0]
	reader, err := d.Open(t.Context(), r.refs[295])
	if err != nil {
		t.Fatal(err)
	}
	delete(r.refs, 5) // its row went, its Delete was lost: an orphan, young
	freed, err := d.Compact(t.Context(), r.live, r.moved)
	if err != nil || freed <= 0 {
		t.Fatalf("freed %d, %v", freed, err)
	}
	r.check(t, d)
	if err := same(d, old, body(0, 4000)); err != nil {
		t.Fatalf("old reference during the grace: %v", err)
	}
	d.retireNow()
	if _, err := d.Open(t.Context(), old); old != r.refs[0] && !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("old reference after the grace: %v", err)
	}
	got := make([]byte, reader.Size())
	if _, err := reader.ReadAt(got, 0); err != nil || !bytes.Equal(got, body(295, 4000+295*100)) {
		t.Fatalf("a reader from before the compaction: %v", err)
	}
	reader.Close()
	after, _ := d.packNumbers()
	if len(after) >= len(before) {
		t.Fatalf("%d packs before, %d after", len(before), len(after))
	}
	d.Close()

	if d, err = OpenDir(dir, DirConfig{NoSync: true}); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	r.check(t, d)
	seen := map[Ref]bool{}
	for e, err := range d.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if seen[e.Ref] {
			t.Fatalf("%s twice", e.Ref)
		}
		seen[e.Ref] = true
	}
	for k, ref := range r.refs {
		if !seen[ref] {
			t.Fatalf("All does not know row %d", k)
		}
	}
	if len(seen) != len(r.refs)+1 {
		t.Fatalf("%d bodies for %d rows and one young orphan", len(seen), len(r.refs))
	}
	ref, err := d.Put(t.Context(), []byte("new"))
	if err != nil {
		t.Fatal(err)
	}
	if p, _ := parseRef(ref); p.pack <= after[len(after)-1] {
		t.Fatalf("pack number %d was used again", p.pack)
	}
}

// A row that cannot be changed keeps its pack.
func TestCompactMovedFails(t *testing.T) {
	t.Parallel()
	d, r := filled(t, t.TempDir(), DirConfig{})
	defer d.Close()
	_, err := d.Compact(t.Context(), r.live, func(context.Context, Ref, Ref) error { return errFault })
	if !errors.Is(err, errFault) {
		t.Fatalf("%v, want the error of moved", err)
	}
	d.retireNow()
	r.check(t, d)
}

func TestSweep(t *testing.T) {
	t.Parallel()
	d, r := filled(t, t.TempDir(), DirConfig{})
	defer d.Close()
	big, err := d.Put(t.Context(), body(9, 2<<20))
	if err != nil {
		t.Fatal(err)
	}
	delete(r.refs, 0)
	delete(r.refs, 295)
	if n, _, err := d.Sweep(t.Context(), time.Hour, r.live); n != 0 || err != nil {
		t.Fatalf("removed %d young orphans, %v", n, err)
	}
	n, bytes, err := d.Sweep(t.Context(), -time.Minute, r.live)
	if n != 3 || bytes != 4000+4000+29500+2<<20 || err != nil {
		t.Fatalf("removed %d, %d octets, %v", n, bytes, err)
	}
	if _, err := d.Open(t.Context(), big); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	r.check(t, d)
	if n, _, err := d.Sweep(t.Context(), -time.Minute, r.live); n != 0 || err != nil {
		t.Fatalf("second sweep removed %d, %v", n, err)
	}
}

// TestDeleteGivesSpaceBack sees the disk space come back without compaction.
func TestDeleteGivesSpaceBack(t *testing.T) {
	t.Parallel()
	d, err := OpenDir(t.TempDir(), DirConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var refs []Ref
	for i := range 20 {
		ref, err := d.Put(t.Context(), body(uint64(i), 60_000))
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, ref)
	}
	path := d.packPath(1)
	before, _ := os.Stat(path)
	if err := d.Delete(t.Context(), refs[:15]...); err != nil {
		t.Fatal(err)
	}
	if d.solid.Load() {
		t.Skip("the file system of the temporary directory cannot punch holes")
	}
	after, _ := os.Stat(path)
	if got := allocated(before) - allocated(after); got < 15*50_000 {
		t.Fatalf("%d octets came back, want most of %d", got, 15*60_000)
	}
	for i, ref := range refs[15:] {
		if err := same(d, ref, body(uint64(i+15), 60_000)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGroupCommit sees concurrent Puts share a sync. The disk takes a while: on one that is faster than the scheduler of a machine
// with one core nobody comes meanwhile.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	slow := func(op string) error {
		if op == "sync" {
			<-time.After(time.Millisecond)
		}
		return nil
	}
	d, err := OpenDir(t.TempDir(), DirConfig{Fault: slow})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for j := range 20 {
				if _, err := d.Put(t.Context(), body(uint64(20*i+j), 5000)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	d.Close()
	if got := d.Stats(); got.Flushes*2 > got.Puts {
		t.Fatalf("%d batches for %d bodies", got.Flushes, got.Puts)
	}
}

func FuzzPack(f *testing.F) {
	d, err := OpenDir(f.TempDir(), DirConfig{NoSync: true})
	if err != nil {
		f.Fatal(err)
	}
	d.Put(f.Context(), body(1, 100))
	d.Put(f.Context(), body(2, 70_000))
	d.Close()
	b, err := os.ReadFile(d.packPath(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:200])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := OpenDir(t.TempDir(), DirConfig{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if err := os.WriteFile(d.packPath(1), b, 0o600); err != nil {
			t.Fatal(err)
		}
		for e, err := range d.All(t.Context()) {
			if err != nil {
				continue
			}
			r, err := d.Open(t.Context(), e.Ref)
			if err != nil {
				continue
			}
			r.ReadAt(make([]byte, 100), 0)
			r.Close()
		}
	})
}

func FuzzRef(f *testing.F) {
	f.Add("p1.g.1")
	f.Add("f0123456789abcdef0123456789abcdef")
	f.Add("p01.g.1")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseRef(Ref(s))
		if err == nil && p.pack > 0 && packRef(p.pack, p.off, p.length) != Ref(s) {
			t.Fatalf("%q is a second spelling", s)
		}
		if err == nil && p.pack == 0 && Ref("f"+p.file) != Ref(s) {
			t.Fatalf("%q", s)
		}
	})
}
