package db

import "syscall"

// sentTimeout is how long what was sent may stay without the other side's TCP
// having seen it, in ms: a network that was cut is noticed by then.
const sentTimeout = 10_000

// impatient sets TCP_USER_TIMEOUT on a socket that is to be connected.
func impatient(network, _ string, c syscall.RawConn) error {
	const tcpUserTimeout = 18
	if network == "unix" {
		return nil
	}
	return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, sentTimeout) }) // a system that does not know it does without
}
