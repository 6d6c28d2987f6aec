package mailstore

// Tx is a transaction on one account, valid inside Update's function only. All
// changes of one Tx get the same modseq, ModSeq().
type Tx struct{ tx }

// ModSeq is what this step will be called.
func (t *Tx) ModSeq() ModSeq { panic("contract") }

// Mailbox and MailboxByName read inside the transaction.
func (t *Tx) Mailbox(id MailboxID) (Mailbox, error) { panic("contract") }

// MailboxByName finds a mailbox by its path.
func (t *Tx) MailboxByName(name string) (Mailbox, error) { panic("contract") }

// CreateMailbox makes name and its missing parents. Existing: kind MailboxExists.
func (t *Tx) CreateMailbox(spec MailboxSpec) (Mailbox, error) { panic("contract") }

// ImportMailbox makes or adjusts a mailbox with given UIDVALIDITY and UIDNEXT (moves).
func (t *Tx) ImportMailbox(spec MailboxSpec, uidValidity uint32, uidNext UID) (Mailbox, error) {
	panic("contract")
}

// RenameMailbox moves a mailbox and all below it; INBOX: its messages move, it stays (RFC 9051 §6.3.6).
func (t *Tx) RenameMailbox(id MailboxID, to string) error { panic("contract") }

// DeleteMailbox removes a mailbox with its messages; with children it becomes NoSelect. INBOX: kind NoPermission.
func (t *Tx) DeleteMailbox(id MailboxID) error { panic("contract") }

// Subscribe sets or clears a subscription; the name need not exist.
func (t *Tx) Subscribe(name string, on bool) error { panic("contract") }

// SetSpecialUse replaces the special-use attributes.
func (t *Tx) SetSpecialUse(id MailboxID, use []string) error { panic("contract") }

// SetACL sets (or with "" removes) the rights of an identifier.
func (t *Tx) SetACL(id MailboxID, identifier, rights string) error { panic("contract") }

// SetMetadata sets (or with nil removes) an annotation; id 0 is the server's.
func (t *Tx) SetMetadata(id MailboxID, entry string, value []byte) error { panic("contract") }

// Append stores a message; quota is checked and added in the same statement (kind OverQuota).
func (t *Tx) Append(id MailboxID, m NewMessage) (Appended, error) { panic("contract") }

// Import stores a message with given UID, dates, flags, modseq and UIDL.
func (t *Tx) Import(id MailboxID, m ImportedMessage) (Appended, error) { panic("contract") }

// StoreResult tells what StoreFlags did.
type StoreResult struct {
	Changed  UIDSet // rows that got the new modseq
	Modified UIDSet // not touched because newer than unchangedSince (RFC 7162 §3.1.3)
}

// StoreFlags changes flags of the existing ones of uids. Rows whose flags would
// not change keep their modseq. unchangedSince 0 with check false: unconditional.
// A range over the whole mailbox is one UPDATE.
func (t *Tx) StoreFlags(id MailboxID, uids UIDSet, op FlagOp, f Flags, keywords []string, check bool, unchangedSince ModSeq) (StoreResult, error) {
	panic("contract")
}

// Expunge removes messages. onlyDeleted: of uids (empty set: of all) those with \Deleted.
func (t *Tx) Expunge(id MailboxID, uids UIDSet, onlyDeleted bool) (UIDSet, error) { panic("contract") }

// Copied maps source UIDs to destination UIDs, both in ascending order of source.
type Copied struct {
	Src, Dst    UIDSet // pairwise in order
	UIDValidity uint32 // of the destination
	ModSeq      ModSeq
}

// Copy copies messages with flags and dates into dst (RFC 9051 §6.4.7); all or none.
func (t *Tx) Copy(src MailboxID, uids UIDSet, dst MailboxID) (Copied, error) { panic("contract") }

// Move is Copy and Expunge in one step that keeps MessageIDs (RFC 6851).
func (t *Tx) Move(src MailboxID, uids UIDSet, dst MailboxID) (Copied, error) { panic("contract") }
