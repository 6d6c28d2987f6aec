package db

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// pgConn is one connection to PostgreSQL. It speaks the extended protocol by
// itself: pgconn logs in, finds the primary and keeps the transaction's state,
// but its own queries end each other, and a loop over rows here may run
// statements inside. So rows come through named portals, a portion at a time.
//
// A statement costs one round trip, the first time too; BEGIN, SAVEPOINT and
// RELEASE cost none, they travel with what comes next.
type pgConn struct {
	h      *pgconn.PgConn
	live   atomic.Pointer[pgconn.PgConn] // h, for interrupt
	redial func(context.Context) (*pgConn, error)
	stmts  map[pgKey]*pgStmt
	names  int             // given to statements and portals so far
	ctx    context.Context // of the running View that can end early
	spoilt bool            // an interrupt may still be on its way
	sync   bool            // commits must be durable

	unordered bool // Config.Unordered

	ahead  int    // control statements sent and not answered
	begin  string // BEGIN that is among them: nothing of the transaction has run
	inTx   bool   // in a transaction, or BEGIN is on its way
	saved  bool   // within a savepoint: the transaction holds the work of others
	failed bool   // the transaction takes no more statements
	wrote  bool   // the transaction has changed rows
	marker marker // of the writer

	params  [][]byte
	numbers []byte // encoded integers of params
}

// pgKey is what a prepared statement is known by. The kinds of the arguments
// belong to it: they are the types of the parameters.
type pgKey struct {
	sql   string
	kinds uint64 // two bits each
}

const maxPgParams = 32

// pgStmt is a prepared statement.
type pgStmt struct {
	name   string
	params int
	fields []uint32 // types of the columns
	known  bool     // the server has prepared it
}

// Types by their number in pg_type.
const (
	oidBool    = 16
	oidBytea   = 17
	oidInt8    = 20
	oidInt2    = 21
	oidInt4    = 23
	oidText    = 25
	oidNumeric = 1700
)

// oids are the types of parameters by the kind of the Value; that of NULL is left to the server.
var oids = [4]uint32{0, oidInt8, oidText, oidBytea}

// reply is what the server said to a statement.
type reply struct {
	tag  string
	more bool // the portal has more rows
	err  error
}

func (c *pgConn) send(m pgproto3.FrontendMessage) { c.h.Frontend().Send(m) }

// prepare returns the statement for sql, which it asks the server to prepare if it is new.
func (c *pgConn) prepare(sql string, args []Value) (*pgStmt, error) {
	k := pgKey{sql: sql}
	if len(args) > maxPgParams {
		return nil, fmt.Errorf("db: %d arguments, at most %d are possible: %s", len(args), maxPgParams, sql)
	}
	for i := range args {
		k.kinds |= uint64(args[i].kind) << (2 * i)
	}
	s := c.stmts[k]
	if s == nil {
		text, params, err := translate(sql)
		if err != nil {
			return nil, err
		}
		s = &pgStmt{params: params}
		if len(args) == params {
			c.evict()
			c.names++
			s.name = "s" + strconv.Itoa(c.names)
			c.stmts[k] = s
			types := make([]uint32, len(args))
			for i := range args {
				types[i] = oids[args[i].kind]
			}
			c.send(&pgproto3.Parse{Name: s.name, Query: text, ParameterOIDs: types})
			c.send(&pgproto3.Describe{ObjectType: 'S', Name: s.name})
		}
	}
	if len(args) != s.params {
		return nil, fmt.Errorf("db: %d arguments for %d parameters: %s", len(args), s.params, sql)
	}
	return s, nil
}

func (c *pgConn) evict() {
	if len(c.stmts) < maxStmts {
		return
	}
	for k, s := range c.stmts {
		c.send(&pgproto3.Close{ObjectType: 'S', Name: s.name})
		delete(c.stmts, k)
		return
	}
}

// start sends a statement, to be run up to max rows (0: all), and what waits before it.
func (c *pgConn) start(sql string, args []Value, portal string, max int) (*pgStmt, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	s, err := c.prepare(sql, args)
	if err != nil {
		return nil, err
	}
	c.send(&pgproto3.Bind{DestinationPortal: portal, PreparedStatement: s.name, ParameterFormatCodes: binaryFormat,
		Parameters: c.encode(args), ResultFormatCodes: binaryFormat})
	c.send(&pgproto3.Execute{Portal: portal, MaxRows: uint32(max)})
	c.send(&pgproto3.Sync{})
	return s, c.flush()
}

var binaryFormat = []int16{pgproto3.BinaryFormat}

// ready says why no statement can run now.
func (c *pgConn) ready() error {
	switch {
	case c.ctx != nil && c.ctx.Err() != nil:
		return fmt.Errorf("db: view: %w", c.ctx.Err())
	case c.h.IsClosed():
		return errors.New("db: connection is closed")
	case c.failed:
		return errAborted
	}
	return nil
}

// encode puts the arguments into the form of the wire.
func (c *pgConn) encode(args []Value) [][]byte {
	c.params = c.params[:0]
	if c.numbers == nil {
		c.numbers = make([]byte, 0, 8*maxPgParams)
	}
	c.numbers = c.numbers[:0]
	for i := range args {
		var p []byte
		switch v := &args[i]; v.kind {
		case 1:
			n := len(c.numbers)
			c.numbers = binary.BigEndian.AppendUint64(c.numbers, uint64(v.i))
			p = c.numbers[n:]
		case 2:
			p = []byte(v.s)
		case 3:
			p = v.b
		}
		c.params = append(c.params, p)
	}
	return c.params
}

// flush sends what is buffered. The write may block behind a large answer only
// if the server has one to give, and each statement waits for its answer.
func (c *pgConn) flush() error {
	if err := c.h.Frontend().Flush(); err != nil {
		c.drop()
		return fmt.Errorf("db: %w", err)
	}
	return nil
}

// receive reads answers up to the server's ReadyForQuery. The rows go to rows, if it is not nil.
func (c *pgConn) receive(s *pgStmt, rows *pgRows) (r reply) {
	for {
		m, err := c.h.ReceiveMessage(context.Background())
		if err != nil {
			c.drop()
			return reply{err: cmp.Or(r.err, fmt.Errorf("db: %w", err))}
		}
		switch m := m.(type) {
		case *pgproto3.ReadyForQuery:
			c.ahead, c.begin = 0, ""
			c.inTx, c.failed = m.TxStatus != 'I', m.TxStatus == 'E'
			c.wrote = c.wrote && c.inTx
			return r
		case *pgproto3.RowDescription:
			s.describe(m)
		case *pgproto3.NoData:
			s.known = true
		case *pgproto3.DataRow:
			if rows != nil {
				rows.add(m)
			}
		case *pgproto3.CommandComplete:
			if c.ahead > 0 {
				c.ahead--
				continue
			}
			r.tag = string(m.CommandTag)
			c.wrote = c.wrote || !bytes.HasPrefix(m.CommandTag, []byte("SELECT"))
		case *pgproto3.PortalSuspended:
			r.more = true
		case *pgproto3.ErrorResponse:
			r.err = cmp.Or(r.err, error(pgconn.ErrorResponseToPgError(m)))
		}
	}
}

func (s *pgStmt) describe(m *pgproto3.RowDescription) {
	if s == nil || s.known {
		return
	}
	s.known = true
	for i := range m.Fields {
		s.fields = append(s.fields, m.Fields[i].DataTypeOID)
	}
}

// run sends a statement and reads its answer. If the connection turns out to be
// lost at the first statement of a transaction (the server was restarted, another
// is the primary now), a new one takes its place: whatever ran was not committed.
func (c *pgConn) run(sql string, args []Value, rows *pgRows, max int) reply {
	begin := c.begin
	r := c.once(sql, args, rows, max)
	if r.err != nil && begin != "" && c.h.IsClosed() && c.again(begin) {
		if rows != nil {
			rows.reset()
		}
		return c.once(sql, args, rows, max)
	}
	return r
}

// again opens the transaction anew on a connection that has a chance.
func (c *pgConn) again(begin string) bool {
	if c.ctx != nil && c.ctx.Err() != nil {
		return false
	}
	return c.reconnect() == nil && c.control(begin) == nil
}

func (c *pgConn) once(sql string, args []Value, rows *pgRows, max int) (r reply) {
	s, err := c.start(sql, args, rows.name(), max)
	if err != nil {
		return reply{err: err}
	}
	if rows != nil {
		rows.s = s
	}
	if r = c.receive(s, rows); r.err != nil {
		c.forget(s)
		r.err = fmt.Errorf("db: %w: %s", r.err, sql)
	}
	return r
}

// forget drops a statement that failed: either the server has not prepared it,
// or its plan may be the fault (a table that a newer program has altered).
func (c *pgConn) forget(s *pgStmt) {
	for k, x := range c.stmts {
		if x == s {
			delete(c.stmts, k)
			if s.known && !c.h.IsClosed() {
				c.send(&pgproto3.Close{ObjectType: 'S', Name: s.name})
			}
			return
		}
	}
}

// exec is Conn.Exec.
func (c *pgConn) exec(sql string, args []Value) (changed int64, err error) {
	switch word, _, _ := strings.Cut(sql, " "); word {
	case "BEGIN":
		return 0, c.control("BEGIN")
	case "SAVEPOINT", "RELEASE":
		c.saved = word == "SAVEPOINT"
		return 0, c.control(sql)
	case "COMMIT", "ROLLBACK":
		c.saved = false
		return 0, c.end(sql)
	}
	r := c.run(sql, args, nil, 0)
	if r.err != nil {
		return 0, r.err
	}
	switch verb, count, _ := strings.Cut(r.tag, " "); verb {
	case "INSERT":
		_, count, _ = strings.Cut(count, " ") // after the oid that no table has any more
		return strconv.ParseInt(count, 10, 64)
	case "UPDATE", "DELETE":
		return strconv.ParseInt(count, 10, 64)
	}
	return 0, nil
}

// control sends a statement that opens a transaction or works within one, together with the next that waits for an answer.
func (c *pgConn) control(sql string) error {
	begins := strings.HasPrefix(sql, "BEGIN")
	if begins && c.h.IsClosed() {
		if err := c.reconnect(); err != nil {
			return err
		}
	}
	if err := c.ready(); err != nil {
		return err
	}
	if begins {
		c.begin = sql
	}
	c.immediately(sql)
	c.ahead++
	c.inTx = true
	return nil
}

// immediately appends a statement without parameters that is not kept.
func (c *pgConn) immediately(sql string) {
	c.send(&pgproto3.Parse{Query: sql})
	c.send(&pgproto3.Bind{})
	c.send(&pgproto3.Execute{})
}

// reconnectPatience bounds one try to find the server again; who waits behind the writer fails with it.
const reconnectPatience = 5 * time.Second

// reconnect takes the place of a connection that was lost: nothing was under way on it.
func (c *pgConn) reconnect() error {
	parent := c.ctx
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, reconnectPatience)
	defer cancel()
	fresh, err := c.redial(ctx)
	if err != nil {
		return fmt.Errorf("db: %w", err)
	}
	c.h, c.stmts = fresh.h, fresh.stmts
	c.live.Store(c.h)
	c.reset()
	return nil
}

// end runs COMMIT, ROLLBACK or ROLLBACK TO.
func (c *pgConn) end(sql string) error {
	commit, begin := sql == "COMMIT", c.begin
	if c.h.IsClosed() {
		return errors.New("db: connection is closed")
	}
	marked := commit && c.wrote && !c.failed
	if marked {
		c.immediately(c.marker.next())
		c.ahead++
	}
	c.immediately(sql)
	c.send(&pgproto3.Sync{})
	err := c.flush()
	if err == nil {
		r := c.receive(nil, nil)
		if err = r.err; err == nil && commit && r.tag != "COMMIT" {
			return errAborted // the server says ROLLBACK to the commit of a failed transaction
		}
	}
	if err != nil && begin != "" && c.h.IsClosed() && c.again(begin) { // nothing was in it
		return c.end(sql)
	}
	switch {
	case !marked || err == nil:
	case c.h.IsClosed():
		return c.outcome(err)
	default:
		c.marker.commit-- // rolled back, with the mark
	}
	return err
}

// script runs several statements without parameters.
func (c *pgConn) script(sql string) error {
	text, params, err := translateScript(sql)
	if err != nil || params > 0 {
		return cmp.Or(err, errors.New("db: a script has no parameters"))
	}
	if err := c.ready(); err != nil {
		return err
	}
	if c.ahead > 0 { // they are of the extended protocol and want their answer first
		c.send(&pgproto3.Sync{})
		if err := c.flush(); err != nil {
			return err
		}
		if r := c.receive(nil, nil); r.err != nil {
			return r.err
		}
	}
	c.send(&pgproto3.Query{String: text})
	if err := c.flush(); err != nil {
		return err
	}
	return c.receive(nil, nil).err
}

// interruptGrace is how long an interrupted server may take to say so before the connection is cut.
const interruptGrace = 5 * time.Second

// interrupt stops the running statement. Called on another goroutine.
func (c *pgConn) interrupt() {
	h := c.live.Load()
	h.Conn().SetDeadline(time.Now().Add(interruptGrace))
	ctx, cancel := context.WithTimeout(context.Background(), interruptGrace)
	defer cancel()
	_ = h.CancelRequest(ctx) // the deadline does it otherwise
}

// drop closes a connection that is of no more use.
func (c *pgConn) drop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c.h.Close(ctx)
	c.reset()
	clear(c.stmts)
}

// reset forgets a transaction that went with its connection.
func (c *pgConn) reset() {
	c.ahead, c.begin = 0, ""
	c.inTx, c.saved, c.failed, c.wrote = false, false, false, false
}

// leave ends the use of a connection; with the writer's, the node goes.
func (c *pgConn) leave() error {
	if c.marker.node != 0 && !c.h.IsClosed() {
		if _, err := c.exec(sqlLeave, []Value{Int(c.marker.node)}); err != nil {
			return errors.Join(err, c.close())
		}
	}
	return c.close()
}

func (c *pgConn) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), interruptGrace)
	defer cancel()
	return c.h.Close(ctx)
}

// row is Conn.Row. The statement has come to its end when it returns.
func (c *pgConn) row(sql string, args []Value) *Row {
	rows := &pgRows{c: c, limit: 1}
	r := c.run(sql, args, rows, 0)
	return &Row{pg: rows, err: r.err, found: r.err == nil && rows.n > 0}
}

const (
	firstRows  = 64   // of a query, in one round trip
	mostRows   = 4096 // later
	portionMax = 1 << 20
)

// query is Conn.Rows; it fetches the first portion.
func (c *pgConn) query(sql string, args []Value) *pgRows {
	c.names++
	rows := &pgRows{c: c, sql: sql, portal: "p" + strconv.Itoa(c.names), limit: math.MaxInt, max: firstRows}
	shuffle := c.unordered && !strings.Contains(sql, "ORDER BY")
	if shuffle {
		rows.max = mostRows
	}
	r := c.run(sql, args, rows, rows.max)
	rows.err, rows.more = r.err, r.more
	if shuffle && r.err == nil {
		rows.reverse()
	}
	return rows
}

// next fetches the next portion.
func (r *pgRows) next() error {
	c := r.c
	if len(r.buf) < portionMax/4 {
		r.max = min(mostRows, 4*r.max)
	}
	r.reset()
	if err := c.ready(); err != nil {
		return err
	}
	c.send(&pgproto3.Execute{Portal: r.portal, MaxRows: uint32(r.max)})
	c.send(&pgproto3.Sync{})
	if err := c.flush(); err != nil {
		return err
	}
	a := c.receive(r.s, r)
	r.more = a.more
	if a.err != nil {
		return fmt.Errorf("db: %w: %s", a.err, r.sql)
	}
	return nil
}

// each yields the rows.
func (r *pgRows) each(yield func(*Row, error) bool) {
	defer r.end()
	row := Row{pg: r}
	for err := r.err; ; err = r.next() {
		if err != nil {
			yield(nil, err)
			return
		}
		for r.at = 0; r.at < r.n; r.at++ {
			if !yield(&row, nil) {
				return
			}
		}
		if !r.more {
			return
		}
	}
}

// end frees the portal with the next statement.
func (r *pgRows) end() {
	if r.s != nil && !r.c.h.IsClosed() {
		r.c.send(&pgproto3.Close{ObjectType: 'P', Name: r.portal})
	}
}
