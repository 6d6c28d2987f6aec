package message

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
)

// ThreadInput is what THREAD needs to know of one message. Inputs come in mailbox order (ascending
// sequence number, RFC 5256 §2.2 breaks ties by it).
type ThreadInput struct {
	Num              uint32   // what the answer says: sequence number, or UID for UID THREAD; not 0
	MessageID        []byte   // SortKeys.MessageID; empty if none
	References       [][]byte // Stored.References, oldest first
	Subject          []byte   // SortKeys.Subject
	IsReplyOrForward bool
	Date             int64 // SortKeys.SentDate; the INTERNALDATE in Unix seconds if SentDateOK is false
}

// Thread is a node of the forest. Num is 0 for the dummy at the top of a thread whose first message is missing.
type Thread struct {
	Num      uint32
	Children []*Thread
}

// ThreadOrderedSubject threads by RFC 5256 §3 ORDEREDSUBJECT.
func ThreadOrderedSubject(in []ThreadInput) []*Thread {
	order := make([]int32, len(in))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		if c := bytes.Compare(in[a].Subject, in[b].Subject); c != 0 {
			return c
		}
		return byDate(in, a, b)
	})
	nodes := make([]Thread, len(in))
	var roots []int32
	for i, m := range order {
		nodes[m].Num = in[m].Num
		if i > 0 && bytes.Equal(in[m].Subject, in[order[i-1]].Subject) {
			root := &nodes[roots[len(roots)-1]]
			root.Children = append(root.Children, &nodes[m])
			continue
		}
		roots = append(roots, m)
	}
	slices.SortFunc(roots, func(a, b int32) int { return byDate(in, a, b) })
	forest := make([]*Thread, len(roots))
	for i, m := range roots {
		forest[i] = &nodes[m]
	}
	return forest
}

// byDate compares two messages by sent date, then by their place in the mailbox.
func byDate(in []ThreadInput, a, b int32) int {
	if c := cmp.Compare(in[a].Date, in[b].Date); c != 0 {
		return c
	}
	return cmp.Compare(a, b)
}

// AppendThreads appends the thread-lists of RFC 5256 §5 "(2)(3 6 (4 23)(44 7 96))". It does not recurse:
// a thread may be as deep as the mailbox is long.
func AppendThreads(b []byte, forest []*Thread) []byte {
	type level struct {
		list []*Thread
	}
	stack := []level{{forest}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if len(top.list) == 0 {
			if stack = stack[:len(stack)-1]; len(stack) > 0 {
				b = append(b, ')')
			}
			continue
		}
		t := top.list[0]
		top.list = top.list[1:]
		b = append(b, '(')
		first := true
		for { // successive parents and children
			if t.Num != 0 {
				if !first {
					b = append(b, ' ')
				}
				b = strconv.AppendUint(b, uint64(t.Num), 10)
				first = false
			}
			if len(t.Children) != 1 {
				break
			}
			t = t.Children[0]
		}
		if len(t.Children) == 0 {
			b = append(b, ')')
			continue
		}
		if !first {
			b = append(b, ' ')
		}
		stack = append(stack, level{t.Children})
	}
	return b
}
