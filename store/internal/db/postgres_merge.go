package db

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Statements of one text that members with different keys have queued run as one,
// with an array for each parameter: what a statement costs the server lies more
// in its beginning and end than in its row. The order of each key's
// statements stays. What a text must look like, many says; others run singly.

// lane is what one key has queued in a run: a chain through pgConn.chain.
type lane struct{ at, last int }

// run of the queue that may change its order: keyed statements, all before or all after the member's mark.
func (c *pgConn) runEnd(i int) int {
	first := i
	for i < len(c.queue) && c.queue[i].s != nil && c.queue[i].key != 0 && (i == first || i != c.member.mark) {
		i++
	}
	return i
}

// sendRun sends c.queue[from:to], grouped.
func (c *pgConn) sendRun(from, to int) error {
	c.sortLanes(from, to)
	for left := to - from; left > 0; {
		s := c.nextText()
		c.group = c.group[:0]
		for i := range c.lanes {
			l := &c.lanes[i]
			for l.at >= 0 && c.queue[l.at].s == s {
				c.group = append(c.group, l.at)
				l.at = c.chain[l.at-from]
				if !s.runs {
					break
				}
			}
		}
		s.left -= len(c.group)
		left -= len(c.group)
		if err := c.sendGroup(s); err != nil {
			return err
		}
	}
	return nil
}

// sortLanes makes the lanes of a run and counts its texts.
func (c *pgConn) sortLanes(from, to int) {
	c.lanes, c.chain = c.lanes[:0], c.chain[:0]
	clear(c.laneOf)
	for i := from; i < to; i++ {
		q := &c.queue[i]
		q.s.left = 0
		c.chain = append(c.chain, -1)
		n, ok := c.laneOf[q.key]
		if !ok {
			c.laneOf[q.key] = len(c.lanes)
			c.lanes = append(c.lanes, lane{i, i})
			continue
		}
		l := &c.lanes[n]
		c.chain[l.last-from] = i
		l.last = i
	}
	for i := from; i < to; i++ {
		c.queue[i].s.left++
	}
}

// nextText chooses what runs next: a text that all who have it yet are at, or that most are at.
func (c *pgConn) nextText() (best *pgStmt) {
	for i := range c.lanes {
		if at := c.lanes[i].at; at >= 0 {
			c.queue[at].s.heads = 0
		}
	}
	for i := range c.lanes {
		if at := c.lanes[i].at; at >= 0 {
			c.queue[at].s.heads++
		}
	}
	for i := range c.lanes {
		at := c.lanes[i].at
		if at < 0 {
			continue
		}
		s := c.queue[at].s
		if s.heads == s.left {
			return s
		}
		if best == nil || s.heads > best.heads {
			best = s
		}
	}
	return best
}

// groupBytes bounds one merged statement.
const groupBytes = 4 << 20

// sendGroup sends the statements of c.group, as few as possible.
func (c *pgConn) sendGroup(s *pgStmt) error {
	for group := c.group; len(group) > 0; {
		n, size := 0, 0
		for n < len(group) && size < groupBytes {
			for _, a := range c.queue[group[n]].args {
				size += 12 + len(a.s) + len(a.b)
			}
			n++
		}
		if n == 1 || s.many == nil || s.many.refused || s.many.question {
			n = 1
			if err := c.sendOne(group[0]); err != nil {
				return err
			}
		} else if err := c.sendMany(s.many, group[:n]); err != nil {
			return err
		}
		group = group[n:]
	}
	return nil
}

// sendMany sends one statement for all of group.
func (c *pgConn) sendMany(s *pgStmt, group []int) error {
	c.name(s)
	c.encodeMany(len(group), func(k int) []Value { return c.queue[group[k]].args })
	c.bindParams("", s)
	c.execute("", 0)
	p := pending{s: s, want: 0, sql: c.queue[group[0]].sql, own: group[0] >= c.member.mark}
	for _, i := range group {
		if w := c.queue[i].want; w == AnyCount || p.want == AnyCount {
			p.want = AnyCount
		} else {
			p.want += w
		}
	}
	c.wrote = true
	return c.sent(p)
}

// encodeMany puts each parameter of n statements into an array (PostgreSQL's binary form: dimensions, flags, type; length and lower bound; elements).
func (c *pgConn) encodeMany(n int, args func(k int) []Value) {
	c.params, c.arena, c.cuts = c.params[:0], c.arena[:0], c.cuts[:0]
	for i, first := range args(0) {
		if first.kind == 0 {
			continue
		}
		a := c.arena
		for _, word := range [...]uint32{1, 0, oids[first.kind], uint32(n), 1} {
			a = binary.BigEndian.AppendUint32(a, word)
		}
		for k := range n {
			switch v := &args(k)[i]; v.kind {
			case 1:
				a = binary.BigEndian.AppendUint32(a, 8)
				a = binary.BigEndian.AppendUint64(a, uint64(v.i))
			case 2:
				a = append(binary.BigEndian.AppendUint32(a, uint32(len(v.s))), v.s...)
			case 3:
				a = append(binary.BigEndian.AppendUint32(a, uint32(len(v.b))), v.b...)
			}
		}
		c.arena = a
		c.cuts = append(c.cuts, len(a))
	}
	begin := 0
	for _, end := range c.cuts {
		c.params = append(c.params, c.arena[begin:end:end])
		begin = end
	}
}

// Names and numbers of the arrays by the kind of the Value.
var (
	arrays    = [4]string{"", "bigint", "text", "bytea"}
	arrayOIDs = [4]uint32{0, 1016, 1009, 1001}
)

// many returns the statement that does what text, PostgreSQL's, does for each element of
// arrays; nil if text is not of a form that it knows:
//
//	INSERT INTO t (…) VALUES (…), … [ON CONFLICT …]
//	UPDATE t SET … WHERE …
//	DELETE FROM t WHERE …
//	SELECT …, whose answer then begins with the place in the arrays, from 1
//
// runs says that several statements of one key may be among them.
func many(text string, args []Value) (s *pgStmt, runs bool) {
	kinds := make([]uint8, len(args)) // so that args need not be on the heap
	for i := range args {
		kinds[i] = args[i].kind
	}
	word, _, _ := strings.Cut(text, " ")
	for _, no := range []string{"'", `"`, "SELECT", "RETURNING"} {
		if strings.Contains(text[min(1, len(text)):], no) {
			return nil, false
		}
	}
	text = strings.Join(strings.Fields(text), " ")
	m := merger{args: kinds}
	ok := false
	switch word {
	case "INSERT":
		ok = m.insert(text)
		runs = !strings.Contains(text, "DO UPDATE")
	case "UPDATE":
		ok = m.where(text, " FROM ")
	case "DELETE":
		ok = m.where(text, " USING ")
	case "SELECT":
		ok = m.question(text)
	}
	if !ok || len(m.kinds) == 0 {
		return nil, false
	}
	return &pgStmt{text: m.out, kinds: m.kinds, question: word == "SELECT"}, runs
}

type merger struct {
	args  []uint8 // kinds of the arguments
	kinds []uint32
	out   string
}

// rows are the parameters as a table. Those that are NULL are not in it.
func (m *merger) rows() string {
	var from, names []string
	for i := range m.args {
		if k := m.args[i]; k != 0 {
			m.kinds = append(m.kinds, arrayOIDs[k])
			from = append(from, fmt.Sprintf("$%d::%s[]", len(m.kinds), arrays[k]))
			names = append(names, "p"+strconv.Itoa(i+1))
		}
	}
	return "unnest(" + strings.Join(from, ",") + ") AS v(" + strings.Join(names, ",") + ")"
}

// param is parameter n in a merged text.
func (m *merger) param(n int) (string, bool) {
	if n < 1 || n > len(m.args) {
		return "", false
	}
	if m.args[n-1] == 0 {
		return "NULL", true
	}
	return "v.p" + strconv.Itoa(n), true
}

// params replaces the parameters in text.
func params(text string, with func(n int) (string, bool)) (string, bool) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		end := 0
		for end < len(after) && '0' <= after[end] && after[end] <= '9' {
			end++
		}
		n, err := strconv.Atoi(after[:end])
		if err != nil {
			return "", false
		}
		p, ok := with(n)
		if !ok {
			return "", false
		}
		b.WriteString(p)
		text = after[end:]
	}
}

// question is for SELECT.
func (m *merger) question(text string) bool {
	rows := strings.TrimSuffix(m.rows(), ")") + ",n)"
	text, ok := params(text, m.param)
	m.out = "SELECT v.n,q.* FROM " + strings.Replace(rows, " AS v(", " WITH ORDINALITY AS v(", 1) + " CROSS JOIN LATERAL (" + text + ") AS q"
	return ok
}

// where is for UPDATE and DELETE.
func (m *merger) where(text, from string) bool {
	head, tail, found := strings.Cut(text, " WHERE ")
	if !found || strings.Contains(head, from) {
		return false
	}
	head, ok := params(head, m.param)
	tail, ok2 := params(tail, m.param)
	m.out = head + from + m.rows() + " WHERE " + tail
	return ok && ok2
}

// insert is for INSERT.
func (m *merger) insert(text string) bool {
	head, tail, found := strings.Cut(text, "VALUES")
	if !found {
		return false
	}
	var rows [][]string
	for {
		row, rest, ok := tuple(tail)
		if !ok {
			return false
		}
		rows = append(rows, row)
		if tail = strings.TrimSpace(rest); !strings.HasPrefix(tail, ",") {
			break
		}
		tail = tail[1:]
	}
	if tail != "" && !strings.HasPrefix(tail, "ON CONFLICT") {
		return false
	}
	from := " FROM " + m.rows()
	list, ok := params(strings.Join(rows[0], ","), m.param)
	if len(rows) > 1 {
		for i := range m.args {
			if m.args[i] == 0 {
				return false // its type would not be known
			}
		}
		var all []string
		for _, r := range rows {
			all = append(all, "("+strings.Join(r, ",")+")")
		}
		var values string
		values, ok = params(strings.Join(all, ","), m.param)
		list, from = "x.*", from+" CROSS JOIN LATERAL (VALUES "+values+") AS x"
	}
	if !ok {
		return false
	}
	if tail, ok = params(tail, excluded(head, rows)); !ok {
		return false
	}
	m.out = head + "SELECT " + list + from + " " + tail
	return true
}

// excluded finds what a parameter is called in ON CONFLICT: the column that it was to go to.
func excluded(head string, rows [][]string) func(n int) (string, bool) {
	_, list, _ := strings.Cut(head, "(")
	columns, _, ok := tuple("(" + list)
	return func(n int) (string, bool) {
		for i, e := range rows[0] {
			if ok && len(rows) == 1 && i < len(columns) && strings.TrimSpace(e) == "$"+strconv.Itoa(n) {
				return "excluded." + strings.TrimSpace(columns[i]), true
			}
		}
		return "", false
	}
}

// tuple reads a list in parentheses.
func tuple(text string) (items []string, rest string, ok bool) {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "(") {
		return nil, "", false
	}
	depth, begin := 0, 1
	for i := range len(text) {
		switch text[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return append(items, text[begin:i]), text[i+1:], true
			}
		case ',':
			if depth == 1 {
				items, begin = append(items, text[begin:i]), i+1
			}
		}
	}
	return nil, "", false
}
