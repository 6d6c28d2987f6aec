package mailstore

import (
	"context"
	"iter"

	"bahnpost/mail"
)

// Box is an open mailbox: its index in memory, shared by all sessions on it and
// caught up at each commit. Opening costs one point read; the rows load at first need.
type Box struct{ box }

// OpenBox opens a mailbox; Close when done.
func (s *Store) OpenBox(ctx context.Context, a mail.AccountID, id MailboxID) (*Box, error) {
	panic("contract")
}

// Close gives the box back; the index stays warm for a while.
func (b *Box) Close() { panic("contract") }

// Mailbox returns the description with current counters, from memory.
func (b *Box) Mailbox() Mailbox { panic("contract") }

// Load makes the rows present. Other methods that need them call it.
func (b *Box) Load(ctx context.Context) error { panic("contract") }

// Loaded reports whether the rows are in memory.
func (b *Box) Loaded() bool { panic("contract") }

// Row returns one row.
func (b *Box) Row(uid UID) (Row, bool) { panic("contract") }

// More returns the keyword ids of a row beyond the bits.
func (b *Box) More(uid UID) []KeywordID { panic("contract") }

// Vanished returns the UIDs expunged after since, out of known (nil: 1..UIDNext-1). If history does not reach back so
// far it answers all of known that are not there now (RFC 7162 §3.2.6), complete then is false.
func (b *Box) Vanished(ctx context.Context, since ModSeq, known UIDSet) (gone UIDSet, complete bool, err error) {
	panic("contract")
}

// Metas yields the Meta of each of rows (ascending UID), reading in long sequential strides.
func (b *Box) Metas(ctx context.Context, rows []Row) iter.Seq2[*Meta, error] { panic("contract") }

// View is what one client has been told of a mailbox: which messages exist
// (hence sequence numbers) and up to which modseq flags were said. It costs a
// few words, plus the expunges not yet said. Not safe for concurrent use.
type View struct{ view }

// NewView starts with what is now.
func (b *Box) NewView() *View { panic("contract") }

// Box returns the mailbox viewed.
func (v *View) Box() *Box { panic("contract") }

// Count is the number of messages the client knows; UIDNext and ModSeq as told.
func (v *View) Count() int { panic("contract") }

// UIDNext is the bound below which the client may know messages.
func (v *View) UIDNext() UID { panic("contract") }

// ModSeq is the highest modseq whose changes were told.
func (v *View) ModSeq() ModSeq { panic("contract") }

// UID returns the UID of sequence number seq (1-based), 0 if there is none. It may already be expunged.
func (v *View) UID(ctx context.Context, seq int) (UID, error) { panic("contract") }

// Seq returns the sequence number of a UID, 0 if the client does not know it.
func (v *View) Seq(ctx context.Context, uid UID) (int, error) { panic("contract") }

// Entry is a message in a view.
type Entry struct {
	Seq int
	Row Row
}

// Entries yields the messages of the view whose UID is in uids (nil: all) in ascending order, those expunged
// meanwhile left out. Rows are current. The iteration holds no lock while yielding.
func (v *View) Entries(ctx context.Context, uids UIDSet) iter.Seq2[*Entry, error] { panic("contract") }

// UIDsOfSeqs maps a set of sequence numbers (1-based, within Count) to UIDs.
func (v *View) UIDsOfSeqs(ctx context.Context, seqs UIDSet) (UIDSet, error) { panic("contract") }

// SeqsOfUIDs maps UIDs to sequence numbers.
func (v *View) SeqsOfUIDs(ctx context.Context, uids UIDSet) (UIDSet, error) { panic("contract") }

// News is what a client has to hear, in this order: expunges, then EXISTS if it grew, then flags.
type News struct {
	ExpungedSeqs []int   // each as of the moment it is said (RFC 9051 §7.5.1)
	ExpungedUIDs UIDSet  // the same as UIDs, for VANISHED
	Exists       bool    // say Count() as EXISTS
	First        UID     // first new UID, if Exists because of new messages
	Changed      []Entry // messages whose flags or modseq changed, without the new ones
}

// Sync moves the view forward and returns what to say. With expunge false the
// expunges are kept back and sequence numbers stay (RFC 9051 §7.5.1: not during FETCH, STORE, SEARCH).
func (v *View) Sync(ctx context.Context, expunge bool) (News, error) { panic("contract") }

// Dirty reports cheaply whether Sync(true) would have something to say.
func (v *View) Dirty() bool { panic("contract") }

// Know marks the flag changes of one step, made by this session, as known to the client (.SILENT).
func (v *View) Know(m ModSeq) { panic("contract") }
