// Package mailstore keeps mailboxes and messages of the accounts of a cell:
// names, UIDs, flags, modseqs, quota, ACL, metadata, bodies, search
// (RFC 9051, 7162, 8474, 8514, 9208, 4314, 5464).
//
// It is not the directory (addresses, credentials) and knows no protocol.
//
// Guarantees. There is one write path, Update: what its function did is one
// durable commit together with its neighbours' (group commit), or nothing. The
// epoch of the ticket is checked in the same transaction. Commit assigns the
// account's next modseq to all rows the function touched, updates the shared
// mailbox indexes in memory and then tells the watchers. After a crash at any
// line nothing acknowledged is missing, UIDs and modseqs only grow, every row
// has its body. There is one news path, Watch.
//
// Several nodes may serve one account on one database (PostgreSQL): what one commits the others' sessions
// hear of in some milliseconds, at the latest after Config.PollEvery; what a node writes is never founded on what is old.
//
// Concurrency. Store and Box are safe for concurrent use. A Tx lives in its
// function only. A View belongs to one session. DESIGN.md has the order of locks.
//
// Errors that may be said aloud are *mail.Error; all others are transient. A database that is away is kind Unavailable
// at once, after Config.Patience for who is Patient. An
// Update whose commit failed has an unknown outcome until the next start.
package mailstore
