package imapd

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"unsafe"

	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
	"bahnpost/wire/message"
)

// sortArena is how much text is gathered into one allocation.
const sortArena = 256 << 10

// ranking holds what messages are sorted by (RFC 5256 §3): a column for each criterion. Memory is what the keys
// need: 100,000 subjects are about 4 MB.
type ranking struct {
	by    []imap.Sorter
	texts [][]string // by criterion; nil for numbers
	nums  [][]int64  // by criterion; nil for texts
	heads []uint64   // first octets of the first criterion, comparable
	arena arena
}

// noKeys stands for a message that is gone.
var noKeys message.SortKeys

// newRanking has room for n messages.
func newRanking(by []imap.Sorter, n int) *ranking {
	by = firsts(by)
	r := &ranking{by: by, texts: make([][]string, len(by)), nums: make([][]int64, len(by)), heads: make([]uint64, 0, n)}
	for i, s := range by {
		if textual(s.Key) {
			r.texts[i] = make([]string, 0, n)
		} else {
			r.nums[i] = make([]int64, 0, n)
		}
	}
	return r
}

// firsts leaves out what can't change the order: a criterion that came before.
// A thousand of them would be a thousand columns.
func firsts(by []imap.Sorter) []imap.Sorter {
	out := make([]imap.Sorter, 0, len(by))
	for _, s := range by {
		if !slices.ContainsFunc(out, func(o imap.Sorter) bool { return o.Key == s.Key }) {
			out = append(out, s)
		}
	}
	return out
}

func textual(k imap.SortKey) bool {
	switch k {
	case imap.SortArrival, imap.SortDate, imap.SortSize, imap.SortRelevancy:
		return false
	}
	return true
}

// needsMeta reports whether the index rows do not have all that by compares.
func needsMeta(by []imap.Sorter) bool {
	for _, s := range by {
		if textual(s.Key) || s.Key == imap.SortDate {
			return true
		}
	}
	return false
}

// add appends the keys of a message; keys may be nil if needsMeta says so.
func (r *ranking) add(row *mailstore.Row, keys *message.SortKeys, score int) {
	for i, s := range r.by {
		if textual(s.Key) {
			r.texts[i] = append(r.texts[i], string0(r.arena.keep(textOf(s.Key, keys))))
			continue
		}
		r.nums[i] = append(r.nums[i], numberOf(s.Key, row, keys, score))
	}
	n := len(r.heads)
	if r.texts[0] != nil {
		r.heads = append(r.heads, head(r.texts[0][n]))
	} else {
		r.heads = append(r.heads, uint64(r.nums[0][n])^1<<63)
	}
}

// arena gathers many small texts in few allocations.
type arena struct{ b []byte }

// keep copies b; what it returns never changes.
func (a *arena) keep(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	if len(b) > sortArena/8 {
		return slices.Clone(b)
	}
	if len(b) > cap(a.b)-len(a.b) {
		a.b = make([]byte, 0, sortArena)
	}
	a.b = append(a.b, b...)
	return a.b[len(a.b)-len(b) : len(a.b) : len(a.b)]
}

func head(s string) uint64 {
	var b [8]byte
	copy(b[:], s)
	return binary.BigEndian.Uint64(b[:])
}

func textOf(k imap.SortKey, keys *message.SortKeys) []byte {
	switch k {
	case imap.SortCc:
		return keys.Cc
	case imap.SortFrom:
		return keys.From
	case imap.SortTo:
		return keys.To
	case imap.SortSubject:
		return keys.Subject
	case imap.SortDisplayFrom:
		return keys.DisplayFrom
	}
	return keys.DisplayTo
}

func numberOf(k imap.SortKey, row *mailstore.Row, keys *message.SortKeys, score int) int64 {
	switch k {
	case imap.SortArrival:
		return row.Internal
	case imap.SortSize:
		return int64(row.Size)
	case imap.SortRelevancy:
		return -int64(score) // RFC 6203 §6: the highest score comes first
	}
	return sentDate(row, keys)
}

// sentDate is RFC 5256 §2.2: INTERNALDATE stands in for a Date that is no date.
func sentDate(row *mailstore.Row, keys *message.SortKeys) int64 {
	if keys.SentDateOK {
		return keys.SentDate
	}
	return row.Internal
}

// compare orders two messages by their index in the ranking; equal ones by mailbox order, which is that of the indexes.
func (r *ranking) compare(a, b int32) int {
	if c := r.compareKeys(a, b); c != 0 {
		return c
	}
	return cmp.Compare(a, b)
}

// compareKeys is compare without the last resort.
func (r *ranking) compareKeys(a, b int32) int {
	if x, y := r.heads[a], r.heads[b]; x != y {
		if (x < y) != r.by[0].Reverse {
			return -1
		}
		return 1
	}
	for i, s := range r.by {
		var c int
		if t := r.texts[i]; t != nil {
			c = strings.Compare(t[a], t[b])
		} else {
			c = cmp.Compare(r.nums[i][a], r.nums[i][b])
		}
		if c != 0 {
			if s.Reverse {
				return -c
			}
			return c
		}
	}
	return 0
}

// order returns the indexes in sorted order.
func (r *ranking) order() []int32 {
	out := make([]int32, len(r.heads))
	for i := range out {
		out[i] = int32(i)
	}
	slices.SortFunc(out, r.compare)
	return out
}

// rank gathers the sort keys of rows, in mailbox order.
func rank(ctx context.Context, box *mailstore.Box, rows []mailstore.Row, by []imap.Sorter, scores map[mailstore.UID]int) (*ranking, []mailstore.Row, error) {
	r := newRanking(by, len(rows))
	if !needsMeta(by) {
		for i := range rows {
			r.add(&rows[i], nil, scores[rows[i].UID])
		}
		return r, rows, nil
	}
	kept := rows[:0:len(rows)]
	i := 0
	for m, err := range box.Metas(ctx, rows) {
		if err != nil {
			return nil, nil, err
		}
		for rows[i].Message != m.Message { // expunged meanwhile
			if i++; i == len(rows) {
				return r, kept, nil
			}
		}
		keys := m.Summary.SortKeys()
		r.add(&rows[i], &keys, scores[rows[i].UID])
		kept = append(kept, rows[i])
		i++
	}
	return r, kept, nil
}

// string0 is b, which never changes, as a string without a copy.
func string0(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
