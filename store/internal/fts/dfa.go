package fts

// dfa finds a needle in front-coded terms, reading only the octets that are
// stored: for each position of the current term it knows how much of the needle
// had matched there, so a term goes on from where it begins to differ from the one before.
type dfa struct {
	next []uint8 // [state*256+octet]; the state of a match is left only at octets below ' '
	end  uint8   // state of a match
}

// newDFA is for 1..maxToken octets.
func newDFA(needle []byte) *dfa {
	m := len(needle)
	d := &dfa{next: make([]uint8, (m+1)*256), end: uint8(m)}
	fall := 0 // where the automaton would be after needle[1:s]
	for s := 0; s < m; s++ {
		copy(d.next[s*256:], d.next[fall*256:fall*256+256])
		if s == 0 {
			clear(d.next[:256])
		}
		d.next[s*256+int(needle[s])] = uint8(s + 1)
		if s > 0 {
			fall = int(d.next[fall*256+int(needle[s])])
		}
	}
	for c := range 256 {
		d.next[m*256+c] = uint8(m)
	}
	for s := range m + 1 {
		for c := range int(' ') { // field octets, the 0 after a header's name: a token begins
			d.next[s*256+c] = 0
		}
	}
	return d
}

// scan calls f with the number and octets of each term of an unpacked block whose token contains the needle.
func (d *dfa) scan(b []byte, f func(n int, term []byte)) error {
	var term, state [2 * (maxTerm + 1)]uint8 // state[i]: before octet i; twice as long as needed, so that no index needs a check
	next, end := d.next, d.end
	size := 0
	for n := 0; len(b) > 0; n++ {
		if len(b) < 2 {
			return ErrDamaged
		}
		shared, k := int(b[0]), int(b[1])
		if shared > size || shared+k > maxTerm || 2+k > len(b) {
			return ErrDamaged
		}
		s := state[shared]
		for i, c := range b[2 : 2+k] {
			term[shared+i] = c
			s = next[int(s)<<8|int(c)]
			state[shared+i+1] = s
		}
		size = shared + k
		b = b[2+k:]
		if s == end {
			f(n, term[:size])
		}
	}
	return nil
}
