package drill

import (
	"slices"
	"strings"
	"testing"
)

// box is the mailbox of these tests.
var box = place{"u0", "INBOX"}

// TestCompare: what each kind of history and what is there afterwards make.
func TestCompare(t *testing.T) {
	t.Parallel()
	type findings struct{ lost, doubled, flags, returned, uids, modseqs, redoubled, overtaken int }
	send := func(try int64) Entry { return Entry{Act: Send, Attempt: try, Token: "x"} }
	kept := func(try int64, uid uint32) Entry {
		return Entry{Act: Kept, Attempt: try, Token: "x", UID: uid, Validity: 1}
	}
	refused := func(try int64) Entry { return Entry{Act: Refused, Attempt: try, Token: "x"} }
	one := item{uid: 1, token: "x", modseq: 9}
	about := func(act Act, try int64, value int) Entry {
		return Entry{Act: act, Attempt: try, Token: "x", UID: 1, Value: value}
	}
	mark := func(tries ...Entry) []Entry { return append([]Entry{send(1), kept(1, 1)}, tries...) }
	set := func(value int) []item { return []item{{uid: 1, token: "x", modseq: 9, value: value}} }
	for _, c := range []struct {
		name    string
		journal []Entry
		there   []item
		want    findings
	}{
		{"all is well", []Entry{send(1), kept(1, 1)}, []item{one}, findings{}},
		{"lost", []Entry{send(1), kept(1, 0)}, nil, findings{lost: 1}},
		{"hurt", []Entry{send(1), kept(1, 1)}, []item{{uid: 1, token: "x", modseq: 9, hurt: true}}, findings{lost: 1}},
		{"unanswered and there", []Entry{send(1)}, []item{one}, findings{}},
		{"unanswered and not there", []Entry{send(1)}, nil, findings{}},
		{"refused and not there", []Entry{send(1), refused(1)}, nil, findings{}},
		{"refused and there", []Entry{send(1), refused(1)}, []item{one}, findings{doubled: 1}},
		{"refused and kept later, twice", []Entry{send(1), refused(1), send(2), kept(2, 0)}, []item{one, {uid: 2, token: "x", modseq: 9}}, findings{doubled: 1}},
		{"unanswered and sent again", []Entry{send(1), send(2), kept(2, 0)}, []item{one, {uid: 2, token: "x", modseq: 9}}, findings{redoubled: 1}},
		{"twice", []Entry{send(1), kept(1, 1)}, []item{one, {uid: 2, token: "x", modseq: 9}}, findings{doubled: 1}},
		{"thrice of two tries", []Entry{send(1), send(2), kept(2, 0)}, []item{one, {uid: 2, token: "x", modseq: 9}, {uid: 3, token: "x", modseq: 9}}, findings{doubled: 1}},
		{"nobody sent it", nil, []item{one}, findings{doubled: 1}},
		{"flag as acknowledged", mark(about(Mark, 2, 5), about(Marked, 2, 5)), set(5), findings{}},
		{"flag lost", mark(about(Mark, 2, 5), about(Marked, 2, 5)), set(0), findings{flags: 1}},
		{"flag without an answer", mark(about(Mark, 2, 5), about(Marked, 2, 5), about(Mark, 3, 6)), set(6), findings{}},
		{"flag without an answer, not set", mark(about(Mark, 2, 5), about(Marked, 2, 5), about(Mark, 3, 6)), set(5), findings{}},
		{"flag refused and set", mark(about(Mark, 2, 5), about(Marked, 2, 5), about(Mark, 3, 6), about(Unmarked, 3, 6)), set(6), findings{flags: 1}},
		{"flag of before", mark(about(Mark, 2, 5), about(Marked, 2, 5), about(Mark, 3, 6), about(Marked, 3, 6)), set(5), findings{flags: 1}},
		{"flag overtaken", mark(about(Mark, 2, 5), about(Mark, 3, 6), about(Marked, 3, 6)), set(5), findings{overtaken: 1}},
		{"expunged", mark(about(Drop, 2, 0), about(Dropped, 2, 0)), nil, findings{}},
		{"expunged and there", mark(about(Drop, 2, 0), about(Dropped, 2, 0)), []item{one}, findings{returned: 1}},
		{"expunge without an answer, there", mark(about(Drop, 2, 0)), []item{one}, findings{}},
		{"expunge without an answer, gone", mark(about(Drop, 2, 0)), nil, findings{}},
		{"expunged, and another copy", mark(about(Drop, 2, 0), about(Dropped, 2, 0)), []item{{uid: 2, token: "x", modseq: 9}}, findings{doubled: 1}},
		{"UID used again", append(mark(), Entry{Act: Send, Attempt: 2, Token: "y"}, Entry{Act: Kept, Attempt: 2, Token: "y", UID: 1}), []item{one}, findings{lost: 1, uids: 2}},
		{"UIDNEXT shrank", mark(Entry{Act: High, UID: 99}), []item{one}, findings{uids: 1}},
		{"UIDVALIDITY changed", mark(Entry{Act: High, Validity: 2}), []item{one}, findings{uids: 2}},
		{"HIGHESTMODSEQ shrank", mark(Entry{Act: High, ModSeq: 99}), []item{one}, findings{modseqs: 1}},
		{"modseq of a message shrank", mark(Entry{Act: Saw, Token: "x", UID: 1, ModSeq: 10}), []item{one}, findings{modseqs: 1}},
		{"modseq did not grow", mark(Entry{Act: Mark, Attempt: 2, Token: "x", UID: 1, Value: 5}, Entry{Act: Marked, Attempt: 2, Token: "x", UID: 1, Value: 5, ModSeq: 7},
			Entry{Act: Mark, Attempt: 3, Token: "x", UID: 1, Value: 6}, Entry{Act: Marked, Attempt: 3, Token: "x", UID: 1, Value: 6, ModSeq: 7}), set(6), findings{modseqs: 1}},
	} {
		l := newLedger()
		for _, e := range c.journal {
			e.Account, e.Box = box.account, box.box
			l.add(e)
		}
		f := l.compare(map[place]picture{box: {validity: 1, uidnext: 10, highest: 10, items: c.there}})
		got := findings{len(f.Lost), len(f.Doubled), len(f.Flags), len(f.Returned), len(f.UIDs), len(f.ModSeqs), f.Redoubled, f.Overtaken}
		if got != c.want {
			t.Errorf("%s: got %+v, want %+v: %q", c.name, got, c.want, f.Bad())
		}
	}
}

// TestJournal: what was written comes back, in order.
func TestJournal(t *testing.T) {
	t.Parallel()
	j := NewJournal(t, t.TempDir()+"/journal")
	a := j.Begin(Entry{Act: Send, Account: "u0", Box: "INBOX", Token: "x"})
	b := j.Begin(Entry{Act: Send, Account: "u0", Box: "INBOX", Token: "y"})
	j.End(b, Kept)
	j.End(a, Refused)
	var got []string
	if err := j.Read(func(e Entry) { got = append(got, string(e.Act)+" "+e.Token) }); err != nil {
		t.Fatal(err)
	}
	if want := []string{"send x", "send y", "kept y", "refused x"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if a.Attempt == b.Attempt {
		t.Error("two attempts have one number")
	}
}

// TestMessage: a message is known by its token, whole and by header, and no line of it begins with a dot.
func TestMessage(t *testing.T) {
	t.Parallel()
	for n := range 90 {
		tok := token("someone", n)
		m := message(tok)
		if m != message(tok) || tokenOf(m) != tok || strings.Contains(m, "\n.") || !intact("Return-Path: <>\r\n"+m, tok) {
			t.Fatalf("%s: %.200q", tok, m)
		}
		if intact(m[:len(m)-5]+m[len(m)-4:], tok) {
			t.Fatalf("%s: a lost octet is not seen", tok)
		}
	}
}
