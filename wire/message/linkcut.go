package message

// linkCut answers which root a node hangs from while links come and go: link-cut trees of Sleator and
// Tarjan, O(log n) amortised, so that the search for loops is not quadratic in a long thread.
type linkCut struct {
	kid [][2]int32 // of the splay tree: 0 nearer to the root
	up  []int32    // in the splay tree, or the path's parent
}

func (l *linkCut) add() {
	l.kid = append(l.kid, [2]int32{none, none})
	l.up = append(l.up, none)
}

// side tells which child of its splay parent n is, none if it is a splay root.
func (l *linkCut) side(n int32) int32 {
	if p := l.up[n]; p != none {
		if l.kid[p][0] == n {
			return 0
		}
		if l.kid[p][1] == n {
			return 1
		}
	}
	return none
}

func (l *linkCut) rotate(n int32) {
	p := l.up[n]
	s, ps := l.side(n), l.side(p)
	g := l.up[p]
	c := l.kid[n][1-s]
	l.kid[p][s] = c
	if c != none {
		l.up[c] = p
	}
	l.kid[n][1-s], l.up[p] = p, n
	l.up[n] = g
	if ps != none {
		l.kid[g][ps] = n
	}
}

func (l *linkCut) splay(n int32) {
	for s := l.side(n); s != none; s = l.side(n) {
		p := l.up[n]
		if ps := l.side(p); ps == s {
			l.rotate(p)
		} else if ps != none {
			l.rotate(n)
		}
		l.rotate(n)
	}
}

// access makes the path from n to its root one splay tree with n on top.
func (l *linkCut) access(n int32) {
	below := none
	for at := n; at != none; at = l.up[at] {
		l.splay(at)
		l.kid[at][1] = below
		below = at
	}
	l.splay(n)
}

func (l *linkCut) root(n int32) int32 {
	l.access(n)
	for l.kid[n][0] != none {
		n = l.kid[n][0]
	}
	l.splay(n)
	return n
}

// link hangs the root child from parent.
func (l *linkCut) link(child, parent int32) {
	l.access(child)
	l.up[child] = parent
}

// cut takes child from its parent.
func (l *linkCut) cut(child int32) {
	l.access(child)
	if p := l.kid[child][0]; p != none {
		l.up[p] = none
		l.kid[child][0] = none
	}
}
