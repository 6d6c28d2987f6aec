package blob

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"bahnpost/store/blob/s3"
)

// RemoteConfig says where the bodies of a cluster live. The zero value of a field means the default in brackets.
type RemoteConfig struct {
	// URLs: one place, or two that mirror each other; the first is the one that is read.
	// "s3://bucket/prefix?endpoint=…" (see s3.ParseURL) or "file:///path", a directory that all nodes share.
	URLs []string
	// Dir is this node's own: bodies under way, and below it cache, spool and the list of what a mirror owes.
	Dir      string
	Cache    int64        // octets of copies that are kept in Dir for reading [none]
	Spool    int64        // octets that may wait in Dir while the place is away [none: mail is refused for now]
	Degraded bool         // of two places one is enough to accept a body; the other gets it later [false]
	Log      *slog.Logger // [slog.Default]

	disk disk // tests only
}

// Remote keeps bodies outside this node: on S3, in a shared directory, or in two of these. What Put, Stage or Commit
// acknowledged is there, not here, but for Spool. When the place does not answer, writing fails at once with
// ErrAway, and so does reading what is neither in the cache nor in the spool.
//
// Stage is Put: the caller waits for its own body, so that Flush, which holds up
// the whole node's commits, never has to. Puts of many callers run side by side.
type Remote struct {
	cfg   RemoteConfig
	shelf shelf
	cache *cache // nil: none
	spool *spool // nil: not allowed
	mir   *mirror
	s3s   []*s3.Client
	pool  buffers
	stop  context.CancelFunc

	puts, opens atomic.Int64

	mu      sync.Mutex
	closed  bool
	writers sync.WaitGroup // Add under mu
}

var _ Store = (*Remote)(nil)

const maxMirror = 2

// OpenRemote prepares the way to the bodies. It asks nothing of the network: a node starts also while the place is away.
func OpenRemote(cfg RemoteConfig) (*Remote, error) {
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	if len(cfg.URLs) == 0 || len(cfg.URLs) > maxMirror {
		return nil, fmt.Errorf("blob: bodies live in one place or two, not in %d", len(cfg.URLs))
	}
	r := &Remote{cfg: cfg}
	var sides []shelf
	for _, u := range cfg.URLs {
		s, err := r.openShelf(u)
		if err != nil {
			return nil, err
		}
		sides = append(sides, s)
	}
	if err := os.MkdirAll(r.tmp(), 0o700); err != nil {
		return nil, fmt.Errorf("blob: %w", err)
	}
	(&folder{path: cfg.Dir}).tidy(0)
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	if err := r.assemble(ctx, sides); err != nil {
		stop()
		return nil, err
	}
	return r, nil
}

func (r *Remote) assemble(ctx context.Context, sides []shelf) (err error) {
	r.shelf = sides[0]
	if len(sides) == maxMirror {
		if r.mir, err = openMirror(ctx, sides[0], sides[1], r.cfg.Degraded, filepath.Join(r.cfg.Dir, "owed"), r.tmp(), r.cfg.Log); err != nil {
			return err
		}
		r.shelf = r.mir
	}
	if r.cfg.Cache > 0 {
		if r.cache, err = openCache(filepath.Join(r.cfg.Dir, "cache"), r.tmp(), r.cfg.Cache, &r.pool); err != nil {
			return err
		}
	}
	waiting := filepath.Join(r.cfg.Dir, "spool")
	_, left := os.Stat(filepath.Join(waiting, mark))
	if r.cfg.Spool > 0 || left == nil { // what waits there goes out also after the administrator has changed his mind
		r.spool, err = openSpool(ctx, waiting, r.cfg.Spool, r.shelf, r.cfg.disk, r.cfg.Log)
	}
	return err
}

func (r *Remote) openShelf(url string) (shelf, error) {
	if path, ok := strings.CutPrefix(url, "file://"); ok {
		if !filepath.IsAbs(path) {
			return nil, errors.New("blob: a directory of bodies is file:///absolute/path")
		}
		f := openFolder(filepath.Clean(path), r.cfg.disk)
		f.tidy(tmpAge)
		return f, nil
	}
	cfg, err := s3.ParseURL(url)
	if err != nil {
		return nil, err
	}
	cfg.Log = r.cfg.Log
	c, err := s3.Open(cfg)
	if err != nil {
		return nil, err
	}
	r.s3s = append(r.s3s, c)
	return &s3Shelf{c: c}, nil
}

// CheckURL reports what is wrong with one of RemoteConfig.URLs. Nothing is asked of the network.
func CheckURL(url string) error {
	if path, ok := strings.CutPrefix(url, "file://"); ok && filepath.IsAbs(path) {
		return nil
	}
	_, err := s3.ParseURL(url)
	return err
}

// Found prepares the place, for who founds a cell: an empty bucket, prefix or directory gets a mark, without which no node
// puts bodies there. A place that has bodies belongs to another cell, or to one whose database was lost: ErrTaken.
func (r *Remote) Found(ctx context.Context) error { return r.shelf.found(ctx) }

// Ready asks the place, all of it, whether it can be used.
func (r *Remote) Ready(ctx context.Context) error { return r.shelf.ready(ctx) }

// Paths are the ways to where bodies live.
func (r *Remote) Paths() []Path { return r.shelf.paths() }

func (r *Remote) tmp() string { return filepath.Join(r.cfg.Dir, "tmp") }

func (r *Remote) enter() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	r.writers.Add(1)
	return nil
}

// Put is Store.Put.
func (r *Remote) Put(ctx context.Context, data []byte) (Ref, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := r.enter(); err != nil {
		return "", err
	}
	defer r.writers.Done()
	n := newName(kindShelf)
	n.length = int64(len(data))
	raw := r.pool.get(int(sealedSize(n.length)))
	defer r.pool.Put(raw)
	*raw = seal((*raw)[:0], n.id, data)
	n, err := r.keep(ctx, sealed{sealedName: n, from: bytes.NewReader(*raw), sum: sha256.Sum256(*raw)})
	if err != nil {
		return "", fmt.Errorf("blob: put: %w", err)
	}
	if r.cache != nil {
		r.cache.add(n, *raw)
	}
	return n.ref(), nil
}

// keep brings a body to the shelf, or to the spool while that is away.
func (r *Remote) keep(ctx context.Context, b sealed) (sealedName, error) {
	r.puts.Add(1)
	err := r.shelf.put(ctx, b, true)
	if errors.Is(err, ErrAway) && r.spool != nil && r.cfg.Spool > 0 {
		b.kind = kindLate
		late := r.spool.put(ctx, b)
		for i := 0; i < roomShare && r.cache != nil && errors.Is(late, syscall.ENOSPC); i++ {
			r.cache.room()
			late = r.spool.put(ctx, b)
		}
		if late != nil {
			return b.sealedName, errors.Join(err, late)
		}
		return b.sealedName, nil
	}
	return b.sealedName, err
}

// Stage is Store.Stage.
func (r *Remote) Stage(ctx context.Context, data []byte) (Ref, error) { return r.Put(ctx, data) }

// Lost is Store.Lost.
func (r *Remote) Lost(Ref) bool { return false }

// Flush is Store.Flush.
func (r *Remote) Flush() error { return nil }

// Create is Store.Create. The body is sealed into a local file as it comes, and goes to its place at
// Commit, in one request that can be repeated; that file becomes the cache's copy.
func (r *Remote) Create(ctx context.Context) (Writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := r.enter(); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(r.tmp(), "")
	if err != nil {
		r.writers.Done()
		return nil, fmt.Errorf("blob: create: %w", err)
	}
	w := &remoteWriter{r: r, ctx: ctx, f: f, hash: sha256.New()}
	w.name = newName(kindShelf)
	w.sealer = newSealer(w.name.id, sealedFile{w}, w.hash)
	return w, nil
}

type remoteWriter struct {
	r      *Remote
	ctx    context.Context
	f      *os.File
	name   sealedName
	sealer *sealer
	hash   hash.Hash
	err    error
	ended  bool
}

var errEnded = errors.New("blob: write after the end of the body")

// sealedFile is where the sealer writes. A full disk gets room from the cache.
type sealedFile struct{ w *remoteWriter }

func (s sealedFile) Write(p []byte) (int, error) {
	w := s.w
	n, err := w.f.Write(p)
	for range roomShare {
		if w.r.cache == nil || !errors.Is(err, syscall.ENOSPC) {
			break
		}
		w.r.cache.room()
		m := 0
		m, err = w.f.Write(p[n:])
		n += m
	}
	return n, err
}

func (w *remoteWriter) Write(p []byte) (int, error) {
	if w.ended {
		return 0, errEnded
	}
	if w.err == nil {
		_, w.err = w.sealer.Write(p)
	}
	if w.err != nil {
		return 0, fmt.Errorf("blob: write: %w", w.err)
	}
	return len(p), nil
}

// Commit is Writer.Commit.
func (w *remoteWriter) Commit() (Ref, error) {
	if w.ended {
		return "", errEnded
	}
	defer w.Abort()
	if w.err == nil {
		w.err = w.sealer.flush()
	}
	if w.err != nil {
		return "", fmt.Errorf("blob: commit: %w", w.err)
	}
	w.name.length = w.sealer.length
	b := sealed{sealedName: w.name, from: w.f}
	w.hash.Sum(b.sum[:0])
	n, err := w.r.keep(w.ctx, b)
	if err != nil {
		return "", fmt.Errorf("blob: commit: %w", err)
	}
	if c := w.r.cache; c != nil {
		if err := c.take(n, w.f.Name()); err != nil {
			c.failed(err)
		}
	}
	return n.ref(), nil
}

// Abort is Writer.Abort; after Commit it only closes.
func (w *remoteWriter) Abort() {
	if w.ended {
		return
	}
	w.ended = true
	w.f.Close()
	os.Remove(w.f.Name()) // gone already if the cache has it
	w.r.writers.Done()
}

// Open is Store.Open.
func (r *Remote) Open(ctx context.Context, ref Ref) (Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n, err := parseSealed(ref)
	if err != nil {
		return nil, err
	}
	r.opens.Add(1)
	s := &source{r: r, n: n}
	most := mostSpan
	if r.cache != nil && !isThorough(ctx) {
		if s.copy = r.cache.open(n); s.copy != nil {
			most = blockSize // the kernel reads ahead
		} else if r.cache.wants(n) {
			s.tee = &tee{c: r.cache, n: n}
		}
	}
	rd, err := openSpan(ctx, n.length, most, s.fetch, s.close)
	if err != nil {
		return nil, fmt.Errorf("blob: open %s: %w", ref, err)
	}
	return rd, nil
}

// source is where a reader's octets come from: the cache's copy while it is sound, then spool or shelf.
type source struct {
	r    *Remote
	n    sealedName
	copy *os.File // nil: none
	tee  *tee     // nil: none
}

func (s *source) fetch(ctx context.Context, first int, dst []byte) error {
	if s.copy != nil {
		if err := readFile(s.copy, s.n, first, dst, &s.r.pool); err == nil {
			return nil
		}
		s.copy.Close()
		s.copy = nil
		s.r.cache.drop(s.n)
		s.r.cache.damaged.Add(1)
	}
	if err := s.r.read(ctx, s.n, first, dst); err != nil {
		return err
	}
	if s.tee != nil {
		s.tee.span(first, dst)
	}
	return nil
}

func (s *source) close() {
	if s.copy != nil {
		s.copy.Close()
	}
	if s.tee != nil {
		s.tee.close()
	}
}

// read reads from the spool or the shelf.
func (r *Remote) read(ctx context.Context, n sealedName, first int, dst []byte) error {
	if r.spool != nil && r.spool.has(n) {
		if err := r.spool.f.read(ctx, n, first, dst); !errors.Is(err, fs.ErrNotExist) {
			return err
		} // else it has just gone to the shelf
	}
	err := r.shelf.read(ctx, n, first, dst)
	if n.kind == kindLate && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: this body waits on the node that took it (%w)", ErrAway, noWord(err))
	}
	return err
}

// deleteMost is how many bodies are deleted with one request.
const deleteMost = 1000

// Delete is Store.Delete. While the place is away it fails: ask again.
func (r *Remote) Delete(ctx context.Context, refs ...Ref) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var names []sealedName
	for _, ref := range refs {
		if n, err := parseSealed(ref); err == nil { // else nothing we ever gave out
			names = append(names, n)
		}
	}
	var errs []error
	for len(names) > 0 {
		part := names[:min(len(names), deleteMost)]
		names = names[len(part):]
		if r.cache != nil {
			for _, n := range part {
				r.cache.drop(n)
			}
		}
		if r.spool != nil {
			errs = append(errs, r.spool.forget(ctx, part))
		}
		errs = append(errs, r.shelf.remove(ctx, part))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("blob: delete: %w", err)
	}
	return nil
}

// All walks everything that is at the place, for `bahnpost check`. Errors about single bodies wrap ErrCorrupt;
// the walk goes on after them. What waits in spools, this node's too, is not there yet.
func (r *Remote) All(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for f, err := range r.shelf.list(ctx) {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			e := Entry{Ref: f.ref(), Size: f.length, Time: f.time}
			if f.bad != nil {
				e = Entry{}
			}
			if !yield(e, f.bad) {
				return
			}
		}
	}
}

// Sweep is as Dir.Sweep; a body's age is taken by the place's own clock. What one side of a mirror lacks and live knows, it gets.
func (r *Remote) Sweep(ctx context.Context, olderThan time.Duration, live func(Ref) (bool, error)) (removed int, bytes int64, err error) {
	var errs []error
	var dead []Ref
	flush := func() {
		if err := r.Delete(ctx, dead...); err != nil {
			errs = append(errs, err)
		} else {
			removed += len(dead)
		}
		dead = dead[:0]
	}
	for f, err := range r.shelf.list(ctx) {
		if err != nil {
			errs = append(errs, err)
			break
		}
		if f.bad != nil {
			errs = append(errs, f.bad)
			continue
		}
		young := f.age < olderThan
		if young && f.repair == nil {
			continue
		}
		ok, err := live(f.ref())
		switch {
		case err != nil:
			return removed, bytes, errors.Join(append(errs, err)...)
		case ok && f.repair != nil:
			if err := f.repair(ctx); err != nil {
				errs = append(errs, fmt.Errorf("blob: repair %s: %w", f.ref(), err))
			}
		case !ok && !young:
			bytes += f.length
			if dead = append(dead, f.ref()); len(dead) == deleteMost {
				flush()
			}
		}
	}
	if len(dead) > 0 {
		flush()
	}
	return removed, bytes, errors.Join(errs...)
}

// Compact has nothing to do here: a deleted object takes no room.
func (r *Remote) Compact(context.Context, func(Ref) (bool, error), func(context.Context, Ref, Ref) error) (int64, error) {
	return 0, nil
}

// RemoteStats is a snapshot of counters since OpenRemote, and of what is now, for metrics.
type RemoteStats struct {
	Puts, Opens int64
	S3          s3.Stats // of all buckets together

	CacheHits, CacheMisses int64
	CacheDamaged           int64 // copies whose checksum failed: look at the disk
	CacheRefused           int64 // copies that could not be made
	CacheBodies            int   // now
	CacheBytes             int64 // now

	SpoolBodies   int   // now
	SpoolBytes    int64 // now
	SpoolUploaded int64

	MirrorOwed     int   // bodies that a side has yet to get, now
	MirrorRepaired int64 // bodies that a side got from the other
}

// Stats returns the counters; cheap.
func (r *Remote) Stats() RemoteStats {
	s := RemoteStats{Puts: r.puts.Load(), Opens: r.opens.Load()}
	for _, c := range r.s3s {
		x := c.Stats()
		s.S3.Puts += x.Puts
		s.S3.Gets += x.Gets
		s.S3.Deletes += x.Deletes
		s.S3.Lists += x.Lists
		s.S3.Faults += x.Faults
		s.S3.Busy += x.Busy
		s.S3.Away += x.Away
	}
	if c := r.cache; c != nil {
		s.CacheHits, s.CacheMisses, s.CacheDamaged, s.CacheRefused = c.hits.Load(), c.misses.Load(), c.damaged.Load(), c.refused.Load()
		c.mu.Lock()
		s.CacheBodies, s.CacheBytes = c.lru.Len(), c.size
		c.mu.Unlock()
	}
	if r.spool != nil {
		s.SpoolBodies, s.SpoolBytes = r.spool.waiting()
		s.SpoolUploaded = r.spool.uploaded.Load()
	}
	if m := r.mir; m != nil {
		s.MirrorOwed, s.MirrorRepaired = len(m.owed.all()), m.repaired.Load()
	}
	return s
}

// Close waits for running writes, also for open Writers. Readers stay usable. What is in the spool stays there.
func (r *Remote) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	r.writers.Wait()
	r.stop()
	if r.spool != nil {
		r.spool.done.Wait()
	}
	if r.cache != nil {
		r.cache.scan.Wait()
	}
	r.shelf.close()
	return nil
}
