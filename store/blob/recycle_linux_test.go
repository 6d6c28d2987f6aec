package blob

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// evict syncs every file of d and has the kernel forget it; false: it did not.
func evict(t *testing.T, d *Dir) bool {
	t.Helper()
	gone := true
	err := filepath.WalkDir(d.path, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Sync(); err != nil {
			return err
		}
		dropPages(f)
		gone = gone && !readCached(f, make([]byte, 1), 0)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return gone
}

// readCached fills b from the page cache; false: not all of it is there.
func readCached(f *os.File, b []byte, off int64) bool {
	n, err := unix.Preadv2(int(f.Fd()), [][]byte{b}, off, unix.RWF_NOWAIT)
	return err == nil && n == len(b)
}

// TestColdBodies: bodies of every size around the seams come back whole from the disk, and damage is seen there too.
func TestColdBodies(t *testing.T) {
	d, err := OpenDir(t.TempDir(), DirConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ctx := context.Background()
	rnd := rand.NewChaCha8([32]byte{1})
	bodies := map[Ref][]byte{}
	for _, n := range []int{1, 100, 4095, 4096, eagerSize - 1, eagerSize, eagerSize + 1, 60_000, blockSize - 1, blockSize, blockSize + 1,
		3*blockSize - 7, 3 * blockSize, 1<<20 - 1, 1 << 20, 3<<20 + 17} {
		b := make([]byte, n)
		rnd.Read(b)
		var ref Ref
		if n <= d.cfg.PutLimit {
			ref, err = d.Put(ctx, b)
		} else {
			var w Writer
			if w, err = d.Create(ctx); err == nil {
				w.Write(b)
				ref, err = w.Commit()
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		bodies[ref] = b
	}
	for _, step := range []int{1 << 22, blockSize, 32 << 10, 5000} {
		if !evict(t, d) {
			t.Skip("this file system keeps pages that it is asked to drop")
		}
		for ref, want := range bodies {
			if got := readBy(t, d, ref, step); !bytes.Equal(got, want) {
				t.Fatalf("%d octets by %d: another body", len(want), step)
			}
		}
	}
	for ref, want := range bodies {
		spoil(t, d, ref, len(want))
	}
	evict(t, d)
	for ref, want := range bodies {
		r, err := d.Open(ctx, ref)
		if err == nil {
			_, err = io.ReadFull(io.NewSectionReader(r, 0, r.Size()), make([]byte, len(want)))
			r.Close()
		}
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d octets with one wrong: %v, want ErrCorrupt", len(want), err)
		}
	}
}

func readBy(t *testing.T, d *Dir, ref Ref, step int) []byte {
	t.Helper()
	r, err := d.Open(context.Background(), ref)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make([]byte, 0, r.Size())
	for int64(len(got)) < r.Size() {
		n, err := r.ReadAt(got[len(got):min(cap(got), len(got)+step)], int64(len(got)))
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		got = got[:len(got)+n]
	}
	return got
}

// spoil turns a bit of the last octet.
func spoil(t *testing.T, d *Dir, ref Ref, n int) {
	t.Helper()
	p, err := parseRef(ref)
	if err != nil {
		t.Fatal(err)
	}
	path, off := d.packPath(p.pack), p.off+bodyOffset(p.length)
	if p.pack == 0 {
		path, off = d.filePath(p.file), 0
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	off += int64(n) - 1
	if _, err := f.ReadAt(b[:], off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b[:], off); err != nil {
		t.Fatal(err)
	}
}

// TestRecycle: what was written before the last octets is forgotten, those are kept.
func TestRecycle(t *testing.T) {
	d, err := OpenDir(t.TempDir(), DirConfig{PackBytes: 1 << 20, Keep: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var refs []Ref
	b := make([]byte, 300<<10)
	for i := range 40 {
		b[0] = byte(i)
		ref, err := d.Put(context.Background(), b)
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, ref)
	}
	if !isCached(t, d, refs[len(refs)-1]) {
		t.Skip("this file system does not tell what its cache holds")
	}
	if isCached(t, d, refs[0]) {
		t.Error("the oldest body is still in the page cache")
	}
}

func isCached(t *testing.T, d *Dir, ref Ref) bool {
	t.Helper()
	p, err := parseRef(ref)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(d.packPath(p.pack))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return readCached(f, make([]byte, 1), p.off)
}

// TestKernelCaches: a negative Keep leaves all to the kernel.
func TestKernelCaches(t *testing.T) {
	d, err := OpenDir(t.TempDir(), DirConfig{PackBytes: 1 << 20, Keep: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b := make([]byte, 300<<10)
	first, err := d.Put(context.Background(), b)
	if err != nil {
		t.Fatal(err)
	}
	if !isCached(t, d, first) {
		t.Skip("this file system does not tell what its cache holds")
	}
	for range 20 {
		if _, err := d.Put(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
	if !isCached(t, d, first) {
		t.Error("the oldest body is not in the page cache any more")
	}
}
