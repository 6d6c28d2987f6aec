package db

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// The second engine. The group commit of writer.go and the pool of view.go are
// the same for both; what differs lies in the connection, so Conn, Tx and Row
// ask which of the two they are. They are no interface: arguments and
// functions that pass through one would escape to the heap with each call.

// ErrUnknown says that the connection was lost while a commit was under way:
// the work may be durable or not. The function was not run again.
var ErrUnknown = errors.New("db: connection was lost during a commit, its outcome is not known")

// lockPatience is how long a function goes back to the queue for a row that another node holds, before it fails with ErrAway.
const lockPatience = 20 * time.Second

// errBusy: the row to be locked is another node's now.
var errBusy = errors.New("db: row is locked by another node")

// errAborted: PostgreSQL takes no more statements after a failed one.
var errAborted = errors.New("db: a statement of the update failed and its error was ignored")

// openPostgres is Open for the second engine.
func openPostgres(ctx context.Context, cfg Config) (*DB, error) {
	g, err := newGate(cfg)
	if err != nil {
		return nil, fmt.Errorf("db: open: %w", err)
	}
	c, err := g.open(ctx)
	if err == nil {
		err = c.suits(ctx)
	}
	if err == nil {
		if err = g.pooled(ctx, c); err == nil {
			err = c.register()
		}
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}
	if err != nil {
		g.close()
		return nil, fmt.Errorf("db: open: %w", err)
	}
	d := &DB{core{cfg: cfg, gate: g}}
	d.pool.init(cfg, func(ctx context.Context) (*Conn, error) {
		c, err := g.open(ctx)
		return &Conn{pg: c}, err
	})
	g.node = strconv.FormatInt(c.marker.node, 10)
	g.hints.init(c.schema, c.marker.node)
	d.writer.start(cfg, &Tx{Conn: Conn{pg: c}})
	g.start()
	return d, nil
}

// sessionSettings is what a new connection says first. Parameters of the DSN go there too: a pooler takes few
// at the start of a connection.
func sessionSettings(pc *pgconn.Config, cfg Config) string {
	set := map[string]string{
		// Statements are led by keys, and the merged ones join an array with a table by its key: a plan that was
		// made while the table was small must not read all of it when it has grown.
		"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off",
		"plan_cache_mode": "force_generic_plan",
		// The server shall let go of the locks of a node that it does not hear from. No statement_timeout: it would
		// end the wait of a COMMIT for the standby, and that commit would be said to be durable. Who waits for a lock
		// makes a whole batch wait: after lock_timeout it goes back to the queue.
		"idle_in_transaction_session_timeout": "5s", "lock_timeout": "200ms", "statement_timeout": "0",
		"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3", "tcp_user_timeout": "10000",
	}
	for k, v := range pc.RuntimeParams {
		set[k] = v
	}
	// What a row means must not depend on who set the server up.
	pc.RuntimeParams = map[string]string{"client_encoding": "UTF8", "application_name": "bahnpost"}
	if name := set["application_name"]; name != "" {
		pc.RuntimeParams["application_name"] = name
	}
	if o := set["options"]; o != "" {
		pc.RuntimeParams["options"] = o
	}
	set["standard_conforming_strings"] = "on"
	if cfg.NoSync {
		set["synchronous_commit"] = "off"
	}
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(set)) {
		switch k {
		case "client_encoding", "application_name", "options":
		default:
			fmt.Fprintf(&b, "SELECT set_config('%s','%s',false);", strings.ReplaceAll(k, "'", "''"), strings.ReplaceAll(set[k], "'", "''"))
		}
	}
	return b.String()
}

// pooled refuses a pooler that gives two of our connections the same server's, one transaction each:
// prepared statements, settings and LISTEN live in a connection.
func (g *gate) pooled(ctx context.Context, c *pgConn) error {
	const sqlWho = `SELECT pg_backend_pid()::text`
	for range 3 {
		var one string
		if _, err := c.row(sqlWho, nil).Scan(&one); err != nil {
			return err
		}
		rows, err := g.side.do(ctx, sqlWho)
		if err != nil {
			return err
		}
		if len(rows) == 1 && string(rows[0][0]) == one {
			return errors.New("a pooler shares connections by transaction; it must do so by session (PgBouncer: pool_mode = session)")
		}
	}
	return nil
}

// minPostgres is the oldest server_version_num that is served.
const minPostgres = 140000

// suits refuses a server that could not keep our promises.
func (c *pgConn) suits(context.Context) error {
	var version int
	var encoding, durable string
	for _, q := range []struct {
		sql  string
		dest any
	}{
		{`SELECT current_setting('server_version_num')::bigint`, &version},
		{`SELECT current_setting('server_encoding')`, &encoding},
		{`SELECT current_setting('synchronous_commit')`, &durable},
		{`SELECT current_schema()`, &c.schema},
	} {
		if _, err := c.row(q.sql, nil).Scan(q.dest); err != nil {
			return errors.Join(err, c.close())
		}
	}
	var err error
	switch {
	case version < minPostgres:
		err = fmt.Errorf("PostgreSQL %d is too old, 14 is needed", version/10000)
	case encoding != "UTF8":
		err = fmt.Errorf("the database's encoding is %s, not UTF8", encoding)
	case c.sync && durable == "off":
		err = errors.New("synchronous_commit is off: acknowledged mail could be lost")
	}
	if err != nil {
		return errors.Join(err, c.close())
	}
	return nil
}

// away gives an error that came with the loss of a connection, by which nothing was done, its name.
func away(err error) error {
	if errors.Is(err, ErrAway) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrAway, err)
}

// pgClass reports whether err is the server's, with an SQLSTATE that begins with class.
func pgClass(err error, class string) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && strings.HasPrefix(e.Code, class)
}

const sqlStateCancelled = "57014"

// idle reports whether no transaction is open.
func (c *Conn) idle() bool {
	if c.pg != nil {
		return !c.pg.inTx || c.pg.h.IsClosed()
	}
	return c.h.GetAutocommit()
}

// lost reports whether the connection to a server is gone.
func (c *Conn) lost() bool { return c.pg != nil && c.pg.h.IsClosed() }

// settle resets what a function left standing. On PostgreSQL only the end of the transaction does.
func (c *Conn) settle() {
	if c.pg == nil {
		c.conn.settle()
	}
}

// fit reports whether a reading connection can be used again.
func (c *Conn) fit() bool {
	if c.pg != nil {
		return !c.pg.inTx && !c.pg.spoilt && !c.pg.h.IsClosed()
	}
	return c.h.GetAutocommit()
}

func (c *Conn) close() error {
	if c.pg != nil {
		return c.pg.leave()
	}
	return c.conn.close()
}

// script runs several statements of a migration.
func (tx *Tx) script(sql string) error {
	if tx.pg != nil {
		return tx.pg.script(sql)
	}
	return tx.h.Exec(sql)
}

// first keeps other nodes from migrating until the transaction ends.
func (tx *Tx) first() error {
	if tx.pg == nil {
		return nil // SQLite has one writer
	}
	if _, err := tx.Exec(sqlMigrationPatience); err != nil {
		return err
	}
	_, err := tx.Exec(sqlMigrationLock, Int(migrationLock))
	return err
}

const (
	sqlStartPatience     = `SELECT set_config('lock_timeout', '60s', true)` // another node may be migrating
	sqlMigrationPatience = `SELECT set_config('lock_timeout', '2s', true)`
	sqlMigrationLock     = `SELECT pg_advisory_xact_lock(?)`
	migrationLock        = 0x6261686e706f7374 // "bahnpost" in ASCII
)

// broken finds indexes that a failed build or a corrupt page has left unusable.
const sqlBroken = `SELECT 'index '||indexrelid::regclass::text||' is not valid' FROM pg_index WHERE NOT indisvalid`

// snapshot is the function snapshot for PostgreSQL.
func (c *pgConn) snapshot(ctx context.Context, conn *Conn, fn func(*Conn) error) (err error) {
	if ctx.Done() != nil {
		c.ctx = ctx
		stop := context.AfterFunc(ctx, c.interrupt)
		defer func() {
			c.ctx = nil
			c.spoilt = !stop() // a late interrupt must not hit the next View
		}()
	}
	if err = c.open("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err == nil {
		err = fn(conn)
		c.ctx = nil       // the end must run even when ctx is over
		c.leaveSnapshot() // what was read stands; fit judges the connection
	}
	switch {
	case err == nil:
	case ctx.Err() != nil && (pgClass(err, sqlStateCancelled) || c.h.IsClosed()):
		err = fmt.Errorf("db: view: %w", ctx.Err())
	case c.h.IsClosed() || pgClass(err, sqlStateLocked): // the latter: tables are being changed
		err = away(err)
	}
	return err
}
