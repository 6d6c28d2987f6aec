package mailstore

import (
	"encoding/binary"
	"errors"
	"iter"
	"math"
	"slices"
	"sort"
	"strconv"
)

// UIDSet is a set of UIDs (or sequence numbers) as ascending, disjoint, not adjoining ranges.
// The zero value is empty. Values are not safe for concurrent writing; a set that a
// Change or a result carries is shared and must not be changed.
type UIDSet []UIDRange

// UIDRange includes both ends.
type UIDRange struct{ Lo, Hi UID }

// UIDs returns the set of the given UIDs, in any order.
func UIDs(uids ...UID) UIDSet {
	var s UIDSet
	for _, u := range uids {
		s.Add(u)
	}
	return s
}

// Range returns the set lo..hi; the ends may be in either order (RFC 9051 §9 seq-range).
func Range(lo, hi UID) UIDSet {
	if hi < lo {
		lo, hi = hi, lo
	}
	return UIDSet{{lo, hi}}
}

// Add puts u into s. Adding in ascending order is fast.
func (s *UIDSet) Add(u UID) { s.AddRange(u, u) }

// AddRange puts lo..hi into s; an empty range (hi < lo) adds nothing.
func (s *UIDSet) AddRange(lo, hi UID) {
	if hi < lo {
		return
	}
	t := *s
	if n := len(t); n == 0 || lo > t[n-1].Hi && lo-t[n-1].Hi > 1 {
		*s = append(t, UIDRange{lo, hi})
		return
	} else if lo >= t[n-1].Lo {
		t[n-1].Hi = max(t[n-1].Hi, hi)
		return
	}
	// first range that overlaps or adjoins lo..hi, and the first beyond
	i := sort.Search(len(t), func(i int) bool { return t[i].Hi >= lo || lo-t[i].Hi == 1 })
	j := i + sort.Search(len(t)-i, func(k int) bool { return t[i+k].Lo > hi && t[i+k].Lo-hi > 1 })
	if i == j {
		*s = slices.Insert(t, i, UIDRange{lo, hi})
		return
	}
	t[i] = UIDRange{min(lo, t[i].Lo), max(hi, t[j-1].Hi)}
	*s = slices.Delete(t, i+1, j)
}

// Contains reports whether u is in s.
func (s UIDSet) Contains(u UID) bool {
	if len(s) == 1 {
		return s[0].Lo <= u && u <= s[0].Hi
	}
	i := sort.Search(len(s), func(i int) bool { return s[i].Hi >= u })
	return i < len(s) && s[i].Lo <= u
}

// Count is the number of members.
func (s UIDSet) Count() int {
	n := 0
	for _, r := range s {
		n += int(r.Hi-r.Lo) + 1
	}
	return n
}

// Empty reports whether s has no member.
func (s UIDSet) Empty() bool { return len(s) == 0 }

// Max is the largest member, 0 if empty.
func (s UIDSet) Max() UID {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1].Hi
}

// below counts the members smaller than u.
func (s UIDSet) below(u UID) int {
	n := 0
	for _, r := range s {
		if r.Lo >= u {
			break
		}
		n += int(min(r.Hi, u-1)-r.Lo) + 1
	}
	return n
}

// All yields the members in ascending order.
func (s UIDSet) All() iter.Seq[UID] {
	return func(yield func(UID) bool) {
		for _, r := range s {
			for u := r.Lo; ; u++ {
				if !yield(u) {
					return
				}
				if u == r.Hi {
					break
				}
			}
		}
	}
}

// Clone returns a copy that may be changed.
func (s UIDSet) Clone() UIDSet { return slices.Clone(s) }

// Union returns the members of s or t.
func (s UIDSet) Union(t UIDSet) UIDSet {
	if len(t) == 0 {
		return s.Clone()
	}
	out := make(UIDSet, 0, len(s)+len(t))
	for len(s) > 0 || len(t) > 0 {
		if len(t) == 0 || len(s) > 0 && s[0].Lo <= t[0].Lo {
			out.AddRange(s[0].Lo, s[0].Hi)
			s = s[1:]
		} else {
			out.AddRange(t[0].Lo, t[0].Hi)
			t = t[1:]
		}
	}
	return out
}

// Intersect returns the members of both s and t.
func (s UIDSet) Intersect(t UIDSet) UIDSet {
	var out UIDSet
	for len(s) > 0 && len(t) > 0 {
		out.AddRange(max(s[0].Lo, t[0].Lo), min(s[0].Hi, t[0].Hi))
		if s[0].Hi < t[0].Hi {
			s = s[1:]
		} else {
			t = t[1:]
		}
	}
	return out
}

// Subtract returns the members of s that are not in t.
func (s UIDSet) Subtract(t UIDSet) UIDSet {
	var out UIDSet
	for _, r := range s {
		for len(t) > 0 && t[0].Hi < r.Lo {
			t = t[1:]
		}
		lo, open := r.Lo, true
		for _, x := range t {
			if x.Lo > r.Hi {
				break
			}
			if x.Lo > lo {
				out.AddRange(lo, x.Lo-1)
			}
			if x.Hi >= r.Hi {
				open = false
				break
			}
			lo = x.Hi + 1
		}
		if open {
			out.AddRange(lo, r.Hi)
		}
	}
	return out
}

// Equal reports whether both have the same members.
func (s UIDSet) Equal(t UIDSet) bool { return slices.Equal(s, t) }

// String is the set as IMAP writes it: "1:3,7"; "" if empty.
func (s UIDSet) String() string { return string(s.Append(nil)) }

// Append appends the set as IMAP writes it.
func (s UIDSet) Append(b []byte) []byte {
	for i, r := range s {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(r.Lo), 10)
		if r.Hi != r.Lo {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(r.Hi), 10)
		}
	}
	return b
}

// encode appends the stored form: for each range the distance from the end of the one before and its length less one, as varints.
func (s UIDSet) encode(b []byte) []byte {
	var last UID
	for _, r := range s {
		b = binary.AppendUvarint(b, uint64(r.Lo-last))
		b = binary.AppendUvarint(b, uint64(r.Hi-r.Lo))
		last = r.Hi
	}
	return b
}

var errBadSet = errors.New("mailstore: damaged uid set")

// decodeUIDSet reads what encode wrote.
func decodeUIDSet(b []byte) (UIDSet, error) {
	var s UIDSet
	var last uint64
	for len(b) > 0 {
		d, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errBadSet
		}
		l, m := binary.Uvarint(b[n:])
		if m <= 0 || d > math.MaxUint32 || l > math.MaxUint32 || last+d+l > math.MaxUint32 {
			return nil, errBadSet
		}
		b = b[n+m:]
		s.AddRange(UID(last+d), UID(last+d+l))
		last += d + l
	}
	return s, nil
}
