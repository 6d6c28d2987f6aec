// Package fts is the word index behind search: per account a few immutable
// segments of sorted terms with the ids of the messages that hold them, kept
// as rows (fts_seg, fts_block) through store/internal/db.
//
// It knows neither mailboxes nor messages, only ids that grow and folded text
// (message.Fold); what a hit means and the reading of messages is mailstore's.
//
// Guarantees. A segment becomes visible, and the high-water mark of the account
// (every message up to it is indexed) moves, in one transaction. Merges build
// an invisible segment in small steps and flip it in one; a process may die
// at any line, leftovers are swept by the next Merge. For every needle the
// ids of Hits.Sure contain it, and every id up to the mark that contains it is
// in Sure or Maybe: what is in Maybe must be verified on the text. Ids that were
// expunged meanwhile may still come up; they go at merges.
//
// Substrings stay exact: text is cut so that a needle without separators lies
// inside one token, or the pieces of it are all there (token.go says how),
// and looking up a substring walks the vocabulary, which is small and cached.
//
// Concurrency. an Index is safe for concurrent use; a Builder and a Set that is being filled are
// not. Write and Merge of one account must not run at the same time. Only leaf locks.
//
// Errors: ErrDamaged for a block that does not decode (scan the messages, and
// Reset the account); all others come from db and are transient.
package fts

import "errors"

// ErrDamaged says that stored index data is broken. The index holds nothing that the mail does not: rebuild.
var ErrDamaged = errors.New("fts: index damaged")

// Limits. They bound memory and index size, never the completeness of answers.
const (
	maxToken   = 128      // octets of a token; longer runs are cut into overlapping pieces
	maxProof   = 64       // octets of a needle that a piece proves; pieces overlap by maxProof-1
	maxName    = 64       // octets of a header name in a term; longer names share the term of their start
	maxTerm    = 255      // octets of a term: lengths are one octet in a block
	maxTerms   = 1 << 20  // octets of different terms of one message; beyond it the message is always a Maybe
	termsBlock = 16 << 10 // octets of front-coded terms at which a block ends
	postsBlock = 64 << 10 // octets of posting lists at which a block ends
	maxBlock   = 64 << 20 // octets a block may unpack to: a mailbox of a few million messages in one list
	fanout     = 8        // segments of a level that are merged into one of the next
	stepBytes  = 96 << 10 // octets of blocks written in one transaction: a few ms of the writer's time
	longRun    = 8192     // octets of an unfinished token kept back between chunks
)

// Field says which part of a message a term comes from.
type Field uint8

// Fields. They are stored as the first octet of terms and sort in this order.
const (
	fieldOver Field = 1 + iota // ids of messages with more terms than we keep
	Sent                       // day of the Date header
	Name                       // names of header fields that are there
	From
	To
	Cc
	Bcc
	Subject
	Header // all other header fields: name, 0, token
	Body
	File
	Mime // header fields of parts: name, colon, value as one text
	fieldEnd
)

// FieldOf returns the field of a header name in lower case; Header for those without their own.
func FieldOf(name string) Field {
	switch name {
	case "from":
		return From
	case "to":
		return To
	case "cc":
		return Cc
	case "bcc":
		return Bcc
	case "subject":
		return Subject
	}
	return Header
}

// words reports whether the field is cut at white space only: its vocabulary is small, so whole
// addresses and words with their punctuation pay, as needles then lie in one token.
func (f Field) words() bool { return f >= From && f <= Subject }
