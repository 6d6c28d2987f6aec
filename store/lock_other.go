//go:build !unix

package store

import "os"

// flock does nothing here: SQLite's own locks are all that keeps a second process out.
func flock(*os.File) error { return nil }
