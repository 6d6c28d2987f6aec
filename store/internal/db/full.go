package db

import (
	"errors"
	"syscall"

	"github.com/ncruces/go-sqlite3"
)

// Full reports whether err, of this package or of a file, says that the disk
// has no room. Nothing was written; it is worth trying again later.
func Full(err error) bool {
	return errors.Is(err, sqlite3.FULL) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || pgClass(err, "53100")
}
