// Package blobtest is the one conformance suite of blob.Store; every
// implementation runs it. It is for tests only.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"

	"bahnpost/store/blob"
)

// Exercise runs the suite; open gives a fresh, empty store for each part.
func Exercise(t *testing.T, open func(t *testing.T) blob.Store) {
	for _, part := range []struct {
		name string
		run  func(t *testing.T, s blob.Store)
	}{
		{"Sizes", sizes}, {"Stage", stage}, {"Stream", stream}, {"Abort", abort}, {"ReadAt", readAt},
		{"Missing", missing}, {"Delete", deleted}, {"Concurrent", concurrent},
		{"Cancelled", cancelled}, {"Closed", closed}, {"ReuseOfBuffer", reuse},
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			defer s.Close()
			part.run(t, s)
		})
	}
}

// Body makes n octets that are the same for the same seed.
func Body(seed uint64, n int) []byte {
	b := make([]byte, n)
	var k [32]byte
	for i := range 8 {
		k[i] = byte(seed >> (8 * i))
	}
	rand.NewChaCha8(k).Read(b)
	return b
}

// Want reads ref and compares it with want.
func Want(t testing.TB, s blob.Store, ref blob.Ref, want []byte) {
	t.Helper()
	if err := Same(s, ref, want); err != nil {
		t.Fatal(err)
	}
}

// Same reads ref in one piece and says how it differs from want.
func Same(s blob.Store, ref blob.Ref, want []byte) error {
	r, err := s.Open(context.Background(), ref)
	if err != nil {
		return err
	}
	defer r.Close()
	if r.Size() != int64(len(want)) {
		return fmt.Errorf("%s: size %d, want %d", ref, r.Size(), len(want))
	}
	got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil {
		return fmt.Errorf("%s: %w", ref, err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s: content differs", ref)
	}
	return nil
}

// boundaries are sizes around everything that has a size inside.
var boundaries = [...]int{0, 1, 7, 8, 9, 4095, 4096, 65535, 65536, 65537, 131072, 200_001, 1<<20 - 1, 1 << 20, 1<<20 + 1, 3 << 20}

func sizes(t *testing.T, s blob.Store) {
	refs := map[blob.Ref]int{}
	for i, n := range boundaries {
		ref, err := s.Put(t.Context(), Body(uint64(i), n))
		if err != nil {
			t.Fatal(err)
		}
		if len(ref) == 0 || len(ref) > 64 {
			t.Fatalf("reference %q has %d octets", ref, len(ref))
		}
		if _, twice := refs[ref]; twice {
			t.Fatalf("reference %q was given twice", ref)
		}
		refs[ref] = i
	}
	for ref, i := range refs {
		Want(t, s, ref, Body(uint64(i), boundaries[i]))
	}
}

func stage(t *testing.T, s blob.Store) {
	refs := map[blob.Ref]int{}
	for i, n := range boundaries {
		b := Body(uint64(i), n)
		ref, err := s.Stage(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		clear(b)
		refs[ref] = i
		if i%3 == 0 {
			if err := s.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	for ref, i := range refs {
		if s.Lost(ref) {
			t.Fatalf("%s is lost", ref)
		}
		Want(t, s, ref, Body(uint64(i), boundaries[i]))
	}
	if s.Lost("") || s.Lost("x") {
		t.Fatal("a body that never was is lost")
	}
}

func stream(t *testing.T, s blob.Store) {
	for i, n := range boundaries {
		want := Body(uint64(i), n)
		w, err := s.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for rest := want; len(rest) > 0; {
			k := min(len(rest), 33_333)
			if m, err := w.Write(rest[:k]); m != k || err != nil {
				t.Fatal(m, err)
			}
			rest = rest[k:]
		}
		ref, err := w.Commit()
		if err != nil {
			t.Fatal(err)
		}
		w.Abort() // no-op
		if _, err := w.Write([]byte("x")); err == nil {
			t.Fatal("Write after Commit gave no error")
		}
		if _, err := w.Commit(); err == nil {
			t.Fatal("second Commit gave no error")
		}
		Want(t, s, ref, want)
	}
}

func abort(t *testing.T, s blob.Store) {
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte("never mind"))
	w.Abort()
	w.Abort()
	if _, err := w.Commit(); err == nil {
		t.Fatal("Commit after Abort gave no error")
	}
}

func readAt(t *testing.T, s blob.Store) {
	for _, n := range []int{10, 65536, 300_000, 2 << 20} {
		want := Body(uint64(n), n)
		ref, err := s.Put(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Open(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(1, uint64(n)))
		for range 200 {
			off, k := rnd.IntN(n+10), 1+rnd.IntN(min(n, 150_000))
			p := make([]byte, k)
			m, err := r.ReadAt(p, int64(off))
			end := min(off+k, n)
			if off > n {
				end = off
			}
			if m != max(end-off, 0) || (m < k) != (err == io.EOF) || m > 0 && !bytes.Equal(p[:m], want[off:end]) {
				t.Fatalf("ReadAt(%d octets, %d) of %d = %d, %v", k, off, n, m, err)
			}
		}
		if _, err := r.ReadAt(make([]byte, 1), -1); err == nil {
			t.Fatal("negative offset gave no error")
		}
		if n <= 65536 {
			if err := iotest.TestReader(io.NewSectionReader(r, 0, r.Size()), want); err != nil {
				t.Fatal(err)
			}
		}
		r.Close()
		r.Close()
	}
}

func missing(t *testing.T, s blob.Store) {
	ref, err := s.Put(t.Context(), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []blob.Ref{"", "x", "p", "p1", "p1.0", "p1..", "p-1.g.1", "pzzzz.g.1", "p1.g.zzzzzzzzz", "P1.G.1", "f", "f../../../etc/passwd",
		"f0123456789abcdef0123456789abcdef", "f0123456789abcdef0123456789abcdeF", ref + " ", ref + ".1", "../" + ref} {
		if _, err := s.Open(t.Context(), r); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open(%q) = %v, want ErrNotExist", r, err)
		}
		if err := s.Delete(t.Context(), r); err != nil {
			t.Errorf("Delete(%q) = %v", r, err)
		}
	}
	Want(t, s, ref, []byte("x"))
}

func deleted(t *testing.T, s blob.Store) {
	var refs []blob.Ref
	for i, n := range boundaries {
		ref, err := s.Put(t.Context(), Body(uint64(i), n))
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, ref)
	}
	for i := 0; i < len(refs); i += 2 {
		if err := s.Delete(t.Context(), refs[i], refs[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i, ref := range refs {
		if i%2 == 1 {
			Want(t, s, ref, Body(uint64(i), boundaries[i]))
		} else if _, err := s.Open(t.Context(), ref); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("Open of deleted body of %d octets: %v, want ErrNotExist", boundaries[i], err)
		}
	}
	if err := s.Delete(t.Context(), refs[0], refs[len(refs)-1]); err != nil {
		t.Fatal("deleting again:", err)
	}
}

func concurrent(t *testing.T, s blob.Store) {
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 30 {
				want := Body(uint64(g*1000+i), 100+g*i*20)
				ref, err := s.Put(context.Background(), want)
				if err == nil {
					err = Same(s, ref, want)
				}
				if err == nil && i%3 == 0 {
					err = s.Delete(context.Background(), ref)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func cancelled(t *testing.T, s blob.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Put(ctx, []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("Put: %v", err)
	}
	if _, err := s.Open(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("Open: %v", err)
	}
	if _, err := s.Create(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Create: %v", err)
	}
}

func closed(t *testing.T, s blob.Store) {
	ref, err := s.Put(t.Context(), Body(1, 200_000))
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 200_000)
	if _, err := r.ReadAt(got, 0); err != nil || !bytes.Equal(got, Body(1, 200_000)) {
		t.Errorf("a reader opened before Close: %v", err)
	}
	r.Close()
	if _, err := s.Put(t.Context(), []byte("x")); !errors.Is(err, blob.ErrClosed) {
		t.Errorf("Put after Close: %v", err)
	}
	if _, err := s.Create(t.Context()); !errors.Is(err, blob.ErrClosed) {
		t.Errorf("Create after Close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func reuse(t *testing.T, s blob.Store) {
	b := Body(1, 5000)
	ref, err := s.Put(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	Want(t, s, ref, Body(1, 5000))
}
