package app

import (
	"errors"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// endpoint is one protocol on one address.
type endpoint struct {
	protocol, addr string
	implicit       bool
}

// endpoints multiplies ports with addresses.
func (l *ListenConfig) endpoints() (es []endpoint) {
	for _, p := range l.ports() {
		if p.port == 0 {
			continue
		}
		addrs := l.Addresses
		if p.protocol == "lmtp" {
			addrs = l.LMTPAddresses
		}
		for _, a := range addrs {
			es = append(es, endpoint{p.protocol, net.JoinHostPort(a, strconv.Itoa(p.port+l.PortOffset)), p.implicit})
		}
	}
	return es
}

// noSuchAddress reports that the machine lacks the address or its family (no
// IPv6): not a mistake, as the defaults name both families.
func noSuchAddress(err error) bool {
	return errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT)
}
