package db

import (
	"fmt"
	"math"
	"reflect"

	"github.com/ncruces/go-sqlite3"
)

// Row is the current row.
type Row struct {
	s     *stmt
	pg    *pgRows // instead of s: a row of PostgreSQL
	err   error
	found bool
}

// Int returns column i as an integer, 0 for NULL.
func (r *Row) Int(i int) int64 {
	if r.pg != nil {
		return r.pg.int(i)
	}
	return r.s.h.ColumnInt64(i)
}

// Text returns a copy of column i, "" for NULL.
func (r *Row) Text(i int) string {
	if r.pg != nil {
		return r.pg.text(i)
	}
	return r.s.h.ColumnText(i)
}

// Bytes returns a copy of column i, nil for NULL.
func (r *Row) Bytes(i int) []byte {
	if r.Null(i) {
		return nil
	}
	raw := r.RawBytes(i)
	b := make([]byte, len(raw))
	copy(b, raw)
	return b
}

// RawBytes returns column i without copying; valid until the next step.
func (r *Row) RawBytes(i int) []byte {
	if r.pg != nil {
		return r.pg.cell(i)
	}
	return r.s.h.ColumnRawBlob(i)
}

// Null reports whether column i is NULL.
func (r *Row) Null(i int) bool {
	if r.pg != nil {
		return r.pg.cell(i) == nil
	}
	return r.s.h.ColumnType(i) == sqlite3.NULL
}

// Scan copies the columns into pointers (*int64 *int *uint32 *string *[]byte
// *bool and other integers, and named kinds of all these) and reports whether
// there was a row. NULL is the zero value. An integer that does not fit is an
// error. It may be called only on the result of Conn.Row.
func (r *Row) Scan(dest ...any) (found bool, err error) {
	if r.err != nil || !r.found {
		if r.s != nil && r.s.loose {
			r.s.drop()
		}
		return false, r.err
	}
	if r.pg != nil {
		return r.scanPG(dest)
	}
	s := r.s
	defer s.drop()
	if n := s.h.ColumnCount(); len(dest) != n {
		return false, fmt.Errorf("db: scan of %d columns into %d: %s", n, len(dest), s.h.SQL())
	}
	for i, d := range dest {
		if err := r.scan(i, d); err != nil {
			return false, fmt.Errorf("db: column %d: %w: %s", i, err, s.h.SQL())
		}
	}
	r.found = false
	if s.writes { // RETURNING: let the statement come to its end, where constraints may still speak
		for more := true; more; {
			if more, err = s.step(); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

func (r *Row) scan(i int, dest any) error {
	switch d := dest.(type) {
	case *int64:
		*d = r.Int(i)
	case *string:
		*d = r.Text(i)
	case *[]byte:
		*d = r.Bytes(i)
	case *bool:
		*d = r.Int(i) != 0
	case *int:
		*d = int(r.Int(i))
	case *uint32:
		v := r.Int(i)
		if v < 0 || v > math.MaxUint32 {
			return fmt.Errorf("%d does not fit", v)
		}
		*d = uint32(v)
	default:
		return r.scanKind(i, dest)
	}
	return nil
}

// scanKind fills named and rarer kinds by reflection.
func (r *Row) scanKind(i int, dest any) error {
	p := reflect.ValueOf(dest)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return fmt.Errorf("cannot scan into %v", reflect.TypeOf(dest)) // not %T: dest must not escape
	}
	v := p.Elem()
	switch {
	case v.CanInt():
		n := r.Int(i)
		if v.OverflowInt(n) {
			return fmt.Errorf("%d does not fit %s", n, v.Type())
		}
		v.SetInt(n)
	case v.CanUint():
		n := r.Int(i)
		if v.Kind() != reflect.Uint64 && (n < 0 || v.OverflowUint(uint64(n))) {
			return fmt.Errorf("%d does not fit %s", n, v.Type())
		}
		v.SetUint(uint64(n)) // 64 bits: the same bits that Int bound
	case v.Kind() == reflect.String:
		v.SetString(r.Text(i))
	case v.Kind() == reflect.Bool:
		v.SetBool(r.Int(i) != 0)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		v.SetBytes(r.Bytes(i))
	default:
		return fmt.Errorf("cannot scan into %v", v.Type())
	}
	return nil
}
