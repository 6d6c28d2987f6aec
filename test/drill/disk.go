package drill

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// mountDisk gives dir, which must be empty, a file system of its own of so many MB; the test skips where that can't be done.
func mountDisk(t testing.TB, dir string, mb int64) {
	t.Helper()
	image := dir + ".image"
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, mb<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", "-F", "-m", "0", image)
	run(t, "mount", "-o", "loop", image, dir)
}

// fill takes all room of the file system that holds dir and returns what gives it back. The ballast is allocated, not written.
func fill(t testing.TB, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var end int64
	for piece := int64(64 << 20); piece >= 4096; {
		if err := syscall.Fallocate(int(f.Fd()), 0, end, piece); err != nil {
			piece /= 4
			continue
		}
		end += piece
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}
