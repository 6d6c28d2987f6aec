package db

import (
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/ncruces/go-sqlite3"
)

// maxStmts bounds the statement cache of one connection. The whole store has
// some 200 texts; a caller that builds SQL on the fly must not eat the memory.
const maxStmts = 400

// conn is one connection with its prepared statements.
type conn struct {
	h     *sqlite3.Conn
	stmts map[string]*stmt
	open  int // statements stepped and not yet reset: they pin the WAL
}

// stmt is a cached statement and the row it stands on.
type stmt struct {
	c      *conn
	h      *sqlite3.Stmt
	params int
	writes bool
	dml    bool
	pg     *pgRows // instead of all others: rows of PostgreSQL
	busy   bool    // inside a Rows loop: a second user of the same text gets a statement of its own
	loose  bool    // not in the cache: closed after use
	open   bool
	row    Row
}

// prepare returns the idle statement for sql with args bound.
func (c *conn) prepare(sql string, args []Value) (*stmt, error) {
	s := c.stmts[sql]
	if s == nil || s.busy {
		var err error
		if s, err = c.compile(sql, s != nil); err != nil {
			return nil, err
		}
	}
	if s.open {
		s.reset() // a Row that was never scanned
	}
	if len(args) != s.params {
		s.drop()
		return nil, fmt.Errorf("db: %d arguments for %d parameters: %s", len(args), s.params, sql)
	}
	for i := range args {
		if err := s.bind(i+1, &args[i]); err != nil {
			s.drop()
			return nil, fmt.Errorf("db: bind: %w: %s", err, sql)
		}
	}
	return s, nil
}

func (c *conn) compile(sql string, loose bool) (*stmt, error) {
	h, tail, err := c.h.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT)
	if err != nil {
		return nil, fmt.Errorf("db: prepare: %w: %s", err, sql)
	}
	if h == nil || strings.TrimSpace(tail) != "" {
		h.Close()
		return nil, fmt.Errorf("db: not one statement: %s", sql)
	}
	s := &stmt{c: c, h: h, params: h.BindCount(), writes: !h.ReadOnly(), loose: loose}
	s.row.s = s
	s.dml = s.writes && isDML(sql)
	if !loose {
		c.evict()
		c.stmts[sql] = s
	}
	return s, nil
}

// isDML tells statements that change rows from BEGIN, CREATE and the like,
// after which SQLite's counter still shows the change before.
func isDML(sql string) bool {
	word, _, _ := strings.Cut(strings.TrimLeft(sql, " \t\r\n"), " ")
	word, _, _ = strings.Cut(word, "\n")
	switch strings.ToUpper(strings.TrimSpace(word)) {
	case "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH":
		return true
	}
	return false
}

func (c *conn) evict() {
	if len(c.stmts) < maxStmts {
		return
	}
	for sql, s := range c.stmts {
		if !s.busy && !s.open {
			s.h.Close()
			delete(c.stmts, sql)
			return
		}
	}
}

func (s *stmt) bind(i int, v *Value) error {
	switch v.kind {
	case 1:
		return s.h.BindInt64(i, v.i)
	case 2:
		return s.h.BindText(i, v.s)
	case 3:
		return s.h.BindBlob(i, v.b)
	}
	return s.h.BindNull(i)
}

// step moves to the next row.
func (s *stmt) step() (bool, error) {
	if !s.open {
		s.open = true
		s.c.open++
	}
	if s.h.Step() {
		return true, nil
	}
	err := s.h.Err()
	s.reset()
	if err != nil {
		return false, fmt.Errorf("db: %w: %s", err, s.h.SQL())
	}
	return false, nil
}

func (s *stmt) reset() {
	if s.open {
		s.open = false
		s.c.open--
		s.h.Reset()
	}
}

// drop ends the use of s.
func (s *stmt) drop() {
	s.reset()
	s.busy = false
	if s.loose {
		s.h.Close()
	}
}

// settle resets what a function left standing.
func (c *conn) settle() {
	if c.open == 0 {
		return
	}
	for _, s := range c.stmts {
		s.reset()
		s.busy = false
	}
	c.open = 0 // loose statements live only inside a loop, which has ended
}

func (c *conn) close() error {
	for _, s := range c.stmts {
		s.h.Close()
	}
	clear(c.stmts)
	return c.h.Close()
}

// Exec runs a statement that returns no rows and says how many rows changed.
func (c *Conn) Exec(sql string, args ...Value) (changed int64, err error) {
	if c.pg != nil {
		return c.pg.exec(sql, args)
	}
	s, err := c.prepare(sql, args)
	if err != nil {
		return 0, err
	}
	err = s.h.Exec()
	if s.loose {
		s.drop()
	}
	if err != nil {
		return 0, fmt.Errorf("db: %w: %s", err, sql)
	}
	if s.dml {
		changed = c.h.Changes()
	}
	return changed, nil
}

// Row runs a query for at most one row. The result is good until the same SQL
// runs again; Scan must be called on it.
func (c *Conn) Row(sql string, args ...Value) *Row {
	if c.pg != nil {
		return c.pg.row(sql, args)
	}
	s, err := c.prepare(sql, args)
	if err != nil {
		return &Row{err: err}
	}
	s.row.found, s.row.err = s.step()
	return &s.row
}

// Rows runs a query. Breaking out of the loop resets the statement. The Row
// and the slices RawBytes returns are valid until the next step only. The sequence can be walked once.
func (c *Conn) Rows(sql string, args ...Value) iter.Seq2[*Row, error] {
	return c.query(sql, args).seq()
}

// seq and Rows are small enough to be inlined into the loop, which then allocates nothing.
func (s *stmt) seq() iter.Seq2[*Row, error] {
	return func(yield func(*Row, error) bool) { s.each(yield) }
}

// query binds at once, so that args need not outlive the call.
func (c *Conn) query(sql string, args []Value) *stmt {
	if c.pg != nil {
		return &stmt{pg: c.pg.query(sql, args)}
	}
	s, err := c.prepare(sql, args)
	if err != nil {
		return &stmt{row: Row{err: err}}
	}
	s.row.err = nil
	return s
}

func (s *stmt) each(yield func(*Row, error) bool) {
	if s.pg != nil {
		s.pg.each(yield)
		return
	}
	if s.row.err != nil {
		yield(nil, s.row.err)
		return
	}
	s.busy = true
	defer s.drop()
	for {
		found, err := s.step()
		if err != nil {
			yield(nil, err)
			return
		}
		if !found || !yield(&s.row, nil) {
			return
		}
	}
}

// IsConstraint reports whether err is a violated UNIQUE, PRIMARY KEY, NOT
// NULL, CHECK or foreign key constraint.
func IsConstraint(err error) bool {
	return errors.Is(err, sqlite3.CONSTRAINT) || pgClass(err, "23")
}
