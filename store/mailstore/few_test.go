package mailstore

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// entries are what a view says of uids.
func (s *site) entries(v *View, uids UIDSet) (out []string) {
	s.t.Helper()
	for e, err := range v.Entries(s.t.Context(), uids) {
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%+v", *e))
	}
	return out
}

// Few messages of a large mailbox are read without its index, and are what the index says: with holes in the UIDs, with
// expunges that were not told, with messages that the client does not know of.
func TestFew(t *testing.T) {
	t.Parallel()
	const n = 5000
	s := newSite(t, Config{})
	s.boxes.large = n / 2
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	s.fill(tk, inbox, n)
	r := rand.New(rand.NewPCG(1, 2))
	some := func(ranges int) (u UIDSet) {
		for range ranges {
			lo := UID(1 + r.IntN(n+20))
			u.AddRange(lo, lo+UID(r.IntN(30)))
		}
		return u
	}
	expunge := func(u UIDSet) {
		s.must(tk, func(x *Tx) error { _, err := x.Expunge(inbox, u, false); return err })
	}
	expunge(some(40))
	b, err := s.OpenBox(t.Context(), 1, inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	v := b.NewView()
	expunge(some(40)) // v is not told
	s.fill(tk, inbox, 10)
	for i := range 60 {
		uids, few := some(1+i%5), *v
		few.counted = 0
		got := s.entries(&few, uids)
		if loaded := b.Loaded(); loaded != (len(uids) > fewRanges) {
			t.Fatalf("%v: index in memory %v", uids, loaded)
		}
		if err := b.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		whole := *v
		s.equal(uids.String(), got, s.entries(&whole, uids))
		b.unload()
	}
	// a view that goes on like that ends with the index
	for range n/fewCost + 1 {
		s.entries(v, UIDs(v.UIDNext()-1))
	}
	if !b.Loaded() {
		t.Error("the rows are counted for ever")
	}
	// and who asks for much does at once
	b.unload()
	s.entries(b.NewView(), nil)
	if !b.Loaded() {
		t.Error("all was read row by row")
	}
}
