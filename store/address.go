package store

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// DatabaseAddress is a DSN as people may see it: without its password.
type DatabaseAddress struct {
	Hosts []string // host:port, or the path of a socket
	Name  string   // of the database
}

// String implements fmt.Stringer.
func (p DatabaseAddress) String() string {
	return "PostgreSQL database " + p.Name + " on " + strings.Join(p.Hosts, ", ")
}

// errDSN is all that is said of a DSN that can't be read: more could show its password.
var errDSN = errors.New(`is no address of a PostgreSQL database; right is for example "postgres://bahnpost@db1,db2,db3/bahnpost?target_session_attrs=read-write"`)

// ParseDatabase reads a DSN (a postgres:// URL or "host=… dbname=…") as Open will. Its errors hold nothing of it.
func ParseDatabase(dsn string) (DatabaseAddress, error) {
	if !isURL(dsn) && !strings.Contains(dsn, "=") {
		return DatabaseAddress{}, errDSN
	}
	c, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return DatabaseAddress{}, errDSN
	}
	p := DatabaseAddress{Name: c.Database}
	add := func(host string, port uint16) {
		if name := hostPort(host, port); !slices.Contains(p.Hosts, name) { // TLS and no TLS are two entries of one host
			p.Hosts = append(p.Hosts, name)
		}
	}
	add(c.Host, c.Port)
	for _, f := range c.Fallbacks {
		add(f.Host, f.Port)
	}
	return p, nil
}

// hostPort names a host; that of a socket is its directory.
func hostPort(host string, port uint16) string {
	if strings.HasPrefix(host, "/") {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

func isURL(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// HoldsPassword reports whether the DSN itself holds a password, so that who reads it knows it.
func HoldsPassword(dsn string) bool {
	if !isURL(dsn) {
		return strings.Contains(dsn, "password")
	}
	rest := dsn[strings.Index(dsn, "://")+3:]
	user, _, ok := strings.Cut(rest, "@")
	return ok && strings.Contains(user, ":") || strings.Contains(rest, "password=")
}

// WithPassword returns the DSN with a password that was kept elsewhere.
func WithPassword(dsn, password string) string {
	if !isURL(dsn) {
		return dsn + " password='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password) + "'"
	}
	var b strings.Builder
	for i := range len(password) {
		fmt.Fprintf(&b, "%%%02X", password[i])
	}
	sep := "?"
	if strings.Contains(dsn, "?") {
		sep = "&"
	}
	return dsn + sep + "password=" + b.String()
}
