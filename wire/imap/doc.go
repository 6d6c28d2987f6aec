// Package imap is the grammar of IMAP: command lines in, values out; values in,
// response text out (RFC 9051 §9, RFC 3501 §9 and the extensions each
// function cites).
//
// It is not a session: which command is allowed when, what it means and what
// is answered is serve/imapd's. It has no clock, goroutine, logger or config.
//
// Reading is done by Decoder, a chain of expectations with one sticky error:
// d.SP(); name := d.Mailbox(); d.End(); if err := d.Err(); err != nil … . It
// reads whole lines from a Source and asks it for literals in between, so a
// literal can be streamed. Every length, count and depth is bounded by a named
// limit; whatever is wrong is a *SyntaxError with a reason a client may read.
//
// Writing is done by Append functions that grow a caller's buffer.
//
// Nothing here is safe for concurrent use of one value. Properties proved by
// the fuzz targets: no panic, bounded memory, parse(print(x)) == x.
package imap
