// Package store is the ground floor: what we remember. It opens the two seams
// everything above stands on, the SQL database (internal/db) and the bodies
// (blob), and keeps a second process out.
//
// It is not the mail store: mailboxes live in store/mailstore, accounts in
// store/directory; both build on what Open returns.
//
// Guarantees: after a crash at any line the next Open needs no repair step.
// The lock dies with the process that holds it. Open and Close may be called
// from any goroutine. Errors are internal ones, meant for the log and the
// operator; a client never hears them.
package store
