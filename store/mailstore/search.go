package mailstore

import "context"

// Query is a search criterion over the messages of a view: a tree. RFC 9051 §6.4.4
// and its extensions are mapped onto it by the protocols.
type Query struct {
	Op   QueryOp
	Subs []*Query // And, Or, Not (one)

	UIDs     UIDSet // InUIDs
	Flags    Flags  // HasFlag: all of these system flags set
	Keyword  string // HasKeyword
	Field    string // Header: lower-case name; "" text matches mere presence
	Text     string // Header, Body, Text: UTF-8; substring, i;unicode-casemap
	Fuzzy    bool   // RFC 6203: word match with stemming-like prefix is enough, result may be ranked
	Number   int64  // Larger, Smaller: octets; ModSeq; Message and Thread ids
	From, To int64  // date ranges as Unix seconds: From <= t < To
}

// QueryOp is the kind of a Query node.
type QueryOp uint8

// Operators.
const (
	QAll QueryOp = iota
	QAnd
	QOr
	QNot
	QInUIDs
	QFlag
	QKeyword
	QHeader
	QBody // text of the body, not the header
	QText // header or body
	QLarger
	QSmaller
	QInternal      // INTERNALDATE disregarding zone as RFC 9051 says: compare local date; From/To are computed on Internal+Zone
	QInternalExact // WITHIN: absolute time
	QSent
	QSaved
	QModSeq // >= Number
	QMessage
	QThread
)

// Found is the answer of Search.
type Found struct {
	UIDs   []UID       // ascending
	ModSeq ModSeq      // highest modseq among them (RFC 7162 §3.1.5)
	Scores map[UID]int // RFC 6203 relevancy 1..100, only for Fuzzy queries
}

// Search evaluates q over v. The search index trails the mail; what it does not
// cover yet is read directly, so the answer is always exact.
func (s *Store) Search(ctx context.Context, v *View, q *Query) (Found, error) { panic("contract") }

// Match tells whether one stored message matches q (CONTEXT, NOTIFY, Sieve later).
func (s *Store) Match(ctx context.Context, v *View, uid UID, q *Query) (bool, error) {
	panic("contract")
}
