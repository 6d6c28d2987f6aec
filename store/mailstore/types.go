package mailstore

import (
	"time"

	"bahnpost/home"
	"bahnpost/mail"
	"bahnpost/wire/message"
)

// MailboxID names a mailbox within its account, for ever (RFC 8474 MAILBOXID). Zero is none.
type MailboxID int64

// MessageID names a message within its account; a copy is a new one, a move keeps it. Copies have the Meta.Email of
// their source, which is EMAILID (RFC 8474 §5.1).
type MessageID int64

// ThreadID names a conversation within its account (RFC 8474 THREADID, RFC 8621 §3).
type ThreadID int64

// ModSeq orders the changes of an account: one counter per account (RFC 7162 §3.1).
type ModSeq uint64

// UID is a message's number in its mailbox; never reused (RFC 9051 §2.3.1.1).
type UID uint32

// Limits. A client hears of them as *mail.Error of kind Limit, TooLarge or BadInput.
const (
	Separator        = '/'
	MaxMailboxName   = 4096    // octets of the whole path
	MaxMailboxLevel  = 255     // octets of one component
	MaxDepth         = 64      // components
	MaxMailboxes     = 50000   // per account
	MaxMessages      = 4 << 20 // per mailbox
	MaxKeywords      = 4096    // different ones per account
	MaxKeywordLength = 255
	MaxMessageSize   = 150 << 20
	MaxMetadataValue = 64 << 10
	MaxMetadataCount = 1000 // entries per mailbox
	MaxACLEntries    = 1000 // per mailbox
)

// Ticket says on whose behalf and with which routing knowledge one writes. A
// ticket older than the account's epoch is refused with *home.Moved.
type Ticket struct {
	Account mail.AccountID
	Epoch   home.Epoch
}

// Flags holds system flags in the low bits and the first KeywordBits keywords
// of the account's dictionary above them. Keywords with larger ids are in Row.More.
type Flags uint64

// System flags (RFC 9051 §2.3.2).
const (
	Seen Flags = 1 << iota
	Answered
	Flagged
	Deleted
	Draft

	SystemFlags = Seen | Answered | Flagged | Deleted | Draft

	keywordShift = 8
	KeywordBits  = 56
)

// KeywordID is a place in the account's keyword dictionary.
type KeywordID uint16

// Keyword returns the bit of keyword id, 0 if it lives in Row.More.
func Keyword(id KeywordID) Flags {
	if id >= KeywordBits {
		return 0
	}
	return 1 << (keywordShift + id)
}

// Row is the index entry of a message: all that a mailbox open reads.
type Row struct {
	UID      UID
	Size     uint32 // octets as a client sees it (prefix included)
	Zone     int16  // minutes east of UTC of Internal
	HasMore  bool   // keywords beyond the bits: ask Box.More
	Message  MessageID
	ModSeq   ModSeq
	Flags    Flags
	Internal int64 // INTERNALDATE, Unix seconds
	Saved    int64 // SAVEDATE, Unix seconds (RFC 8514)
}

// InternalDate is Internal in its zone.
func (r *Row) InternalDate() time.Time {
	return time.Unix(r.Internal, 0).In(time.FixedZone("", int(r.Zone)*60))
}

// Meta is the per-message data beyond the index.
type Meta struct {
	Message MessageID
	Email   MessageID // of the message that this one is a copy of, else its own (RFC 8474 EMAILID)
	Thread  ThreadID
	Prefix  int            // octets of trace header before the body; part offsets in Summary do not include it
	Summary message.Stored // valid until the next step of the iteration
	UIDL    string         // stored POP3 UIDL from a move, "" if none
	Order   int64          // POP3 order from a move, 0 if none
}

// Mailbox describes a mailbox with its kept counters.
type Mailbox struct {
	ID          MailboxID
	Parent      MailboxID
	Name        string // full path, UTF-8 NFC, Separator between levels; INBOX is always "INBOX"
	UIDValidity uint32
	UIDNext     UID
	ModSeq      ModSeq // HIGHESTMODSEQ
	Created     ModSeq
	Messages    int
	Unseen      int
	Deleted     int      // \Deleted, RFC 9051 STATUS DELETED
	Bytes       int64    // RFC 8438
	SpecialUse  []string // "\\Sent" …
	Subscribed  bool
	HasChildren bool
	NoSelect    bool // a name only: deleted while it had children
}

// Account holds the counters and limits of an account.
type Account struct {
	ID        mail.AccountID
	Epoch     home.Epoch
	ModSeq    ModSeq
	UsedBytes int64
	UsedCount int64
	Quota     Quota
	Mailboxes int
}

// Quota limits an account; 0 is no limit. Warn holds per cent values at which
// crossing upwards produces a Change of kind QuotaWarning.
type Quota struct {
	Bytes, Messages int64
	Warn            []int
}

// Change is one committed step in one mailbox, or of the account (Mailbox 0).
type Change struct {
	Account mail.AccountID
	ModSeq  ModSeq
	Mailbox MailboxID
	Kind    ChangeKind
	UIDs    UIDSet // Added, FlagsChanged, Expunged
}

// ChangeKind says what a Change was.
type ChangeKind uint8

// Kinds of change; numbers are stored.
const (
	Added ChangeKind = 1 + iota
	FlagsChanged
	Expunged
	MailboxCreated
	MailboxChanged // renamed, special use, ACL, metadata
	MailboxDeleted
	SubscriptionChanged
	AccountChanged
	QuotaWarning
	History // older history was trimmed: whoever sees it must start over
)

// NewMessage is a message to store.
type NewMessage struct {
	Body     *Body
	Prefix   []byte // trace header of this copy only (Delivered-To …), CRLF ended; counts in the size
	Flags    Flags  // system flags
	Keywords []string
	Internal time.Time // zero: now, UTC
	Dedup    string    // key of a delivery: a second Append with it is a no-op that returns the first's UID; "" none
}

// ImportedMessage carries what a move must preserve.
type ImportedMessage struct {
	NewMessage
	UID    UID    // 0: next. Must be >= the mailbox's UIDNext otherwise *mail.Error Conflict, unless the same UID already holds the same body (no-op)
	ModSeq ModSeq // 0: this step's
	UIDL   string // POP3 UIDL the client knows
	Order  int64  // POP3 position
	Saved  time.Time
}

// Appended says where a message went.
type Appended struct {
	UID         UID
	UIDValidity uint32
	Message     MessageID
	Thread      ThreadID
	ModSeq      ModSeq
}

// FlagOp is how StoreFlags combines.
type FlagOp uint8

// Flag operations (RFC 9051 §6.4.6).
const (
	SetFlags FlagOp = iota
	AddFlags
	RemoveFlags
)
