//go:build unix

package app

import "golang.org/x/sys/unix"

// setUmask lets the admin socket be born private. It is the process's, so it is held for one call at start only.
func setUmask(mask int) int { return unix.Umask(mask) }
