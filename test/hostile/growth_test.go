package hostile

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bahnpost/test/town"
)

// TestGrowth: what a mailbox costs must not grow with what an operation does
// not touch. The table goes to the log; the test fails where an operation of
// the largest mailbox takes far longer than of the smallest.
func TestGrowth(t *testing.T) {
	w := start(t, 1)
	sizes := []int{100, 10_000}
	if long() {
		sizes = append(sizes, 1_000_000)
	}
	c := imap(t, w, "u0")
	rows := make([]growth, len(sizes))
	for i, n := range sizes {
		name := "g" + strconv.Itoa(n)
		c.ok(t, "CREATE %s", name)
		begin := time.Now()
		fill(t, c, name, n)
		rows[i].fill = time.Since(begin)
		t.Logf("%d messages filled in %v", n, rows[i].fill.Round(time.Millisecond))
	}
	c.Close()
	for i, n := range sizes {
		rows[i].n = n
		rows[i].measure(t, w, "g"+strconv.Itoa(n))
	}
	t.Log("\n" + table(rows))
	rows[0].compare(t, rows[len(rows)-1])
	quiet(t, w)
}

// fill appends n small messages, 1000 in a command.
func fill(t testing.TB, c *wire, mailbox string, n int) {
	t.Helper()
	out := bufio.NewWriterSize(c, 256<<10)
	for done := 0; done < n; {
		c.SetDeadline(time.Now().Add(patience))
		c.n++
		tag := "f" + strconv.Itoa(c.n)
		fmt.Fprintf(out, "%s APPEND %s", tag, mailbox)
		for range min(1000, n-done) {
			m := fmt.Sprintf("From: a%d@b.example\r\nTo: u0@example.org\r\nSubject: number %d\r\nMessage-ID: <%s.%d@b.example>\r\n\r\nThe body of number %d.\r\n", done%97, done, mailbox, done, done)
			fmt.Fprintf(out, " {%d+}\r\n%s", len(m), m)
			done++
		}
		out.WriteString("\r\n")
		if err := out.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.answer(tag); err != nil {
			t.Fatal(err)
		}
	}
}

// growth is a row of the table.
type growth struct {
	n                                                             int
	fill                                                          time.Duration
	cold, selects, fetchUID, fetchSeq, store, append, deliver, st cost
	memory                                                        int // KB more after the first FETCH
}

// cost of an operation: the median of the time it takes, and the mean of what
// the node's CPU has to do. A bound is broken if both break it: the first alone
// may be the machine's other work, the second alone the node's (it indexes).
type cost struct{ wall, cpu time.Duration }

func (c cost) over(bound time.Duration) bool { return c.wall > bound && c.cpu > bound }

func (c cost) String() string { return fmt.Sprintf("%v, CPU %v", c.wall, c.cpu) }

// costOf runs fn n times.
func costOf(w *town.Town, n int, fn func()) cost {
	used := w.CPU()
	all := make([]time.Duration, n)
	for i := range all {
		begin := time.Now()
		fn()
		all[i] = time.Since(begin)
	}
	slices.Sort(all)
	return cost{all[n/2], (w.CPU() - used) / time.Duration(n)}
}

const rounds = 31 // of each operation

func (g *growth) measure(t *testing.T, w *town.Town, mailbox string) {
	t.Helper()
	// Other mailboxes' indexes leave memory: a fresh process.
	w.Kill()
	w.Serve()
	c := imap(t, w, "u0")
	before := status(t, w, "VmRSS")
	c.ok(t, "SELECT %s", mailbox)
	g.cold = costOf(w, 1, func() { c.ok(t, "FETCH %d (FLAGS ENVELOPE)", g.n/2) })
	g.memory = status(t, w, "VmRSS") - before
	any := func() int { return 1 + rand.IntN(g.n) }
	g.fetchSeq = costOf(w, rounds, func() { c.ok(t, "FETCH %d (FLAGS ENVELOPE)", any()) })
	g.fetchUID = costOf(w, rounds, func() { c.ok(t, "UID FETCH %d (FLAGS ENVELOPE)", any()) })
	g.store = costOf(w, rounds, func() { c.ok(t, `UID STORE %d FLAGS (\Flagged k%d)`, any(), rand.IntN(5)) })
	g.append = costOf(w, rounds, func() { c.ok(t, "APPEND %s {%d+}\r\n%s", mailbox, len(letter("x", 50)), letter("x", 50)) })
	g.selects = costOf(w, rounds, func() { c.ok(t, "SELECT %s", mailbox) })
	g.st = costOf(w, rounds, func() { c.ok(t, "STATUS %s (MESSAGES UNSEEN SIZE)", mailbox) })
	l := lmtp(t, w)
	g.deliver = costOf(w, rounds, func() {
		if r := l.deliver(t, "u0+"+mailbox, letter("y", 50)); !strings.HasPrefix(r, "250") {
			t.Fatal(r)
		}
	})
	c.Close()
}

func table(rows []growth) string {
	var b strings.Builder
	b.WriteString("| messages | SELECT | first FETCH after start | FETCH 1 by UID | by number | STORE 1 | APPEND | LMTP delivery | STATUS | memory of the index | fill |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	us := func(c cost) string { return fmt.Sprintf("%.2f ms", float64(c.wall.Microseconds())/1000) }
	for _, g := range rows {
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s | %s | %s | %s | %s | %.1f MB | %.0f/s |\n", g.n, us(g.selects), us(g.cold), us(g.fetchUID), us(g.fetchSeq),
			us(g.store), us(g.append), us(g.deliver), us(g.st), float64(g.memory)/1024, float64(g.n)/g.fill.Seconds())
	}
	return b.String()
}

// compare fails if large costs much more than small.
func (g *growth) compare(t *testing.T, large growth) {
	t.Helper()
	const slack = 4 * time.Millisecond // noise; a scan of the mailbox would be far above
	check := func(what string, a, b cost) {
		if b.wall > 4*a.wall+slack && b.cpu > 4*a.cpu+slack {
			t.Errorf("%s: %v with %d messages, %v with %d", what, a, g.n, b, large.n)
		}
	}
	check("SELECT", g.selects, large.selects)
	check("FETCH by UID", g.fetchUID, large.fetchUID)
	check("FETCH by number", g.fetchSeq, large.fetchSeq)
	check("STORE", g.store, large.store)
	check("APPEND", g.append, large.append)
	check("deliver", g.deliver, large.deliver)
	check("STATUS", g.st, large.st)
}

// TestManyMailboxes: 20,000 mailboxes in an account; nothing but LIST of all grows with them.
func TestManyMailboxes(t *testing.T) {
	w := start(t, 1)
	n := pick(2000, 20000)
	c := imap(t, w, "u0")
	begin := time.Now()
	const batch = 500
	for i := 0; i < n; i += batch { // pipelined
		var b strings.Builder
		for j := i; j < i+batch; j++ {
			fmt.Fprintf(&b, "m%d CREATE p%d/box%d\r\n", j, j%10, j)
		}
		c.SetDeadline(time.Now().Add(patience))
		go c.say("%s", b.String())
		for j := i; j < i+batch; j++ {
			if _, err := c.answer("m" + strconv.Itoa(j)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("CREATE %d: %v", n, time.Since(begin))
	took := func(what string, c cost, bound time.Duration) {
		t.Logf("%s: %v", what, c)
		if c.over(bound) {
			t.Errorf("%s took %v", what, c)
		}
	}
	took("CREATE one", costOf(w, 9, func() { c.ok(t, "CREATE one%d", rand.IntN(1<<30)) }), 50*time.Millisecond)
	took("LIST all", costOf(w, 3, func() {
		if got := strings.Count(c.ok(t, `LIST "" *`), "* LIST"); got < n {
			t.Errorf("LIST shows %d of %d", got, n)
		}
	}), 3*time.Second)
	took(`LIST %`, costOf(w, 3, func() { c.ok(t, `LIST "" %%`) }), time.Second)
	took("LIST RETURN STATUS", costOf(w, 3, func() { c.ok(t, `LIST "" p1/* RETURN (STATUS (MESSAGES UNSEEN))`) }), 3*time.Second)
	took("LIST one name", costOf(w, 9, func() { c.ok(t, `LIST "" p3/box3`) }), 50*time.Millisecond)
	took("STATUS", costOf(w, 9, func() { c.ok(t, `STATUS p3/box3 (MESSAGES)`) }), 50*time.Millisecond)
	took("RENAME parent", costOf(w, 3, func() { c.ok(t, `RENAME p3 q3`); c.ok(t, `RENAME q3 p3`) }), 2*time.Second)
	took("SELECT", costOf(w, 9, func() { c.ok(t, `SELECT p5/box5`) }), 50*time.Millisecond)
	took("deliver", costOf(w, 9, func() {
		if r := lmtp(t, w).deliver(t, "u0", letter("x", 10)); !strings.HasPrefix(r, "250") {
			t.Fatal(r)
		}
	}), 100*time.Millisecond)
	took("DELETE one", costOf(w, 5, func() { c.ok(t, `CREATE gone`); c.ok(t, `DELETE gone`) }), 100*time.Millisecond)
	t.Logf("RSS %d KB", status(t, w, "VmRSS"))
	w.Kill()
	w.Serve()
	c = imap(t, w, "u0")
	took("first SELECT after a start", costOf(w, 1, func() { c.ok(t, `SELECT p5/box5`) }), 3*time.Second)
	quiet(t, w)
	w.Kill()
	clean(t, w)
}

// TestNamesAndKeywords: the named limits hold, and what is below them works.
func TestNamesAndKeywords(t *testing.T) {
	w := start(t, 1)
	c := imap(t, w, "u0")
	deep := strings.Repeat("d/", 63) + "e" // 64 components
	c.ok(t, "CREATE %s", deep)
	c.refused(t, "", "CREATE %s/f", deep)
	wide := strings.TrimSuffix(strings.Repeat(strings.Repeat("w", 254)+"/", 16), "/") // 4079 octets
	c.ok(t, "CREATE {%d+}\r\n%s", len(wide), wide)
	c.ok(t, "SELECT {%d+}\r\n%s", len(wide), wide)
	c.ok(t, "STATUS {%d+}\r\n%s (MESSAGES)", len(wide), wide)
	if out := c.ok(t, `LIST "" *`); !strings.Contains(out, wide) || !strings.Contains(out, deep) {
		t.Error("LIST does not show the long and the deep name")
	}
	c.refused(t, "", "CREATE {%d+}\r\n%s", len(wide)+34, wide+"/"+strings.Repeat("x", 33))
	c.refused(t, "", "CREATE %s", strings.Repeat("y", 256))
	c.refused(t, "", "RENAME d {%d+}\r\n%s/d", len(wide)+2, wide)
	c.ok(t, "SELECT INBOX")
	for i := range 4 {
		c.ok(t, "APPEND INBOX {%d+}\r\n%s", len(letter("k", 10)), letter(fmt.Sprintf("k%d", i), 10)[:len(letter("k", 10))])
	}
	for i := range 1200 {
		c.ok(t, "STORE %d +FLAGS.SILENT (key%d)", 1+i%3, i)
	}
	if out := c.ok(t, "FETCH 1:3 FLAGS"); !strings.Contains(out, "key0 ") || !strings.Contains(out, "key1199") {
		t.Errorf("keywords are missing: %.300s", out)
	}
	for _, k := range []int{0, 55, 56, 700, 1199} {
		if out := c.ok(t, "SEARCH KEYWORD key%d", k); !strings.Contains(out, fmt.Sprintf("* SEARCH %d\n", 1+k%3)) {
			t.Errorf("SEARCH KEYWORD key%d: %q", k, out)
		}
	}
	// The dictionary is full some day: a refusal, and other keywords go on.
	var err error
	for i := 1200; i < 5000 && err == nil; i += 100 {
		var ks []string
		for j := range 100 {
			ks = append(ks, fmt.Sprintf("key%d", i+j))
		}
		_, err = c.do("STORE 4 FLAGS.SILENT (%s)", strings.Join(ks, " "))
	}
	if err == nil || !strings.Contains(err.Error(), "LIMIT") {
		t.Errorf("5000 keywords: %v", err)
	}
	c.ok(t, "STORE 2 +FLAGS (key7)")
	quiet(t, w)
	w.Kill()
	clean(t, w)
}
