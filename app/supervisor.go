package app

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// What a supervisor may hear: systemd's sd_notify(3), Type=notify.
const (
	stateReady    = "READY=1"
	stateStopping = "STOPPING=1"
)

// stateReloading begins a reload, which READY=1 ends. The time is for Type=notify-reload (systemd 253 and later).
func stateReloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return "RELOADING=1"
	}
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000)
}

// tell says a state to the supervisor that started us, if it listens (NOTIFY_SOCKET). One that can't be
// reached is logged: it would wait for us, and end us.
func (n *Node) tell(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		defer c.Close()
		_, err = c.Write([]byte(state))
	}
	if err != nil {
		n.log.Warn("the supervisor can't be told", "state", state, "socket", path, "err", err)
	}
}
