package blob_test

import (
	"syscall"
	"testing"

	"bahnpost/store/blob"
	"bahnpost/store/blob/blobtest"
	"bahnpost/store/blob/s3/s3test"
)

// The disk of cache and spool is full: mail goes on, long bodies too, for which the cache makes room.
func TestRemoteFullDisk(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skip("no small file system to fill: ", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	r := remote(t, blob.RemoteConfig{URLs: []string{s.URL()}, Dir: dir, Cache: 64 << 20, Spool: 64 << 20})
	want, long := blobtest.Body(1, 100_000), blobtest.Body(2, 4_000_000)
	refs := map[blob.Ref][]byte{}
	for i := range 200 {
		refs[put(t, r, want)] = want
		if i%50 != 49 {
			continue
		}
		w, err := r.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(long); err != nil {
			t.Fatal(err)
		}
		ref, err := w.Commit()
		if err != nil {
			t.Fatal(err)
		}
		refs[ref] = long
	}
	for ref, want := range refs {
		blobtest.Want(t, r, ref, want)
	}
	if st := r.Stats(); st.CacheRefused == 0 || st.CacheBodies == 0 {
		t.Errorf("the disk was never full: %+v", st)
	}
	s.Kill() // and now the spool meets it
	var taken []blob.Ref
	for range 200 {
		ref, err := r.Put(t.Context(), want)
		if err != nil {
			break
		}
		taken = append(taken, ref)
	}
	if n := len(taken); n < 50 || n == 200 {
		t.Errorf("%d bodies of 100 KB were taken, with a disk of 8 MB that the cache had filled", n)
	}
	for _, ref := range taken {
		blobtest.Want(t, r, ref, want)
	}
}
