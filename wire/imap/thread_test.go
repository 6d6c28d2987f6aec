package imap

import (
	"fmt"
	"math/rand"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Each line: number date id refs,refs subject [re].
func messages(t *testing.T, text string) (ms []ThreadMessage) {
	t.Helper()
	for line := range strings.Lines(strings.TrimSpace(text)) {
		f := strings.Fields(line)
		n, err := strconv.Atoi(f[0])
		if err != nil {
			t.Fatal(err)
		}
		date, _ := strconv.Atoi(f[1])
		m := ThreadMessage{Num: uint32(n), Date: int64(date), Reply: len(f) > 5}
		if f[2] != "-" {
			m.ID = f[2]
		}
		if f[3] != "-" {
			m.References = strings.Split(f[3], ",")
		}
		if f[4] != "-" {
			m.Subject = f[4]
		}
		ms = append(ms, m)
	}
	return ms
}

func TestThreadByReferences(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"chain", "1 1 a - s\n2 2 b a s re\n3 3 c a,b s re", "(1 2 3)"},
		{"branch", "1 1 a - s\n2 2 b a s re\n3 3 c a s re\n4 4 d a,c s re", "(1 (2)(3 4))"},
		{"child first", "1 2 b a s re\n2 1 a - s", "(2 1)"},
		{"missing parent of one", "1 1 b x s re", "(1)"},
		{"missing parent of two", "1 1 b x s re\n2 2 c x s re", "((1)(2))"},
		{"missing in the middle", "1 1 a - s\n2 2 c a,b t re", "(1 2)"},
		{"loop", "1 1 a b s\n2 2 b a s", "(2 1)"},
		{"self", "1 1 a a s", "(1)"},
		{"duplicate id", "1 1 a - s\n2 2 a - t\n3 3 b a u re", "(1 3)(2)"},
		{"subjects join reply", "1 1 a - s\n2 2 b - s re", "(1 2)"},
		{"subjects join equals", "1 1 a - s\n2 2 b - s", "((1)(2))"},
		{"reply came first", "1 1 a - s re\n2 2 b - s", "(2 1)"},
		{"both replies", "1 1 a - s re\n2 2 b - s re", "((1)(2))"},
		{"dummy joins dummy", "1 1 a x s re\n2 2 b x s re\n3 3 c y s re\n4 4 d y s re", "((1)(2)(3)(4))"},
		{"message joins dummy", "1 1 a x s re\n2 2 b x s re\n3 3 c - s", "((1)(2)(3))"},
		{"empty subjects stay apart", "1 1 a - -\n2 2 b - -", "(1)(2)"},
		{"sorted by date", "1 9 a - s\n2 3 b - t\n3 5 c - u", "(2)(3)(1)"},
		{"equal dates by number", "1 5 a - s\n2 5 b - t", "(1)(2)"},
		{"truncated references are mended", "1 1 c a,b s re\n2 2 a - t\n3 3 b z s re", "(2)(3 1)"},
		{"nested branches", "1 1 a - s\n2 2 b a s\n3 3 c a,b s\n4 4 d a,b s\n5 5 e a s", "(1 (2 (3)(4))(5))"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := string(ThreadByReferences(messages(t, c.in)).Append(nil)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestThreadBySubject(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"1 5 a - s\n2 4 b - t\n3 3 c - s\n4 9 d - s\n5 1 e - u", "(5)(3 (1)(4))(2)"},
		{"1 1 a - s\n2 2 b - s", "(1 2)"},
	} {
		var ms []ThreadMessage
		if c.in != "" {
			ms = messages(t, c.in)
		}
		if got := string(ThreadBySubject(ms).Append(nil)); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// Whatever the references say, each message is answered exactly once and the parentheses match.
func TestThreadKeepsEveryMessage(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewSource(5256))
	for round := range 400 {
		ms := make([]ThreadMessage, 1+r.Intn(40))
		for i := range ms {
			ms[i] = ThreadMessage{Num: uint32(i + 1), Date: int64(r.Intn(10)), ID: fmt.Sprint(r.Intn(50)), Reply: r.Intn(2) == 0,
				Subject: fmt.Sprint("s", r.Intn(12))[:r.Intn(2)*2]}
			for range r.Intn(5) {
				ms[i].References = append(ms[i].References, fmt.Sprint(r.Intn(60)))
			}
		}
		for _, f := range []*Forest{ThreadByReferences(ms), ThreadBySubject(ms)} {
			checkThreads(t, round, f.Append(nil), len(ms))
		}
	}
}

func checkThreads(t *testing.T, round int, out []byte, n int) {
	t.Helper()
	depth := 0
	for _, c := range out {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth < 0 {
			t.Fatalf("round %d: %s", round, out)
		}
	}
	nums := strings.FieldsFunc(string(out), func(r rune) bool { return r < '0' || r > '9' })
	slices.Sort(nums)
	if depth != 0 || len(nums) != n || len(slices.Compact(nums)) != n || strings.Contains(string(out), "()") {
		t.Fatalf("round %d: %d messages, got %s", round, n, out)
	}
}

// A thread of 100,000 generations, and as many ids that nobody has, must not take quadratic time or deep stacks.
func TestThreadIsLinear(t *testing.T) {
	t.Parallel()
	const n = 100000
	ms := make([]ThreadMessage, n)
	for i := range ms {
		k := n - i // youngest first
		ms[i] = ThreadMessage{Num: uint32(i + 1), Date: int64(k), ID: fmt.Sprint(k), References: []string{fmt.Sprint(k - 1)}}
	}
	out := ThreadByReferences(ms).Append(nil)
	if out[0] != '(' || out[1] != '1' || slices.Contains(out[1:], '(') {
		t.Fatalf("not one chain: %.60s", out)
	}
}

func BenchmarkThreadByReferences(b *testing.B) {
	const n = 100000
	r := rand.New(rand.NewSource(1))
	ms := make([]ThreadMessage, n)
	for i := range ms {
		ms[i] = ThreadMessage{Num: uint32(i + 1), Date: int64(i), ID: fmt.Sprint("id", i, "@example.org"), Subject: fmt.Sprint("subject ", r.Intn(n/4))}
		if i > 10 && r.Intn(3) > 0 {
			p := &ms[i-1-r.Intn(10)]
			ms[i].References = append(p.References[max(0, len(p.References)-8):len(p.References):len(p.References)], p.ID)
			ms[i].Reply = true
		}
	}
	for b.Loop() {
		ThreadByReferences(ms)
	}
}
