package blob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// folder is a shelf in a directory, each body a file: a directory that nodes share
// (a network file system), one side of a mirror, or a node's spool. Files appear whole, with link or
// rename, and durable.
//
//	ab/sabcd….len   bodies
//	tmp/            bodies under way; those of another process may be among them
type folder struct {
	path string
	disk disk
	pool buffers
	down atomic.Pointer[fault]
}

// fault is the last failure of a folder.
type fault struct {
	err error
	at  time.Time
}

// tmpAge is how old a body under way must be to be taken for one that nobody finishes.
const tmpAge = 24 * time.Hour

func openFolder(path string, d disk) *folder {
	d.fill(false)
	return &folder{path: path, disk: d}
}

func (f *folder) found(ctx context.Context) error {
	if f.ready(ctx) == nil {
		return empty(ctx, f, f.path)
	}
	return f.make()
}

// make prepares the directory, also one that has bodies.
func (f *folder) make() error {
	if err := os.MkdirAll(f.tmp(), 0o700); err != nil {
		return fmt.Errorf("blob: %w", err)
	}
	mark, err := os.OpenFile(f.mark(), os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("blob: %w", err)
	}
	return errors.Join(mark.Close(), f.disk.syncDir(f.path), f.disk.syncDir(filepath.Dir(f.path)))
}

func (f *folder) mark() string { return filepath.Join(f.path, mark) }

func (f *folder) tmp() string              { return filepath.Join(f.path, "tmp") }
func (f *folder) file(n sealedName) string { return filepath.Join(f.path, filepath.FromSlash(n.key())) }
func (f *folder) paths() []Path            { return []Path{f.state()} }
func (f *folder) close()                   {}

func (f *folder) ready(context.Context) error {
	_, err := os.Stat(f.mark())
	if errors.Is(err, fs.ErrNotExist) {
		return f.met(noWord(errUnmarked(f.path)))
	}
	return f.met(err)
}

// noWord takes from an error that it means a missing body.
func noWord(err error) error { return errors.New(err.Error()) }

func (f *folder) state() Path {
	p := Path{Name: f.path, Up: true}
	if x := f.down.Load(); x != nil {
		p.Err, p.ErrTime = x.err.Error(), x.at
		p.Up = f.ready(context.Background()) == nil
	}
	return p
}

// met remembers a failure of the place, not of a body. It is ErrAway to the caller: another disk, another time.
func (f *folder) met(err error) error {
	if err == nil || isLasting(err) || errors.Is(err, errExists) || errors.Is(err, context.Canceled) {
		return err
	}
	f.down.Store(&fault{err, time.Now()})
	return fmt.Errorf("%w: %w", ErrAway, err)
}

func (f *folder) put(ctx context.Context, b sealed, fresh bool) error {
	if err := cmp.Or(ctx.Err(), f.ready(ctx)); err != nil {
		return err
	}
	t, err := os.CreateTemp(f.tmp(), "")
	if err != nil {
		return f.met(noWord(err))
	}
	defer os.Remove(t.Name())
	defer t.Close()
	if err := f.fillFrom(t, b); err != nil {
		return f.met(err)
	}
	return f.met(f.adopt(t.Name(), b.sealedName, fresh))
}

// fillFrom writes b to t, durably.
func (f *folder) fillFrom(t *os.File, b sealed) error {
	buf := make([]byte, min(b.size(), 1<<20))
	for off := int64(0); off < b.size(); {
		n, err := b.from.ReadAt(buf[:min(int64(len(buf)), b.size()-off)], off)
		if n == 0 {
			return fmt.Errorf("blob: body ended at octet %d: %w", off, err)
		}
		if err := f.disk.write(t, [][]byte{buf[:n]}, off); err != nil {
			return err
		}
		off += int64(n)
	}
	return f.disk.sync(t)
}

// adopt gives a synced file of the same file system its name, durably.
func (f *folder) adopt(file string, n sealedName, fresh bool) error {
	to := f.file(n)
	dir := filepath.Dir(to)
	if err := os.Mkdir(dir, 0o700); err == nil {
		if err := f.disk.syncDir(f.path); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if fresh {
		if err := os.Link(file, to); err != nil {
			if errors.Is(err, fs.ErrExist) {
				return errExists
			}
			return err
		}
	} else if err := f.disk.rename(file, to); err != nil {
		return err
	}
	return f.disk.syncDir(dir)
}

func (f *folder) read(ctx context.Context, n sealedName, first int, dst []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	file, err := os.Open(f.file(n))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			if err := f.ready(ctx); err != nil {
				return err
			}
		}
		return f.met(err)
	}
	defer file.Close()
	return f.met(readFile(file, n, first, dst, &f.pool))
}

// readFile reads from a file that holds a sealed body.
func readFile(file *os.File, n sealedName, first int, dst []byte, pool *buffers) error {
	return readSpan(n, first, dst, pool, func(off int64, p []byte) (int64, error) {
		if _, err := file.ReadAt(p, off); err != nil {
			if errors.Is(err, io.EOF) {
				return 0, fmt.Errorf("file cut short: %w", ErrCorrupt)
			}
			return 0, err
		}
		fi, err := file.Stat()
		if err != nil {
			return 0, err
		}
		return fi.Size(), nil
	})
}

func (f *folder) remove(_ context.Context, names []sealedName) error {
	var errs []error
	for _, n := range names {
		if err := os.Remove(f.file(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, f.met(err))
		}
	}
	return errors.Join(errs...)
}

func (f *folder) list(ctx context.Context) iter.Seq2[found, error] {
	return func(yield func(found, error) bool) {
		if err := f.ready(ctx); err != nil {
			yield(found{}, err)
			return
		}
		for i := range shards {
			shard := fmt.Sprintf("%02x", i)
			entries, err := os.ReadDir(filepath.Join(f.path, shard))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				yield(found{}, f.met(err))
				return
			}
			for _, e := range entries {
				if err := ctx.Err(); err != nil {
					yield(found{}, err)
					return
				}
				fi, err := e.Info()
				if err != nil {
					continue // removed meanwhile
				}
				if !yield(listed(shard+"/"+e.Name(), fi.Size(), fi.ModTime(), max(time.Since(fi.ModTime()), 0)), nil) {
					return
				}
			}
		}
	}
}

// tidy removes what was under way when its process died.
func (f *folder) tidy(age time.Duration) {
	entries, err := os.ReadDir(f.tmp())
	if err != nil {
		return
	}
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && time.Since(fi.ModTime()) >= age {
			os.Remove(filepath.Join(f.tmp(), e.Name()))
		}
	}
}
