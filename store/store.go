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

// DBConfig has the limits of the SQL engine; Path, Postgres and BeforeCommit are set by Open.
type DBConfig = db.Config

// DB is the open database, so that app can pass it on without naming the package below.
type DB = db.DB

// SharedStats are the figures of a database that nodes share, for metrics.
type SharedStats = db.SharedStats

// DBStats are the database's counters, for metrics.
type DBStats = db.Stats

// Config says where the store is.
type Config struct {
	Dir  string         // holds lock, and what is this node's alone: mail.db and bodies/ where nothing below says otherwise; created with mode 0700 if it is not there
	DB   DBConfig       // zero value: the defaults
	Blob blob.DirConfig // zero value: the defaults

	// Database is the DSN of the cell's PostgreSQL, which any number of nodes share [SQLite in Dir]. It may hold a
	// password, so it appears in no error; DatabaseAddress is its form for people.
	Database string
	// Bodies says where bodies live [Dir/bodies; with Database nowhere: each goes into its row, and none may be longer than RowMax].
	Bodies []string
	// Remote has the limits of Bodies; URLs and Dir are set by Open.
	Remote blob.RemoteConfig
}

// Store is the open floor.
type Store struct {
	DB     *DB
	Bodies blob.Store
	dir    *blob.Dir    // what Bodies is, if it is this machine's
	remote *blob.Remote // what it is, if Config.Bodies names it
	lock   *os.File
}

// Open creates or opens the store. It ties rows and bodies together: bodies
// staged with blob.Store.Stage are flushed before each commit. Another process that has cfg.Dir open
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
	cfg.DB.Postgres = cfg.Database
	if err := s.openBodies(cfg); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	cfg.DB.BeforeCommit = s.Bodies.Flush
	if s.DB, err = db.Open(ctx, cfg.DB); err != nil {
		return nil, errors.Join(err, s.Bodies.Close(), s.lock.Close())
	}
	return s, nil
}

// openBodies opens the place of the bodies.
func (s *Store) openBodies(cfg Config) (err error) {
	switch {
	case len(cfg.Bodies) > 0:
		cfg.Remote.URLs, cfg.Remote.Dir = cfg.Bodies, filepath.Join(cfg.Dir, "remote")
		if s.remote, err = blob.OpenRemote(cfg.Remote); err != nil {
			return err
		}
		s.Bodies = s.remote
		return nil
	case cfg.Database != "":
		s.Bodies = inRows{}
		return nil
	}
	cfg.Blob.Flushed = true
	s.dir, err = blob.OpenDir(filepath.Join(cfg.Dir, "bodies"), cfg.Blob)
	s.Bodies = s.dir
	return err
}

// Rewound is closed when the database of a cell has gone back to an earlier state than this process knows, for example because
// a backup was restored under it: the process must end and start anew. Nil where that cannot be.
func (s *Store) Rewound() <-chan struct{} { return s.DB.Rewound() }

// BodyStats are the counters of the bodies' place on this machine; false if they live elsewhere.
func (s *Store) BodyStats() (blob.Stats, bool) {
	if s.dir == nil {
		return blob.Stats{}, false
	}
	return s.dir.Stats(), true
}

// Remote is where bodies live outside this machine; nil if they don't.
func (s *Store) Remote() *blob.Remote { return s.remote }

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
