package imap

import (
	"cmp"
	"slices"
	"strconv"
)

// Bounds of THREAD=REFERENCES, against mailboxes made to hurt. Honest ones stay far below.
const (
	// MaxThreadDummies bounds the messages that are only referred to. Beyond it
	// only the last reference of a message and known ids count.
	MaxThreadDummies = 1 << 20
	// maxThreadSteps bounds the search for loops over the whole mailbox; a link that can't be checked any more is not made.
	maxThreadSteps = 1 << 26
)

// ThreadMessage is what threading needs to know of one searched message, RFC 5256 §3.
type ThreadMessage struct {
	Num        uint32   // what the answer calls it: sequence number or UID
	Date       int64    // sent date, Unix seconds (§2.2; INTERNALDATE if there is none)
	ID         string   // normalised Message-ID, "" if none
	References []string // normalised, oldest first
	Subject    string   // base subject, folded for comparison
	Reply      bool     // the base subject extraction removed a reply or forward mark
}

// Forest is the answer of THREAD. Its zero value is empty.
type Forest struct {
	msgs  []ThreadMessage
	nodes []threadNode // the first len(msgs) are the messages
	top   []int32
	steps int
}

// threadNode is a message or, with an index beyond the messages, a dummy. Indexes are -1 for none.
type threadNode struct{ parent, first, last, next, prev int32 }

const none = int32(-1)

// ThreadByReferences is THREAD=REFERENCES (RFC 5256 §3); msgs are in mailbox order.
func ThreadByReferences(msgs []ThreadMessage) *Forest {
	f := &Forest{msgs: msgs, nodes: make([]threadNode, len(msgs), len(msgs)+len(msgs)/8)}
	for i := range f.nodes {
		f.nodes[i] = threadNode{none, none, none, none, none}
	}
	f.link()
	f.prune()
	f.sortTop()
	f.mergeSubjects()
	f.sortAll()
	return f
}

// link is step 1.
func (f *Forest) link() {
	ids := make(map[string]int32, len(f.msgs))
	for i := range f.msgs {
		if id := f.msgs[i].ID; id != "" {
			if _, dup := ids[id]; !dup { // the later one of equal ids counts as one without
				ids[id] = int32(i)
			}
		}
	}
	for i := range f.msgs {
		prev := none
		refs := f.msgs[i].References
		for k, id := range refs {
			n, ok := ids[id]
			if !ok {
				if len(f.nodes)-len(f.msgs) >= MaxThreadDummies && k < len(refs)-1 {
					continue
				}
				n = f.dummy()
				ids[id] = n
			}
			if prev != none && f.nodes[n].parent == none && !f.loop(prev, n) {
				f.adopt(prev, n)
			}
			prev = n
		}
		me := int32(i)
		f.orphan(me)
		if prev != none && !f.loop(prev, me) {
			f.adopt(prev, me)
		}
	}
}

func (f *Forest) dummy() int32 {
	f.nodes = append(f.nodes, threadNode{none, none, none, none, none})
	return int32(len(f.nodes) - 1)
}

func (f *Forest) isDummy(n int32) bool { return int(n) >= len(f.msgs) }

// loop reports whether parent is child or descends from it.
func (f *Forest) loop(parent, child int32) bool {
	if parent == child {
		return true
	}
	if f.nodes[child].first == none {
		return false
	}
	for n := f.nodes[parent].parent; n != none; n = f.nodes[n].parent {
		if f.steps++; n == child || f.steps > maxThreadSteps {
			return true
		}
	}
	return false
}

// adopt appends child to parent's children.
func (f *Forest) adopt(parent, child int32) {
	c, p := &f.nodes[child], &f.nodes[parent]
	c.parent, c.prev, c.next = parent, p.last, none
	if p.last != none {
		f.nodes[p.last].next = child
	} else {
		p.first = child
	}
	p.last = child
}

// orphan takes n away from its parent.
func (f *Forest) orphan(n int32) {
	c := &f.nodes[n]
	if c.parent == none {
		return
	}
	p := &f.nodes[c.parent]
	if c.prev != none {
		f.nodes[c.prev].next = c.next
	} else {
		p.first = c.next
	}
	if c.next != none {
		f.nodes[c.next].prev = c.prev
	} else {
		p.last = c.prev
	}
	c.parent, c.prev, c.next = none, none, none
}

// preorder lists all nodes below the top ones, parents first.
func (f *Forest) preorder() []int32 {
	order := make([]int32, 0, len(f.nodes))
	for _, t := range f.top {
		for n := t; n != none; {
			order = append(order, n)
			switch {
			case f.nodes[n].first != none:
				n = f.nodes[n].first
			default:
				for n != t && f.nodes[n].next == none {
					n = f.nodes[n].parent
				}
				if n == t {
					n = none
				} else {
					n = f.nodes[n].next
				}
			}
		}
	}
	return order
}

// prune is steps 2 and 3: dummies go, their children move up, but not to the root unless alone.
func (f *Forest) prune() {
	for i := range f.nodes {
		if f.nodes[i].parent == none {
			f.top = append(f.top, int32(i))
		}
	}
	for _, n := range slices.Backward(f.preorder()) {
		if f.isDummy(n) && f.nodes[n].parent != none {
			f.splice(n)
		}
	}
	kept := f.top[:0]
	for _, t := range f.top {
		d := &f.nodes[t]
		switch {
		case !f.isDummy(t) || d.first != d.last:
			kept = append(kept, t)
		case d.first != none:
			only := d.first
			f.orphan(only)
			kept = append(kept, only)
		}
	}
	f.top = kept
}

// splice replaces n by its children.
func (f *Forest) splice(n int32) {
	p := f.nodes[n].parent
	first, last := f.nodes[n].first, f.nodes[n].last
	for c := first; c != none; c = f.nodes[c].next {
		f.nodes[c].parent = p
	}
	if first != none {
		prev, next := f.nodes[n].prev, f.nodes[n].next
		f.nodes[first].prev, f.nodes[last].next = prev, next
		if prev != none {
			f.nodes[prev].next = first
		} else {
			f.nodes[p].first = first
		}
		if next != none {
			f.nodes[next].prev = last
		} else {
			f.nodes[p].last = last
		}
		f.nodes[n] = threadNode{none, none, none, none, none}
		return
	}
	f.orphan(n)
}

// lead is the message that a node is sorted and named by: a dummy's first child.
func (f *Forest) lead(n int32) *ThreadMessage {
	for f.isDummy(n) {
		n = f.nodes[n].first
	}
	return &f.msgs[n]
}

// sortNodes sorts by sent date, then mailbox order (§2.2). Nums ascend with the order of msgs.
func (f *Forest) sortNodes(nodes []int32) {
	slices.SortStableFunc(nodes, func(a, b int32) int {
		x, y := f.lead(a), f.lead(b)
		return cmp.Or(cmp.Compare(x.Date, y.Date), cmp.Compare(x.Num, y.Num))
	})
}

func (f *Forest) sortChildren(n int32, buf []int32) []int32 {
	buf = buf[:0]
	sorted := true
	for c := f.nodes[n].first; c != none; c = f.nodes[c].next {
		if k := len(buf); k > 0 && sorted {
			x, y := f.lead(buf[k-1]), f.lead(c)
			sorted = x.Date < y.Date || x.Date == y.Date && x.Num < y.Num
		}
		buf = append(buf, c)
	}
	if sorted {
		return buf
	}
	f.sortNodes(buf)
	f.nodes[n].first, f.nodes[n].last = none, none
	for _, c := range buf {
		f.adopt(n, c)
	}
	return buf
}

// sortTop is step 4.
func (f *Forest) sortTop() {
	var buf []int32
	for _, t := range f.top {
		if f.isDummy(t) {
			buf = f.sortChildren(t, buf)
		}
	}
	f.sortNodes(f.top)
}

// mergeSubjects is step 5.
func (f *Forest) mergeSubjects() {
	table := make(map[string]int32, len(f.top)) // subject → position in top
	for i, t := range f.top {
		s := f.lead(t).Subject
		if s == "" {
			continue
		}
		j, ok := table[s]
		if !ok {
			table[s] = int32(i)
			continue
		}
		old := f.top[j]
		if !f.isDummy(old) && (f.isDummy(t) || f.msgs[old].Reply && !f.msgs[t].Reply) {
			table[s] = int32(i)
		}
	}
	for i, t := range f.top {
		s := f.lead(t).Subject
		if s == "" {
			continue
		}
		if j := table[s]; int(j) != i {
			f.merge(j, int32(i))
		}
	}
	f.top = slices.DeleteFunc(f.top, func(t int32) bool { return t == none })
}

// merge joins the thread at top[i] with the one of the subject table at top[j].
func (f *Forest) merge(j, i int32) {
	old, cur := f.top[j], f.top[i]
	f.top[i] = none
	switch {
	case f.isDummy(old) && f.isDummy(cur):
		for c := f.nodes[cur].first; c != none; c = f.nodes[cur].first {
			f.orphan(c)
			f.adopt(old, c)
		}
	case f.isDummy(old),
		!f.isDummy(cur) && f.msgs[cur].Reply && !f.msgs[old].Reply:
		f.adopt(old, cur)
	default:
		d := f.dummy()
		f.adopt(d, old)
		f.adopt(d, cur)
		f.top[j] = d
	}
}

// sortAll is step 6, children before parents.
func (f *Forest) sortAll() {
	var buf []int32
	for _, n := range slices.Backward(f.preorder()) {
		if f.nodes[n].first != f.nodes[n].last {
			buf = f.sortChildren(n, buf)
		}
	}
	f.sortNodes(f.top)
}

// ThreadBySubject is THREAD=ORDEREDSUBJECT (RFC 5256 §3); msgs are in mailbox order.
func ThreadBySubject(msgs []ThreadMessage) *Forest {
	f := &Forest{msgs: msgs, nodes: make([]threadNode, len(msgs))}
	order := make([]int32, len(msgs))
	for i := range order {
		order[i] = int32(i)
		f.nodes[i] = threadNode{none, none, none, none, none}
	}
	slices.SortStableFunc(order, func(a, b int32) int {
		x, y := &msgs[a], &msgs[b]
		return cmp.Or(cmp.Compare(x.Subject, y.Subject), cmp.Compare(x.Date, y.Date), cmp.Compare(x.Num, y.Num))
	})
	for i, n := range order {
		if i > 0 && msgs[n].Subject == msgs[order[i-1]].Subject {
			f.adopt(f.top[len(f.top)-1], n)
			continue
		}
		f.top = append(f.top, n)
	}
	f.sortNodes(f.top)
	return f
}

// Append prints the thread lists, RFC 5256 §5 thread-data: "(1 2 (3)(4 5))(6)".
func (f *Forest) Append(b []byte) []byte {
	for _, t := range f.top {
		b = append(b, '(')
		for n := t; ; {
			if !f.isDummy(n) {
				if b[len(b)-1] != '(' {
					b = append(b, ' ')
				}
				b = strconv.AppendUint(b, uint64(f.msgs[n].Num), 10)
			}
			if c := f.nodes[n].first; c != none {
				if c != f.nodes[n].last {
					if !f.isDummy(n) {
						b = append(b, ' ')
					}
					b = append(b, '(')
				}
				n = c
				continue
			}
			for n != t && f.nodes[n].next == none {
				if f.siblings(n) {
					b = append(b, ')')
				}
				n = f.nodes[n].parent
			}
			if n == t {
				break
			}
			b = append(b, ")("...)
			n = f.nodes[n].next
		}
		b = append(b, ')')
	}
	return b
}

// siblings reports whether n is not an only child.
func (f *Forest) siblings(n int32) bool {
	p := f.nodes[n].parent
	return f.nodes[p].first != f.nodes[p].last
}
