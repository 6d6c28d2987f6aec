package mailstore

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestUIDSet compares with a set of booleans.
func TestUIDSet(t *testing.T) {
	t.Parallel()
	const n = 40
	rnd := rand.New(rand.NewPCG(3, 4))
	random := func() (s UIDSet, m [n + 1]bool) {
		for range rnd.IntN(8) {
			lo := UID(1 + rnd.IntN(n))
			hi := min(lo+UID(rnd.IntN(6)), n)
			s.AddRange(lo, hi)
			for u := lo; u <= hi; u++ {
				m[u] = true
			}
		}
		return s, m
	}
	check := func(what string, s UIDSet, want func(int) bool) {
		t.Helper()
		for i, r := range s {
			if r.Hi < r.Lo || i > 0 && (r.Lo <= s[i-1].Hi || r.Lo-s[i-1].Hi < 2) {
				t.Fatalf("%s: not canonical: %v", what, s)
			}
		}
		count, below := 0, 0
		for u := 1; u <= n; u++ {
			if s.below(UID(u)) != below {
				t.Fatalf("%s: below %d in %v", what, u, s)
			}
			if s.Contains(UID(u)) != want(u) {
				t.Fatalf("%s: %v contains %d", what, s, u)
			}
			if want(u) {
				count++
				below++
			}
		}
		if s.Count() != count || len(slices.Collect(s.All())) != count {
			t.Fatalf("%s: count of %v", what, s)
		}
		back, err := decodeUIDSet(s.encode(nil))
		if err != nil || !back.Equal(s) {
			t.Fatalf("%s: %v decoded as %v %v", what, s, back, err)
		}
	}
	for range 3000 {
		a, x := random()
		b, y := random()
		check("add", a, func(u int) bool { return x[u] })
		check("union", a.Union(b), func(u int) bool { return x[u] || y[u] })
		check("intersect", a.Intersect(b), func(u int) bool { return x[u] && y[u] })
		check("subtract", a.Subtract(b), func(u int) bool { return x[u] && !y[u] })
	}
	top := Range(maxUID, 5)
	top.Add(maxUID)
	if top.String() != "5:4294967295" || !top.Subtract(Range(7, maxUID)).Equal(Range(5, 6)) || slices.Collect(Range(maxUID, maxUID).All())[0] != maxUID {
		t.Error("the highest UID")
	}
}

func FuzzDecodeUIDSet(f *testing.F) {
	f.Add([]byte{1, 0, 2, 5})
	f.Add(Range(1, maxUID).encode(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeUIDSet(b)
		if err != nil {
			return
		}
		again, err := decodeUIDSet(s.encode(nil))
		if err != nil || !again.Equal(s) {
			t.Errorf("%v, %v, %v", s, again, err)
		}
	})
}
