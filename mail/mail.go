// Package mail is the vocabulary of the house: the nouns every other package
// may use, and no verb that touches a socket, a disk or a clock.
package mail

import "time"

// AccountID names an account for ever; addresses come and go. It is positive;
// zero means "none".
type AccountID int64

// Envelope is what SMTP carries around a message (RFC 5321 §2.3.1), together
// with what the receiving side knows about how it came.
type Envelope struct {
	// ID makes delivery idempotent per recipient. Empty: the sender of this
	// hop repeats nothing on our behalf (an SMTP client that never got its
	// 250 may send again; that duplicate is its business, RFC 5321 §6.1).
	ID   string
	Ref  string // this mail's name in logs and in Received; never a key
	From ReversePath
	To   []Recipient

	// Protocol is the "with" keyword of the Received header: LMTP, ESMTPSA … (RFC 3848).
	Protocol string
	Helo     string // what the client called itself
	ClientIP string // textual, without port
	Login    string // authenticated account address, "" if none
	TLS      string // "TLS1.3 TLS_AES_128_GCM_SHA256", "" if plain
	Received time.Time

	Body     BodyType
	SMTPUTF8 bool
	DSNRet   string // RFC 3461 §4.3: "", FULL, HDRS
	DSNEnvID string // RFC 3461 §4.4, decoded xtext
}

// ReversePath is a sender: the zero value is the null sender <>.
type ReversePath struct{ Address }

// BodyType is the BODY parameter of MAIL (RFC 6152, RFC 3030 §3).
type BodyType uint8

// Body types.
const (
	Body7Bit BodyType = iota
	Body8BitMIME
	BodyBinaryMIME
)

// Recipient is one envelope recipient, and the account it resolved to.
type Recipient struct {
	Address Address   // as accepted, normalised; after alias expansion the final address
	Orig    string    // as the client wrote it between the angle brackets
	Account AccountID // 0: not ours
	Detail  string    // RFC 5233 sub-address, without separator

	DSNNotify string // RFC 3461 §4.1: "", NEVER, or a comma list of SUCCESS,FAILURE,DELAY
	DSNOrcpt  string // RFC 3461 §4.2: addr-type;decoded-address
}

// Receipt says what became of one recipient.
type Receipt struct {
	To  Address
	Err error // nil: delivered, durable. See Permanent.

	Mailbox string // for the log: where it was put, "" if the door doesn't tell
	UID     uint32 // for the log
}
