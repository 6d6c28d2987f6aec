package imapd

import (
	"fmt"
	"math/rand"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// kept is a client's copy of a search that is kept up to date: what ADDTO and REMOVEFROM made of the first answer.
type kept struct {
	tag, again string // again is the command that gives the same result afresh
	uid        bool
	sorted     bool
	nums       []int
}

// RFC 5267 §4.3: whatever another session does, the client's copy of each search stays what the search would find now.
func TestContextsStayTrue(t *testing.T) {
	t.Parallel()
	for seed := range int64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			contextWalk(t, rand.New(rand.NewSource(seed)))
		})
	}
}

func contextWalk(t *testing.T, r *rand.Rand) {
	addr := newTown(t, Config{}).tcp()
	a, b := dialStrict(t, addr), dialStrict(t, addr)
	appendSome := func(n int) {
		for range n {
			m := fmt.Sprintf("Subject: subject %d\r\nFrom: user%d@example.org\r\nDate: Mon, %d Feb 1994 21:52:25 -0800\r\n\r\nx\r\n", r.Intn(9), r.Intn(4), 1+r.Intn(28))
			a.do("APPEND INBOX {%d+}\r\n%s", len(m), m)
		}
	}
	appendSome(10)
	a.do("SELECT INBOX")
	b.do("SELECT INBOX")
	var all []*kept
	for i, what := range []string{"UID SEARCH %s FLAGGED", "SEARCH %s FLAGGED", "UID SORT %s (SUBJECT) UTF-8 FLAGGED", "SORT %s (REVERSE FROM DATE) UTF-8 UNDELETED",
		"UID SORT %s (REVERSE SIZE) UTF-8 OR FLAGGED SUBJECT 3", "SEARCH %s SUBJECT 5", "SORT %s (DATE) UTF-8 ALL"} {
		k := &kept{tag: fmt.Sprintf("ctx%d", i), uid: strings.HasPrefix(what, "UID"), sorted: strings.Contains(what, "SORT"), again: fmt.Sprintf(what, "RETURN (ALL)")}
		fmt.Fprintf(b.w, "%s %s\r\n", k.tag, fmt.Sprintf(what, "RETURN (UPDATE ALL)"))
		rs, _ := b.until(k.tag)
		k.nums = allOf(t, rs)
		all = append(all, k)
	}
	for step := range 60 {
		switch r.Intn(8) {
		case 0:
			appendSome(1 + r.Intn(3))
			a.do("NOOP")
		case 1:
			a.do("EXPUNGE")
		case 2:
			if step%5 == 0 {
				a.do("STORE 1:* FLAGS.SILENT (\\Flagged)")
			}
		default:
			rs := a.do("UID SEARCH RETURN (ALL) ALL")
			uids := allOf(t, rs)
			if len(uids) == 0 {
				appendSome(3)
				continue
			}
			for range 1 + r.Intn(4) {
				a.do("UID STORE %d %sFLAGS.SILENT (%s)", uids[r.Intn(len(uids))], []string{"+", "-"}[r.Intn(2)], []string{`\Flagged`, `\Flagged`, `\Deleted`}[r.Intn(3)])
			}
		}
		said := b.do("NOOP")
		if uids := allOf(t, b.do("UID SEARCH RETURN (ALL) ALL")); len(uids) > 0 && r.Intn(2) == 0 { // what it changes itself counts too
			said = append(said, b.do("UID STORE %d %sFLAGS%s (\\Flagged)", uids[r.Intn(len(uids))], []string{"+", "-"}[r.Intn(2)], []string{"", ".SILENT"}[r.Intn(2)])...)
		}
		for _, rp := range said {
			hear(t, all, rp)
		}
		for _, k := range all {
			fresh := allOf(t, b.do("%s", k.again))
			mine := slices.Clone(k.nums)
			if !k.sorted {
				slices.Sort(mine)
			}
			if !slices.Equal(mine, fresh) {
				t.Fatalf("step %d: %s\nkept  %v\nfresh %v", step, k.again, mine, fresh)
			}
		}
	}
}

// hear takes one untagged response into the copies.
func hear(t *testing.T, all []*kept, rp response) {
	if len(rp) == 2 && rp[1].text == "EXPUNGE" {
		gone := int(rp[0].num())
		for _, k := range all {
			if k.uid {
				continue
			}
			if slices.Contains(k.nums, gone) {
				t.Fatalf("%s: %d is expunged but was not removed", k.tag, gone)
			}
			for i, n := range k.nums {
				if n > gone {
					k.nums[i]--
				}
			}
		}
		return
	}
	if rp[0].text != "ESEARCH" {
		return
	}
	tag := rp[1].list[1].text
	i := slices.IndexFunc(all, func(k *kept) bool { return k.tag == tag })
	if i < 0 {
		t.Fatalf("update of unknown search %v", rp)
	}
	rest := rp[2:]
	if all[i].uid {
		rest = rest[1:]
	}
	for ; len(rest) >= 2; rest = rest[2:] {
		for p := rest[1].list; len(p) >= 2; p = p[2:] {
			all[i].change(t, rest[0].text, int(p[0].num()), expand(t, p[1].text))
		}
	}
}

// change applies one pair of ADDTO or REMOVEFROM (RFC 5267 §4.3.3, §4.3.4).
func (k *kept) change(t *testing.T, what string, pos int, nums []int) {
	switch {
	case k.sorted && pos == 0:
		t.Fatalf("%s: position 0 in a sorted result", k.tag)
	case what == "ADDTO" && pos == 0:
		k.nums = append(k.nums, nums...)
	case what == "ADDTO":
		if pos > len(k.nums)+1 {
			t.Fatalf("%s: ADDTO position %d of %d", k.tag, pos, len(k.nums))
		}
		k.nums = slices.Insert(k.nums, pos-1, nums...)
	case what == "REMOVEFROM" && pos == 0:
		for _, n := range nums {
			if !slices.Contains(k.nums, n) {
				t.Fatalf("%s: %d is removed but not there", k.tag, n)
			}
		}
		k.nums = slices.DeleteFunc(k.nums, func(n int) bool { return slices.Contains(nums, n) })
	case what == "REMOVEFROM":
		if pos-1+len(nums) > len(k.nums) || !slices.Equal(k.nums[pos-1:pos-1+len(nums)], nums) {
			t.Fatalf("%s: REMOVEFROM (%d %v) of %v", k.tag, pos, nums, k.nums)
		}
		k.nums = slices.Delete(k.nums, pos-1, pos-1+len(nums))
	default:
		t.Fatalf("%s: %s", k.tag, what)
	}
}

// allOf returns ALL of the ESEARCH response among rs.
func allOf(t *testing.T, rs []response) []int {
	t.Helper()
	for _, r := range rs {
		if r[0].text != "ESEARCH" {
			continue
		}
		for i, n := range r {
			if n.text == "ALL" {
				return expand(t, r[i+1].text)
			}
		}
	}
	return nil
}

// expand lists a sequence-set in its order.
func expand(t *testing.T, set string) (out []int) {
	t.Helper()
	for p := range strings.SplitSeq(set, ",") {
		lo, hi, isRange := strings.Cut(p, ":")
		x, err := strconv.Atoi(lo)
		y := x
		if isRange && err == nil {
			y, err = strconv.Atoi(hi)
		}
		if err != nil || y < x {
			t.Fatalf("set %q", set)
		}
		for n := x; n <= y; n++ {
			out = append(out, n)
		}
	}
	return out
}
