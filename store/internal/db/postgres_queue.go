package db

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// What a connection has to say and need not wait for: BEGIN, savepoints, what
// Send was given. It is kept until its answer is there, and goes to the server in
// one piece together with the next statement that waits, or with COMMIT. If the connection
// turns out to be lost and BEGIN is still among it, all of it is said again on another.

// queued is a statement that waits to be sent.
type queued struct {
	sql  string
	s    *pgStmt // nil for what opens or ends something
	key  int64   // whose it is, 0 if nobody knows
	args []Value // kept in pgConn.args
	want int64   // rows to be changed, AnyCount
}

// pending is a statement that was sent, whose answer is to come.
type pending struct {
	s    *pgStmt   // nil for a statement without parameters that is not kept
	rows *pgRows   // where its rows go, if anybody wants them
	each []*pgRows // … by their first column
	want int64     // rows to be changed, AnyCount
	sql  string
	own  bool // of the running member, or of nobody else
}

// most statements sent before the server's answers are read: these must fit into
// the buffers between us, or both sides would wait for each other to read.
const pipelineMax = 1000

// queueUp is Tx.Send.
func (c *pgConn) queueUp(want int64, sql string, args []Value) error {
	if err := c.ready(); err != nil {
		return err
	}
	if isControl(sql) {
		return errors.New("db: not within a transaction: " + sql)
	}
	s, err := c.mergeable(sql, args)
	if err != nil {
		return err
	}
	c.outdate(sql)
	c.enqueue(sql, args, max(want, AnyCount))
	q := &c.queue[len(c.queue)-1]
	q.s, q.key = s, c.member.key
	return nil
}

// mergeable is lookup, and finds the text that does the same for many.
func (c *pgConn) mergeable(sql string, args []Value) (*pgStmt, error) {
	s, err := c.lookup(sql, args)
	if err == nil && !s.parsed {
		s.parsed = true
		s.many, s.runs = many(s.text, args)
	}
	return s, err
}

// enqueue puts a statement into the queue.
func (c *pgConn) enqueue(sql string, args []Value, want int64) {
	n := len(c.args)
	c.args = append(c.args, args...)
	c.queue = append(c.queue, queued{sql: sql, args: c.args[n:len(c.args):len(c.args)], want: want})
}

// forgetQueue empties the queue.
func (c *pgConn) forgetQueue() {
	clear(c.queue)
	clear(c.args)
	c.queue, c.args, c.member.mark, c.begin = c.queue[:0], c.args[:0], 0, ""
}

// cut takes back what was queued since mark.
func (c *pgConn) cut() {
	clear(c.queue[c.member.mark:])
	c.queue = c.queue[:c.member.mark]
}

// sendQueue puts the queue into the buffer to be sent.
func (c *pgConn) sendQueue() error {
	for i := 0; i < len(c.queue); {
		if end := c.runEnd(i); end > i+1 && !c.singly {
			if err := c.sendRun(i, end); err != nil {
				return err
			}
			i = end
			continue
		}
		if err := c.sendOne(i); err != nil {
			return err
		}
		i++
	}
	return nil
}

// sendOne puts one statement of the queue into the buffer.
func (c *pgConn) sendOne(i int) error {
	q := &c.queue[i]
	p := pending{want: q.want, sql: q.sql, own: i >= c.member.mark}
	if q.s == nil {
		c.immediately(q.sql)
		return c.sent(p)
	}
	s, err := c.prepare(q.sql, q.args)
	if err != nil {
		return err
	}
	c.bind("", s, q.args)
	c.execute("", 0)
	p.s, c.wrote = s, true
	return c.sent(p)
}

// sent notes that a statement is in the buffer, and sends it if there are many.
func (c *pgConn) sent(p pending) error {
	if c.pending = append(c.pending, p); len(c.pending) >= pipelineMax {
		return c.exchange().err
	}
	return nil
}

// exchange sends what is in the buffer and reads the answers.
func (c *pgConn) exchange() (r reply) {
	c.send(&c.syncMsg)
	if err := c.flush(); err != nil {
		return reply{err: err}
	}
	return c.receive()
}

// isControl reports whether sql opens a transaction, ends one or works within it.
func isControl(sql string) bool {
	switch word, _, _ := strings.Cut(sql, " "); word {
	case "BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK", "COMMIT":
		return true
	}
	return false
}

// blame finds whose the error of the first pending statement is.
func (c *pgConn) blame(err error) error {
	if len(c.pending) == 0 {
		return err
	}
	p := &c.pending[0]
	err = fmt.Errorf("db: %w: %s", err, p.sql)
	if p.own {
		c.member.fault = cmp.Or(c.member.fault, err)
	} else {
		c.member.foreign = cmp.Or(c.member.foreign, err)
	}
	c.forget(p.s)
	if p.s != nil && pgClass(err, "42") {
		p.s.refused = true // if it is a merged text: never again
	}
	return err
}

// answered takes the answer of the first pending statement.
func (c *pgConn) answered(tag []byte) (err error) {
	if len(c.pending) == 0 {
		return nil // a script
	}
	if p := &c.pending[0]; p.want != AnyCount {
		if n := affected(tag); n != p.want {
			err = c.blame(fmt.Errorf("%w (%d, not %d)", ErrCount, n, p.want))
		}
	}
	c.wrote = c.wrote || c.pending[0].s != nil && !bytes.HasPrefix(tag, []byte("SELECT"))
	c.pending = c.pending[1:]
	return err
}

// whole runs talk, which begins with the queue. If the connection turns out to be
// lost (the server was restarted, another is the primary now) and all of the transaction
// was in the queue, it is said again on a new connection: whatever ran was not committed.
func (c *pgConn) whole(talk func() reply) reply {
	first := c.begin != ""
	r := talk()
	if r.err != nil && first && c.h.IsClosed() && c.again() {
		r = talk()
	}
	c.forgetQueue()
	return r
}

// again finds a connection that has a chance.
func (c *pgConn) again() bool {
	if c.ctx != nil && c.ctx.Err() != nil {
		return false
	}
	if c.reconnect() != nil {
		return false
	}
	c.inTx, c.member.fault, c.member.foreign = true, nil, nil
	for i := range c.queue {
		if q := &c.queue[i]; q.s != nil {
			q.s, _ = c.mergeable(q.sql, q.args)
		}
	}
	return true
}

// settleQueue sends what waits and waits for it.
func (c *pgConn) settleQueue() error {
	if len(c.queue) == 0 {
		return nil
	}
	if err := c.ready(); err != nil {
		return err
	}
	return c.whole(func() reply {
		if err := c.sendQueue(); err != nil {
			return reply{err: err}
		}
		return c.exchange()
	}).err
}

// affected is the number of rows in the answer to a statement.
func affected(tag []byte) (n int64) {
	i := len(tag)
	for i > 0 && '0' <= tag[i-1] && tag[i-1] <= '9' {
		i--
	}
	for _, d := range tag[i:] {
		n = 10*n + int64(d-'0')
	}
	return n
}

// bind and execute put a message into the buffer.
func (c *pgConn) bind(portal string, s *pgStmt, args []Value) {
	c.encode(args)
	c.bindParams(portal, s)
}

func (c *pgConn) bindParams(portal string, s *pgStmt) {
	c.bindMsg = pgproto3.Bind{DestinationPortal: portal, PreparedStatement: s.name, ParameterFormatCodes: binaryFormat,
		Parameters: c.params, ResultFormatCodes: binaryFormat}
	c.send(&c.bindMsg)
}

func (c *pgConn) execute(portal string, max int) {
	c.executeMsg = pgproto3.Execute{Portal: portal, MaxRows: uint32(max)}
	c.send(&c.executeMsg)
}
