package imapd

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"bahnpost/store/mailstore"
	"bahnpost/wire/imap"
	"bahnpost/wire/message"
)

// ranked ranks n messages with few different subjects, so that all criteria come to use.
func ranked(n int, by ...imap.Sorter) *ranking {
	rnd := rand.New(rand.NewSource(5256))
	r := newRanking(by, n)
	for i := range n {
		row := mailstore.Row{UID: mailstore.UID(i + 1), Size: uint32(rnd.Intn(1 << 16)), Internal: int64(rnd.Intn(1 << 30))}
		keys := message.SortKeys{Subject: fmt.Appendf(nil, "SUBJECT NUMBER %d", rnd.Intn(n/4+1)), From: fmt.Appendf(nil, "USER%d", rnd.Intn(50)),
			SentDate: int64(rnd.Intn(1 << 30)), SentDateOK: i%10 != 0}
		r.add(&row, &keys, 0)
	}
	return r
}

func TestRankingOrder(t *testing.T) {
	t.Parallel()
	r := ranked(5000, imap.Sorter{Key: imap.SortFrom}, imap.Sorter{Key: imap.SortSubject, Reverse: true}, imap.Sorter{Key: imap.SortDate})
	order := r.order()
	for i := 1; i < len(order); i++ {
		a, b := order[i-1], order[i]
		x := []any{r.texts[0][a], r.texts[1][b], r.nums[2][a], a}
		y := []any{r.texts[0][b], r.texts[1][a], r.nums[2][b], b}
		if compareAny(x, y) >= 0 {
			t.Fatalf("%v before %v", x, y)
		}
	}
	rev := ranked(1000, imap.Sorter{Key: imap.SortSize, Reverse: true}).order()
	nums := ranked(1000, imap.Sorter{Key: imap.SortSize}).nums[0]
	if !slices.IsSortedFunc(rev, func(a, b int32) int { return int(nums[b] - nums[a]) }) {
		t.Error("REVERSE SIZE is not descending")
	}
}

func compareAny(x, y []any) int {
	for i := range x {
		c := 0
		switch a := x[i].(type) {
		case string:
			c = slices.Compare([]byte(a), []byte(y[i].(string)))
		case int64:
			c = int(a - y[i].(int64))
		case int32:
			c = int(a - y[i].(int32))
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

func BenchmarkRank100k(b *testing.B) {
	for _, by := range [][]imap.Sorter{{{Key: imap.SortSubject}, {Key: imap.SortDate}}, {{Key: imap.SortDate}}, {{Key: imap.SortFrom}}} {
		r := ranked(100_000, by...)
		b.Run(fmt.Sprint(by), func(b *testing.B) {
			for b.Loop() {
				r.order()
			}
		})
	}
}

// BenchmarkOrder100k runs searching commands in a mailbox of 100,000 messages, answers read by a client over TCP.
func BenchmarkOrder100k(b *testing.B) {
	w := newTown(b, Config{})
	w.fill(100_000)
	k := dialClient(b, w.tcp())
	k.do("LOGIN alice secret")
	k.do("SELECT INBOX")
	for { // the index trails
		begun := time.Now()
		k.do("SEARCH SUBJECT tag-99")
		if time.Since(begun) < 80*time.Millisecond {
			break
		}
		<-time.After(5 * time.Second)
	}
	for _, c := range []string{"SEARCH FLAGGED", "UID SEARCH ALL", "UID SEARCH RETURN (COUNT) UNSEEN", "SEARCH SUBJECT tag-17", "SEARCH FROM sender123@",
		"SEARCH TEXT \"text in a\"", "SORT (ARRIVAL) UTF-8 ALL", "SORT (DATE) UTF-8 ALL", "SORT (SUBJECT DATE) UTF-8 ALL", "UID SORT RETURN (PARTIAL 1:50) (REVERSE DATE) UTF-8 ALL",
		"THREAD REFERENCES UTF-8 ALL", "THREAD ORDEREDSUBJECT UTF-8 ALL"} {
		b.Run(c, func(b *testing.B) { measureRuns(b, func() { k.do("%s", c) }) })
	}
}
