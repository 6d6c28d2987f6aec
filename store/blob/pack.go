package blob

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// committer appends bodies to the current pack: everyone who waits is written
// with one call and made durable with one fdatasync.
type committer struct {
	d       *Dir
	free    sync.Pool // *job
	wake    chan struct{}
	stopped chan struct{}
	current atomic.Uint64 // number of the pack that is appended to or comes next
	batches atomic.Int64
	bodies  atomic.Int64

	mu    sync.Mutex
	queue []*job
	done  bool

	// Only the committer's goroutine touches these.
	f      *os.File
	off    int64 // where the next record goes
	zeroed int64 // the file is written up to here
	taken  []*job
	spare  []*job
	batch  []*job
	bytes  int
	last   int
	heads  []byte
	bufs   [][]byte
}

// job is one Put on its way.
type job struct {
	data  []byte
	table []uint32
	sums  [maxPutLimit / blockSize]uint32
	time  int64 // 0: now. Compaction keeps the old time
	ref   Ref
	err   error
	state atomic.Int32
	done  chan struct{}
}

const (
	jobWaiting int32 = iota
	jobTaken
	jobDropped
)

func (c *committer) start(d *Dir, next uint64) {
	c.d = d
	c.free.New = func() any { return &job{done: make(chan struct{}, 1)} }
	c.wake = make(chan struct{}, 1)
	c.stopped = make(chan struct{})
	c.current.Store(next)
	go c.run()
}

func (c *committer) put(ctx context.Context, data []byte) (Ref, error) {
	j := c.submit(data, 0)
	select {
	case <-j.done:
	case <-ctx.Done():
		if j.state.CompareAndSwap(jobWaiting, jobDropped) {
			return "", ctx.Err() // the committer still holds j, but will not look at data
		}
		<-j.done
	}
	return c.collect(j)
}

// submit queues a body; its checksums are made here, on the caller's core.
func (c *committer) submit(data []byte, when int64) *job {
	j := c.free.Get().(*job)
	j.data, j.time, j.ref, j.err = data, when, "", nil
	j.table = sum(j.sums[:0], data)
	j.state.Store(jobWaiting)
	c.mu.Lock()
	c.queue = append(c.queue, j)
	c.mu.Unlock()
	c.nudge()
	return j
}

func (c *committer) collect(j *job) (Ref, error) {
	ref, err := j.ref, j.err
	j.data = nil
	c.free.Put(j)
	return ref, err
}

func (c *committer) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// stop ends the goroutine after what is queued.
func (c *committer) stop() error {
	c.mu.Lock()
	c.done = true
	c.mu.Unlock()
	c.nudge()
	<-c.stopped
	return nil
}

func (c *committer) run() {
	defer close(c.stopped)
	for {
		if c.gather() {
			c.commit()
			continue
		}
		c.mu.Lock()
		end := c.done && len(c.queue) == 0
		c.mu.Unlock()
		if end {
			c.leave()
			return
		}
		<-c.wake
	}
}

func (c *committer) pop() *job {
	for {
		if len(c.taken) == 0 {
			c.mu.Lock()
			c.taken, c.queue = c.queue, c.spare[:0]
			c.mu.Unlock()
			c.spare = c.taken
			if len(c.taken) == 0 {
				return nil
			}
		}
		j := c.taken[0]
		c.taken[0] = nil
		c.taken = c.taken[1:]
		if j.state.CompareAndSwap(jobWaiting, jobTaken) {
			return j
		}
	}
}

// gather fills the batch. Like the SQL writer it lets others run once when the
// last batch was shared; a lone client never waits.
func (c *committer) gather() bool {
	c.batch, c.bytes = c.batch[:0], 0
	yielded := false
	for len(c.batch) < batchMax && c.bytes < c.d.cfg.BatchBytes {
		j := c.pop()
		if j == nil {
			if yielded || len(c.batch) >= c.last || c.last < 2 {
				break
			}
			yielded = true
			runtime.Gosched()
			continue
		}
		c.batch = append(c.batch, j)
		c.bytes += len(j.data)
	}
	c.last = len(c.batch)
	return len(c.batch) > 0
}

// commit writes the batch, makes it durable and answers. After any failure
// the pack is left for good: an fdatasync that failed once may report success
// the next time without having written anything.
func (c *committer) commit() {
	err := c.append()
	if err != nil {
		err = fmt.Errorf("blob: put: %w", err)
		c.leave()
	}
	c.batches.Add(1)
	c.bodies.Add(int64(len(c.batch)))
	for i, j := range c.batch {
		j.err = err
		if err != nil {
			j.ref = ""
		}
		j.done <- struct{}{}
		c.batch[i] = nil
	}
	if c.f != nil {
		c.extend()
	}
}

func (c *committer) append() error {
	if c.f != nil && c.off >= c.d.cfg.PackBytes {
		c.leave()
	}
	if c.f == nil {
		if err := c.begin(); err != nil {
			return err
		}
	}
	pack, off, now := c.current.Load(), c.off, time.Now().Unix()
	need := 0
	for _, j := range c.batch {
		need += recHeader + 4*len(j.table) + recAlign
	}
	if cap(c.heads) < need {
		c.heads = make([]byte, 0, need) // must not grow below: bufs points into it
	}
	heads, bufs := c.heads[:0], c.bufs[:0]
	for _, j := range c.batch {
		if j.time == 0 {
			j.time = now
		}
		n := int64(len(j.data))
		from := len(heads)
		heads = append(heads, make([]byte, (recAlign-off%recAlign)%recAlign)...)
		off = (off + recAlign - 1) &^ (recAlign - 1)
		heads = appendRecordHead(heads, pack, off, header{state: stateLive, length: n, time: j.time}, j.table)
		bufs = append(bufs, heads[from:])
		if n > 0 {
			bufs = append(bufs, j.data)
		}
		j.ref = packRef(pack, off, n)
		off += bodyOffset(n) + n
	}
	c.bufs = bufs
	err := c.d.cfg.disk.write(c.f, bufs, c.off)
	clear(bufs)
	if err == nil {
		err = c.d.cfg.disk.sync(c.f)
	}
	c.off = off
	return err
}

// begin creates the next pack; its name is durable when it returns.
func (c *committer) begin() error {
	for {
		n := c.current.Load()
		f, err := os.OpenFile(c.d.packPath(n), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if os.IsExist(err) {
			c.current.Add(1)
			continue
		}
		if err != nil {
			return err
		}
		b := binary.LittleEndian.AppendUint64([]byte(packMagic), n)
		c.f, c.off, c.zeroed = f, packHeader, packHeader
		if err := c.d.cfg.disk.write(f, [][]byte{b}, 0); err != nil {
			return err
		}
		return c.d.cfg.disk.syncDir(filepath.Join(c.d.path, "packs"))
	}
}

// leave ends the current pack.
func (c *committer) leave() {
	if c.f == nil {
		return
	}
	if c.zeroed > c.off {
		c.f.Truncate((c.off + recAlign - 1) &^ (recAlign - 1)) // give back what was written ahead
	}
	c.f.Close()
	c.f = nil
	c.current.Add(1)
}

// extend prepares the space ahead.
func (c *committer) extend() {}
