//go:build !linux

package db

import "syscall"

// impatient does nothing where there is no TCP_USER_TIMEOUT: keepalives must do.
func impatient(string, string, syscall.RawConn) error { return nil }
