package mail

import "errors"

// Error is a refusal that may be said aloud to a client or put in a bounce.
// Everything that is not an *Error is an internal, transient fault: the
// client hears a reference, the log has the rest.
type Error struct {
	Kind Kind
	Text string // safe to show to a stranger; one line, no trailing dot
	Err  error  // for the log only
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Text + ": " + e.Err.Error()
	}
	return e.Text
}

// Unwrap gives the cause that only the log sees.
func (e *Error) Unwrap() error { return e.Err }

// Errorf is not provided on purpose: Text is chosen, never formatted from a cause.

// Kind classifies an Error; each protocol has one table from Kind to its codes.
// The order is frozen: kinds cross the network by number.
type Kind uint8

// Kinds.
const (
	Internal      Kind = iota // our fault; transient
	Unavailable               // not now: draining, overloaded, home away; transient
	NoSuchAccount             // the address is not ours or not there; permanent
	NoSuchMailbox             // permanent
	MailboxExists             // permanent
	NoSuchMessage             // permanent
	OverQuota                 // transient by default (RFC 5321 452 4.2.2)
	TooLarge                  // message or argument over a named limit; permanent
	Limit                     // a named limit of number or rate is reached; transient
	Policy                    // refused by rule; permanent
	AuthFailed                // credentials wrong; permanent for this try
	AuthThrottled             // too many failures; transient
	Disabled                  // account exists but may not be used; permanent
	NoPermission              // ACL; permanent
	BadInput                  // malformed; permanent
	Moved                     // account lives elsewhere; ask the router again
	Conflict                  // compare-and-swap lost; transient
	Corrupt                   // stored data failed its checksum; transient for the sender, alarm for us
	Loop                      // mail goes in circles; permanent
	Full                      // our disk has no room; transient, alarm for us (RFC 5321 §4.2.2 452)
)

var permanent = [...]bool{NoSuchAccount: true, NoSuchMailbox: true, MailboxExists: true, NoSuchMessage: true,
	TooLarge: true, Policy: true, AuthFailed: true, Disabled: true, NoPermission: true, BadInput: true, Corrupt: false, Loop: true}

// Permanent reports whether trying again is pointless. An error that does not
// say so is transient: the house never bounces mail because of its own bugs.
func Permanent(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && int(e.Kind) < len(permanent) && permanent[e.Kind]
}

// KindOf returns the kind of err, Internal if it carries none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}
