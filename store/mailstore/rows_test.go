package mailstore

import (
	"math/rand/v2"
	"testing"
)

// Ranges are removed wherever they lie: whole chunks, parts, what is not there.
func TestRowsRemove(t *testing.T) {
	t.Parallel()
	const n = 5 * chunkRows
	r := rand.New(rand.NewPCG(1, 2))
	sets := []UIDSet{{{1, chunkRows}, {chunkRows + 10, chunkRows + 10}}, {{1, n}, {n + 5, n + 9}}, {{chunkRows + 1, 2 * chunkRows}, {n, n + 1}}}
	for range 300 {
		var s UIDSet
		for range 1 + r.IntN(5) {
			lo := UID(1 + r.IntN(n+20))
			s.AddRange(lo, lo+UID(r.IntN(3*chunkRows)))
		}
		sets = append(sets, s)
	}
	for _, s := range sets {
		var l rowList
		want := 0
		for u := range UID(n) {
			l.add(row{uid: u + 1})
			if !s.Contains(u + 1) {
				want++
			}
		}
		l.remove(s)
		got := 0
		l.each(1, maxUID, func(x *row) bool {
			got++
			if s.Contains(x.uid) {
				t.Fatalf("%d is there after %v", x.uid, s)
			}
			return true
		})
		if got != want || l.n != want {
			t.Fatalf("%d rows, counted %d, want %d, after %v", got, l.n, want, s)
		}
	}
}
