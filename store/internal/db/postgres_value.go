package db

import (
	"encoding/binary"
	"fmt"
	"strconv"
)

// pgRows are rows as the server sent them, and the one the reader stands on.
type pgRows struct {
	c      *pgConn
	s      *pgStmt
	sql    string
	portal string // "": the statement runs to its end at once
	limit  int    // rows kept
	max    int    // rows asked for in one round trip
	more   bool
	err    error

	buf   []byte
	cells []pgCell
	n, at int
}

// pgCell is a place in buf; size -1: NULL.
type pgCell struct{ start, size int32 }

func (r *pgRows) name() string {
	if r == nil {
		return ""
	}
	return r.portal
}

func (r *pgRows) reset() { r.buf, r.cells, r.n, r.at = r.buf[:0], r.cells[:0], 0, 0 }

// add copies a row: the message lives in the connection's buffer.
func (r *pgRows) add(values [][]byte) {
	if r.n == r.limit {
		return
	}
	r.n++
	for _, v := range values {
		cell := pgCell{int32(len(r.buf)), int32(len(v))}
		if v == nil {
			cell.size = -1
		}
		r.buf = append(r.buf, v...)
		r.cells = append(r.cells, cell)
	}
}

// reverse turns the order of a portion round.
func (r *pgRows) reverse() {
	w := len(r.s.fields)
	for i, j := 0, r.n-1; i < j; i, j = i+1, j-1 {
		for k := range w {
			r.cells[i*w+k], r.cells[j*w+k] = r.cells[j*w+k], r.cells[i*w+k]
		}
	}
}

// cell returns column i, nil for NULL.
func (r *pgRows) cell(i int) []byte {
	x := r.cells[r.at*len(r.s.fields)+i]
	if x.size < 0 {
		return nil
	}
	return r.buf[x.start : x.start+x.size : x.start+x.size]
}

// int is column i as SQLite would give it: truth is 1, a sum (NUMERIC in PostgreSQL) is a number, text is read as one.
func (r *pgRows) int(i int) int64 {
	b := r.cell(i)
	switch r.s.fields[i] {
	case oidInt8:
		if len(b) == 8 {
			return int64(binary.BigEndian.Uint64(b))
		}
	case oidInt4:
		if len(b) == 4 {
			return int64(int32(binary.BigEndian.Uint32(b)))
		}
	case oidInt2:
		if len(b) == 2 {
			return int64(int16(binary.BigEndian.Uint16(b)))
		}
	case oidBool:
		if len(b) == 1 {
			return int64(b[0])
		}
	case oidNumeric:
		return numeric(b)
	default:
		n, _ := strconv.ParseInt(string(b), 10, 64)
		return n
	}
	return 0
}

// numeric reads the whole part of the binary form: four words of head (digits,
// weight of the first, sign, scale), then digits of base 10000.
func numeric(b []byte) (n int64) {
	if len(b) < 8 {
		return 0
	}
	digits, weight := int(binary.BigEndian.Uint16(b)), int(int16(binary.BigEndian.Uint16(b[2:])))
	for i := 0; i <= weight; i++ {
		n *= 10000
		if i < digits && len(b) >= 10+2*i {
			n += int64(binary.BigEndian.Uint16(b[8+2*i:]))
		}
	}
	const negative = 0x4000
	if binary.BigEndian.Uint16(b[4:]) == negative {
		return -n
	}
	return n
}

// text is column i; a number is written out.
func (r *pgRows) text(i int) string {
	switch r.s.fields[i] {
	case oidInt8, oidInt4, oidInt2, oidBool, oidNumeric:
		if r.cell(i) == nil {
			return ""
		}
		return strconv.FormatInt(r.int(i), 10)
	}
	return string(r.cell(i))
}

// scanPG is Scan.
func (r *Row) scanPG(dest []any) (bool, error) {
	if n := len(r.pg.s.fields); len(dest) != n {
		return false, fmt.Errorf("db: scan of %d columns into %d", n, len(dest))
	}
	for i, d := range dest {
		if err := r.scan(i, d); err != nil {
			return false, fmt.Errorf("db: column %d: %w", i, err)
		}
	}
	r.found = false
	return true, nil
}
