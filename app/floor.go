package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"bahnpost/obs"
	"bahnpost/serve/admin"
	"bahnpost/store"
	"bahnpost/store/blob"
	"bahnpost/store/directory"
	"bahnpost/store/mailstore"
)

// storeDir and socketName are the fixed names within a node's directory.
const (
	storeDir   = "store"
	socketName = "admin.sock"
)

// SocketPath is where a running node's admin API listens.
func SocketPath(dir string) string { return filepath.Join(dir, socketName) }

// floor is the storage floor: what remembers.
type floor struct {
	store     *store.Store
	there     bool // the cell was founded before
	directory *directory.Directory
	mailstore *mailstore.Store
}

// keep is blob's form of body_cache: there 0 is the default.
func keep(s Size) int64 {
	if s == 0 {
		return -1
	}
	return int64(s)
}

// opening is how a floor is opened.
type opening struct {
	found bool          // make the store if there is none; else one that nobody has founded is refused
	wait  time.Duration // for a database that is away

	copying bool   // to finish a copy; else a store that is not all there is refused
	version string // of this program
}

// openFloor opens the store of the node in dir, which only one process can.
func openFloor(ctx context.Context, dir string, c *Config, log *slog.Logger, how opening) (*floor, error) {
	dsn, err := c.Store.dsn(dir)
	if err != nil {
		return nil, err
	}
	if !how.found {
		if err := founded(dir, c); err != nil {
			return nil, err
		}
	}
	f := &floor{}
	f.store, err = openStore(ctx, store.Config{Dir: filepath.Join(dir, storeDir), Database: dsn, Bodies: c.Store.Bodies,
		Remote: blob.RemoteConfig{Cache: int64(c.Store.ReadCache), Spool: int64(c.Store.Spool), Degraded: c.Store.Degraded, Log: log},
		DB:     store.DBConfig{CacheKB: int(c.Store.PageCache >> 10)}, Blob: blob.DirConfig{Keep: keep(c.Store.BodyCache)}}, how.wait, log)
	if err != nil {
		return nil, withDisk(dir, err)
	}
	if err := f.settle(ctx, c, how); err != nil {
		return nil, errors.Join(err, f.store.Close())
	}
	f.directory, err = directory.New(ctx, f.store.DB, directory.Config{DetailSeparator: c.Mail.DetailSeparator})
	if err == nil && !how.copying {
		err = f.whole(ctx)
	}
	if err == nil {
		f.mailstore, err = mailstore.New(ctx, f.store.DB, f.store.Bodies, mailstore.Config{
			InlineMax: c.Store.inlineMax(), Compression: c.Store.Compression,
			ExpungeHistory: c.Store.ExpungeHistory.D(), IndexMemory: int64(c.Store.IndexMemory),
			SearchMemory: int64(c.Store.SearchMemory), Patience: c.Store.Patience.D(), Log: log,
		})
	}
	if err != nil {
		if v := f.versions(ctx); v != "" {
			err = fmt.Errorf("%w (this is version %s, the cell's nodes run %s)", err, how.version, v)
		}
		return nil, withDisk(dir, errors.Join(err, f.store.Close()))
	}
	return f, nil
}

// diskFull is how little free space explains an error of the store, in octets: less than its log grows by in a moment.
const diskFull = 1 << 20

// withDisk says that the disk is full where it is: the database's own words for it are "disk I/O error".
func withDisk(dir string, err error) error {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return err
	}
	if free := st.Bavail * uint64(st.Bsize); free < diskFull {
		return fmt.Errorf("the disk is full (%d KB free for %s): %w", free/1000, dir, err)
	}
	return err
}

func (f *floor) close() error { return f.store.Close() }

// Offline is the admin API over a store that no node serves.
type Offline struct {
	API *admin.API
	f   *floor
}

// OpenOffline opens dir's store in this process.
func OpenOffline(ctx context.Context, dir, version, commit string) (*Offline, error) {
	c, err := LoadConfig(dir)
	if err != nil {
		return nil, err
	}
	return openOffline(ctx, dir, c, version, commit, false)
}

// openOffline is OpenOffline; with found it makes the store if there is none.
func openOffline(ctx context.Context, dir string, c *Config, version, commit string, found bool) (*Offline, error) {
	f, err := openFloor(ctx, dir, c, slog.New(slog.DiscardHandler), opening{found: found, version: version})
	if err != nil {
		return nil, err
	}
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn)
	log, _ := obs.NewLog(os.Stderr, c.Log.Format == "json", level)
	return &Offline{API: admin.New(adminConfig(f, c, log, version, commit)), f: f}, nil
}

// Close closes the store.
func (o *Offline) Close() error { return o.f.close() }

func adminConfig(f *floor, c *Config, log *slog.Logger, version, commit string) admin.Config {
	return admin.Config{Directory: f.directory, Mailstore: f.mailstore, Log: log, Version: version, Commit: commit,
		DefaultQuota: int64(c.Store.DefaultQuota), QuotaWarn: c.Store.QuotaWarn, Nodes: f.nodes, Wish: f.store.DB.Wish}
}
