package blob

import (
	"container/list"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// cache keeps copies of sealed bodies on a local disk, those used last. Nothing in it is needed: nothing is
// synced, each block is verified when it is read, a file that a crash or the disk has spoilt is
// thrown away and read from the shelf. When the disk is full it makes room and goes on without the new copy.
type cache struct {
	path string // ab/sabcd….len, as on the shelf
	tmp  string
	max  int64
	pool *buffers

	mu    sync.Mutex
	size  int64
	lru   list.List // of cached; front: used last
	byRef map[Ref]*list.Element

	hits, misses, damaged, refused atomic.Int64
	scan                           sync.WaitGroup
}

type cached struct {
	sealedName
	size int64
}

// roomShare is the part of the cache that is given up when the disk is full.
const roomShare = 8

// openCache takes over what an earlier process has left; that is looked through in the background.
func openCache(path, tmp string, limit int64, pool *buffers) (*cache, error) {
	c := &cache{path: path, tmp: tmp, max: limit, pool: pool, byRef: make(map[Ref]*list.Element)}
	for i := range shards {
		if err := os.MkdirAll(filepath.Join(path, fmt.Sprintf("%02x", i)), 0o700); err != nil {
			return nil, fmt.Errorf("blob: cache: %w", err)
		}
	}
	c.scan.Go(c.adopt)
	return c, nil
}

func (c *cache) file(n sealedName) string { return filepath.Join(c.path, filepath.FromSlash(n.key())) }

// adopt enters the files that are there, the oldest to be evicted first.
func (c *cache) adopt() {
	type old struct {
		cached
		at time.Time
	}
	var all []old
	for i := range shards {
		shard := fmt.Sprintf("%02x", i)
		entries, err := os.ReadDir(filepath.Join(c.path, shard))
		if err != nil {
			continue
		}
		for _, e := range entries {
			fi, err := e.Info()
			if err != nil {
				continue
			}
			f := listed(shard+"/"+e.Name(), fi.Size(), fi.ModTime(), 0)
			if f.bad != nil {
				os.Remove(filepath.Join(c.path, shard, e.Name()))
				continue
			}
			all = append(all, old{cached{f.sealedName, fi.Size()}, fi.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b old) int { return b.at.Compare(a.at) })
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range all {
		if c.byRef[o.ref()] == nil { // else it came, or was used, meanwhile
			c.byRef[o.ref()] = c.lru.PushBack(o.cached)
			c.size += o.size
		}
	}
	c.evict(c.max)
}

// open finds a body.
func (c *cache) open(n sealedName) *os.File {
	f, err := os.Open(c.file(n))
	if err != nil {
		c.misses.Add(1)
		return nil
	}
	c.hits.Add(1)
	c.used(n)
	return f
}

// used makes n the entry that was used last, if the file is there.
func (c *cache) used(n sealedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byRef[n.ref()]
	if e == nil {
		e = c.lru.PushFront(cached{n, sealedSize(n.length)})
		c.byRef[n.ref()] = e
		c.size += sealedSize(n.length)
		c.evict(c.max)
		return
	}
	c.lru.MoveToFront(e)
}

// evict unlinks what was not used for longest until limit is met. Who has it open reads on. c.mu is held.
func (c *cache) evict(limit int64) {
	for c.size > limit && c.lru.Len() > 0 {
		c.forget(c.lru.Back())
	}
}

func (c *cache) forget(e *list.Element) {
	x := c.lru.Remove(e).(cached)
	delete(c.byRef, x.ref())
	c.size -= x.size
	os.Remove(c.file(x.sealedName))
}

func (c *cache) drop(n sealedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byRef[n.ref()]; e != nil {
		c.forget(e)
		return
	}
	os.Remove(c.file(n))
}

// wants reports whether a body is small enough for the cache.
func (c *cache) wants(n sealedName) bool { return sealedSize(n.length) <= c.max/roomShare }

// failed counts a copy that could not be made, and makes room if the disk is full.
func (c *cache) failed(err error) {
	c.refused.Add(1)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		c.room()
	}
}

// room gives a part of the cache back to the disk.
func (c *cache) room() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.evict(c.size - c.size/roomShare - 1)
}

// add keeps a copy of a sealed body.
func (c *cache) add(n sealedName, raw []byte) {
	if !c.wants(n) {
		return
	}
	t, err := os.CreateTemp(c.tmp, "")
	if err == nil {
		_, err = t.Write(raw)
		err = errors.Join(err, t.Close())
		if err == nil {
			err = c.take(n, t.Name())
		} else {
			os.Remove(t.Name())
		}
	}
	if err != nil {
		c.failed(err)
	}
}

// take makes a whole file, of the same file system, the copy of n.
func (c *cache) take(n sealedName, file string) error {
	if !c.wants(n) {
		return os.Remove(file)
	}
	if err := os.Rename(file, c.file(n)); err != nil {
		os.Remove(file)
		return err
	}
	c.used(n)
	return nil
}

// tee collects the spans that somebody reads of a body until all of it is there.
type tee struct {
	c    *cache
	n    sealedName
	f    *os.File
	next int64 // octets of the body that f has
	off  bool  // it failed, or is done
}

// span is shown each span that came from the shelf.
func (t *tee) span(first int, data []byte) {
	if t.off || int64(first)*blockSize != t.next {
		return
	}
	if err := t.write(first, data); err != nil {
		t.c.failed(err)
		t.close()
	}
}

func (t *tee) write(first int, data []byte) (err error) {
	if t.f == nil {
		if t.f, err = os.CreateTemp(t.c.tmp, ""); err != nil {
			return err
		}
	}
	off, size := sealedSpan(first, int64(len(data)))
	b := (*t.c.pool.get(int(size)))[:0]
	defer t.c.pool.Put(&b)
	if first == 0 {
		b = appendSealHead(b, t.n.id)
	}
	t.next += int64(len(data))
	for i := first; len(data) > 0; i++ {
		k := min(len(data), blockSize)
		b = appendSealBlock(b, t.n.id, i, data[:k])
		data = data[k:]
	}
	if _, err := t.f.WriteAt(b, off); err != nil || t.next < t.n.length {
		return err
	}
	t.off = true
	return errors.Join(t.f.Close(), t.c.take(t.n, t.f.Name()))
}

// close throws away what is not whole.
func (t *tee) close() {
	if t.f != nil && !t.off {
		t.f.Close()
		if err := os.Remove(t.f.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.c.refused.Add(1)
		}
	}
	t.off = true
}
