// Package smtpd speaks SMTP to the world (MX), to our own users (Submission)
// and LMTP to a neighbouring mail system: RFC 5321, 6409, 2033, with
// PIPELINING (2920), SIZE (1870), 8BITMIME (6152), SMTPUTF8 (6531), CHUNKING
// and BINARYMIME (3030), ENHANCEDSTATUSCODES (2034, 3463), DSN (3461),
// STARTTLS (3207), AUTH (4954) and LIMITS (9422).
//
// It is not the judge of mail: an Intake (flow/intake, joined in app) resolves
// recipients, takes the octets and delivers. Grammar is wire/smtp's; TLS and
// passwords are serve/listen's.
//
// Guarantees. 250 after a message (for LMTP: each 250) means that the mail is
// durable in the mailboxes of that recipient. A message with a bare CR or LF
// in DATA is refused as a whole. Octets that come behind STARTTLS in clear are
// dropped. What a client sends is in memory only as one buffer of BufferSize
// while a message flows, and a kilobyte while the session idles.
//
// How SMTP's one reply for many recipients is chosen without a queue: all
// delivered, 250; all refused for good, the first one's 5xx; none delivered
// and some may be later, that 4xx; a mixture, 451, and the Intake remembers who
// has the mail when the client comes again (see flow/intake). For an alias of
// many accounts LMTP follows the same rule.
//
// Concurrency: one goroutine a session, which owns its state. Server is safe for concurrent use.
//
// Errors: *mail.Error is said aloud by the table in errors.go; anything else is
// "451 4.3.0 internal error" with a reference that the log explains. Unknown is temporary.
//
// Stories: testdata/talk.
package smtpd
