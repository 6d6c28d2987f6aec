package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bahnpost/serve/listen"
	"bahnpost/store"
)

// Mark is how a finding stands.
type Mark string

// Marks.
const (
	Good Mark = "ok"
	Note Mark = "note"
	Bad  Mark = "BAD"
)

// Finding is one line of the doctor's report, in plain words.
type Finding struct {
	Mark    Mark   `json:"mark"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
}

// What the doctor thinks healthy.
const (
	certWarnDays   = 21
	minDiskPercent = 10
	minFiles       = 32768
	slowSync       = 10 * time.Millisecond
	syncTries      = 50
)

// Doctor looks at a node's surroundings; it changes nothing but a temporary file.
func Doctor(ctx context.Context, dir string) []Finding {
	c, err := LoadConfig(dir)
	if err != nil {
		return []Finding{{Bad, "config", err.Error()}}
	}
	fs := []Finding{{Good, "config", filepath.Join(dir, ConfigFile) + " is in order"}}
	running := isRunning(dir)
	if running {
		fs = append(fs, Finding{Good, "node", "is running"})
	} else {
		fs = append(fs, Finding{Note, "node", "is not running; start it with: bahnpost serve " + dir})
	}
	fs = append(fs, doctorPorts(c, running)...)
	fs = append(fs, doctorCertificate(dir, c), doctorClock(), doctorDisk(dir))
	if c.Store.shared() {
		fs = append(fs, doctorCell(ctx, dir, c)...)
		if running {
			fs = append(fs, doctorNodes(ctx, dir)...)
		}
	} else {
		fs = append(fs, doctorSync(dir))
	}
	return append(fs, doctorFiles(c), doctorSecrets(dir, c))
}

func isRunning(dir string) bool {
	c, err := net.Dial("unix", SocketPath(dir))
	if err == nil {
		c.Close()
	}
	return err == nil
}

// doctorPorts tries each address: when the node runs it must answer, else it must be free.
func doctorPorts(c *Config, running bool) (fs []Finding) {
	var denied []string
	for _, e := range c.Listen.endpoints() {
		if running {
			conn, err := net.DialTimeout("tcp", dialable(e.addr), 2*time.Second)
			if err != nil {
				if !noSuchAddress(err) {
					fs = append(fs, Finding{Bad, "port", fmt.Sprintf("%s on %s does not answer: %v", e.protocol, e.addr, err)})
				}
				continue
			}
			conn.Close()
			fs = append(fs, Finding{Good, "port", fmt.Sprintf("%s answers on %s", e.protocol, e.addr)})
			continue
		}
		l, err := listen.Bind(e.addr)
		switch {
		case err == nil:
			l.Close()
			fs = append(fs, Finding{Good, "port", fmt.Sprintf("%s can listen on %s", e.protocol, e.addr)})
		case noSuchAddress(err):
			fs = append(fs, Finding{Note, "port", fmt.Sprintf("%s: this machine has no address %s; it is left out", e.protocol, e.addr)})
		case errors.Is(err, unix.EACCES):
			denied = append(denied, e.protocol+" on "+e.addr)
		case errors.Is(err, unix.EADDRINUSE):
			fs = append(fs, Finding{Bad, "port", fmt.Sprintf("%s: another program listens on %s; find it with: ss -ltnp", e.protocol, e.addr)})
		default:
			fs = append(fs, Finding{Bad, "port", fmt.Sprintf("%s can't listen on %s: %v", e.protocol, e.addr, err)})
		}
	}
	if denied != nil { // the unit can, so it is no illness of the node
		fs = append(fs, Finding{Note, "port", fmt.Sprintf("this user may not listen on ports below 1024 (%s): "+lowPorts, strings.Join(denied, ", "))})
	}
	return fs
}

// lowPorts is what helps where a port below 1024 is refused.
const lowPorts = "it needs the capability CAP_NET_BIND_SERVICE, which deploy/bahnpost.service gives, or other ports ([listen] port_offset)"

// dialable turns a wildcard listening address into one that can be called.
func dialable(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		if ip.To4() != nil {
			return net.JoinHostPort("127.0.0.1", port)
		}
		return net.JoinHostPort("::1", port)
	}
	return addr
}

func doctorCertificate(dir string, c *Config) Finding {
	pair, err := tls.LoadX509KeyPair(under(dir, c.TLS.Certificate), under(dir, c.TLS.Key))
	if err != nil {
		return Finding{Bad, "certificate", err.Error()}
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return Finding{Bad, "certificate", err.Error()}
	}
	left := time.Until(leaf.NotAfter)
	switch {
	case left < 0:
		return Finding{Bad, "certificate", "expired on " + leaf.NotAfter.Format(time.DateOnly)}
	case leaf.VerifyHostname(c.Node.Hostname) != nil:
		return Finding{Bad, "certificate", fmt.Sprintf("is not made out to %s but to %v", c.Node.Hostname, leaf.DNSNames)}
	case left < certWarnDays*24*time.Hour:
		return Finding{Bad, "certificate", fmt.Sprintf("expires in %d days, on %s", int(left.Hours()/24), leaf.NotAfter.Format(time.DateOnly))}
	case slices.Equal(leaf.RawIssuer, leaf.RawSubject):
		return Finding{Note, "certificate", "is self-signed: clients will warn; put a real one in [tls] and send SIGHUP"}
	}
	return Finding{Good, "certificate", fmt.Sprintf("for %v, until %s", leaf.DNSNames, leaf.NotAfter.Format(time.DateOnly))}
}

func doctorClock() Finding {
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	if err != nil {
		return Finding{Note, "clock", "can't ask the kernel whether the clock is synchronised: " + err.Error()}
	}
	const unsynchronised = 5 // TIME_ERROR of adjtimex(2)
	if state == unsynchronised || tx.Status&unix.STA_UNSYNC != 0 {
		return Finding{Note, "clock", "says " + time.Now().Format(time.RFC1123Z) + " but is not synchronised by NTP: dates in mail and logs may be wrong; install chrony"}
	}
	return Finding{Good, "clock", "is synchronised, " + time.Now().Format(time.RFC1123Z)}
}

func doctorDisk(dir string) Finding {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Finding{Bad, "disk", err.Error()}
	}
	free := st.Bavail * uint64(st.Bsize)
	percent := int(st.Bavail * 100 / max(st.Blocks, 1))
	inodes := int(st.Ffree * 100 / max(st.Files, 1))
	text := fmt.Sprintf("%.1f GB free (%d %%), %d %% of inodes free", float64(free)/1e9, percent, inodes)
	if percent < minDiskPercent || st.Files > 0 && inodes < minDiskPercent {
		return Finding{Bad, "disk", text + ": mail is refused when it is full"}
	}
	return Finding{Good, "disk", text}
}

// doctorSync measures what every commit costs.
func doctorSync(dir string) Finding {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return Finding{Bad, "fsync", err.Error()}
	}
	defer os.Remove(f.Name())
	defer f.Close()
	took := make([]time.Duration, syncTries)
	for i := range took {
		start := time.Now()
		if _, err := f.Write(make([]byte, 8192)); err != nil {
			return Finding{Bad, "fsync", err.Error()}
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return Finding{Bad, "fsync", err.Error()}
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	median := took[syncTries/2]
	text := fmt.Sprintf("median %.2f ms, worst of %d %.2f ms", ms(median), syncTries, ms(took[syncTries-1]))
	if median > slowSync {
		return Finding{Bad, "fsync", text + ": slow; each delivery waits for one"}
	}
	return Finding{Good, "fsync", text}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func doctorFiles(c *Config) Finding {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return Finding{Note, "files", err.Error()}
	}
	need := uint64(max(minFiles, c.Listen.MaxConns))
	if l.Max < need {
		return Finding{Note, "files", fmt.Sprintf("at most %d open files: that is also the limit of connections; LimitNOFILE=%d in the unit raises it", l.Max, need)}
	}
	return Finding{Good, "files", fmt.Sprintf("up to %d open files", l.Max)}
}

// doctorSecrets complains about a secret that others may read.
func doctorSecrets(dir string, c *Config) Finding {
	for _, path := range secrets(dir, c) {
		if err := private(path); err != nil {
			return Finding{Bad, "secrets", err.Error()}
		}
	}
	return Finding{Good, "secrets", "are private"}
}

// secrets are the files that hold some.
func secrets(dir string, c *Config) []string {
	paths := []string{under(dir, c.TLS.Key)}
	if c.Store.PasswordFile != "" {
		paths = append(paths, under(dir, c.Store.PasswordFile))
	}
	if store.HoldsPassword(c.Store.Database) {
		paths = append(paths, filepath.Join(dir, ConfigFile))
	}
	return paths
}

// private complains about a file that everybody may read.
func private(path string) error {
	st, err := os.Stat(path)
	if err == nil && st.Mode().Perm()&0o007 != 0 {
		err = fmt.Errorf("%s can be read by everybody (mode %o): chmod 600 it", path, st.Mode().Perm())
	}
	return err
}
