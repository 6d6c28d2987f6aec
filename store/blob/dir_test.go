package blob_test

import (
	"testing"

	"bahnpost/store/blob"
	"bahnpost/store/blob/blobtest"
)

func TestDirExercise(t *testing.T) {
	t.Parallel()
	blobtest.Exercise(t, func(t *testing.T) blob.Store {
		d, err := blob.OpenDir(t.TempDir(), blob.DirConfig{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}

func TestDirExerciseFlushed(t *testing.T) {
	t.Parallel()
	blobtest.Exercise(t, func(t *testing.T) blob.Store {
		d, err := blob.OpenDir(t.TempDir(), blob.DirConfig{NoSync: true, Flushed: true, PackBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}

// Tiny limits: every seam between packs, handles and batches is crossed.
func TestDirExerciseTiny(t *testing.T) {
	t.Parallel()
	blobtest.Exercise(t, func(t *testing.T) blob.Store {
		d, err := blob.OpenDir(t.TempDir(), blob.DirConfig{NoSync: true, PutLimit: 100_000, PackBytes: 50_000, OpenPacks: 2})
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}

func TestMemExercise(t *testing.T) {
	t.Parallel()
	blobtest.Exercise(t, func(t *testing.T) blob.Store { return &blob.Mem{} })
}
