// Package pop3d holds the POP3 conversation (RFC 1939) with CAPA (RFC 2449),
// STLS (RFC 2595), AUTH (RFC 5034), response codes (RFC 2449 §8, RFC 3206) and
// UTF8 and LANG (RFC 6856). APOP is left out: it needs clear passwords.
//
// It is not the mailbox (store/mailstore), not accepting, TLS or passwords
// (serve/listen).
//
// Guarantees. A session sees the INBOX as it was at login. Deletions are one
// durable commit before +OK to QUIT; without QUIT nothing is deleted (RFC 1939
// §6). A process that is killed leaves nothing to repair.
//
// No lock is taken on the mailbox, against the letter of RFC 1939 §4, whose
// reason was the mbox file: here messages never change, UIDs are never used
// twice, and a delivery or an IMAP session must not wait for a telephone that
// lost its network. What another session expunges meanwhile answers -ERR and
// keeps its number; deleting it again is a no-op.
//
// Concurrency. One goroutine a session; Server is safe for concurrent use. The
// only lock guards the cache of imported UIDLs (imported.go), a leaf.
//
// Errors. *mail.Error is said with the code of errors.go; anything else is
// [SYS/TEMP] with a reference that the log explains.
//
// The stories are in testdata/talk.
package pop3d
