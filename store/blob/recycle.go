package blob

import (
	"os"
	"slices"
	"sync"
)

// recycler lets the kernel forget bodies that were written long ago. Left to
// itself, each body takes pages that nobody used before until memory is full;
// in a virtual machine whose host takes free memory back, to fill such a page
// costs four to six times as much (docs/decisions/0006-recycled-pages.md). With the
// oldest pages given back the next bodies get those, which are warm.
//
// Only durable files are given; the pages that readers made are dropped with
// them. Safe for concurrent use; mu is a leaf.
type recycler struct {
	limit int64 // octets that stay; negative: never forgets

	mu     sync.Mutex
	octets int64
	files  []written // oldest first
}

type written struct {
	path   string
	octets int64
}

// adopt takes over what an earlier process wrote last and the kernel may still have.
func (r *recycler) adopt(d *Dir, packs []uint64) {
	for i := len(packs) - 1; i >= 0 && r.octets < r.limit; i-- {
		fi, err := os.Stat(d.packPath(packs[i]))
		if err != nil {
			return
		}
		r.files = append(r.files, written{d.packPath(packs[i]), fi.Size()})
		r.octets += fi.Size()
	}
	slices.Reverse(r.files)
}

// wrote tells of a file that is complete and synced.
func (r *recycler) wrote(path string, octets int64) {
	if r.limit < 0 {
		return
	}
	var old []written
	r.mu.Lock()
	r.files = append(r.files, written{path, octets})
	r.octets += octets
	n := 0
	for ; r.octets > r.limit; n++ {
		r.octets -= r.files[n].octets
	}
	old, r.files = r.files[:n:n], r.files[n:]
	r.mu.Unlock()
	for _, w := range old {
		forget(w.path)
	}
}

// forget drops a file's pages. It is a hint: a file that is gone meanwhile, or
// a kernel that does not listen, does no harm.
func forget(path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	dropPages(f)
}
