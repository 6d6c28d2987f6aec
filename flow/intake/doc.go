// Package intake is the one gate for new mail: it resolves recipients when
// they are named, watches the message flow into the store, has the filters
// judge it, and hands it to the doors of all recipients at once.
//
// It is not a protocol (serve/smtpd speaks SMTP and LMTP), not a store and not
// a queue: whatever can't be delivered now is for the client to keep.
//
// # Who answers for what, while there is no spool
//
// A message is delivered to all recipients in one go, and each gets a receipt.
// LMTP has an answer for each (RFC 2033 §4.2). SMTP has one answer for all, so:
//
//   - what can be refused is refused at RCPT, each recipient for itself: unknown
//     addresses, relaying, quota (with the SIZE of MAIL);
//   - all delivered: 250. All refused for good: 5xx, nothing was delivered;
//   - a mixed end, the rare rest, is a 451: nothing is lost and nobody bounces a
//     mail that arrived. The client comes again with the same octets; a Ledger in
//     memory knows who has the mail already, so they don't get it twice. The
//     ledger is lost with the process: then a second copy is possible, a loss is not.
//
// The same ledger serves an alias of several accounts, for which LMTP too has
// one answer only.
//
// Safe for concurrent use, except Incoming, which belongs to one session.
//
// Errors are *mail.Error where the client may know the reason; all else is transient.
package intake

import (
	"context"
	"io"

	"bahnpost/mail"
)

// Resolver finds the accounts behind an address: exact, alias, without
// detail, catch-all; postmaster, with or without a domain, is always somebody
// (RFC 5321 §4.5.1). Not ours: one recipient with Account 0. Ours but not there: kind NoSuchAccount.
type Resolver interface {
	Resolve(ctx context.Context, a mail.Address) ([]mail.Recipient, error)
}

// Cell keeps bodies on their way to the doors, and knows whether an account has room.
type Cell interface {
	NewBody(ctx context.Context) BodyWriter
	// Room fails with kind OverQuota if size more octets (0: unknown) don't fit.
	Room(ctx context.Context, a mail.AccountID, size int64) error
}

// Doors finds the door of an account and the epoch to show there.
type Doors interface {
	Door(ctx context.Context, a mail.AccountID) (Door, int64, error)
}

// Door delivers to the accounts of one home; see home.Door. Doors are compared: equal ones get one delivery.
type Door interface {
	Deliver(ctx context.Context, env *mail.Envelope, body Body, epoch int64) []mail.Receipt
}

// BodyWriter takes a message in. Exactly one of Finish and Abort ends it.
type BodyWriter = interface {
	io.Writer
	Finish() (Body, error)
	Abort()
}

// Body is a received message. Release it once, when no delivery uses it any more.
type Body = interface {
	io.WriterTo
	Size() int64
	SHA256() [32]byte
	Release()
}

// Filter judges a mail before it is delivered; header is its header as
// received, up to MaxHeader. An error refuses the mail for all recipients.
type Filter interface {
	Judge(ctx context.Context, env *mail.Envelope, header []byte, body Body) error
}

// Incoming is a mail under way: write its octets, then Deliver or Abort. It is
// an alias, so that a server's own interface can name the same type.
type Incoming = interface {
	io.Writer
	// Deliver ends the message and hands it to all recipients, given as they
	// were resolved, one group for each RCPT. The receipts are in the same
	// order. An error is the answer for all.
	Deliver(ctx context.Context, rcpts [][]mail.Recipient) ([][]mail.Receipt, error)
	Abort()
}

// Limits.
const (
	MaxHeader = 256 << 10 // octets of header that are looked at; beyond, a mail has no more trace
	MaxHops   = 100       // Received fields; RFC 5321 §6.3 wants at least 100
)
