package message

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// mail makes an input: id, references, subject (with "re:" for a reply), the date is its number.
func mail(num uint32, id, refs, subject string) ThreadInput {
	base, reply := BaseSubject(subject)
	in := ThreadInput{Num: num, MessageID: []byte(id), Subject: Fold(nil, base), IsReplyOrForward: reply, Date: int64(num)}
	for _, r := range strings.Fields(refs) {
		in.References = append(in.References, []byte(r))
	}
	return in
}

func TestThreadReferences(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		why  string
		in   []ThreadInput
		want string
	}{
		{"none", nil, ""},
		{"RFC 5256 §4, the example", []ThreadInput{
			mail(2, "2", "", "a"), mail(3, "3", "", "b"), mail(4, "4", "3 6", "re: b"), mail(6, "6", "3", "re: b"), mail(7, "7", "3 6 44", "re: b"),
			mail(23, "23", "3 6 4", "re: b"), mail(44, "44", "3 6", "re: b"), mail(96, "96", "3 6 44 7", "re: b")}, "(2)(3 6 (4 23)(44 7 96))"},
		{"§4: no parent, yet one thread", []ThreadInput{mail(3, "3", "x", "a"), mail(5, "5", "x", "b")}, "((3)(5))"},
		{"(1)(A) links between references", []ThreadInput{mail(1, "a", "", "x"), mail(2, "b", "", "y"), mail(3, "c", "a b", "z")}, "(1 2 3)"},
		{"(1)(A) links between references that are not there", []ThreadInput{mail(1, "c", "a b", "x"), mail(2, "d", "a", "y")}, "((1)(2))"},
		{"(1) one id twice", []ThreadInput{mail(1, "a", "", "x"), mail(2, "a", "", "y"), mail(3, "b", "a", "z")}, "(1 3)(2)"},
		{"(1) loop", []ThreadInput{mail(1, "a", "b", "x"), mail(2, "b", "a", "y")}, "(2 1)"},
		{"(1) its own parent", []ThreadInput{mail(1, "a", "a", "x")}, "(1)"},
		{"(1)(B) truncated references", []ThreadInput{mail(1, "a", "", "x"), mail(2, "b", "", "y"), mail(4, "d", "a c", "w"), mail(5, "c", "b", "z")}, "(1)(2 5 4)"},
		{"(1)(B) no references: no parent", []ThreadInput{mail(1, "a", "", "x"), mail(2, "c", "a b", "y"), mail(3, "b", "", "z")}, "(1)(3 2)"},
		{"(3) only child of a dummy", []ThreadInput{mail(1, "a", "x y z", "a")}, "(1)"},
		{"(3) dummy inside", []ThreadInput{mail(1, "a", "", "a"), mail(2, "b", "a x", "b"), mail(3, "c", "a x", "c")}, "(1 (2)(3))"},
		{"(5) reply without references", []ThreadInput{mail(1, "a", "", "x"), mail(2, "b", "", "re: x"), mail(3, "c", "", "Re: X")}, "(1 (2)(3))"},
		{"(5) two that are no reply", []ThreadInput{mail(1, "a", "", "x"), mail(2, "b", "", "x"), mail(3, "c", "", "x")}, "((1)(2)(3))"},
		{"(5) reply before the original", []ThreadInput{mail(1, "a", "", "re: x"), mail(2, "b", "", "x")}, "(2 1)"},
		{"(5) two replies", []ThreadInput{mail(1, "a", "", "re: x"), mail(2, "b", "", "re: x")}, "((1)(2))"},
		{"(5) dummies", []ThreadInput{mail(1, "a", "p", "x"), mail(2, "b", "p", "x"), mail(3, "c", "q", "x"), mail(4, "d", "q", "x"), mail(5, "e", "", "x")}, "((1)(2)(3)(4)(5))"},
		{"(5) empty subjects stay apart", []ThreadInput{mail(1, "", "", ""), mail(2, "", "", "re:")}, "(1)(2)"},
		{"(6) siblings by date", []ThreadInput{mail(9, "a", "", "x"), mail(5, "b", "a", "y"), mail(3, "c", "a", "z")}, "(9 (3)(5))"},
		{"case of ids counts", []ThreadInput{mail(1, "a", "", "x"), mail(2, "b", "A", "y")}, "(1)(2)"},
	} {
		if got := string(AppendThreads(nil, ThreadReferences(c.in))); got != c.want {
			t.Errorf("%s: got %s want %s", c.why, got, c.want)
		}
	}
}

func TestThreadOrderedSubject(t *testing.T) {
	t.Parallel()
	in := []ThreadInput{mail(194, "", "", "b"), mail(195, "", "", "re: b"), mail(196, "", "", "a"), mail(198, "", "", "A"), mail(197, "", "", "a"), mail(199, "", "", "c")}
	if got := string(AppendThreads(nil, ThreadOrderedSubject(in))); got != "(194 195)(196 (197)(198))(199)" {
		t.Errorf("got %s", got)
	}
}

// plain is RFC 5256 §3 REFERENCES word by word, with no thought of cost.
type plain struct {
	m        *ThreadInput
	parent   *plain
	children []*plain
}

func (p *plain) remove(c *plain) {
	p.children = slices.DeleteFunc(p.children, func(x *plain) bool { return x == c })
	c.parent = nil
}

func (p *plain) add(c *plain) {
	for a := p; a != nil; a = a.parent {
		if a == c {
			return
		}
	}
	p.children = append(p.children, c)
	c.parent = p
}

func (p *plain) prune(root bool) {
	var l []*plain
	for _, c := range p.children {
		c.prune(false)
		switch {
		case c.m != nil:
			l = append(l, c)
		case len(c.children) == 0:
		case root && len(c.children) > 1:
			l = append(l, c)
		default:
			for _, g := range c.children {
				g.parent = p
			}
			l = append(l, c.children...)
		}
	}
	p.children = l
}

func (p *plain) first() *ThreadInput {
	if p.m != nil {
		return p.m
	}
	return p.children[0].m
}

func (p *plain) sort(deep bool) {
	for _, c := range p.children {
		if deep || c.m == nil {
			c.sort(deep)
		}
	}
	slices.SortStableFunc(p.children, func(a, b *plain) int {
		x, y := a.first(), b.first()
		return cmpInt(x.Date, y.Date, int64(x.Num), int64(y.Num))
	})
}

func cmpInt(v ...int64) int {
	for i := 0; i < len(v); i += 2 {
		if v[i] != v[i+1] {
			if v[i] < v[i+1] {
				return -1
			}
			return 1
		}
	}
	return 0
}

func plainThreads(in []ThreadInput) []*Thread {
	ids := map[string]*plain{}
	var all []*plain
	own := make([]*plain, len(in))
	for i := range in {
		own[i] = &plain{m: &in[i]}
		all = append(all, own[i])
		if id := string(in[i].MessageID); id != "" && ids[id] == nil {
			ids[id] = own[i]
		}
	}
	for i := range in {
		var last *plain
		for _, r := range in[i].References {
			n := ids[string(r)]
			if n == nil {
				n = &plain{}
				ids[string(r)] = n
				all = append(all, n)
			}
			if last != nil && n.parent == nil {
				last.add(n)
			}
			last = n
		}
		if p := own[i].parent; p != nil {
			p.remove(own[i])
		}
		if last != nil {
			last.add(own[i])
		}
	}
	root := &plain{}
	for _, n := range all {
		if n.parent == nil {
			root.children = append(root.children, n)
		}
	}
	root.prune(true)
	root.sort(false)
	plainSubjects(root)
	root.sort(true)
	var out func(p *plain) *Thread
	out = func(p *plain) *Thread {
		t := &Thread{}
		if p.m != nil {
			t.Num = p.m.Num
		}
		for _, c := range p.children {
			t.Children = append(t.Children, out(c))
		}
		return t
	}
	return out(root).Children
}

func plainSubjects(root *plain) {
	table := map[string]*plain{}
	for _, c := range root.children {
		s := string(c.first().Subject)
		if s == "" {
			continue
		}
		old := table[s]
		if old == nil || old.m != nil && (c.m == nil || old.m.IsReplyOrForward && !c.m.IsReplyOrForward) {
			table[s] = c
		}
	}
	for _, c := range slices.Clone(root.children) {
		if !slices.Contains(root.children, c) {
			continue
		}
		s := string(c.first().Subject)
		if s == "" || table[s] == c {
			continue
		}
		old := table[s]
		root.remove(c)
		switch {
		case old.m == nil && c.m == nil:
			old.children = append(old.children, c.children...)
		case old.m == nil, c.m.IsReplyOrForward && !old.m.IsReplyOrForward:
			old.children = append(old.children, c)
		default:
			root.remove(old)
			d := &plain{children: []*plain{old, c}}
			root.children = append(root.children, d)
			table[s] = d
		}
	}
}

// randomMailbox has few ids, so that loops, duplicates and truncated references abound.
func randomMailbox(r *rand.Rand, n int) []ThreadInput {
	in := make([]ThreadInput, n)
	for i := range in {
		refs := ""
		for range r.IntN(5) {
			refs += fmt.Sprintf(" %d", r.IntN(2*n))
		}
		subject := []string{"", "re: a", "a", "b", "re: b", "c", "d", "e", "f"}[r.IntN(9)]
		in[i] = mail(uint32(i+1), fmt.Sprint(r.IntN(n+n/2)), refs, subject)
		in[i].Date = int64(r.IntN(n))
	}
	return in
}

func TestThreadRandom(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		in := randomMailbox(r, 1+r.IntN(25))
		got, want := string(AppendThreads(nil, ThreadReferences(in))), string(AppendThreads(nil, plainThreads(in)))
		if got != want {
			t.Fatalf("seed %d: got %s want %s", seed, got, want)
		}
	}
}

// TestThreadHostile: none of these may take long or overflow a stack.
func TestThreadHostile(t *testing.T) {
	const n = 100000
	boxes := map[string][]ThreadInput{"chain": make([]ThreadInput, n), "chain backwards": make([]ThreadInput, n), "no message of a long thread": make([]ThreadInput, n),
		"one subject": make([]ThreadInput, n), "long references": make([]ThreadInput, 2000), "deep link tries": make([]ThreadInput, n)}
	for i := range n {
		boxes["chain"][i] = mail(uint32(i+1), fmt.Sprint(i), fmt.Sprint(i-1), "")
		boxes["chain backwards"][i] = mail(uint32(i+1), fmt.Sprint(i), fmt.Sprint(i+1), "")
		boxes["no message of a long thread"][i] = mail(uint32(i+1), fmt.Sprintf("m%d", i), fmt.Sprintf("%d %d", i, i+1), "")
		boxes["one subject"][i] = mail(uint32(i+1), fmt.Sprint(i), "", "x")
		ref := fmt.Sprint(i - 1)
		if i >= n/2 { // each has a child already and wants to hang from the end of the chain
			ref = fmt.Sprintf("k%d y%d", n/2-1, i)
		} else if i == n/2-1 {
			ref = fmt.Sprintf("%d k%d", i-1, n/2-1)
		}
		boxes["deep link tries"][i] = mail(uint32(i+1), fmt.Sprint(i), ref, "")
	}
	for i := range boxes["long references"] {
		var b strings.Builder
		for k := range MaxReferences {
			fmt.Fprintf(&b, " %d", i+k)
		}
		boxes["long references"][i] = mail(uint32(i+1), fmt.Sprint(i+MaxReferences), b.String(), "")
	}
	for name, in := range boxes {
		start := time.Now()
		out := AppendThreads(nil, ThreadReferences(in))
		AppendThreads(out, ThreadOrderedSubject(in))
		if d := time.Since(start); d > time.Minute {
			t.Errorf("%s took %v", name, d)
		} else {
			t.Logf("%s took %v", name, d)
		}
		if n := strings.Count(string(out), " ") + strings.Count(string(out), "("); n < len(in) {
			t.Errorf("%s: only %d members", name, n)
		}
	}
}

func BenchmarkThread100K(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	in := make([]ThreadInput, 100000)
	for i := range in {
		refs := ""
		if i > 0 && r.IntN(3) > 0 {
			refs = fmt.Sprint(max(0, i-1-r.IntN(50)))
		}
		in[i] = mail(uint32(i+1), fmt.Sprint(i), refs, fmt.Sprintf("re: subject %d", r.IntN(30000)))
	}
	b.ReportAllocs()
	for b.Loop() {
		ThreadReferences(in)
	}
}
