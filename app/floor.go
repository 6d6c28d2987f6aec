package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"bahnpost/mail"
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

// openFloor opens the store below dir; only one process can.
func openFloor(ctx context.Context, dir string, c *Config, log *slog.Logger) (*floor, error) {
	f := &floor{}
	var err error
	f.store, err = store.Open(ctx, store.Config{Dir: filepath.Join(dir, storeDir),
		DB: store.DBConfig{CacheKB: int(c.Store.PageCache >> 10)}, Blob: blob.DirConfig{Keep: keep(c.Store.BodyCache)}})
	if err != nil {
		return nil, withDisk(dir, err)
	}
	f.directory, err = directory.New(ctx, f.store.DB, directory.Config{DetailSeparator: c.Mail.DetailSeparator})
	if err == nil {
		f.mailstore, err = mailstore.New(ctx, f.store.DB, f.store.Bodies, mailstore.Config{
			InlineMax: int(c.Store.InlineMax), Compression: c.Store.Compression,
			ExpungeHistory: c.Store.ExpungeHistory.D(), IndexMemory: int64(c.Store.IndexMemory),
			SearchMemory: int64(c.Store.SearchMemory), Log: log,
		})
	}
	if err != nil {
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

// founded refuses a store that has lost its database: opening would make an
// empty one, which answers for every address that it is unknown, for good.
func founded(dir string) error {
	path := filepath.Join(dir, storeDir, "mail.db")
	fi, err := os.Stat(path)
	if err == nil && fi.Size() > 0 {
		return nil
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not there or empty: is its file system mounted? Bring it back from the backup, with the bodies of the same instant; "+
			"\"bahnpost init\" makes a new node in a new directory", path)
	}
	return err
}

// OpenOffline opens dir's store in this process.
func OpenOffline(ctx context.Context, dir, version, commit string) (*Offline, error) {
	if _, err := LoadConfig(dir); err != nil {
		return nil, err
	}
	if err := founded(dir); err != nil {
		return nil, err
	}
	return openOffline(ctx, dir, version, commit)
}

// openOffline is OpenOffline, and makes the store if there is none.
func openOffline(ctx context.Context, dir, version, commit string) (*Offline, error) {
	c, err := LoadConfig(dir)
	if err != nil {
		return nil, err
	}
	f, err := openFloor(ctx, dir, c, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn)
	return &Offline{API: admin.New(adminConfig(f, c, obs.NewLog(os.Stderr, c.Log.Format == "json", level), version, commit)), f: f}, nil
}

// Close closes the store.
func (o *Offline) Close() error { return o.f.close() }

func adminConfig(f *floor, c *Config, log *slog.Logger, version, commit string) admin.Config {
	return admin.Config{Directory: f.directory, Mailstore: f.mailstore, Log: log, Version: version, Commit: commit,
		DefaultQuota: int64(c.Store.DefaultQuota), QuotaWarn: c.Store.QuotaWarn}
}

// FirstAccounts makes the domain and the administrator of a new node, and
// lets postmaster's and abuse's mail reach the administrator (RFC 5321 §4.5.1, RFC 2142). It returns the password.
func FirstAccounts(ctx context.Context, dir, domain, address string) (password string, err error) {
	a, err := mail.ParseAddress(address)
	if err != nil {
		return "", err
	}
	o, err := openOffline(ctx, dir, "", "")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	d, err := mail.ParseDomain(domain)
	if err != nil {
		return "", err
	}
	if err := o.f.directory.AddDomain(ctx, d); err != nil {
		return "", err
	}
	if a.Domain != d {
		if err := o.f.directory.AddDomain(ctx, a.Domain); err != nil {
			return "", err
		}
	}
	password = NewPassword()
	if _, err := o.API.Create(ctx, directory.Account{Address: a, Role: "admin", Name: "Administrator"}, password); err != nil {
		return "", err
	}
	for _, l := range []string{"postmaster", "abuse"} {
		if l != a.Local {
			if err := o.f.directory.AddAlias(ctx, l+"@"+d, []mail.Address{a}); err != nil {
				return "", err
			}
		}
	}
	return password, nil
}
