package db

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// What became of a commit whose answer was lost? Each node has a row with the
// number of its last commit, which is raised in the same transaction, in the same
// message as COMMIT, and only if it is the one before. After a lost answer the
// node takes the number itself, on another connection: if it gets it, the commit
// did not happen and, should the old server process yet read it from its socket,
// never will; if not, the commit is there. Where the server waits for a standby's
// word before it answers, that holds across a failover too: the new primary has
// the row and the rows or neither.
//
// A node deletes its row when it closes; one that was killed leaves it behind.

// marker is a node's row in db_nodes.
type marker struct{ node, commit int64 }

const (
	sqlNodes    = `CREATE TABLE IF NOT EXISTS db_nodes(node INTEGER PRIMARY KEY, commits INTEGER NOT NULL)`
	sqlRegister = `INSERT INTO db_nodes(node, commits) VALUES(?,0)`
	sqlLeave    = `WITH k AS (DELETE FROM db_knows WHERE node=?1), a AS (DELETE FROM db_alive WHERE node=?1) DELETE FROM db_nodes WHERE node=?1`
	sqlHello    = `INSERT INTO db_alive VALUES(?, clock_timestamp())`
	sqlTake     = `UPDATE db_nodes SET commits=?3 WHERE node=?1 AND commits=?2`
	sqlTouch    = `UPDATE db_nodes SET commits=commits WHERE node=?`
	sqlCommits  = `SELECT commits FROM db_nodes WHERE node=?`

	// sqlWriter is said by the writer's connection, the only one that holds locks: a machine that loses its power or its network
	// in the middle of a batch holds up who wants the same accounts for no longer. A writer that was merely
	// slow runs its batch again. Views may stand for longer: who reads them does other things meanwhile.
	sqlWriter = `SELECT set_config('idle_in_transaction_session_timeout', '1500ms', false)`

	// sqlMark fails if the number was taken: nothing is divided by zero.
	sqlMark = `WITH m AS (UPDATE db_nodes SET commits=?3 WHERE node=?1 AND commits=?2 RETURNING 1) SELECT 1/count(*) FROM m`
)

// raise puts the statement that raises the number into the buffer.
func (c *pgConn) raise() error {
	m := &c.marker
	m.commit++
	args := [3]Value{Int(m.node), Int(m.commit - 1), Int(m.commit)}
	s, err := c.prepare(sqlMark, args[:])
	if err != nil {
		return err
	}
	c.bind("", s, args[:])
	c.execute("", 0)
	c.pending = append(c.pending, pending{s: s, want: AnyCount, sql: sqlMark, own: true})
	return nil
}

// register makes the node's row.
func (c *pgConn) register() error {
	if err := c.open("BEGIN"); err != nil {
		return err
	}
	if _, err := c.exec(sqlStartPatience, nil); err != nil {
		return err
	}
	if _, err := c.exec(sqlMigrationLock, []Value{Int(migrationLock)}); err != nil {
		return err
	}
	if err := c.script(sqlNodes + ";" + sqlLeases + ";" + sqlBeats + ";" + sqlAlive); err != nil {
		return err
	}
	node := rand.Int64()
	if _, err := c.exec(sqlRegister, []Value{Int(node)}); err != nil {
		return err
	}
	if _, err := c.exec(sqlHello, []Value{Int(node)}); err != nil {
		return err
	}
	c.wrote = false // the row cannot mark the commit that makes it
	if err := c.end("COMMIT"); err != nil {
		return err
	}
	if _, err := c.exec(sqlWriter, nil); err != nil {
		return err
	}
	c.marker.node = node
	return nil
}

// rewound finds out whether a commit failed because this node's row is not where its commits have brought it: the database was
// restored from a backup, or a server took over that had not heard of them; or the row is gone because the node was away
// for so long that others took it for dead. Whatever it knows may be of a past that did not happen.
func (c *pgConn) rewound(fault error) error {
	if e, ok := errors.AsType[*pgconn.PgError](fault); !ok || e.Code != divisionByZero {
		return fault
	}
	if err := c.end("ROLLBACK"); err != nil {
		return fault
	}
	var now int64
	if found, err := c.row(sqlCommits, []Value{Int(c.marker.node)}).Scan(&now); err != nil || found && now == c.marker.commit {
		return fault
	}
	return c.g.rewind(c.marker.commit, now)
}

// divisionByZero is the SQLSTATE of a failed sqlMark.
const divisionByZero = "22012"

// rewind notes that the database is behind us, for good.
func (g *gate) rewind(ours, now int64) error {
	g.rewindOnce.Do(func() { close(g.rewound) })
	return fmt.Errorf("%w: %w: this node's row is at commit %d, not %d", ErrAway, ErrRewound, now, ours)
}

const (
	outcomePatience = 30 * time.Second // for a failover: a Patroni cluster takes 20 s
	outcomePause    = 100 * time.Millisecond
)

// outcome finds out what became of the last commit, whose answer was lost with
// the connection: nil if it is durable. Nothing else of this node goes on meanwhile.
func (c *pgConn) outcome(fault error) error {
	ctx, cancel := context.WithTimeout(context.Background(), outcomePatience)
	defer cancel()
	pause := time.NewTicker(outcomePause)
	defer pause.Stop()
	for {
		done, err := c.settled()
		if err == nil && done {
			return nil
		}
		if err == nil {
			return away(fmt.Errorf("db: connection was lost before the commit: %w", fault))
		}
		if errors.Is(err, ErrRewound) {
			return fmt.Errorf("%w: %w", ErrUnknown, errors.Join(fault, err))
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnknown, errors.Join(fault, err))
		}
	}
}

// confirm is for a commit that the server said yes to with a warning: it may have stopped to wait for
// the standby. What it waits for next comes after it.
func (c *pgConn) confirm() error {
	c.forgetQueue()
	c.warned = false
	_, err := c.exec(sqlTouch, []Value{Int(c.marker.node)})
	if err == nil && !c.warned {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUnknown, cmp.Or(err, errors.New("the server does not wait for its standby")))
}

// settled reports whether the last commit is there, and keeps it from coming later if it is not.
func (c *pgConn) settled() (done bool, err error) {
	if c.h.IsClosed() {
		if err := c.reconnect(); err != nil {
			return false, err
		}
	}
	m := &c.marker
	taken, err := c.exec(sqlTake, []Value{Int(m.node), Int(m.commit - 1), Int(m.commit + 1)})
	if err != nil {
		return false, err
	}
	if taken == 1 {
		m.commit++
		return false, nil
	}
	var now int64
	if _, err := c.row(sqlCommits, []Value{Int(m.node)}).Scan(&now); err != nil {
		return false, err
	}
	switch now {
	case m.commit: // and on the standby, once this is
		if _, err := c.exec(sqlTouch, []Value{Int(m.node)}); err != nil {
			return false, err
		}
		return true, nil
	case m.commit + 1: // taken by a try whose own answer was lost
		m.commit++
		return false, nil
	}
	return false, c.g.rewind(m.commit, now)
}
