//go:build !linux || race

package listen

import "net"

// quick returns nc: see socket_linux.go.
func quick(nc net.Conn) net.Conn { return nc }

// listenConfig has each connection ask whether its client is still there.
func listenConfig(k net.KeepAliveConfig) net.ListenConfig {
	return net.ListenConfig{KeepAliveConfig: k}
}
