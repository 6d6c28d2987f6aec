package store

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// DatabaseHost is one host of a DSN as a doctor sees it.
type DatabaseHost struct {
	Host    string
	Err     error         // why there is nothing more to say
	Version int           // server_version_num: 150014 is 15.14
	Answers time.Duration // one round trip
	Skew    time.Duration // its clock is so far ahead of ours, give or take Answers
	Clear   bool          // passwords and mail cross a network without TLS
	Primary bool          // takes writes; what follows is about a primary

	Encoding string
	Durable  string // synchronous_commit
	Wanted   string // synchronous_standby_names, "" if commits wait for no other server
	Standbys []Standby
	Commit   time.Duration // median of a durable commit, waiting for standbys included
	NoCommit error         // why there is none
}

// Standby is a server that follows the primary.
type Standby struct {
	Name  string
	Sync  bool // commits wait for it
	State string
	Known bool // we may see what it does; else it is only known to be there
}

// Limits of an examination.
const (
	examineTimeout = 5 * time.Second // for each host
	commitTries    = 15
)

// MinPostgres is the oldest server_version_num that is served.
const MinPostgres = 140000

// ExamineDatabase asks each host of the DSN how it is. It changes nothing: commits are measured with
// messages in the write-ahead log that nobody reads.
func ExamineDatabase(ctx context.Context, dsn string) ([]DatabaseHost, error) {
	c, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return nil, errDSN
	}
	all := append([]*pgconn.FallbackConfig{{Host: c.Host, Port: c.Port, TLSConfig: c.TLSConfig}}, c.Fallbacks...)
	var out []DatabaseHost
	for i, f := range all {
		name := hostPort(f.Host, f.Port)
		if slices.ContainsFunc(out, func(h DatabaseHost) bool { return h.Host == name }) {
			continue
		}
		one := c.Copy()
		one.Host, one.Port, one.TLSConfig = f.Host, f.Port, f.TLSConfig
		one.Fallbacks, one.ValidateConnect = nil, nil
		for _, g := range all[i+1:] {
			if hostPort(g.Host, g.Port) == name { // without TLS
				one.Fallbacks = append(one.Fallbacks, g)
			}
		}
		out = append(out, examine(ctx, name, one))
	}
	return out, nil
}

func examine(ctx context.Context, name string, c *pgconn.Config) (h DatabaseHost) {
	h.Host = name
	ctx, cancel := context.WithTimeout(ctx, examineTimeout)
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, c)
	if err != nil {
		h.Err = err
		return h
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, encrypted := conn.Conn().(*tls.Conn)
	far, _ := conn.Conn().RemoteAddr().(*net.TCPAddr) // nil: a socket of this machine
	h.Clear = !encrypted && far != nil && !far.IP.IsLoopback()
	h.Err = h.ask(ctx, conn)
	return h
}

// What is asked of a server, in the simple protocol: it goes through every kind of pooler.
const (
	sqlWho = `SELECT current_setting('server_version_num'), pg_is_in_recovery()::int, current_setting('server_encoding'),
		current_setting('synchronous_commit'), current_setting('synchronous_standby_names'), (extract(epoch FROM clock_timestamp())*1000000)::bigint`
	sqlStandbys = `SELECT COALESCE(application_name,''), COALESCE(sync_state IN ('sync','quorum'), FALSE)::int, COALESCE(state,''),
		(state IS NOT NULL)::int FROM pg_stat_replication ORDER BY 1`
	sqlMessage = `SELECT pg_logical_emit_message(TRUE, 'bahnpost', 'doctor')`
)

func (h *DatabaseHost) ask(ctx context.Context, conn *pgconn.PgConn) error {
	begin := time.Now()
	rows, err := query(ctx, conn, sqlWho)
	if err != nil {
		return err
	}
	h.Answers = time.Since(begin)
	r := rows[0]
	h.Version, _ = strconv.Atoi(r[0])
	h.Primary, h.Encoding, h.Durable, h.Wanted = r[1] == "0", r[2], r[3], r[4]
	if us, err := strconv.ParseInt(r[5], 10, 64); err == nil {
		h.Skew = time.UnixMicro(us).Sub(begin.Add(h.Answers / 2))
	}
	if !h.Primary {
		return nil
	}
	if rows, err = query(ctx, conn, sqlStandbys); err != nil {
		return err
	}
	for _, r := range rows {
		h.Standbys = append(h.Standbys, Standby{Name: r[0], Sync: r[1] == "1", State: r[2], Known: r[3] == "1"})
	}
	h.Commit, h.NoCommit = commit(ctx, conn)
	return nil
}

// commit measures durable commits.
func commit(ctx context.Context, conn *pgconn.PgConn) (median time.Duration, err error) {
	took := make([]time.Duration, commitTries)
	for i := range took {
		begin := time.Now()
		if _, err := query(ctx, conn, sqlMessage); err != nil {
			return 0, err
		}
		took[i] = time.Since(begin)
	}
	slices.Sort(took)
	return took[commitTries/2], nil
}

func query(ctx context.Context, conn *pgconn.PgConn, sql string) (rows [][]string, err error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	for _, r := range results {
		for _, row := range r.Rows {
			texts := make([]string, len(row))
			for i, v := range row {
				texts[i] = string(v)
			}
			rows = append(rows, texts)
		}
	}
	return rows, nil
}
