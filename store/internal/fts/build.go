package fts

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// Builder collects the terms of a batch of messages: ids ascending, for each
// Message, its Texts, Done. It may be used again after Reset.
type Builder struct {
	seed   [2]uint64
	table  []uint64 // open addressing: 32 bits of the hash, term number + 1; 0: free
	terms  []termRef
	arena  []byte // octets of the terms, one after another
	pairs  []pair // which term came up in which message, in order of messages
	groups []group
	byName map[string]uint32 // header names to groups

	ids   []int64
	over  []int64 // messages with too many terms
	begin int     // len(arena) at the start of the message
	group uint32  // of the text being fed
	cut   [2]cutter
	open  *cutter // holds an unfinished text
}

type termRef struct {
	key   uint64 // the first eight octets, as they sort
	off   uint32
	last  uint32 // message number + 1 that had it last
	group uint32
	n     uint8
}

type pair struct{ term, msg uint32 }

// group is a range of the term space that begins with prefix.
type group struct {
	prefix []byte
	field  Field
}

// NewBuilder returns an empty Builder.
func NewBuilder() *Builder {
	b := &Builder{seed: [2]uint64{rand.Uint64(), rand.Uint64()}, table: make([]uint64, 1<<12), byName: map[string]uint32{}}
	for f := Field(0); f < fieldEnd; f++ {
		b.groups = append(b.groups, group{prefix: []byte{byte(f)}, field: f})
	}
	b.cut[0] = cutter{add: b.addTerm}
	b.cut[1] = cutter{words: true, add: b.addTerm}
	return b
}

// keepTerms is how many terms a Builder keeps memory for: more than a usual batch has.
const keepTerms = 1 << 16

// Reset forgets all messages.
func (b *Builder) Reset() {
	if len(b.table) > 4*keepTerms {
		b.table, b.terms, b.arena, b.pairs = make([]uint64, keepTerms), nil, nil, nil
	}
	clear(b.table)
	b.terms, b.arena, b.pairs = b.terms[:0], b.arena[:0], b.pairs[:0]
	b.groups = b.groups[:fieldEnd]
	clear(b.byName)
	b.ids, b.over, b.open = b.ids[:0], b.over[:0], nil
	for i := range b.cut {
		b.cut[i].carry = b.cut[i].carry[:0]
	}
}

// Len is the number of messages; Size a measure of the memory they took, in octets.
func (b *Builder) Len() int  { return len(b.ids) }
func (b *Builder) Size() int { return len(b.arena) + 8*len(b.pairs) }

// Message begins a message. Ids must grow.
func (b *Builder) Message(id int64) {
	b.ids = append(b.ids, id)
	b.begin = len(b.arena)
}

// Text feeds a chunk of folded text, whole runes, of field; header is the folded
// name if field is Header or Name. Chunks of one text follow each other and
// EndText ends it. A Name has no text: it records that the header field is there.
func (b *Builder) Text(field Field, header, folded []byte) {
	b.group = uint32(field)
	if field == Name || field == Header {
		if !nameFits(header) {
			b.tooMuch()
			return
		}
		if field == Name {
			b.EndText()
			b.addTerm(header)
			return
		}
		b.group = b.header(header)
	}
	c := &b.cut[0]
	if field.words() {
		c = &b.cut[1]
	}
	b.open = c
	c.feed(folded)
}

// Sent notes the day of the message's Date header, in days since 1970.
func (b *Builder) Sent(day int64) {
	b.group = uint32(Sent)
	b.addTerm(dayTerm(nil, day))
}

// dayTerm appends a day so that terms sort like days. Days that do not fit are at the ends.
func dayTerm(b []byte, day int64) []byte {
	return binary.BigEndian.AppendUint32(b, uint32(min(max(day, math.MinInt32), math.MaxInt32)+1<<31))
}

// EndText ends the text that Text has fed.
func (b *Builder) EndText() {
	if b.open != nil {
		b.open.end()
		b.open = nil
	}
}

// nameFits reports whether a header name can be a part of a term. A message with others is always a Maybe.
func nameFits(name []byte) bool {
	for _, c := range name {
		if c < ' ' {
			return false
		}
	}
	return len(name) > 0 && len(name) <= maxName
}

// tooMuch notes that not all of the message is in the index.
func (b *Builder) tooMuch() {
	id := b.ids[len(b.ids)-1]
	if k := len(b.over); k == 0 || b.over[k-1] != id {
		b.over = append(b.over, id)
	}
}

func (b *Builder) header(name []byte) uint32 {
	if g, ok := b.byName[string(name)]; ok {
		return g
	}
	g := uint32(len(b.groups))
	prefix := append(append([]byte{byte(Header)}, name...), 0)
	b.groups = append(b.groups, group{prefix: prefix, field: Header})
	b.byName[string(name)] = g
	return g
}

// addTerm records that the message has tok in the current group.
func (b *Builder) addTerm(tok []byte) {
	key, tag := b.hash(tok)
	mask := uint64(len(b.table) - 1)
	msg := uint32(len(b.ids))
	for i := tag & mask; ; i = (i + 1) & mask {
		s := b.table[i]
		if s == 0 {
			b.newTerm(i, tag, key, tok, msg)
			return
		}
		if s>>32 != tag {
			continue
		}
		n := uint32(s) - 1
		t := &b.terms[n]
		if t.key == key && t.group == b.group && int(t.n) == len(tok) && (len(tok) <= 8 || string(b.tok(t)) == string(tok)) {
			if t.last != msg {
				t.last = msg
				b.pairs = append(b.pairs, pair{n, msg - 1})
			}
			return
		}
	}
}

// hash returns the first eight octets of tok as they sort, and 32 bits that depend on all of it, on the
// group and on the seed, so that nobody can send terms that fall together.
func (b *Builder) hash(tok []byte) (key, tag uint64) {
	n := len(tok)
	if n >= 8 {
		key = binary.BigEndian.Uint64(tok)
	} else if cap(tok) >= 8 {
		key = binary.BigEndian.Uint64(tok[:8]) &^ (math.MaxUint64 >> (8 * n))
	} else {
		var w [8]byte
		copy(w[:], tok)
		key = binary.BigEndian.Uint64(w[:])
	}
	h := fold(key^b.seed[0], uint64(b.group)<<8|uint64(n)^b.seed[1])
	if n > 8 {
		for rest := tok[8:]; len(rest) > 8; rest = rest[8:] {
			h = fold(h^binary.LittleEndian.Uint64(rest), b.seed[0])
		}
		h = fold(h^binary.LittleEndian.Uint64(tok[n-8:]), b.seed[1])
	}
	return key, h >> 32
}

// fold mixes two words: the halves of their product, as wyhash does.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func (b *Builder) newTerm(slot, tag, key uint64, tok []byte, msg uint32) {
	if len(b.arena)-b.begin > maxTerms {
		b.tooMuch()
		return
	}
	b.terms = append(b.terms, termRef{key: key, off: uint32(len(b.arena)), last: msg, group: b.group, n: uint8(len(tok))})
	b.arena = append(b.arena, tok...)
	b.pairs = append(b.pairs, pair{uint32(len(b.terms) - 1), msg - 1})
	b.table[slot] = tag<<32 | uint64(len(b.terms))
	if len(b.terms)*2 > len(b.table) {
		b.grow()
	}
}

func (b *Builder) grow() {
	old := b.table
	b.table = make([]uint64, 4*len(old))
	mask := uint64(len(b.table) - 1)
	for _, s := range old {
		if s == 0 {
			continue
		}
		i := s >> 32 & mask
		for b.table[i] != 0 {
			i = (i + 1) & mask
		}
		b.table[i] = s
	}
}

func (b *Builder) tok(t *termRef) []byte { return b.arena[t.off : int(t.off)+int(t.n)] }

// sortable orders terms: rank of the group, first octets, the rest by comparison.
type sortable struct {
	key        uint64
	rank, term uint32
}

// sorted returns the terms in order.
func (b *Builder) sorted() []sortable {
	order := make([]uint32, len(b.groups))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(x, y uint32) int { return bytes.Compare(b.groups[x].prefix, b.groups[y].prefix) })
	rank := make([]uint32, len(order))
	for i, g := range order {
		rank[g] = uint32(i)
	}
	out := make([]sortable, len(b.terms))
	for i := range b.terms {
		t := &b.terms[i]
		out[i] = sortable{t.key, rank[t.group], uint32(i)}
	}
	slices.SortFunc(out, func(x, y sortable) int {
		switch {
		case x.rank != y.rank:
			return int(x.rank) - int(y.rank)
		case x.key < y.key:
			return -1
		case x.key > y.key:
			return 1
		}
		return bytes.Compare(b.tok(&b.terms[x.term]), b.tok(&b.terms[y.term]))
	})
	return out
}

// lists returns for each term the messages that have it, as positions in one slice.
func (b *Builder) lists() (start, msgs []uint32) {
	start = make([]uint32, len(b.terms)+1)
	for _, p := range b.pairs {
		start[p.term+1]++
	}
	for i := 1; i < len(start); i++ {
		start[i] += start[i-1]
	}
	msgs = make([]uint32, len(b.pairs))
	at := slices.Clone(start)
	for _, p := range b.pairs {
		msgs[at[p.term]] = p.msg
		at[p.term]++
	}
	return start, msgs
}

// pack writes everything into p. Ids are relative to base.
func (b *Builder) pack(p *packer, base int64) {
	start, msgs := b.lists()
	var l lister
	if len(b.over) > 0 {
		l.reset(base)
		for _, id := range b.over {
			l.add(id, id)
		}
		l.close()
		p.add([]byte{byte(fieldOver)}, l.list)
	}
	var term []byte
	for _, s := range b.sorted() {
		t := &b.terms[s.term]
		term = append(append(term[:0], b.groups[t.group].prefix...), b.tok(t)...)
		l.reset(base)
		for _, m := range msgs[start[s.term]:start[s.term+1]] {
			l.add(b.ids[m], b.ids[m])
		}
		l.close()
		p.add(term, l.list)
	}
	p.flush()
}
