package message

import "slices"

// ThreadReferences threads by RFC 5256 §3 REFERENCES. It takes O(n log n) for n messages and references
// and does not recurse.
func ThreadReferences(in []ThreadInput) []*Thread {
	t := newThreader(in)
	t.link()
	t.gather()
	t.sortRoots()
	t.mergeSubjects()
	return t.forest()
}

// none is no node.
const none int32 = -1

// threader works on nodes: the messages by their index, behind them dummies. Siblings are a list.
type threader struct {
	in     []ThreadInput
	parent []int32
	first  []int32 // child
	last   []int32
	next   []int32 // sibling
	prev   []int32
	ids    map[string]int32
	splay  linkCut
	roots  []int32
	kids   []int32 // scratch
}

func newThreader(in []ThreadInput) *threader {
	t := &threader{in: in, ids: make(map[string]int32, len(in))}
	for i := range in {
		n := t.node()
		if id := in[i].MessageID; len(id) > 0 {
			if _, dup := t.ids[string(id)]; !dup { // of several messages with one id the first has it
				t.ids[string(id)] = n
			}
		}
	}
	return t
}

func (t *threader) node() int32 {
	t.parent = append(t.parent, none)
	t.first, t.last = append(t.first, none), append(t.last, none)
	t.next, t.prev = append(t.next, none), append(t.prev, none)
	t.splay.add()
	return int32(len(t.parent) - 1)
}

func (t *threader) dummy(n int32) bool { return int(n) >= len(t.in) }

// adopt makes child, which has no parent, the last child of parent.
func (t *threader) adopt(parent, child int32) {
	t.parent[child] = parent
	t.prev[child], t.next[child] = t.last[parent], none
	if t.last[parent] != none {
		t.next[t.last[parent]] = child
	} else {
		t.first[parent] = child
	}
	t.last[parent] = child
}

// leave takes child away from its parent.
func (t *threader) leave(child int32) {
	p, prev, next := t.parent[child], t.prev[child], t.next[child]
	if prev != none {
		t.next[prev] = next
	} else {
		t.first[p] = next
	}
	if next != none {
		t.prev[next] = prev
	} else {
		t.last[p] = prev
	}
	t.parent[child], t.prev[child], t.next[child] = none, none, none
}

// connect links a child that has no parent, unless that made a loop.
func (t *threader) connect(parent, child int32) {
	if parent == child || t.first[child] != none && t.splay.root(parent) == child {
		return
	}
	t.splay.link(child, parent)
	t.adopt(parent, child)
}

// link is step (1).
func (t *threader) link() {
	for i := range t.in {
		last := none
		for _, id := range t.in[i].References {
			n, ok := t.ids[string(id)]
			if !ok {
				n = t.node()
				t.ids[string(id)] = n
			}
			if last != none && t.parent[n] == none { // (A)
				t.connect(last, n)
			}
			last = n
		}
		m := int32(i) // (B)
		if t.parent[m] == last {
			continue
		}
		if t.parent[m] != none {
			t.splay.cut(m)
			t.leave(m)
		}
		if last != none {
			t.connect(last, m)
		}
	}
}

// gather is steps (2) and (3): roots, without needless dummies. Nodes are pruned from the leaves up.
func (t *threader) gather() {
	for n := range t.parent {
		if t.parent[n] == none {
			t.roots = append(t.roots, int32(n))
		}
	}
	order := slices.Clone(t.roots) // parents before children
	for i := 0; i < len(order); i++ {
		for c := t.first[order[i]]; c != none; c = t.next[c] {
			order = append(order, c)
		}
	}
	for _, n := range slices.Backward(order) {
		if !t.dummy(n) || t.parent[n] == none {
			continue
		}
		t.replace(n)
	}
	roots := t.roots[:0]
	for _, n := range t.roots {
		switch {
		case !t.dummy(n):
			roots = append(roots, n)
		case t.first[n] == none:
		case t.first[n] == t.last[n]: // an only child may become a root
			roots = append(roots, t.take(n))
		default:
			roots = append(roots, n)
		}
	}
	t.roots = roots
}

// replace puts the children of the dummy n in its place among its siblings. Their parent is not
// told: in a chain of dummies that would be quadratic. Who takes them further sets it.
func (t *threader) replace(n int32) {
	first, last := t.first[n], t.last[n]
	if first == none {
		t.leave(n)
		return
	}
	p, prev, next := t.parent[n], t.prev[n], t.next[n]
	if prev != none {
		t.next[prev], t.prev[first] = first, prev
	} else {
		t.first[p] = first
	}
	if next != none {
		t.prev[next], t.next[last] = last, next
	} else {
		t.last[p] = last
	}
	t.first[n], t.last[n] = none, none
}

// take takes the first child of n away.
func (t *threader) take(n int32) int32 {
	c := t.first[n]
	t.parent[c] = n
	t.leave(c)
	return c
}

// key is the message whose date and subject a root has: of a dummy, whose children are sorted, the first child.
func (t *threader) key(n int32) int32 {
	if t.dummy(n) {
		return t.first[n]
	}
	return n
}

func (t *threader) compare(a, b int32) int { return byDate(t.in, t.key(a), t.key(b)) }

// sortChildren sorts the children of n by date.
func (t *threader) sortChildren(n int32) {
	c := t.first[n]
	if c == t.last[n] {
		return
	}
	t.kids = t.kids[:0]
	sorted := true
	for ; c != none; c = t.next[c] {
		if k := len(t.kids); k > 0 && byDate(t.in, t.kids[k-1], c) > 0 {
			sorted = false
		}
		t.kids = append(t.kids, c)
	}
	if sorted {
		return
	}
	slices.SortFunc(t.kids, func(a, b int32) int { return byDate(t.in, a, b) })
	t.first[n], t.last[n] = none, none
	for _, c := range t.kids {
		t.adopt(n, c)
	}
}

// sortRoots is step (4).
func (t *threader) sortRoots() {
	for _, n := range t.roots {
		if t.dummy(n) {
			t.sortChildren(n)
		}
	}
	slices.SortStableFunc(t.roots, t.compare)
}

// mergeSubjects is step (5).
func (t *threader) mergeSubjects() {
	table := make(map[string]int32, len(t.roots))
	for _, n := range t.roots { // (B)
		m := t.key(n)
		s := t.in[m].Subject
		if len(s) == 0 {
			continue
		}
		old, ok := table[string(s)]
		if !ok || !t.dummy(old) && (t.dummy(n) || t.in[old].IsReplyOrForward && !t.in[n].IsReplyOrForward) {
			table[string(s)] = n
		}
	}
	gone := make(map[int32]int32) // root → dummy in its place, or none
	for _, n := range t.roots {   // (C)
		if _, ok := gone[n]; ok {
			continue
		}
		s := t.in[t.key(n)].Subject
		if len(s) == 0 {
			continue
		}
		old := table[string(s)]
		if old == n {
			continue
		}
		switch {
		case t.dummy(old) && t.dummy(n):
			for t.first[n] != none {
				t.adopt(old, t.take(n))
			}
			gone[n] = none
		case t.dummy(old), !t.dummy(n) && t.in[n].IsReplyOrForward && !t.in[old].IsReplyOrForward:
			t.adopt(old, n)
			gone[n] = none
		default:
			d := t.node()
			t.adopt(d, old)
			t.adopt(d, n)
			table[string(s)] = d
			gone[old], gone[n] = d, none
		}
	}
	roots := t.roots[:0]
	for _, n := range t.roots {
		if d, ok := gone[n]; !ok {
			roots = append(roots, n)
		} else if d != none {
			roots = append(roots, d)
		}
	}
	t.roots = roots
}

// forest is step (6) and the answer. Only children of top-level dummies have a say in another
// set's order, so the sets can be sorted in any order but those first.
func (t *threader) forest() []*Thread {
	t.sortRoots()
	nodes := make([]Thread, len(t.parent))
	order := slices.Clone(t.roots)
	for i := 0; i < len(order); i++ {
		n := order[i]
		if !t.dummy(n) {
			nodes[n].Num = t.in[n].Num
		}
		t.sortChildren(n)
		k := len(order)
		for c := t.first[n]; c != none; c = t.next[c] {
			order = append(order, c)
		}
		if k < len(order) {
			nodes[n].Children = make([]*Thread, len(order)-k)
			for j, c := range order[k:] {
				nodes[n].Children[j] = &nodes[c]
			}
		}
	}
	forest := make([]*Thread, len(t.roots))
	for i, n := range t.roots {
		forest[i] = &nodes[n]
	}
	return forest
}
