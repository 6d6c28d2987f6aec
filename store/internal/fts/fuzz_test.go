package fts

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzBlock: no octets make the readers of a block panic, and dfa and plain walk agree.
func FuzzBlock(f *testing.F) {
	p := packer{enc: newCodec().enc}
	var l lister
	for i, w := range strings.Fields("\x05ALPHA \x05ALPHABET \x05BETA \x08X-A\x00GAMMA \x09DELTA") {
		l.reset(10)
		l.add(int64(10+i), int64(12+i*i))
		l.add(int64(100+i), int64(100+i))
		l.close()
		p.add([]byte(w), l.list)
	}
	f.Add(slices.Clone(p.terms), slices.Clone(p.posts), []byte("ALPHA"))
	f.Add([]byte{0, 200}, []byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 1}, []byte("A"))
	f.Fuzz(func(t *testing.T, b, posts, needle []byte) {
		if len(needle) == 0 || len(needle) > maxToken || bytes.ContainsFunc(needle, func(r rune) bool { return r < ' ' }) {
			return
		}
		var fast, slow []string
		err := newDFA(needle).scan(b, func(_ int, term []byte) { fast = append(fast, string(term)) })
		ts := terms{b: b}
		var err2 error
		for {
			var ok bool
			if ok, err2 = ts.next(); !ok {
				break
			}
			for tok := ts.term; ; {
				i := bytes.IndexFunc(tok, func(r rune) bool { return r < ' ' })
				if i < 0 {
					if bytes.Contains(tok, needle) {
						slow = append(slow, string(ts.term))
					}
					break
				}
				tok = tok[i+1:]
			}
		}
		if (err == nil) != (err2 == nil) || !slices.Equal(fast, slow) {
			t.Fatalf("%v %v, %q %q", err, err2, fast, slow)
		}
		var s Set
		for rest := posts; len(rest) > 0; {
			var list []byte
			if list, rest, err = nextList(rest); err != nil {
				break
			}
			if s.addList(list, 5, 100000) != nil {
				break
			}
		}
		for id := range s.All() {
			if id < 5 || id > 100000 {
				t.Fatalf("id %d", id)
			}
		}
		newCodec().unpack(b, nil)
	})
}

// FuzzPlan: for every needle cut from a text the tokens of the text satisfy the plan.
func FuzzPlan(f *testing.F) {
	f.Add("HELLO.WORLD@EXAMPLE, 日本語 A-B-", 3, 20, true)
	f.Add(strings.Repeat("AB", 300)+"'-X", 100, 500, false)
	f.Fuzz(func(t *testing.T, text string, from, n int, words bool) {
		if !utf8.ValidString(text) || from < 0 || n <= 0 || from > len(text) || n > len(text)-from || !utf8.ValidString(text[from:from+n]) {
			return
		}
		needle := []byte(text[from : from+n])
		p := planText(needle)
		if words {
			p = planWords(needle)
		}
		var toks []string
		c := cutter{words: words, add: func(b []byte) { toks = append(toks, string(b)) }}
		r := rand.New(rand.NewPCG(uint64(n), uint64(from)))
		for b := []byte(text); len(b) > 0; {
			k := 1 + r.IntN(len(b))
			for k < len(b) && !utf8.RuneStart(b[k]) {
				k++
			}
			c.feed(b[:k])
			b = b[k:]
		}
		c.end()
		for i := range p {
			m := &p[i]
			d := newDFA(m.core)
			ok := false
			for _, tok := range toks {
				if len(tok) > maxToken {
					t.Fatalf("token of %d octets", len(tok))
				}
				hit, sure := m.match([]byte(tok))
				ok = ok || hit
				if sure && !strings.Contains(text, string(needle)) {
					t.Fatalf("%q proved wrongly by %q", needle, tok)
				}
				if hit && d.scan(append([]byte{0, byte(len(tok))}, tok...), func(int, []byte) { hit = false }) == nil && hit {
					t.Fatalf("dfa of %q does not find %q", m.core, tok)
				}
			}
			if !ok {
				t.Fatalf("needle %q: no token for %q among %q", needle, m.core, toks)
			}
		}
	})
}

// FuzzCut: tokens are the same wherever the text is cut into chunks, and those that nextText says.
func FuzzCut(f *testing.F) {
	f.Add("HELLO.WORLD@EXAMPLE, 日本語 A-B- 'TIS X_Y--Z @A@B@ .C", uint64(1))
	f.Add(strings.Repeat("AB CD.E- ", 20)+"GRÜN "+strings.Repeat("X", 90)+" END.", uint64(2))
	f.Add(strings.Repeat("A", 62)+".B "+strings.Repeat("A", 63)+".B "+strings.Repeat("A", 64)+"-B", uint64(3))
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		if !utf8.ValidString(text) || len(text) > 4096 {
			return
		}
		var want, got []string
		keep := func(to *[]string) func([]byte) {
			return func(b []byte) {
				if c, n := classAt(b); c != cjk || n < len(b) { // where a run ends in a chunk its last rune comes alone too
					*to = append(*to, string(b))
				}
			}
		}
		b := []byte(text)
		for s := nextText(b, 0); s.from < len(b); s = nextText(b, s.to) {
			if s.cjk {
				bigrams(b[s.from:s.to], keep(&want))
			} else {
				pieces(b[s.from:s.to], keep(&want))
			}
		}
		c := cutter{add: keep(&got)}
		r := rand.New(rand.NewPCG(seed, 5))
		for rest := b; len(rest) > 0; {
			k := 1 + r.IntN(len(rest))
			for k < len(rest) && !utf8.RuneStart(rest[k]) {
				k++
			}
			c.feed(rest[:k])
			rest = rest[k:]
		}
		c.end()
		if !slices.Equal(got, want) {
			t.Fatalf("%q: %q, want %q", text, got, want)
		}
	})
}
