package mailstore

import (
	"context"
	"io"
	"iter"
	"time"

	"bahnpost/home"
	"bahnpost/mail"
	"bahnpost/store/blob"
	"bahnpost/store/internal/db"
)

// CONTRACT: signatures and comments are what neighbours build on; bodies are the owner's.

// Config has a working zero value; the default is in brackets.
type Config struct {
	InlineMax       int           // stored octets kept in the row, larger go to blob [decision 0002]
	Compression     string        // "auto": zstd where it pays, "off" [auto]
	ExpungeHistory  time.Duration // QRESYNC and Watch history [60 days]
	IndexMemory     int64         // octets of unused mailbox indexes kept warm [16 MiB]
	SystemMailboxes []MailboxSpec // made with each account [Drafts Sent Junk Trash Archive]
}

// MailboxSpec is a mailbox to make.
type MailboxSpec struct {
	Name       string
	SpecialUse []string
	Subscribe  bool
}

// Store is the mail store of one cell.
type Store struct{ store }

// New migrates the schema and returns the store. Run must run beside it.
func New(ctx context.Context, d *db.DB, bodies blob.Store, cfg Config) (*Store, error) {
	panic("contract")
}

// Run does the background work (reaper of bodies, history trim, search index,
// vacuum, compaction) until ctx ends. Nothing acknowledged depends on it.
func (s *Store) Run(ctx context.Context) error { panic("contract") }

// CreateAccount makes an account with INBOX and the system mailboxes. A second call is a no-op.
func (s *Store) CreateAccount(ctx context.Context, a mail.AccountID, epoch home.Epoch, q Quota) error {
	panic("contract")
}

// SetQuota changes limits; SetEpoch fences older tickets from its commit on.
func (s *Store) SetQuota(ctx context.Context, a mail.AccountID, q Quota) error { panic("contract") }

// SetEpoch raises the epoch of a; lowering is refused with kind Conflict.
func (s *Store) SetEpoch(ctx context.Context, a mail.AccountID, e home.Epoch) error {
	panic("contract")
}

// RemoveAccount deletes all of a's data, in steps; interrupted, a second call goes on.
func (s *Store) RemoveAccount(ctx context.Context, a mail.AccountID) error { panic("contract") }

// Account returns counters and limits. Unknown: kind NoSuchAccount.
func (s *Store) Account(ctx context.Context, a mail.AccountID) (Account, error) { panic("contract") }

// Update runs fn in a transaction on the ticket's account and returns when it is durable.
// fn runs on the writer: no blocking, no I/O, no call of Store methods. If fn fails, nothing of it stays.
func (s *Store) Update(ctx context.Context, t Ticket, fn func(*Tx) error) error { panic("contract") }

// Watch yields the changes of a after since: history first, then live, no gap, until ctx ends or the loop breaks.
func (s *Store) Watch(ctx context.Context, a mail.AccountID, since ModSeq) iter.Seq2[Change, error] {
	panic("contract")
}

// Notify is the lean form of Watch for sessions that only need to be woken:
// after each commit that touched mailbox (0: anything of a) wake is called on
// the committer's goroutine with the changes; it must return at once (hand over
// to another goroutine). stop is idempotent; after it returned, wake is not called again.
func (s *Store) Notify(a mail.AccountID, mailbox MailboxID, wake func([]Change)) (stop func()) {
	panic("contract")
}

// Mailboxes yields all mailboxes of a in hierarchical name order (INBOX first), with counters.
func (s *Store) Mailboxes(ctx context.Context, a mail.AccountID) ([]Mailbox, error) {
	panic("contract")
}

// MailboxByName finds a mailbox; any case of INBOX is INBOX. Not there: kind NoSuchMailbox.
func (s *Store) MailboxByName(ctx context.Context, a mail.AccountID, name string) (Mailbox, error) {
	panic("contract")
}

// MailboxByID finds a mailbox.
func (s *Store) MailboxByID(ctx context.Context, a mail.AccountID, id MailboxID) (Mailbox, error) {
	panic("contract")
}

// Subscriptions lists subscribed names, also of mailboxes that are not there (RFC 9051 §6.3.7).
func (s *Store) Subscriptions(ctx context.Context, a mail.AccountID) ([]string, error) {
	panic("contract")
}

// Keywords returns the account's keyword dictionary, index = KeywordID. Shared, read-only, append-only.
func (s *Store) Keywords(ctx context.Context, a mail.AccountID) ([]string, error) { panic("contract") }

// ACL returns the stored rights of a mailbox by identifier (RFC 4314); the owner has all rights implicitly.
func (s *Store) ACL(ctx context.Context, a mail.AccountID, m MailboxID) (map[string]string, error) {
	panic("contract")
}

// Metadata returns annotations (RFC 5464) of a mailbox (0: server) by lower-case entry name.
func (s *Store) Metadata(ctx context.Context, a mail.AccountID, m MailboxID) (map[string][]byte, error) {
	panic("contract")
}

// NewBody starts a message of unknown size. Up to a named limit it stays in memory, beyond it streams to blob.
func (s *Store) NewBody(ctx context.Context) *BodyWriter { panic("contract") }

// BodyWriter takes a message in; it hashes, parses and compresses on the way.
type BodyWriter struct{ bodyWriter }

// Write fails with kind TooLarge beyond MaxMessageSize.
func (w *BodyWriter) Write(p []byte) (int, error) { panic("contract") }

// Finish makes the body durable (or keeps it for the row, if small). The body is freed by Release or by being stored.
func (w *BodyWriter) Finish() (*Body, error) { panic("contract") }

// Abort forgets everything; a no-op after Finish.
func (w *BodyWriter) Abort() { panic("contract") }

// Body is a received message that may be stored in any number of accounts.
type Body struct{ body }

// Size is the number of octets as received.
func (b *Body) Size() int64 { panic("contract") }

// SHA256 identifies the octets as received.
func (b *Body) SHA256() [32]byte { panic("contract") }

// WriteTo streams the octets as received.
func (b *Body) WriteTo(w io.Writer) (int64, error) { panic("contract") }

// Release gives memory back; if no row refers to the body its space becomes garbage. Call once, after the last Update that uses it.
func (b *Body) Release() { panic("contract") }

var _ home.Body = (*Body)(nil)

// OpenMessage opens a message for reading. Gone: kind NoSuchMessage.
func (s *Store) OpenMessage(ctx context.Context, a mail.AccountID, m MessageID) (*Reader, error) {
	panic("contract")
}

// Reader reads a stored message, prefix included. Every octet was verified against its checksum; damage gives kind Corrupt.
// ReadAt is safe for concurrent use.
type Reader struct{ reader }

// Size is the whole size in octets.
func (r *Reader) Size() int64 { panic("contract") }

// Prefix is how many octets stand before the body as received; offsets of Summary parts count from there.
func (r *Reader) Prefix() int { panic("contract") }

// ReadAt implements io.ReaderAt over prefix and body.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) { panic("contract") }

// CopyRange streams n octets from off to w with few copies.
func (r *Reader) CopyRange(w io.Writer, off, n int64) error { panic("contract") }

// Close ends reading.
func (r *Reader) Close() error { panic("contract") }

// Problem is something Check found.
type Problem struct {
	Account mail.AccountID
	Mailbox MailboxID
	UID     UID
	Text    string
	Fatal   bool // data lost or wrong, not only waste
}

// CheckOptions chooses how deep Check looks.
type CheckOptions struct {
	Bodies   bool // read and hash every body
	Progress func(done, total int64)
}

// Check verifies the invariants (counters, UIDs, modseqs, bodies, index) on a live or idle store.
func (s *Store) Check(ctx context.Context, o CheckOptions) iter.Seq2[Problem, error] {
	panic("contract")
}
