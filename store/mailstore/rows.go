package mailstore

import "sort"

// row is a Row packed into 40 octets.
type row struct {
	flags  Flags // with moreBit
	modseq ModSeq
	date   int64 // packDate
	uid    UID
	size   uint32
	msg    uint32
	saved  uint32 // Unix seconds, good until 2106
}

// moreBit marks, in memory and in msgidx.flags, a row with keywords in kw_more.
const moreBit Flags = 1 << 7

// zoneBits hold the zone in minutes, biased, in the low end of a packed date.
const (
	zoneBits = 12
	zoneBias = 1 << (zoneBits - 1)
)

func packDate(unix int64, zone int16) int64 { return unix<<zoneBits | int64(zone+zoneBias) }
func unpackDate(d int64) (unix int64, zone int16) {
	return d >> zoneBits, int16(d&(1<<zoneBits-1)) - zoneBias
}

func (r *row) row() Row {
	unix, zone := unpackDate(r.date)
	return Row{UID: r.uid, Size: r.size, Zone: zone, HasMore: r.flags&moreBit != 0, Message: MessageID(r.msg),
		ModSeq: r.modseq, Flags: r.flags &^ moreBit, Internal: unix, Saved: int64(r.saved)}
}

// chunkRows bounds what an expunge moves and an append copies, whatever the mailbox's size.
const chunkRows = 512

const rowBytes = 40

// rowList is the index of a mailbox in ascending UID order, in chunks.
type rowList struct {
	chunks [][]row
	starts []int // rows before each chunk
	n      int
}

// add appends a row with a UID above all others.
func (l *rowList) add(r row) {
	k := len(l.chunks) - 1
	if k < 0 || len(l.chunks[k]) >= chunkRows {
		l.chunks = append(l.chunks, nil)
		l.starts = append(l.starts, l.n)
		k++
	}
	l.chunks[k] = append(l.chunks[k], r)
	l.n++
}

// seek returns the place of the first row with a UID of at least uid.
func (l *rowList) seek(uid UID) (chunk, i int) {
	chunk = sort.Search(len(l.chunks), func(k int) bool { c := l.chunks[k]; return c[len(c)-1].uid >= uid })
	if chunk == len(l.chunks) {
		return chunk, 0
	}
	c := l.chunks[chunk]
	return chunk, sort.Search(len(c), func(i int) bool { return c[i].uid >= uid })
}

// find returns the row of uid, nil if there is none.
func (l *rowList) find(uid UID) *row {
	k, i := l.seek(uid)
	if k == len(l.chunks) || l.chunks[k][i].uid != uid {
		return nil
	}
	return &l.chunks[k][i]
}

// rank counts the rows with a smaller UID.
func (l *rowList) rank(uid UID) int {
	k, i := l.seek(uid)
	if k == len(l.chunks) {
		return l.n
	}
	return l.starts[k] + i
}

// at returns the i-th row, 0 <= i < n.
func (l *rowList) at(i int) *row {
	k := sort.Search(len(l.starts), func(k int) bool { return l.starts[k] > i }) - 1
	return &l.chunks[k][i-l.starts[k]]
}

// each calls fn for the rows lo <= uid <= hi until it returns false.
func (l *rowList) each(lo, hi UID, fn func(*row) bool) bool {
	k, i := l.seek(lo)
	for ; k < len(l.chunks); k, i = k+1, 0 {
		c := l.chunks[k]
		for ; i < len(c); i++ {
			if c[i].uid > hi {
				return true
			}
			if !fn(&c[i]) {
				return false
			}
		}
	}
	return true
}

// remove takes the rows of set away.
func (l *rowList) remove(set UIDSet) {
	for _, r := range set {
		k, i := l.seek(r.Lo)
		emptied := false
		for k < len(l.chunks) {
			c := l.chunks[k]
			j := i
			for j < len(c) && c[j].uid <= r.Hi {
				j++
			}
			if j == i {
				break
			}
			done := j < len(c)
			l.n -= j - i
			l.chunks[k] = append(c[:i], c[j:]...)
			emptied = emptied || len(l.chunks[k]) == 0
			if done {
				break
			}
			k, i = k+1, 0
		}
		if emptied {
			l.tidy() // seek looks at the ends of chunks
		}
	}
	l.tidy()
}

// tidy drops empty chunks, joins small neighbours and counts anew.
func (l *rowList) tidy() {
	out, n := l.chunks[:0], 0
	l.starts = l.starts[:0]
	for _, c := range l.chunks {
		if len(c) == 0 {
			continue
		}
		if k := len(out) - 1; k >= 0 && len(out[k])+len(c) <= chunkRows/4 {
			out[k] = append(out[k], c...)
		} else {
			out = append(out, c)
			l.starts = append(l.starts, n)
		}
		n += len(c)
	}
	clear(l.chunks[len(out):])
	l.chunks, l.n = out, n
}

// bytes is what the list costs.
func (l *rowList) bytes() int64 {
	var n int64
	for _, c := range l.chunks {
		n += int64(cap(c))*rowBytes + 32
	}
	return n
}
