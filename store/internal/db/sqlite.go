package db

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// Defaults of Config, and limits nobody needed to set so far.
const (
	defaultReaders      = 4
	defaultCacheKB      = 8 << 10  // whole process with 5000 accounts stays below 80 MB
	defaultBatchMax     = 256      // storage.md §1: batches above 64 gain little; bounds the loss of a replay
	defaultCheckpointKB = 16 << 10 // storage.md §4: p99.9 39 ms against 21 ms at 4 MB, +15 % throughput
	defaultBusyMS       = 10_000

	pageSize     = 4096     // 8192: +4 % msg/s, +35 % bytes written (storage.md §9.3)
	walKeepBytes = 64 << 20 // a WAL that a burst blew up is cut to this at its next reset
	statsEvery   = time.Second
)

// ErrClosed is returned by every call after Close.
var ErrClosed = errors.New("db: closed")

// core is what both engines share: one writing connection owned by the writer's
// goroutine, and a few reading ones. Which engine it is, the connections know.
type core struct {
	cfg    Config
	writer writer
	pool   pool
	alone  alone
	gate   *gate // PostgreSQL

	closeOnce sync.Once
	closeErr  error
}

func (c Config) withDefaults() Config {
	c.Readers = cmp.Or(c.Readers, defaultReaders)
	c.CacheKB = cmp.Or(c.CacheKB, defaultCacheKB)
	c.BatchMax = cmp.Or(c.BatchMax, defaultBatchMax)
	c.CheckpointKB = cmp.Or(c.CheckpointKB, defaultCheckpointKB)
	c.BusyTimeoutMS = cmp.Or(c.BusyTimeoutMS, defaultBusyMS)
	c.syncLevel = cmp.Or(c.syncLevel, "FULL")
	if c.NoSync {
		c.syncLevel = "OFF"
	}
	return c
}

func open(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.Postgres != "" {
		return openPostgres(ctx, cfg.withDefaults())
	}
	if cfg.Path == "" {
		return nil, errors.New("db: no path")
	}
	cfg = cfg.withDefaults()
	d := &DB{core{cfg: cfg}}
	c, err := cfg.connect(ctx, true)
	if err != nil {
		return nil, fmt.Errorf("db: open %s: %w", cfg.Path, err)
	}
	if err := cfg.anchor(c); err != nil {
		c.close()
		return nil, fmt.Errorf("db: open %s: %w", cfg.Path, err)
	}
	d.pool.init(cfg, cfg.reader)
	d.writer.start(cfg, c)
	return d, nil
}

// connect opens one connection, for readers too as a Tx, and sets its pragmas (storage.md §9.3).
func (c Config) connect(ctx context.Context, write bool) (*Tx, error) {
	name, flags := c.Path, sqlite3.OPEN_READWRITE|sqlite3.OPEN_CREATE
	if !write {
		flags = sqlite3.OPEN_READWRITE // a WAL reader needs the shared memory; query_only guards the rest
	}
	switch {
	case c.vfs != "":
		name, flags = "file:"+c.Path+"?vfs="+c.vfs, flags|sqlite3.OPEN_URI
	case write:
		registerWAL()
		vfs := walVFS
		if c.Fault != nil {
			vfs = registerFault(&c.Fault)
		}
		name, flags = gatherURI(c.Path, vfs), flags|sqlite3.OPEN_URI
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h, err := sqlite3.OpenFlags(name, flags)
	if err != nil {
		return nil, err
	}
	if err := h.Exec(c.pragmas(write)); err != nil {
		h.Close()
		return nil, err
	}
	return &Tx{Conn: Conn{conn: conn{h: h, stmts: make(map[string]*stmt)}}}, nil
}

// reader opens a reading connection.
func (c Config) reader(ctx context.Context) (*Conn, error) {
	tx, err := c.connect(ctx, false)
	if err != nil {
		return nil, err
	}
	return &tx.Conn, nil
}

func (c Config) pragmas(write bool) string {
	var b strings.Builder
	set := func(format string, a ...any) { fmt.Fprintf(&b, "PRAGMA "+format+";\n", a...) }
	set("busy_timeout=%d", c.BusyTimeoutMS)
	set("temp_store=MEMORY")
	set("trusted_schema=OFF")
	set("mmap_size=0")
	if c.Unordered {
		set("reverse_unordered_selects=1")
	}
	if !write {
		set("cache_size=-%d", max(c.CacheKB/4, 256))
		set("query_only=1")
		return b.String()
	}
	if c.vfs != "" {
		set("locking_mode=EXCLUSIVE")
	}
	set("page_size=%d", pageSize)
	set("auto_vacuum=INCREMENTAL") // counts only before the first table
	set("journal_mode=WAL")
	set("synchronous=%s", c.syncLevel) // NORMAL loses acknowledged mail (storage.md §6)
	set("cache_size=-%d", c.CacheKB)
	set("journal_size_limit=%d", walKeepBytes)
	return b.String()
}

// anchor makes the WAL file exist and its name durable: SQLite's VFS syncs the
// file, not the directory it was created in.
func (c Config) anchor(conn *Tx) error {
	var mode string
	if _, err := conn.Row("PRAGMA journal_mode").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("journal mode is %q, not wal", mode)
	}
	if err := conn.h.Exec("BEGIN IMMEDIATE; COMMIT"); err != nil {
		return err
	}
	if c.vfs != "" || c.NoSync {
		return nil
	}
	dir, err := os.Open(filepath.Dir(c.Path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Close drains the writer, waits for running Views, checkpoints and closes all
// connections. Calls that come later get ErrClosed. Calling it twice is harmless.
func (d *DB) Close() error {
	d.closeOnce.Do(func() {
		d.closeErr = errors.Join(d.pool.close(), d.writer.close())
		if d.gate != nil {
			d.gate.close()
		}
	})
	return d.closeErr
}

// Stats is a snapshot of counters since Open, for metrics.
type Stats struct {
	Commits, Updates, Failed   int64 // Updates/Commits is the mean batch
	Replays                    int64 // members run again because a shared commit failed
	CommitNanos                int64 // sum over commits, fsync included
	Checkpoints                int64
	CheckpointNanos            int64 // sum
	WALBytes, FreePages, Pages int64 // pages: at most a second old while writing
	Waiting                    int   // functions queued now
	Readers                    int   // read connections open now
	ReaderWaits, WaitNanos     int64 // Views that found none free, and how long they waited
}

// counters is the live form of Stats.
type counters struct {
	commits, updates, failed, replays atomic.Int64
	commitNanos                       atomic.Int64
	checkpoints, checkpointNanos      atomic.Int64
	freePages, pages                  atomic.Int64
}

// Stats returns the counters; cheap (one stat call). An operator's alarm
// belongs on WALBytes: above 256 MB some reader holds a snapshot too long.
func (d *DB) Stats() Stats {
	w := &d.writer
	s := Stats{
		Commits: w.n.commits.Load(), Updates: w.n.updates.Load(), Failed: w.n.failed.Load(),
		Replays: w.n.replays.Load(), CommitNanos: w.n.commitNanos.Load(),
		Checkpoints: w.n.checkpoints.Load(), CheckpointNanos: w.n.checkpointNanos.Load(),
		FreePages: w.n.freePages.Load(), Pages: w.n.pages.Load(),
		Waiting: w.waiting(), Readers: int(d.pool.opened.Load()),
		ReaderWaits: d.pool.waits.Load(), WaitNanos: d.pool.waited.Load(),
	}
	if fi, err := os.Stat(d.cfg.Path + "-wal"); err == nil {
		s.WALBytes = fi.Size()
	}
	return s
}

// IncrementalVacuum gives up to pages free pages back to the file system; it
// is called in idle time and stops no one for longer than one small commit. The file shrinks at the next checkpoint.
func (d *DB) IncrementalVacuum(ctx context.Context, pages int) (freed int, err error) {
	for freed < pages && d.cfg.Postgres == "" { // the server's autovacuum needs no help
		var before, after int64
		err := d.Update(ctx, func(tx *Tx) error {
			if _, err := tx.Row("PRAGMA freelist_count").Scan(&before); err != nil {
				return err
			}
			// The pragma frees one page per step: it must be stepped to its end.
			for _, err := range tx.Rows(sqlVacuum) {
				if err != nil {
					return err
				}
			}
			_, err := tx.Row("PRAGMA freelist_count").Scan(&after)
			return err
		}, nil)
		if err != nil {
			return freed, err
		}
		freed += int(before - after)
		if after == 0 || before == after {
			break
		}
	}
	return freed, nil
}

// 256 pages in one commit: about 5 ms, at most 23 ms measured (storage.md §4).
const sqlVacuum = "PRAGMA incremental_vacuum(256)"

// IntegrityCheck runs the engine's own check and returns its complaints.
func (d *DB) IntegrityCheck(ctx context.Context) ([]string, error) {
	var bad []string
	err := d.View(ctx, func(c *Conn) error {
		bad = nil
		sql := "PRAGMA integrity_check"
		if c.pg != nil {
			sql = sqlBroken
		}
		for r, err := range c.Rows(sql) {
			if err != nil {
				return err
			}
			if t := r.Text(0); t != "ok" {
				bad = append(bad, t)
			}
		}
		return nil
	})
	return bad, err
}
