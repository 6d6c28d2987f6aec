// Package home says where an account lives, and how to knock there.
//
// A Door is what every home offers; the Router finds the door of an account
// and is the only switch. Routing knowledge may be stale: the door is the
// authority and answers Moved, upon which the caller asks the Router once more.
//
// All types are safe for concurrent use.
package home

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"bahnpost/mail"
)

// ID names a home: "cell:local", "cell:lyon", "legacy:dovecot-a".
type ID string

// Local is the id of the cell that this process serves.
const Local ID = "cell:local"

// Epoch grows with every change of a placement; a door refuses older ones.
type Epoch int64

// Phase is how far a move has come. See home/move for the transitions.
type Phase uint8

// Phases of a move.
const (
	Settled Phase = iota
	Copying
	Frozen
)

// Placement is the answer to "where does this account live?".
type Placement struct {
	Account mail.AccountID
	Home    ID
	Epoch   Epoch
	Phase   Phase
	To      ID // where it is going, while Phase is not Settled
}

// Body is a message that was received, hashed and (if large) already made
// durable by the cell; only the cell that made it can deliver it cheaply, every
// other door streams it. It stays valid until released by its maker.
type Body interface {
	Size() int64
	// WriteTo streams the message as received, without trace headers.
	io.WriterTo
}

// Door is what every home offers, and all it offers.
type Door interface {
	// Deliver hands one message to accounts of this home. It is idempotent by
	// (env.ID, recipient) when env.ID is set, returns one receipt for each
	// recipient in order, and a nil Err means durable.
	Deliver(ctx context.Context, env *mail.Envelope, body Body, epoch Epoch) []mail.Receipt
	// Serve takes over an authenticated connection until it ends.
	Serve(ctx context.Context, h *Handoff) error
	// HTTP answers authenticated requests: JMAP, DAV.
	HTTP() http.Handler
}

// Handoff is a session between login and its first command.
type Handoff struct {
	Conn     net.Conn // buffered client bytes included
	Protocol string   // "imap", "pop3", "managesieve"
	Account  mail.AccountID
	Epoch    Epoch
	Tag      string // the IMAP tag that still awaits its OK
}

// Moved is a door's answer to a caller with stale knowledge. It unwraps to a
// *mail.Error of kind mail.Moved.
type Moved struct{ Epoch Epoch }

func (m *Moved) Error() string { return fmt.Sprintf("account has moved (epoch %d)", m.Epoch) }

// Unwrap makes the kind visible to errors.AsType.
func (m *Moved) Unwrap() error { return errMoved }

var errMoved = &mail.Error{Kind: mail.Moved, Text: "account has moved"}

// Placements is what the Router needs of the directory.
type Placements interface {
	Placement(ctx context.Context, a mail.AccountID) (Placement, error)
}

// Router finds the door of an account.
type Router struct {
	places Placements
	doors  map[ID]Door
}

// NewRouter returns a Router over doors. Unknown homes lead Nowhere.
func NewRouter(p Placements, doors map[ID]Door) *Router { return &Router{p, doors} }

// Door returns the door of a, and the epoch to show there.
func (r *Router) Door(ctx context.Context, a mail.AccountID) (Door, Epoch, error) {
	p, err := r.places.Placement(ctx, a)
	if err != nil {
		return Nowhere{}, 0, err
	}
	if d, ok := r.doors[p.Home]; ok && p.Phase != Frozen {
		return d, p.Epoch, nil
	}
	return Nowhere{}, p.Epoch, nil
}

// Nowhere is the door of an account that can't be reached just now: it defers
// all mail and turns every session away politely. It is the zero door.
type Nowhere struct{}

var errAway = &mail.Error{Kind: mail.Unavailable, Text: "account is away for a moment, try again soon"}

// Deliver implements Door.
func (Nowhere) Deliver(_ context.Context, env *mail.Envelope, _ Body, _ Epoch) []mail.Receipt {
	rs := make([]mail.Receipt, len(env.To))
	for i, to := range env.To {
		rs[i] = mail.Receipt{To: to.Address, Err: errAway}
	}
	return rs
}

// Serve implements Door.
func (Nowhere) Serve(context.Context, *Handoff) error { return errAway }

// HTTP implements Door.
func (Nowhere) HTTP() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, errAway.Text, http.StatusServiceUnavailable)
	})
}

var _ Door = Nowhere{}
