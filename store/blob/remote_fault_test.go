package blob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bahnpost/store/blob"
	"bahnpost/store/blob/blobtest"
	"bahnpost/store/blob/s3/s3test"
)

func put(t testing.TB, s blob.Store, data []byte) blob.Ref {
	t.Helper()
	ref, err := s.Put(context.Background(), data)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// until waits for something that happens in the background.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("does not happen: ", what)
		}
	}
}

// stored is the file of a body below a directory of sealed bodies.
func stored(dir string, ref blob.Ref) string {
	return filepath.Join(dir, string(ref[1:3]), string(ref))
}

// object is the file in which the server keeps a body.
func object(s *s3test.Server, ref blob.Ref) string {
	return stored(filepath.Join(s.Dir, s3test.Bucket, "test"), ref)
}

func change(t testing.TB, file string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, f(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func isCorrupt(t testing.TB, s blob.Store, ref blob.Ref, want []byte) {
	t.Helper()
	r, err := s.Open(context.Background(), ref)
	if err == nil {
		defer r.Close()
		got := make([]byte, len(want))
		n := 0
		n, err = r.ReadAt(got, 0)
		if !bytes.Equal(got[:n], want[:n]) {
			t.Error("wrong octets were handed out")
		}
	}
	if !errors.Is(err, blob.ErrCorrupt) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, blob.ErrAway) {
		t.Errorf("damaged body: %v, want ErrCorrupt", err)
	}
}

// Whatever happens to an object, no wrong octet is handed out.
func TestRemoteDamage(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	r := remote(t, blob.RemoteConfig{URLs: []string{s.URL()}})
	want := blobtest.Body(1, 300_000)
	for name, damage := range map[string]func([]byte) []byte{
		"head":       func(b []byte) []byte { b[3] ^= 1; return b },
		"checksum":   func(b []byte) []byte { b[17] ^= 1; return b },
		"first":      func(b []byte) []byte { b[20] ^= 1; return b },
		"last block": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"cut":        func(b []byte) []byte { return b[:len(b)-1] },
		"cut block":  func(b []byte) []byte { return b[:16+2*(65536+4)] },
		"longer":     func(b []byte) []byte { return append(b, 0) },
		"empty":      func([]byte) []byte { return nil },
		"swapped": func(b []byte) []byte {
			return append(append(append([]byte(nil), b[:16]...), b[16+65540:16+2*65540]...), append(b[16:16+65540:16+65540], b[16+2*65540:]...)...)
		},
	} {
		ref := put(t, r, want)
		change(t, object(s, ref), damage)
		t.Run(name, func(t *testing.T) { isCorrupt(t, r, ref, want) })
	}
	a, b := put(t, r, want), put(t, r, want)
	other, err := os.ReadFile(object(s, b))
	if err != nil {
		t.Fatal(err)
	}
	change(t, object(s, a), func([]byte) []byte { return other })
	isCorrupt(t, r, a, want) // the same octets, another body's
}

// What is damaged or cut on its way to us is asked for again.
func TestRemoteDamagedOnTheWay(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	var gets atomic.Int64
	p := s.Proxy(func(w http.ResponseWriter, r *http.Request, pass func() *httptest.ResponseRecorder) bool {
		if r.Method != "GET" || r.Header.Get("Range") == "" {
			return false
		}
		a := pass()
		b := a.Body.Bytes()
		if gets.Add(1)%2 == 1 {
			b[len(b)/2] ^= 1
		}
		for k, v := range a.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(a.Code)
		w.Write(b)
		return true
	})
	r := remote(t, blob.RemoteConfig{URLs: []string{s.URL(p.URL)}})
	want := blobtest.Body(1, 200_000)
	blobtest.Want(t, r, put(t, r, want), want)
	if gets.Load() != 2 {
		t.Errorf("%d requests, want 2", gets.Load())
	}
}

// S3 is gone: writing fails at once, cached bodies are read, others say "later"; afterwards all is as before.
func TestRemoteAway(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	here := remote(t, blob.RemoteConfig{URLs: []string{s.URL()}, Cache: 64 << 20})
	there := remote(t, blob.RemoteConfig{URLs: []string{s.URL()}})
	want := blobtest.Body(1, 2_000_000)
	written, read := put(t, here, want), put(t, there, want)
	blobtest.Want(t, here, read, want) // and so it is in the cache
	unread := put(t, there, want)
	s.Kill()
	if _, err := here.Put(t.Context(), want); !errors.Is(err, blob.ErrAway) {
		t.Fatal(err)
	}
	blobtest.Want(t, here, written, want)
	blobtest.Want(t, here, read, want)
	if _, err := here.Open(t.Context(), unread); !errors.Is(err, blob.ErrAway) || errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a body that can't be reached: %v", err)
	}
	if err := here.Delete(t.Context(), written); !errors.Is(err, blob.ErrAway) {
		t.Fatal(err)
	}
	before := here.Stats().S3.Faults
	for range 50 {
		if _, err := here.Put(t.Context(), want); !errors.Is(err, blob.ErrAway) {
			t.Fatal(err)
		}
	}
	if n := here.Stats().S3.Faults - before; n > 0 {
		t.Errorf("the breaker is open, and %d requests were tried", n)
	}
	if p := here.Paths(); len(p) != 1 || p[0].Up {
		t.Errorf("%+v", p)
	}
	s.Run()
	until(t, "path is back", func() bool { return here.Paths()[0].Up })
	blobtest.Want(t, here, unread, want)
	blobtest.Want(t, here, put(t, here, want), want)
}

// A bucket that somebody has deleted does not make bodies missing.
func TestRemoteBucketGone(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	r := remote(t, blob.RemoteConfig{URLs: []string{s.URL()}})
	ref := put(t, r, []byte("x"))
	if err := os.RemoveAll(filepath.Join(s.Dir, s3test.Bucket)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Open(t.Context(), ref); !errors.Is(err, blob.ErrAway) || errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, err := range r.All(t.Context()) {
		if !errors.Is(err, blob.ErrAway) {
			t.Fatal(err)
		}
	}
}

// Answers are lost, requests are dropped, the server is slow and busy, and dies twice, while many write: what was
// acknowledged is there, and nothing else is but what a sweep finds.
func TestRemoteKilledUnderLoad(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	var n atomic.Int64
	p := s.Proxy(func(w http.ResponseWriter, r *http.Request, pass func() *httptest.ResponseRecorder) bool {
		switch n.Add(1) % 17 {
		case 3:
			s3test.Drop()
		case 7:
			pass()
			s3test.Drop()
		case 11:
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, "<Error><Code>SlowDown</Code></Error>")
			return true
		}
		return false
	})
	r := remote(t, blob.RemoteConfig{URLs: []string{s.URL(p.URL, s.Endpoint)}})
	type kept struct {
		ref  blob.Ref
		seed uint64
		size int
	}
	var mu sync.Mutex
	var acked []kept
	var refused atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for g := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				k := kept{seed: uint64(g*100_000 + i), size: rand.IntN(100_000)}
				var err error
				if k.ref, err = r.Put(context.Background(), blobtest.Body(k.seed, k.size)); err != nil {
					if refused.Add(1); !errors.Is(err, blob.ErrAway) {
						t.Error(err)
					}
					time.Sleep(time.Millisecond)
					continue
				}
				mu.Lock()
				acked = append(acked, k)
				mu.Unlock()
			}
		})
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(acked) }
	for i := range 2 {
		until(t, "bodies are put", func() bool { return count() > 100*(i+1) })
		s.Kill()
		before := refused.Load()
		until(t, "bodies are refused", func() bool { return refused.Load() > before })
		s.Run()
	}
	before := count()
	until(t, "bodies are put again", func() bool { return count() > before+100 })
	close(stop)
	wg.Wait()
	until(t, "all paths are back", func() bool { return r.Paths()[0].Up && r.Paths()[1].Up })
	live := map[blob.Ref]bool{}
	for _, k := range acked {
		live[k.ref] = true
		if err := blobtest.Same(r, k.ref, blobtest.Body(k.seed, k.size)); err != nil {
			t.Error(err)
		}
	}
	removed, _, err := r.Sweep(t.Context(), 0, func(ref blob.Ref) (bool, error) { return live[ref], nil })
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for e, err := range r.All(t.Context()) {
		if err != nil || !live[e.Ref] {
			t.Error(e, err)
		}
		left++
	}
	if left != len(acked) {
		t.Errorf("%d bodies acknowledged, %d there", len(acked), left)
	}
	t.Logf("%d acknowledged, %d refused, %d left by lost puts and swept; %+v", len(acked), refused.Load(), removed, r.Stats().S3)
}

// A long body streams through a bounded amount of memory, there and back.
func TestRemoteStream(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	a := remote(t, blob.RemoteConfig{URLs: []string{s.URL()}, Cache: 1 << 30})
	b := remote(t, blob.RemoteConfig{URLs: []string{s.URL()}, Cache: 1 << 30})
	const size = 40<<20 + 12345
	w, err := a.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, rand.NewChaCha8([32]byte{1}), size); err != nil {
		t.Fatal(err)
	}
	ref, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	same := func(r *blob.Remote) {
		t.Helper()
		rd, err := r.Open(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		defer rd.Close()
		want, got := make([]byte, 70_000), make([]byte, 70_000)
		source := rand.NewChaCha8([32]byte{1})
		for off := int64(0); off < size; off += int64(len(got)) {
			n := min(int64(len(got)), size-off)
			source.Read(want[:n])
			if m, err := rd.ReadAt(got[:n], off); int64(m) != n || !bytes.Equal(got[:n], want[:n]) {
				t.Fatalf("at %d: %d octets, %v", off, m, err)
			}
		}
	}
	before := a.Stats().S3.Gets
	same(a)
	if n := a.Stats().S3.Gets - before; n != 0 {
		t.Errorf("what was written here was read with %d requests, not from the cache", n)
	}
	same(b)
	gets := b.Stats().S3.Gets
	if gets > size/(512<<10)+2 {
		t.Errorf("%d requests", gets)
	}
	same(b)
	if n := b.Stats(); n.S3.Gets != gets || n.CacheHits != 1 {
		t.Errorf("read again with %d requests, %+v", n.S3.Gets-gets, n)
	}
}

// What kill -9 and a power cut can leave in a cache: files of any length, full of anything, and files under way.
func TestCacheTorn(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	dir := t.TempDir()
	cfg := blob.RemoteConfig{URLs: []string{s.URL()}, Dir: dir, Cache: 64 << 20}
	r := remote(t, cfg)
	want := blobtest.Body(1, 150_000)
	var refs []blob.Ref
	for range 40 {
		refs = append(refs, put(t, r, want))
	}
	r.Close()
	for i, ref := range refs {
		change(t, stored(filepath.Join(dir, "cache"), ref), func(b []byte) []byte {
			switch i % 4 {
			case 0:
				return b[:rand.IntN(len(b))]
			case 1: // blocks that did not reach the disk
				at := rand.IntN(len(b))
				clear(b[at:min(len(b), at+4096)])
				return b
			case 2:
				clear(b)
				return b
			}
			return b
		})
	}
	if err := os.WriteFile(filepath.Join(dir, "tmp", "123"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cache", "ab", "stray"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	r = remote(t, cfg)
	for range 2 {
		for _, ref := range refs {
			blobtest.Want(t, r, ref, want)
		}
	}
	r.Close()
	if st := r.Stats(); st.CacheBodies != len(refs) || st.CacheDamaged < 10 {
		t.Errorf("%+v", st)
	}
	for _, stray := range []string{"tmp/123", "cache/ab/stray"} {
		if _, err := os.Stat(filepath.Join(dir, stray)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there (%v)", stray, err)
		}
	}
}

// The cache keeps its limit, and keeps what is used.
func TestCacheLimit(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	dir := t.TempDir()
	const limit = 2 << 20
	r := remote(t, blob.RemoteConfig{URLs: []string{s.URL()}, Dir: dir, Cache: limit})
	want := blobtest.Body(1, 100_000)
	used := put(t, r, want)
	for range 100 {
		put(t, r, want)
		blobtest.Want(t, r, used, want)
	}
	st := r.Stats()
	if st.CacheBytes > limit || st.CacheBytes < limit/2 || st.CacheMisses != 0 || st.S3.Gets != 1 { // one for the mark
		t.Errorf("%+v", st)
	}
	var size int64
	filepath.WalkDir(filepath.Join(dir, "cache"), func(_ string, d fs.DirEntry, _ error) error {
		if fi, err := d.Info(); err == nil && !d.IsDir() {
			size += fi.Size()
		}
		return nil
	})
	if size != st.CacheBytes {
		t.Errorf("%d octets on the disk, %d counted", size, st.CacheBytes)
	}
}

// S3 is away and the administrator allows a spool.
func TestSpool(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	cfg := blob.RemoteConfig{URLs: []string{s.URL()}, Dir: t.TempDir(), Spool: 3 << 20, Cache: 1 << 30}
	r := remote(t, cfg)
	other := remote(t, blob.RemoteConfig{URLs: []string{s.URL()}})
	s.Kill()
	small, large := blobtest.Body(1, 100_000), blobtest.Body(2, 1_500_000)
	refs := map[blob.Ref][]byte{put(t, r, small): small}
	w, err := r.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.Write(large)
	ref, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	refs[ref] = large
	gone := put(t, r, small)
	if err := r.Delete(t.Context(), gone); !errors.Is(err, blob.ErrAway) {
		t.Fatal(err)
	}
	var full error
	for range 100 {
		ref, err := r.Put(t.Context(), small)
		if err != nil {
			full = err
			break
		}
		refs[ref] = small
	}
	if !errors.Is(full, blob.ErrAway) || r.Stats().SpoolBytes > cfg.Spool || r.Stats().SpoolBodies != len(refs) {
		t.Fatalf("%v, %+v", full, r.Stats())
	}
	r.Close()
	cfg.Cache = 0
	r = again(t, cfg) // the node starts again; S3 is still away
	for ref, want := range refs {
		blobtest.Want(t, r, ref, want)
		if _, err := other.Open(t.Context(), ref); !errors.Is(err, blob.ErrAway) {
			t.Fatal(err)
		}
	}
	s.Run()
	until(t, "the other node's path is back", func() bool { return other.Paths()[0].Up })
	until(t, "the spool is empty", func() bool { return r.Stats().SpoolBodies == 0 })
	for ref, want := range refs {
		blobtest.Want(t, r, ref, want)
		blobtest.Want(t, other, ref, want)
	}
	if st := r.Stats(); st.SpoolBytes != 0 || st.SpoolUploaded != int64(len(refs)) {
		t.Errorf("%+v", st)
	}
	n := 0
	for e, err := range other.All(t.Context()) {
		if err != nil || refs[e.Ref] == nil {
			t.Error(e, err)
		}
		n++
	}
	if n != len(refs) {
		t.Errorf("%d bodies, want %d", n, len(refs))
	}
}

// A damaged file in the spool neither stops the node nor those behind it, and its octets go nowhere.
func TestSpoolDamaged(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	cfg := blob.RemoteConfig{URLs: []string{s.URL()}, Dir: t.TempDir(), Spool: 3 << 20}
	r := remote(t, cfg)
	s.Kill()
	want := blobtest.Body(1, 10_000)
	var refs []blob.Ref
	for range 20 {
		refs = append(refs, put(t, r, want))
	}
	r.Close()
	spool := filepath.Join(cfg.Dir, "spool")
	change(t, stored(spool, refs[0]), func(b []byte) []byte { return b[:100] })
	change(t, stored(spool, refs[1]), func(b []byte) []byte { b[500] ^= 1; return b })
	s.Run()
	r = again(t, cfg)
	until(t, "all but the damaged have left", func() bool { return r.Stats().SpoolUploaded == 18 })
	for _, ref := range refs[2:] {
		blobtest.Want(t, r, ref, want)
	}
	isCorrupt(t, r, refs[1], want)
	for e, err := range r.All(t.Context()) {
		if err != nil || e.Ref == refs[0] || e.Ref == refs[1] {
			t.Error(e, err)
		}
	}
}

// again opens a Remote whose place may be away.
func again(t testing.TB, cfg blob.RemoteConfig) *blob.Remote {
	t.Helper()
	r, err := blob.OpenRemote(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// A body that is late and never comes is no body that is known to be missing; one that was not late is.
func TestLateIsNotMissing(t *testing.T) {
	t.Parallel()
	r := remote(t, blob.RemoteConfig{URLs: []string{"file://" + t.TempDir()}})
	id := strings.Repeat("ab", 16)
	if _, err := r.Open(t.Context(), blob.Ref("l"+id+".1")); !errors.Is(err, blob.ErrAway) || errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := r.Open(t.Context(), blob.Ref("s"+id+".1")); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, blob.ErrAway) {
		t.Error(err)
	}
}

// A directory that is not mounted is away, not empty.
func TestFolderNotMounted(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "bodies")
	r := remote(t, blob.RemoteConfig{URLs: []string{"file://" + dir}})
	ref := put(t, r, []byte("x"))
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o700); err != nil { // the mount point
		t.Fatal(err)
	}
	if _, err := r.Open(t.Context(), ref); !errors.Is(err, blob.ErrAway) || errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := r.Put(t.Context(), []byte("x")); !errors.Is(err, blob.ErrAway) {
		t.Error(err)
	}
	if r.Paths()[0].Up {
		t.Error("path is up")
	}
}

func ExampleCheckURL() {
	fmt.Println(blob.CheckURL("s3://bodies/mail?endpoint=https://s3.example.org"))
	fmt.Println(blob.CheckURL("s3://key:secret@bodies"))
	// Output:
	// <nil>
	// s3: credentials belong into the environment or a file (credentials=), not into the URL
}

// A place that is not the right one takes nothing and says nothing of bodies; one that has bodies is nobody else's.
func TestRemoteMarked(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	for _, url := range []string{s.URL(), "file://" + filepath.Join(t.TempDir(), "x")} {
		r := remote(t, blob.RemoteConfig{URLs: []string{url}})
		if err := r.Found(t.Context()); err != nil {
			t.Errorf("founding again, before the first body: %v", err)
		}
		ref := put(t, r, []byte("x"))
		if err := r.Found(t.Context()); !errors.Is(err, blob.ErrTaken) {
			t.Errorf("founding a place that has bodies: %v", err)
		}
		wrong := again(t, blob.RemoteConfig{URLs: []string{strings.Replace(url, "/test?", "/text?", 1) + strings.Repeat("y", strings.Count(url, "file://"))}, Dir: t.TempDir()})
		if _, err := wrong.Put(t.Context(), []byte("x")); !errors.Is(err, blob.ErrAway) {
			t.Errorf("Put to the wrong place: %v", err)
		}
		if _, err := wrong.Open(t.Context(), ref); !errors.Is(err, blob.ErrAway) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open at the wrong place: %v", err)
		}
		if err := wrong.Ready(t.Context()); !errors.Is(err, blob.ErrAway) || !strings.Contains(err.Error(), "bahnpost-bodies") {
			t.Errorf("Ready at the wrong place: %v", err)
		}
	}
}
