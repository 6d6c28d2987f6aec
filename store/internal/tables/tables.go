// Package tables carries rows from one database to another and compares them,
// whichever engines the two stand on. It knows no table: its callers, the
// stores, describe theirs.
//
// What is carried in one call may be large: rows go in steps of a few hundred, each durable.
// A step that comes a second time meets its own keys, so whoever starts again clears first.
package tables

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash"
	"strings"

	"bahnpost/store/internal/db"
)

// kind of a column.
type kind uint8

const (
	integer kind = iota
	text
	octets
)

// Table is a table, or the part of it that Where leaves.
type Table struct {
	Name    string
	Columns []string
	kinds   []kind

	read, insert, clear string
	scoped              bool
}

// New describes a table. columns are names with the kind of what they hold, an
// integer unless ":t" (text) or ":b" (octets) follows: "account_id name:t value:b". order is the list of columns by
// which rows are read, unique for each row. where may have one parameter (scoped) or none.
func New(name, columns, order, where string) *Table {
	t := &Table{Name: name, scoped: strings.Contains(where, "?")}
	for f := range strings.FieldsSeq(columns) {
		column, k, _ := strings.Cut(f, ":")
		t.Columns = append(t.Columns, column)
		t.kinds = append(t.kinds, map[string]kind{"": integer, "t": text, "b": octets}[k])
	}
	if where != "" {
		where = " WHERE " + where
	}
	list := strings.Join(t.Columns, ", ")
	t.read = "SELECT " + list + " FROM " + name + where + " ORDER BY " + order
	t.insert = "INSERT INTO " + name + " (" + list + ") VALUES (" + strings.TrimSuffix(strings.Repeat("?,", len(t.Columns)), ",") + ")"
	t.clear = "DELETE FROM " + name + where
	return t
}

// Join describes rows of several tables, which can be read only; name goes into the digest.
func Join(name, from, columns, order, where string) *Table {
	t := New(from, columns, order, where)
	t.Name = name
	return t
}

func (t *Table) args(scope int64) []db.Value {
	if t.scoped {
		return []db.Value{db.Int(scope)}
	}
	return nil
}

// values copies a row.
func (t *Table) values(r *db.Row) []db.Value {
	out := make([]db.Value, len(t.kinds))
	for i, k := range t.kinds {
		switch {
		case r.Null(i):
		case k == integer:
			out[i] = db.Int(r.Int(i))
		case k == text:
			out[i] = db.Text(r.Text(i))
		default:
			out[i] = db.Blob(r.Bytes(i))
		}
	}
	return out
}

// step is how many rows go in one commit, and stepBytes about how many octets.
const (
	step      = 500
	stepBytes = 1 << 20
)

// Copy carries the rows of scope from one database to the other, and returns how
// many there were. key says whose they are (db.UpdateFor).
func (t *Table) Copy(ctx context.Context, from, to *db.DB, scope, key int64, each func(rows int)) (n int64, err error) {
	var rows [][]db.Value
	size := 0
	flush := func() error {
		if len(rows) == 0 {
			return nil
		}
		err := to.UpdateFor(ctx, key, nil, func(tx *db.Tx) error {
			for _, r := range rows {
				tx.Send(1, t.insert, r...)
			}
			return nil
		}, nil)
		n += int64(len(rows))
		if err == nil && each != nil {
			each(len(rows))
		}
		rows, size = rows[:0], 0
		return err
	}
	err = from.View(ctx, func(c *db.Conn) error {
		for r, err := range c.Rows(t.read, t.args(scope)...) {
			if err != nil {
				return err
			}
			rows = append(rows, t.values(r))
			for i, k := range t.kinds {
				if k != integer {
					size += len(r.RawBytes(i))
				}
			}
			if len(rows) == step || size >= stepBytes {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		return flush()
	})
	if err != nil {
		err = fmt.Errorf("copy of %s: %w", t.Name, err)
	}
	return n, err
}

// Clear deletes the rows of scope.
func (t *Table) Clear(tx *db.Tx, scope int64) error {
	_, err := tx.Exec(t.clear, t.args(scope)...)
	return err
}

// Digest adds the rows of scope to h, in their order, and returns how many there
// are. It is the same for the same rows on either engine.
func (t *Table) Digest(c *db.Conn, h hash.Hash, scope int64) (n int64, err error) {
	h.Write([]byte(t.Name))
	for r, err := range c.Rows(t.read, t.args(scope)...) {
		if err != nil {
			return n, err
		}
		n++
		add(h, r, t.kinds)
	}
	return n, nil
}

// add adds a row's columns to h.
func add(h hash.Hash, r *db.Row, kinds []kind) {
	var head [9]byte
	for i, k := range kinds {
		var b []byte
		switch {
		case r.Null(i):
			head[0] = 'N'
			h.Write(head[:1])
			continue
		case k == integer:
			head[0] = 'I'
			binary.BigEndian.PutUint64(head[1:], uint64(r.Int(i)))
			h.Write(head[:])
			continue
		}
		b = r.RawBytes(i)
		head[0] = 'O'
		binary.BigEndian.PutUint64(head[1:], uint64(len(b)))
		h.Write(head[:])
		h.Write(b)
	}
}
