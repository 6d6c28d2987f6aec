package drill

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// places are all mailboxes that the load uses.
func places() (all []place) {
	for i := range readers {
		for _, box := range []string{"INBOX", boxAppended, boxFlags, boxGone} {
			all = append(all, place{reader(i), box})
		}
	}
	for i := range poppers {
		all = append(all, place{popper(i), "INBOX"})
	}
	return append(all, place{probed, "INBOX"}, place{lookedAt, "INBOX"})
}

// lookPatience bounds a command that reads a whole mailbox.
const lookPatience = 2 * time.Minute

// look reads all mailboxes at a node; with bodies it compares the octets of each message with those that were sent.
func look(n *Node, bodies bool) (map[place]picture, error) {
	all := map[place]picture{}
	var w *wire
	user := ""
	for _, p := range places() {
		if p.account != user {
			if w != nil {
				w.Close()
			}
			var err error
			if w, err = dialIMAP(n, p.account, lookPatience); err != nil {
				return nil, fmt.Errorf("%s at %s: %w", p.account, n.Name, err)
			}
			defer w.Close()
			user = p.account
			if _, err := w.imap("ENABLE CONDSTORE"); err != nil {
				return nil, fmt.Errorf("%s at %s: %w", p, n.Name, err)
			}
		}
		pic, err := w.picture(p, bodies)
		if err != nil {
			return nil, fmt.Errorf("%s at %s: %w", p, n.Name, err)
		}
		all[p] = pic
	}
	return all, nil
}

var valueOf = regexp.MustCompile(`FLAGS \([^)]*\bv(\d+)\b`)

// picture reads a mailbox.
func (w *wire) picture(p place, bodies bool) (picture, error) {
	lines, err := w.imap("SELECT %s", p.box)
	if err != nil {
		return picture{}, err
	}
	e := high(p.account, p.box, lines)
	pic := picture{validity: e.Validity, uidnext: e.UID, highest: e.ModSeq}
	what := "BODY.PEEK[HEADER.FIELDS (SUBJECT)]"
	if bodies {
		what = "BODY.PEEK[]"
	}
	if lines, err = w.imap("UID FETCH 1:* (UID FLAGS MODSEQ %s)", what); err != nil {
		return picture{}, err
	}
	for _, s := range lines {
		head, body, found := strings.Cut(s, "\n")
		if !found || !strings.Contains(head, " FETCH ") {
			continue
		}
		it := item{uid: uint32(number(uidOf, head)), modseq: number(modseqOf, head), token: tokenOf(body)}
		it.value, _ = strconv.Atoi(append(valueOf.FindStringSubmatch(head), "", "")[1])
		if bodies {
			it.hurt = it.token == "" || !intact(strings.TrimSuffix(body, ")"), it.token)
		}
		pic.items = append(pic.items, it)
	}
	slices.SortFunc(pic.items, func(a, b item) int { return int(a.uid) - int(b.uid) })
	return pic, nil
}

// catchUp bounds how long nodes may take to show the same after all is quiet: more than the interval at which they poll.
const catchUp = 2 * time.Minute

// agree looks at all nodes until they show the same as want, or catchUp has passed, and returns what still differs, and how often it looked.
func agree(nodes []*Node, want map[place]picture) (differ []string, looks int) {
	for begin := time.Now(); ; {
		differ = nil
		looks++
		for _, n := range nodes {
			got, err := look(n, false)
			if err != nil {
				differ = append(differ, err.Error())
				continue
			}
			for _, p := range places() {
				if d := difference(want[p], got[p]); d != "" {
					differ = append(differ, fmt.Sprintf("%s at %s: %s", p, n.Name, d))
				}
			}
		}
		if len(differ) == 0 || time.Since(begin) > catchUp {
			return differ, looks
		}
		<-time.After(time.Second)
	}
}

// difference says how two pictures of a mailbox differ, "" if they don't.
func difference(a, b picture) string {
	if a.validity != b.validity || a.uidnext != b.uidnext || a.highest != b.highest || len(a.items) != len(b.items) {
		return fmt.Sprintf("UIDVALIDITY %d, UIDNEXT %d, HIGHESTMODSEQ %d, %d messages; elsewhere %d, %d, %d, %d",
			b.validity, b.uidnext, b.highest, len(b.items), a.validity, a.uidnext, a.highest, len(a.items))
	}
	for i := range a.items {
		x, y := a.items[i], b.items[i]
		if x.hurt, y.hurt = false, false; x != y {
			return fmt.Sprintf("%+v, elsewhere %+v", y, x)
		}
	}
	return ""
}

// Verify compares what the cell has with what the journal promises: through
// the first node message by message, and whether the others show the same; then
// the program's own check. All must be up and nothing under way.
func Verify(t testing.TB, nodes []*Node, j *Journal) *Findings {
	t.Helper()
	book := newLedger()
	if err := j.Read(book.add); err != nil {
		t.Fatal(err)
	}
	there, err := look(nodes[0], true)
	if err != nil {
		t.Fatal(err)
	}
	f := book.compare(there)
	if len(nodes) > 1 {
		differ, looks := agree(nodes[1:], there)
		for _, d := range differ {
			t.Error("nodes differ: ", d)
		}
		if looks > 1 {
			t.Logf("the nodes showed the same at look %d", looks)
		}
	}
	if out, err := nodes[0].Try("", "check", nodes[0].Dir); err != nil {
		t.Errorf("check: %v\n%s", err, out)
	}
	return f
}
