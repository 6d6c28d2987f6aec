package fts

import (
	"bytes"
	"slices"
	"unicode/utf8"
)

// kind is how an alternative compares with a token.
type kind uint8

const (
	contains kind = iota
	prefix
	suffix
	exact
	within // b is two terms of the same length: first <= token < second
)

// alt is one way a token can hold its part of the needle. sure: such a token proves the whole needle.
type alt struct {
	kind kind
	b    []byte
	sure bool
}

// matcher finds the tokens for one part of a needle: those for which any of
// alts holds. All of them contain core.
type matcher struct {
	core []byte
	alts []alt
}

// plan says which tokens a message must have to hold the needle: one for each
// matcher. Without matchers the index cannot help.
type plan []matcher

// match returns how tok fits.
func (m *matcher) match(tok []byte) (hit, sure bool) {
	for i := range m.alts {
		a := &m.alts[i]
		var ok bool
		switch a.kind {
		case contains:
			ok = bytes.Contains(tok, a.b)
		case prefix:
			ok = bytes.HasPrefix(tok, a.b)
		case suffix:
			ok = bytes.HasSuffix(tok, a.b)
		case exact:
			ok = bytes.Equal(tok, a.b)
		case within:
			n := len(a.b) / 2
			ok = bytes.Compare(tok, a.b[:n]) >= 0 && bytes.Compare(tok, a.b[n:]) < 0
		}
		if ok {
			if a.sure {
				return true, true
			}
			hit = true
		}
	}
	return hit, false
}

// anchored reports whether all tokens sought begin with core.
func (m *matcher) anchored() bool {
	for i := range m.alts {
		if k := m.alts[i].kind; k == contains || k == suffix {
			return false
		}
	}
	return true
}

// add appends an alternative, shortened to what a piece of a long token surely has.
func (m *matcher) add(k kind, b []byte, sure bool) {
	switch {
	case k == contains && len(b) > maxProof:
		b, sure = b[:maxProof], false
	case len(b) <= maxToken:
	case k == suffix:
		b, sure = b[len(b)-maxToken:], false
	default: // the first piece
		k, b, sure = exact, b[:maxToken], false
	}
	m.alts = append(m.alts, alt{k, b, sure})
}

// finish makes core common to all alternatives after shortening.
func (m *matcher) finish() {
	m.core = m.alts[0].b
	for _, a := range m.alts[1:] {
		if len(a.b) < len(m.core) {
			m.core = a.b
		}
	}
	for _, a := range m.alts {
		if !bytes.Contains(a.b, m.core) {
			m.core = nil // cannot be with the shapes below; then every token is looked at
		}
	}
}

// planWords cuts a needle for fields cut into words.
func planWords(needle []byte) plan {
	var p plan
	for s := nextWord(needle, 0); s.from < len(needle); s = nextWord(needle, s.to) {
		var m matcher
		m.add(edges(s.from > 0, s.to < len(needle)), needle[s.from:s.to], s.from == 0 && s.to == len(needle))
		m.finish()
		p = append(p, m)
	}
	return p.strongFirst()
}

// strongFirst puts first what is found by seeking, and of the rest what is longest.
func (p plan) strongFirst() plan {
	slices.SortStableFunc(p, func(a, b matcher) int {
		if x, y := a.anchored() && len(a.core) > 1, b.anchored() && len(b.core) > 1; x != y {
			if x {
				return -1
			}
			return 1
		}
		return len(b.core) - len(a.core)
	})
	return p
}

// edges chooses by whether the token begins and ends inside the needle.
func edges(begins, ends bool) kind {
	switch {
	case begins && ends:
		return exact
	case begins:
		return prefix
	case ends:
		return suffix
	}
	return contains
}

// planText cuts a needle for text.
func planText(needle []byte) plan {
	var p plan
	for s := nextText(needle, 0); s.from < len(needle); s = nextText(needle, s.to) {
		if s.cjk {
			p = append(p, planRun(needle, s)...)
		} else {
			p = append(p, planToken(needle, s))
		}
	}
	return p.strongFirst()
}

// planRun is for a run of Han and Kana: all its bigrams.
func planRun(needle []byte, s span) (p plan) {
	run := needle[s.from:s.to]
	whole := len(run) == len(needle)
	n := utf8.RuneCount(run)
	bigrams(run, func(b []byte) {
		k := exact
		if n == 1 {
			k = contains
		}
		var m matcher
		m.add(k, b, whole && n <= 2)
		m.finish()
		p = append(p, m)
	})
	return p
}

// planToken is for a token. A joiner at an end of the needle may or may not be in the token of the text.
func planToken(needle []byte, s span) (m matcher) {
	from, to := s.from, s.to
	left := from == 1 && isJoiner(needle[0])
	right := to == len(needle)-1 && isJoiner(needle[to])
	add := func(from, to int, startsHere, endsHere bool) {
		m.add(edges(startsHere, endsHere), needle[from:to], from == 0 && to == len(needle) && !startsHere && !endsHere)
	}
	ends := func(from int, startsHere bool) {
		if right {
			add(from, to+1, startsHere, false)
		}
		add(from, to, startsHere, to < len(needle))
	}
	if left {
		ends(0, false)
	}
	ends(from, from > 0)
	m.finish()
	return m
}

func isJoiner(c byte) bool { return c < utf8.RuneSelf && asciiClass[c] == joiner }
