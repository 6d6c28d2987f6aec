// Package imapd holds the IMAP conversation: IMAP4rev2 and IMAP4rev1 (RFC 9051,
// RFC 3501) and the extensions in caps.go, one server for all.
//
// It is not the grammar (wire/imap), not the mailboxes (store/mailstore), not
// accepting, TLS and passwords (serve/listen).
//
// Guarantees. A tagged OK of a command that changes something is sent after
// its durable commit. What a client has been told is kept apart from what is
// (view.go): message numbers change only when the table in commands.go allows
// it (RFC 9051 §7.5.1). A killed process leaves nothing to repair here: a
// session has no state outside of memory.
//
// Concurrency. One goroutine a session waits for input with a shallow stack
// and no buffers (session.go); commands run on a crew of goroutines with warm
// stacks (crew.go), one at a time for a session. While a client idles, commits
// wake it through the pusher (push.go). Whoever works for a session holds
// session.mu; nothing else is locked while it is held but the leaf locks of
// pools. The store's wake calls take no lock at all.
//
// Errors. *imap.SyntaxError is BAD with its text; *mail.Error is NO with the
// code of errors.go; anything else is NO [SERVERBUG] with a reference that the
// log explains.
//
// The stories are in testdata/talk, a file a command or extension.
package imapd
