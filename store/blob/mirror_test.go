package blob_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bahnpost/store/blob"
	"bahnpost/store/blob/blobtest"
	"bahnpost/store/blob/s3/s3test"
)

// two is a mirror of a bucket and a directory, and the directories in which they keep their objects.
func two(t *testing.T, degraded bool) (r *blob.Remote, cfg blob.RemoteConfig, s *s3test.Server, sides [2]string) {
	t.Helper()
	s = s3test.Start(t)
	sides = [2]string{filepath.Join(s.Dir, s3test.Bucket, "test"), filepath.Join(t.TempDir(), "second")}
	cfg = blob.RemoteConfig{URLs: []string{s.URL(), "file://" + sides[1]}, Dir: t.TempDir(), Degraded: degraded}
	return remote(t, cfg), cfg, s, sides
}

func there(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// What a side lacks or has damaged is read from the other, and repaired.
func TestMirrorRepairs(t *testing.T) {
	t.Parallel()
	r, cfg, _, sides := two(t, false)
	want := blobtest.Body(1, 700_000)
	for name, damage := range map[string]func([]byte) []byte{
		"lost": nil, "cut": func(b []byte) []byte { return b[:1000] }, "damaged": func(b []byte) []byte { b[100] ^= 1; return b },
		"damaged behind": func(b []byte) []byte { b[600_000] ^= 1; return b },
	} {
		ref := put(t, r, want)
		first := stored(sides[0], ref)
		if damage == nil {
			if err := os.Remove(first); err != nil {
				t.Fatal(err)
			}
		} else {
			change(t, first, damage)
		}
		before := r.Stats().MirrorRepaired
		blobtest.Want(t, r, ref, want)
		until(t, name+" is repaired", func() bool { return r.Stats().MirrorRepaired > before })
		alone := remote(t, blob.RemoteConfig{URLs: cfg.URLs[:1]})
		blobtest.Want(t, alone, ref, want)
	}
	ref := put(t, r, want)
	for _, dir := range sides {
		change(t, stored(dir, ref), func(b []byte) []byte { b[100] ^= 1; return b })
	}
	isCorrupt(t, r, ref, want)
}

// Who checks everything finds what nobody reads: the second side's damage.
func TestMirrorThorough(t *testing.T) {
	t.Parallel()
	r, cfg, _, sides := two(t, false)
	want := blobtest.Body(1, 700_000)
	ref := put(t, r, want)
	change(t, stored(sides[1], ref), func(b []byte) []byte { b[650_000] ^= 1; return b })
	blobtest.Want(t, r, ref, want)
	if r.Stats().MirrorRepaired != 0 {
		t.Fatal("repaired, and nobody looked")
	}
	rd, err := r.Open(blob.Thorough(t.Context()), ref)
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	if _, err := rd.ReadAt(make([]byte, len(want)), 0); err != nil {
		t.Fatal(err)
	}
	until(t, "the second side is repaired", func() bool { return r.Stats().MirrorRepaired == 1 })
	blobtest.Want(t, remote(t, blob.RemoteConfig{URLs: cfg.URLs[1:]}), ref, want)
}

// A sweep gives each side what it lacks, and removes only what nobody knows.
func TestMirrorSweep(t *testing.T) {
	t.Parallel()
	r, _, _, sides := two(t, false)
	want := blobtest.Body(1, 10_000)
	live := map[blob.Ref]bool{}
	var refs []blob.Ref
	for i := range 40 {
		ref := put(t, r, want)
		refs = append(refs, ref)
		live[ref] = i%4 != 3
		switch i % 4 {
		case 0:
			os.Remove(stored(sides[0], ref))
		case 1:
			os.Remove(stored(sides[1], ref))
		case 2:
			change(t, stored(sides[i/4%2], ref), func(b []byte) []byte { return b[:5000] })
		case 3:
			os.Remove(stored(sides[i/4%2], ref))
		}
	}
	sweep := func(age time.Duration) int {
		n, _, err := r.Sweep(t.Context(), age, func(ref blob.Ref) (bool, error) { return live[ref], nil })
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := sweep(time.Hour); n != 0 {
		t.Errorf("%d young bodies were removed", n)
	}
	if n := sweep(0); n != 10 {
		t.Errorf("%d bodies were removed, want 10", n)
	}
	for _, ref := range refs {
		if a, b := there(stored(sides[0], ref)), there(stored(sides[1], ref)); a != live[ref] || b != live[ref] {
			t.Errorf("%s: on the sides %v and %v, want %v", ref, a, b, live[ref])
		}
		if live[ref] {
			blobtest.Want(t, r, ref, want)
		}
	}
	n := 0
	for e, err := range r.All(t.Context()) {
		if err != nil || !live[e.Ref] {
			t.Error(e, err)
		}
		n++
	}
	if n != 30 {
		t.Errorf("%d bodies listed", n)
	}
}

// Both or nothing: while a side is away nothing is taken, and nothing is said to be missing.
func TestMirrorStrict(t *testing.T) {
	t.Parallel()
	r, _, s, sides := two(t, false)
	want := blobtest.Body(1, 10_000)
	ref := put(t, r, want)
	lacking := put(t, r, want)
	os.Remove(stored(sides[1], lacking))
	s.Kill()
	if _, err := r.Put(t.Context(), want); !errors.Is(err, blob.ErrAway) {
		t.Fatal(err)
	}
	blobtest.Want(t, r, ref, want)
	if _, err := r.Open(t.Context(), lacking); !errors.Is(err, blob.ErrAway) || errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := r.Delete(t.Context(), ref); !errors.Is(err, blob.ErrAway) {
		t.Fatal(err)
	}
	s.Run()
	until(t, "path is back", func() bool { return r.Paths()[0].Up })
	if err := r.Delete(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	blobtest.Want(t, r, lacking, want)
}

// One is enough, and the debt outlives the process.
func TestMirrorDegraded(t *testing.T) {
	t.Parallel()
	r, cfg, s, sides := two(t, true)
	s.Kill()
	want := blobtest.Body(1, 100_000)
	var refs []blob.Ref
	for range 20 {
		refs = append(refs, put(t, r, want))
	}
	if n := r.Stats().MirrorOwed; n != len(refs) {
		t.Errorf("%d bodies owed, want %d", n, len(refs))
	}
	dead := refs[19]
	if err := r.Delete(t.Context(), dead); !errors.Is(err, blob.ErrAway) { // the reaper asks again later
		t.Fatal(err)
	}
	r.Close()
	r = again(t, cfg)
	for _, ref := range refs[:19] {
		blobtest.Want(t, r, ref, want)
	}
	s.Run()
	until(t, "all debts are paid", func() bool { return r.Stats().MirrorOwed == 0 })
	for _, ref := range refs[:19] {
		if !there(stored(sides[0], ref)) {
			t.Errorf("%s is still missing", ref)
		}
	}
	if there(stored(sides[0], dead)) || there(stored(sides[1], dead)) {
		t.Error("a deleted body is back")
	}
	alone := remote(t, blob.RemoteConfig{URLs: cfg.URLs[:1]})
	for _, ref := range refs[:19] {
		blobtest.Want(t, alone, ref, want)
	}
}

// Of two buckets behind one mirror, either may hang: reading goes on.
func TestMirrorHangs(t *testing.T) {
	t.Parallel()
	a, b := s3test.Start(t), s3test.Start(t)
	r := remote(t, blob.RemoteConfig{URLs: []string{a.URL(), b.URL()}, Degraded: true})
	want := blobtest.Body(1, 100_000)
	ref := put(t, r, want)
	for i, s := range []*s3test.Server{a, b} {
		s.Pause()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		late, err := r.Put(ctx, want)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			blobtest.Want(t, r, ref, want)
			blobtest.Want(t, r, late, want)
		}
		s.Resume()
		until(t, "path is back", func() bool { return r.Paths()[i].Up })
		until(t, "all debts are paid", func() bool { return r.Stats().MirrorOwed == 0 })
	}
}
