package db

import (
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
	g      *gate
	stale  atomic.Bool  // it may lead to a server that hangs
	since  atomic.Int64 // when the answer that is waited for was asked for, Unix ns; 0: none is
	stmts  map[pgKey]*pgStmt
	names  int             // given to statements and portals so far
	ctx    context.Context // of the running View that can end early
	spoilt bool            // an interrupt may still be on its way
	sync   bool            // commits must be durable

	unordered bool // Config.Unordered
	encodeErr error

	queue   []queued
	args    []Value   // of the queue
	pending []pending // sent and not answered, in order
	begin   string    // BEGIN that is in the queue: nothing of the transaction has run
	inTx    bool      // in a transaction, or BEGIN is queued
	failed  bool      // the transaction takes no more statements
	heard   bool      // the server has answered within it
	warned  bool      // … with a warning
	owed    bool      // the answer to a ROLLBACK is still to be read
	wrote   bool      // the transaction has changed rows
	marker  marker    // of the writer
	schema  string    // where its tables are
	member  member
	locks   map[string][2]string // see locking

	hasty  bool          // a lock was waited for in this batch, for too long: no other is
	singly bool          // a batch is run again: nothing is merged
	lanes  []lane        // scratch of sendRun and its like
	laneOf map[int64]int // … by key
	chain  []int
	group  []int
	cuts   []int
	asks   []asking

	out        []byte // to be sent
	params     [][]byte
	arena      []byte // encoded arguments
	bindMsg    pgproto3.Bind
	executeMsg pgproto3.Execute
	syncMsg    pgproto3.Sync
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
	name   string // "" until the server was asked to prepare it
	text   string // for the server
	params int
	kinds  []uint32 // types of the arguments as they were asked for
	fields []uint32 // types of the columns
	known  bool     // the server has prepared it

	parsed   bool    // many and runs are set
	many     *pgStmt // the same for arrays, nil if there is no such
	runs     bool    // … in which one key may have several
	question bool    // … a query, whose first column is the place in the arrays
	rest     *pgStmt // … and the other columns
	refused  bool    // the server did not take the text
	left     int     // scratch of sendRun: how many are queued,
	heads    int     // and how many of them may run next
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

// send puts a message into the buffer.
func (c *pgConn) send(m pgproto3.FrontendMessage) {
	if out, err := m.Encode(c.out); err == nil {
		c.out = out
	} else {
		c.encodeErr = cmp.Or(c.encodeErr, err)
	}
}

// lookup returns the statement for sql, which the server may not know yet.
func (c *pgConn) lookup(sql string, args []Value) (*pgStmt, error) {
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
		s = &pgStmt{text: text, params: params}
		for i := range args {
			s.kinds = append(s.kinds, oids[args[i].kind])
		}
		if len(args) == params {
			c.evict()
			c.stmts[k] = s
		}
	}
	if len(args) != s.params {
		return nil, fmt.Errorf("db: %d arguments for %d parameters: %s", len(args), s.params, sql)
	}
	return s, nil
}

// prepare returns the statement for sql, which it asks the server to prepare if it is new.
func (c *pgConn) prepare(sql string, args []Value) (*pgStmt, error) {
	s, err := c.lookup(sql, args)
	if err == nil {
		c.name(s)
	}
	return s, err
}

// name has the server prepare s if it has not.
func (c *pgConn) name(s *pgStmt) {
	if s.name != "" {
		return
	}
	c.names++
	s.name = "s" + strconv.Itoa(c.names)
	c.send(&pgproto3.Parse{Name: s.name, Query: s.text, ParameterOIDs: s.kinds})
	c.send(&pgproto3.Describe{ObjectType: 'S', Name: s.name})
}

func (c *pgConn) evict() {
	if len(c.stmts) < maxStmts {
		return
	}
	for k, s := range c.stmts {
		if s.name != "" {
			c.send(&pgproto3.Close{ObjectType: 'S', Name: s.name})
		}
		delete(c.stmts, k)
		return
	}
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

// encode puts the arguments into the form of the wire, in c.params; good until the next call.
func (c *pgConn) encode(args []Value) {
	c.params, c.arena = c.params[:0], c.arena[:0]
	for i := range args {
		var p []byte
		n := len(c.arena)
		switch v := &args[i]; v.kind {
		case 1:
			c.arena = binary.BigEndian.AppendUint64(c.arena, uint64(v.i))
			p = c.arena[n:]
		case 2:
			c.arena = append(c.arena, v.s...)
			p = c.arena[n:len(c.arena):len(c.arena)]
			if p == nil {
				p = []byte{}
			}
		case 3:
			p = v.b
		}
		c.params = append(c.params, p)
	}
}

// keepBuffer is how much of the buffer for sending is kept for the next time.
const keepBuffer = 1 << 20

// flush sends what is buffered. The write may block behind a large answer only
// if the server has one to give, and each statement waits for its answer.
func (c *pgConn) flush() error {
	err := c.encodeErr
	c.since.Store(time.Now().UnixNano())
	if err == nil {
		_, err = c.h.Conn().Write(c.out)
	}
	if c.out = c.out[:0]; cap(c.out) > keepBuffer {
		c.out = nil
	}
	if err != nil {
		c.drop()
		return fmt.Errorf("db: %w", err)
	}
	return nil
}

// receive reads answers up to the server's ReadyForQuery.
func (c *pgConn) receive() (r reply) {
	defer c.since.Store(0)
	for {
		m, err := c.h.ReceiveMessage(context.Background())
		if err != nil {
			c.drop()
			return reply{err: cmp.Or(r.err, fmt.Errorf("db: %w", err))}
		}
		switch m := m.(type) {
		case *pgproto3.ReadyForQuery:
			c.pending, c.heard = c.pending[:0], true
			c.inTx, c.failed = m.TxStatus != 'I', m.TxStatus == 'E'
			c.wrote = c.wrote && c.inTx
			if r.err != nil {
				c.forgetUnknown()
			}
			return r
		case *pgproto3.RowDescription:
			c.asked().s.describe(m)
		case *pgproto3.NoData:
			c.asked().s.describe(nil)
		case *pgproto3.DataRow:
			c.asked().take(m.Values)
		case *pgproto3.CommandComplete:
			r.tag = string(m.CommandTag)
			r.err = cmp.Or(r.err, c.answered(m.CommandTag))
		case *pgproto3.EmptyQueryResponse:
			r.err = cmp.Or(r.err, c.answered(nil))
		case *pgproto3.NoticeResponse:
			c.warned = c.warned || m.SeverityUnlocalized == "WARNING"
		case *pgproto3.PortalSuspended:
			r.more = true
		case *pgproto3.ErrorResponse:
			r.err = cmp.Or(r.err, c.blame(pgconn.ErrorResponseToPgError(m)))
		}
	}
}

// take keeps a row of the answer.
func (p *pending) take(values [][]byte) {
	switch {
	case p.rows != nil:
		p.rows.add(values)
	case len(p.each) > 0 && len(values) > 0 && len(values[0]) == 8:
		if n := binary.BigEndian.Uint64(values[0]); n-1 < uint64(len(p.each)) {
			p.each[n-1].add(values[1:])
		}
	}
}

// asked is the statement that the server answers.
func (c *pgConn) asked() *pending {
	if len(c.pending) == 0 {
		return &pending{}
	}
	return &c.pending[0]
}

func (s *pgStmt) describe(m *pgproto3.RowDescription) {
	if s == nil || s.known {
		return
	}
	s.known = true
	if m == nil {
		return
	}
	s.fields = s.fields[:0]
	for i := range m.Fields {
		s.fields = append(s.fields, m.Fields[i].DataTypeOID)
	}
	if s.question {
		s.rest = &pgStmt{fields: s.fields[1:]}
	}
}

// run sends a statement, after what is queued, and reads its answer.
func (c *pgConn) run(sql string, args []Value, rows *pgRows, max int) reply {
	if err := c.ready(); err != nil {
		return reply{err: err}
	}
	if _, err := c.lookup(sql, args); err != nil {
		return reply{err: err}
	}
	c.guard(sql)
	return c.whole(func() reply {
		if err := c.sendQueue(); err != nil {
			return reply{err: err}
		}
		s, err := c.prepare(sql, args)
		if err != nil {
			return reply{err: err}
		}
		c.bind(rows.name(), s, args)
		c.execute(rows.name(), max)
		c.pending = append(c.pending, pending{s: s, rows: rows, want: AnyCount, sql: sql, own: true})
		if rows != nil {
			rows.reset()
			rows.s = s
		}
		return c.exchange()
	})
}

// forget drops a statement that failed: its plan may be the fault (a table that a newer program has altered).
func (c *pgConn) forget(s *pgStmt) {
	if s == nil {
		return
	}
	if s.known && !c.h.IsClosed() {
		c.send(&pgproto3.Close{ObjectType: 'S', Name: s.name})
	}
	for k, x := range c.stmts {
		if x == s {
			delete(c.stmts, k)
			return
		}
	}
	s.name, s.known = "", false // a merged one
}

// forgetUnknown drops the statements that the server has not come to prepare.
func (c *pgConn) forgetUnknown() {
	for k, s := range c.stmts {
		if m := s.many; m != nil && !m.known {
			m.name = ""
		}
		if s.name != "" && !s.known {
			delete(c.stmts, k)
		}
	}
}

// exec is Conn.Exec.
func (c *pgConn) exec(sql string, args []Value) (changed int64, err error) {
	switch {
	case strings.HasPrefix(sql, "BEGIN"):
		return 0, c.open("BEGIN")
	case sql == "COMMIT" || sql == "ROLLBACK":
		return 0, c.end(sql)
	case isControl(sql):
		return 0, errors.New("db: not within a transaction: " + sql)
	}
	c.outdate(sql)
	r := c.run(sql, args, nil, 0)
	if r.err != nil || strings.HasPrefix(r.tag, "SELECT") {
		return 0, r.err
	}
	return affected([]byte(r.tag)), nil
}

// open begins a transaction with the next statement that waits for an answer.
func (c *pgConn) open(begin string) error {
	if c.stale.Load() && !c.h.IsClosed() {
		c.h.Conn().Close() // no farewell: nobody may read it
		c.drop()
	}
	if c.owed && !c.h.IsClosed() {
		if c.receive(); c.inTx { // it did not end: a cancel request came late
			c.drop()
		}
	}
	c.owed = false
	if c.h.IsClosed() {
		if err := c.reconnect(); err != nil {
			return err
		}
	}
	if err := c.ready(); err != nil {
		return err
	}
	c.forgetQueue()
	c.enqueue(begin, nil, AnyCount)
	c.member = member{}
	c.begin, c.inTx, c.heard = begin, true, false
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
	h, err := c.g.connect(ctx)
	if err != nil {
		return fmt.Errorf("db: %w", err)
	}
	if c.marker.node != 0 {
		if err := h.Exec(ctx, sqlWriter).Close(); err != nil {
			h.Close(ctx)
			return fmt.Errorf("db: %w", err)
		}
	}
	c.h, c.stmts = h, make(map[pgKey]*pgStmt)
	c.live.Store(c.h)
	c.stale.Store(false)
	c.out = c.out[:0]
	c.reset()
	return nil
}

// end runs COMMIT, after what is queued, or ROLLBACK, instead of it.
func (c *pgConn) end(sql string) error {
	if c.h.IsClosed() {
		c.forgetQueue()
		return errors.New("db: connection is closed")
	}
	if sql == "COMMIT" {
		return c.commit()
	}
	if c.begin != "" { // nothing was sent
		c.forgetQueue()
		c.inTx = false
		return nil
	}
	c.forgetQueue()
	c.immediately(sql)
	c.pending = append(c.pending, pending{want: AnyCount, sql: sql, own: true})
	return c.exchange().err
}

// leaveSnapshot ends a View's transaction. Nobody waits for the answer: it is read when the connection is used again.
func (c *pgConn) leaveSnapshot() {
	if c.begin != "" || c.h.IsClosed() {
		_ = c.end("ROLLBACK") // nothing was sent
		return
	}
	c.forgetQueue()
	c.immediately("ROLLBACK")
	c.pending = append(c.pending, pending{want: AnyCount, sql: "ROLLBACK", own: true})
	c.send(&c.syncMsg)
	if c.flush() == nil {
		c.owed, c.inTx, c.failed = true, false, false
	}
	c.since.Store(0)
}

// commit sends what is queued together with COMMIT, unless a count must be looked at before.
func (c *pgConn) commit() error {
	c.member = member{}
	for i := range c.queue {
		if c.queue[i].want != AnyCount {
			if err := c.settleQueue(); err != nil {
				return err
			}
			break
		}
	}
	marked, first := false, c.begin != ""
	err := c.sendQueue()
	if err == nil {
		if marked = c.wrote && !c.failed; marked {
			err = c.raise()
		}
		c.immediately("COMMIT")
		c.pending = append(c.pending, pending{want: AnyCount, sql: "COMMIT", own: true})
	}
	if err == nil {
		c.warned = false
		r := c.exchange()
		if err = r.err; err == nil && r.tag != "COMMIT" {
			err = errAborted // the server says ROLLBACK to the commit of a failed transaction
		}
		if err == nil && c.warned && marked {
			return c.confirm()
		}
	}
	queue, args := c.queue, c.args
	lost := err != nil && c.h.IsClosed()
	switch {
	case lost && marked:
		c.queue, c.args, c.begin = nil, nil, ""
		if err = c.outcome(err); err == nil || errors.Is(err, ErrUnknown) {
			return err
		}
	case err != nil && marked:
		c.marker.commit-- // rolled back, with the mark
		c.forgetQueue()
		return c.rewound(err)
	}
	if lost && first && (!c.h.IsClosed() || c.again()) { // and nothing of it is there
		c.queue, c.args, c.inTx = queue, args, true
		return c.commit()
	}
	c.forgetQueue()
	return err
}

// script runs several statements without parameters.
func (c *pgConn) script(sql string) error {
	text, params, err := translateScript(sql)
	if err != nil || params > 0 {
		return cmp.Or(err, errors.New("db: a script has no parameters"))
	}
	if err := c.settleQueue(); err != nil { // it is of the extended protocol and wants its answer first
		return err
	}
	if err := c.ready(); err != nil {
		return err
	}
	c.send(&pgproto3.Query{String: text})
	if err := c.flush(); err != nil {
		return err
	}
	return c.receive().err
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

// cutOff ends the wait for an answer. Called on another goroutine.
func (c *pgConn) cutOff() { c.live.Load().Conn().SetDeadline(time.Now()) }

// drop closes a connection that is of no more use.
func (c *pgConn) drop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c.h.Close(ctx)
	c.since.Store(0)
	c.reset()
	clear(c.stmts)
}

// reset forgets a transaction that went with its connection.
func (c *pgConn) reset() {
	c.pending, c.encodeErr = c.pending[:0], nil
	c.inTx, c.failed, c.wrote = false, false, false
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
	c.g.forget(c)
	ctx, cancel := context.WithTimeout(context.Background(), interruptGrace)
	defer cancel()
	return c.h.Close(ctx)
}

// row is Conn.Row. The statement has come to its end when it returns.
func (c *pgConn) row(sql string, args []Value) *Row {
	if a := c.tell(sql, args, false); a != nil {
		return a.rows.one(nil)
	}
	c.outdate(sql)
	return c.ask(sql, args)
}

func (c *pgConn) ask(sql string, args []Value) *Row {
	rows := &pgRows{c: c, limit: 1}
	return rows.one(c.run(sql, args, rows, 0).err)
}

// one is the first of the rows.
func (r *pgRows) one(err error) *Row { return &Row{pg: r, err: err, found: err == nil && r.n > 0} }

const (
	maxInt     = math.MaxInt
	firstRows  = 64   // of a query, in one round trip
	mostRows   = 4096 // later
	portionMax = 1 << 20
)

// query is Conn.Rows; it fetches the first portion.
func (c *pgConn) query(sql string, args []Value) *pgRows {
	shuffle := c.unordered && !strings.Contains(sql, "ORDER BY")
	if a := c.tell(sql, args, false); a != nil {
		if shuffle {
			a.rows.reverse()
		}
		return a.rows
	}
	c.outdate(sql)
	c.names++
	rows := &pgRows{c: c, sql: sql, portal: "p" + strconv.Itoa(c.names), limit: maxInt, max: firstRows}
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
	c.execute(r.portal, r.max)
	c.pending = append(c.pending, pending{s: r.s, rows: r, want: AnyCount, sql: r.sql, own: true})
	a := c.exchange()
	r.more = a.more
	return a.err
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
	if r.portal != "" && !r.c.h.IsClosed() {
		r.c.send(&pgproto3.Close{ObjectType: 'P', Name: r.portal})
	}
}
