package imap

import (
	"slices"
	"strconv"
)

// NumRange is a range of sequence numbers or UIDs, both ends included. Star
// stands for "*", the largest number in use; it is larger than every number.
type NumRange struct{ Lo, Hi uint32 }

// Star is "*" in a NumRange. As a number it is read as the one before it: no message has either.
const Star = 1<<32 - 1

// NumSet is a sequence set as the client wrote it: unsorted, ranges with Lo <= Hi.
type NumSet struct {
	Ranges []NumRange
	Saved  bool // "$": the saved search result (RFC 9051 §6.4.4.1)
}

// SeqSet reads a sequence-set (RFC 9051 §9): "1,3:7,9:*" or "$".
func (d *Decoder) SeqSet() NumSet {
	if d.Take('$') {
		return NumSet{Saved: true}
	}
	return NumSet{Ranges: d.numRanges(true)}
}

// UIDSet reads a uid-set without "*" and "$" (RFC 7162 §7 known-uids, RFC 9051 uid-set).
func (d *Decoder) UIDSet() []NumRange { return d.numRanges(false) }

func (d *Decoder) numRanges(star bool) []NumRange {
	var rs []NumRange
	for d.err == nil {
		if len(rs) >= MaxRanges {
			d.Fail("sequence set has more than %d ranges", MaxRanges)
			return nil
		}
		lo := d.seqNumber(star)
		hi := lo
		if d.Take(':') {
			hi = d.seqNumber(star)
		}
		if lo > hi {
			lo, hi = hi, lo
		}
		rs = append(rs, NumRange{lo, hi})
		if !d.Take(',') {
			break
		}
	}
	if d.err != nil {
		return nil
	}
	return rs
}

// SeqNumber reads one number or "*", which is Star (RFC 9051 §9 seq-number).
func (d *Decoder) SeqNumber() uint32 { return d.seqNumber(true) }

func (d *Decoder) seqNumber(star bool) uint32 {
	if star && d.Take('*') {
		return Star
	}
	// Clients write 4294967295 where "*" would bring the last message once more ("7:*" when it is 6).
	return min(d.NzNumber(), Star-1)
}

// PartialRange is the range of PARTIAL (RFC 9394 §3.1) or of an ESEARCH PARTIAL
// (RFC 5267 §4.4): positions First..Last counted from 1, from the end if FromEnd.
type PartialRange struct {
	First, Last uint32
	FromEnd     bool
}

// PartialRange reads "1:500" or "-1:-100".
func (d *Decoder) PartialRange() (p PartialRange) {
	p.FromEnd = d.Take('-')
	p.First = d.NzNumber()
	d.Expect(':')
	if p.FromEnd {
		d.Expect('-')
	}
	p.Last = d.NzNumber()
	if p.First > p.Last {
		p.First, p.Last = p.Last, p.First
	}
	return p
}

// AppendPartial prints p as RFC 9394 writes it.
func AppendPartial(b []byte, p PartialRange) []byte {
	sign := ""
	if p.FromEnd {
		sign = "-"
	}
	b = strconv.AppendUint(append(b, sign...), uint64(p.First), 10)
	b = append(append(b, ':'), sign...)
	return strconv.AppendUint(b, uint64(p.Last), 10)
}

// Resolve returns the set sorted and joined with "*" standing for largest. A
// range that touches "*" always includes largest (RFC 9051 §9 seq-range), unless largest is 0.
func Resolve(rs []NumRange, largest uint32) []NumRange {
	out := make([]NumRange, 0, len(rs))
	for _, r := range rs {
		if r.Lo == Star {
			r.Lo = largest
		}
		if r.Hi == Star {
			r.Hi = largest
		}
		if r.Lo > r.Hi {
			r.Lo, r.Hi = r.Hi, r.Lo
		}
		if r.Hi == 0 {
			continue
		}
		r.Lo = max(r.Lo, 1)
		out = append(out, r)
	}
	return Normalize(out)
}

// Normalize sorts rs and joins ranges that touch, in place.
func Normalize(rs []NumRange) []NumRange {
	slices.SortFunc(rs, func(a, b NumRange) int {
		if a.Lo < b.Lo {
			return -1
		}
		if a.Lo > b.Lo {
			return 1
		}
		return 0
	})
	out := rs[:0]
	for _, r := range rs {
		if n := len(out); n > 0 && uint64(r.Lo) <= uint64(out[n-1].Hi)+1 {
			out[n-1].Hi = max(out[n-1].Hi, r.Hi)
			continue
		}
		out = append(out, r)
	}
	return out
}

// AppendRange prints one range, "7" or "3:5", "*" for Star.
func AppendRange(b []byte, lo, hi uint32) []byte {
	b = appendSeqNumber(b, lo)
	if hi != lo {
		b = appendSeqNumber(append(b, ':'), hi)
	}
	return b
}

func appendSeqNumber(b []byte, n uint32) []byte {
	if n == Star {
		return append(b, '*')
	}
	return strconv.AppendUint(b, uint64(n), 10)
}

// AppendRanges prints ranges as a sequence-set.
func AppendRanges(b []byte, rs []NumRange) []byte {
	for i, r := range rs {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendRange(b, r.Lo, r.Hi)
	}
	return b
}
