package drill

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// place is a mailbox of an account.
type place struct{ account, box string }

func (p place) String() string { return p.account + "/" + p.box }

// item is a message as the cell shows it.
type item struct {
	uid    uint32
	token  string
	modseq uint64
	value  int  // what was last set by Mark, 0 for nothing
	hurt   bool // its octets are not those that were sent
}

// picture is what the cell shows of a mailbox.
type picture struct {
	validity, uidnext uint32
	highest           uint64
	items             []item
}

// Findings is what is wrong after a comparison, each as a sentence, and what is merely remarkable.
type Findings struct {
	Lost     []string
	Doubled  []string // by us
	Flags    []string
	Returned []string // expunged and there
	UIDs     []string
	ModSeqs  []string

	Kept       int // messages acknowledged
	Dropped    int // of these, gone by acknowledged expunges
	Redoubled  int // copies more than one that a client made by sending again without an answer
	Overtaken  int // flags set by a command that was unanswered and came after a later one
	Unanswered int // attempts without an answer
}

// Bad are all sentences.
func (f *Findings) Bad() []string {
	return slices.Concat(f.Lost, f.Doubled, f.Flags, f.Returned, f.UIDs, f.ModSeqs)
}

// letter is what the journal knows of a token in a place.
type letter struct {
	kept, open    int // attempts acknowledged, attempts without an answer
	uids          map[uint32]*fate
	refusedBefore bool
}

// fate is what the journal knows of one copy.
type fate struct {
	dropped, dropTried bool
	marked             int // the last acknowledged value
	later, before      []int
	modseq             uint64 // the greatest that was shown
	changed            uint64 // that of the last change acknowledged
}

// ledger is the journal, added up. It is not safe for concurrent use.
type ledger struct {
	letters  map[place]map[string]*letter
	tokens   map[place]map[uint32]string // by UID, as first seen
	highest  map[place]uint64
	uidnext  map[place]uint32
	validity map[place]uint32
	clashes  []string        // UIDs that changed their message, found while adding up
	shrunk   []string        // modseqs that did not grow
	open     map[int64]Entry // attempts without an answer so far
	told     map[place]map[string]bool
}

func newLedger() *ledger {
	return &ledger{letters: map[place]map[string]*letter{}, tokens: map[place]map[uint32]string{}, highest: map[place]uint64{},
		uidnext: map[place]uint32{}, validity: map[place]uint32{}, open: map[int64]Entry{}, told: map[place]map[string]bool{}}
}

func (l *ledger) letter(p place, token string) *letter {
	m := l.letters[p]
	if m == nil {
		m = map[string]*letter{}
		l.letters[p] = m
	}
	if m[token] == nil {
		m[token] = &letter{uids: map[uint32]*fate{}}
	}
	return m[token]
}

func (l *ledger) fate(e Entry) *fate {
	x := l.letter(place{e.Account, e.Box}, e.Token)
	if x.uids[e.UID] == nil {
		x.uids[e.UID] = &fate{}
	}
	return x.uids[e.UID]
}

// add takes an entry.
func (l *ledger) add(e Entry) {
	p := place{e.Account, e.Box}
	switch e.Act {
	case Send, Mark, Drop:
		l.open[e.Attempt] = e
	case Kept, Refused, Marked, Unmarked, Dropped, Stays:
		delete(l.open, e.Attempt)
	}
	switch e.Act {
	case Send:
		l.letter(p, e.Token).open++
	case Kept:
		x := l.letter(p, e.Token)
		x.open--
		x.kept++
	case Refused:
		x := l.letter(p, e.Token)
		x.open--
		x.refusedBefore = true
	case Mark:
		f := l.fate(e)
		f.later = append(f.later, e.Value)
	case Marked:
		// What was tried before this and has no answer may still come after it.
		f := l.fate(e)
		if e.ModSeq != 0 && e.ModSeq <= f.changed {
			l.shrunk = append(l.shrunk, fmt.Sprintf("%s: UID %d was changed at modseq %d after one at %d", p, e.UID, e.ModSeq, f.changed))
		}
		f.changed = max(f.changed, e.ModSeq)
		f.before = append(f.before, without(f.later, e.Value)...)
		f.marked, f.later = e.Value, nil
	case Unmarked:
		f := l.fate(e)
		f.later = without(f.later, e.Value)
	case Drop:
		l.fate(e).dropTried = true
	case Dropped:
		l.fate(e).dropped = true
	case High:
		l.highest[p] = max(l.highest[p], e.ModSeq)
		l.uidnext[p] = max(l.uidnext[p], e.UID)
	case Told:
		if l.told[p] == nil {
			l.told[p] = map[string]bool{}
		}
		l.told[p][e.Token] = true
	}
	if e.UID != 0 && e.Token != "" {
		l.saw(p, e)
	}
	if e.Validity != 0 {
		l.valid(p, e.Validity)
	}
}

func without(all []int, v int) []int {
	return slices.DeleteFunc(slices.Clone(all), func(x int) bool { return x == v })
}

// saw notes which message a UID is: always the same.
func (l *ledger) saw(p place, e Entry) {
	m := l.tokens[p]
	if m == nil {
		m = map[uint32]string{}
		l.tokens[p] = m
	}
	if old, ok := m[e.UID]; ok && old != e.Token {
		l.clashes = append(l.clashes, fmt.Sprintf("%s: UID %d was %s and became %s", p, e.UID, old, e.Token))
	}
	m[e.UID] = e.Token
	f := l.fate(e)
	f.modseq = max(f.modseq, e.ModSeq)
	l.highest[p] = max(l.highest[p], e.ModSeq)
	l.uidnext[p] = max(l.uidnext[p], e.UID+1)
}

func (l *ledger) valid(p place, v uint32) {
	if old := l.validity[p]; old != 0 && old != v {
		l.clashes = append(l.clashes, fmt.Sprintf("%s: UIDVALIDITY was %d and became %d", p, old, v))
	}
	l.validity[p] = v
}

// compare says where what is there breaks what was promised.
func (l *ledger) compare(there map[place]picture) *Findings {
	f := &Findings{Unanswered: len(l.open)}
	all := map[place]bool{}
	for p := range l.letters {
		all[p] = true
	}
	for p := range there {
		all[p] = true
	}
	for _, p := range slices.SortedFunc(maps.Keys(all), inOrder) {
		l.comparePlace(f, p, there[p])
	}
	f.UIDs = append(f.UIDs, l.clashes...)
	f.ModSeqs = append(f.ModSeqs, l.shrunk...)
	return f
}

func inOrder(a, b place) int { return strings.Compare(a.String(), b.String()) }

func (l *ledger) comparePlace(f *Findings, p place, pic picture) {
	present := map[string][]item{}
	for _, it := range pic.items {
		present[it.token] = append(present[it.token], it)
		if old, ok := l.tokens[p][it.uid]; ok && old != it.token {
			f.UIDs = append(f.UIDs, fmt.Sprintf("%s: UID %d was %s and is %s", p, it.uid, old, it.token))
		}
	}
	if want := l.validity[p]; want != 0 && pic.validity != want {
		f.UIDs = append(f.UIDs, fmt.Sprintf("%s: UIDVALIDITY was %d and is %d", p, want, pic.validity))
	}
	if pic.uidnext < l.uidnext[p] {
		f.UIDs = append(f.UIDs, fmt.Sprintf("%s: UIDNEXT was %d and is %d", p, l.uidnext[p], pic.uidnext))
	}
	if pic.highest < l.highest[p] {
		f.ModSeqs = append(f.ModSeqs, fmt.Sprintf("%s: HIGHESTMODSEQ was %d and is %d", p, l.highest[p], pic.highest))
	}
	for _, token := range slices.Sorted(maps.Keys(l.letters[p])) {
		l.letters[p][token].compare(f, fmt.Sprint(p, " ", token), present[token])
		delete(present, token)
	}
	for _, token := range slices.Sorted(maps.Keys(present)) {
		f.Doubled = append(f.Doubled, fmt.Sprintf("%s %s: nobody sent it", p, token))
	}
}

// compare is about one token: copies is what is there of it.
func (x *letter) compare(f *Findings, name string, copies []item) {
	there := map[uint32]bool{}
	for _, it := range copies {
		there[it.uid] = true
		if it.hurt {
			f.Lost = append(f.Lost, fmt.Sprintf("%s (UID %d): other octets than were sent", name, it.uid))
		}
		if t := x.uids[it.uid]; t != nil {
			t.compare(f, fmt.Sprintf("%s (UID %d)", name, it.uid), it)
		}
	}
	gone, mayBeGone := 0, false
	for uid, t := range x.uids {
		mayBeGone = mayBeGone || t.dropTried
		if t.dropped && !there[uid] {
			gone++
		}
	}
	if x.kept > 0 {
		f.Kept++
		if len(copies) == 0 && !mayBeGone {
			f.Lost = append(f.Lost, name+": acknowledged and not there")
		}
	}
	f.Dropped += gone
	ever := len(copies)
	for uid := range x.uids {
		if !there[uid] {
			ever++
		}
	}
	switch {
	case ever > x.kept+x.open:
		why := ""
		if x.refusedBefore {
			why = ", after a refusal"
		}
		f.Doubled = append(f.Doubled, fmt.Sprintf("%s: %d copies; %d acknowledged, %d without an answer%s", name, ever, x.kept, x.open, why))
	case ever > 1:
		f.Redoubled += ever - 1
	}
}

// compare is about one copy that is there.
func (t *fate) compare(f *Findings, name string, it item) {
	if t.dropped {
		f.Returned = append(f.Returned, name+": expunged and there")
	}
	if it.modseq < t.modseq {
		f.ModSeqs = append(f.ModSeqs, fmt.Sprintf("%s: modseq was %d and is %d", name, t.modseq, it.modseq))
	}
	switch {
	case it.value == t.marked || slices.Contains(t.later, it.value):
	case slices.Contains(t.before, it.value):
		f.Overtaken++
	default:
		f.Flags = append(f.Flags, fmt.Sprintf("%s: flag %d is acknowledged and %d is there", name, t.marked, it.value))
	}
}
