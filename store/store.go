package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"bahnpost/store/blob"
	"bahnpost/store/internal/db"
)

// DBConfig chooses the SQL engine and its limits; Path is set by Open.
type DBConfig = db.Config

// DB is the open database, so that app can pass it on without naming the package below.
type DB = db.DB

// DBStats are the database's counters, for metrics.
type DBStats = db.Stats

// Config says where the store is.
type Config struct {
	Dir  string         // holds mail.db, bodies/ and lock; created with mode 0700 if it is not there
	DB   DBConfig       // zero value: the defaults
	Blob blob.DirConfig // zero value: the defaults
}

// Store is the open floor.
type Store struct {
	DB     *DB
	Bodies *blob.Dir
	lock   *os.File
}

// Open creates or opens the store in cfg.Dir. It ties the two together: bodies
// staged with blob.Store.Stage are flushed before each commit. Another process that has it open
// makes Open fail with an error that names its pid and wraps ErrLocked.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		return nil, errors.New("store: no directory")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s := &Store{}
	var err error
	if s.lock, err = lock(filepath.Join(cfg.Dir, "lock")); err != nil {
		return nil, fmt.Errorf("store: %s: %w", cfg.Dir, err)
	}
	cfg.DB.Path = filepath.Join(cfg.Dir, "mail.db")
	cfg.Blob.Flushed = true
	if s.Bodies, err = blob.OpenDir(filepath.Join(cfg.Dir, "bodies"), cfg.Blob); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	cfg.DB.BeforeCommit = s.Bodies.Flush
	if s.DB, err = db.Open(ctx, cfg.DB); err != nil {
		return nil, errors.Join(err, s.Bodies.Close(), s.lock.Close())
	}
	return s, nil
}

// Close ends running work: the rows, then the bodies they name, then the lock.
func (s *Store) Close() error {
	return errors.Join(s.DB.Close(), s.Bodies.Close(), s.lock.Close())
}

// ErrLocked says that another process has the store open.
var ErrLocked = errors.New("in use by another process")

// lock takes the lock file and writes our pid into it. The file stays when the
// process ends; the lock does not.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		pid, _ := io.ReadAll(io.LimitReader(f, 32))
		f.Close()
		return nil, fmt.Errorf("%w (pid %s)", err, strings.TrimSpace(string(pid)))
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := fmt.Fprintf(f, "%d\n", os.Getpid()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Ping returns nil once the writer has committed something: the store is alive.
func (s *Store) Ping(ctx context.Context) error {
	return s.DB.Update(ctx, func(*db.Tx) error { return nil }, nil)
}
