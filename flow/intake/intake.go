package intake

import (
	"context"
	"sync"

	"bahnpost/mail"
)

// Config has a working zero value; the default is in brackets.
type Config struct {
	Hostname          string   // ours, for a Message-ID that a client forgot
	MaxHops           int      // Received fields [100]
	IgnoreDeliveredTo bool     // don't take a Delivered-To of the recipient for a loop
	AnySender         bool     // authenticated clients may send as anybody
	Filters           []Filter // in this order [none]
}

// Intake is the gate.
type Intake struct {
	cfg    Config
	dir    Resolver
	cell   Cell
	doors  Doors
	ledger ledger
	heads  sync.Pool // *[]byte: headers of mails under way
}

// New returns a gate.
func New(cfg Config, dir Resolver, cell Cell, doors Doors) *Intake {
	if cfg.MaxHops <= 0 {
		cfg.MaxHops = MaxHops
	}
	return &Intake{cfg: cfg, dir: dir, cell: cell, doors: doors}
}

var (
	errNotYours   = &mail.Error{Kind: mail.Policy, Text: "this sender address is not yours"}
	errRelay      = &mail.Error{Kind: mail.Policy, Text: "relaying denied"}
	errNoOutbound = &mail.Error{Kind: mail.Unavailable, Text: "no outbound yet: mail to other domains can't be sent"}
	errHops       = &mail.Error{Kind: mail.Loop, Text: "too many hops"}
	errLoop       = &mail.Error{Kind: mail.Loop, Text: "mail is looping: it was delivered here before"}
	errNobody     = &mail.Error{Kind: mail.NoSuchAccount, Text: "no such user here"}
)

// Sender checks that an authenticated client sends under an address that leads
// to its own account (RFC 6409 §6.1). The null sender is everybody's.
func (in *Intake) Sender(ctx context.Context, from mail.ReversePath, login mail.AccountID) error {
	if in.cfg.AnySender || from.IsZero() {
		return nil
	}
	rs, err := in.dir.Resolve(ctx, from.Address)
	if err != nil {
		if mail.Permanent(err) {
			return errNotYours
		}
		return err
	}
	for _, r := range rs {
		if r.Account == login {
			return nil
		}
	}
	return errNotYours
}

// Recipient resolves one recipient of a mail of size octets (0: unknown) and
// returns the accounts behind it. Address, Orig and the DSN parameters of to are set.
func (in *Intake) Recipient(ctx context.Context, env *mail.Envelope, size int64, to mail.Recipient) ([]mail.Recipient, error) {
	rs, err := in.dir.Resolve(ctx, to.Address)
	if err != nil {
		return nil, err
	}
	out := make([]mail.Recipient, 0, len(rs))
	for _, r := range rs {
		if r.Account == 0 {
			return nil, foreign(env, to.Address, r)
		}
		if err := in.cell.Room(ctx, r.Account, size); err != nil {
			return nil, err
		}
		r.Orig, r.DSNNotify, r.DSNOrcpt = to.Orig, to.DSNNotify, to.DSNOrcpt
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, errNobody
	}
	return out, nil
}

// foreign is the answer for an address of another system: r was asked for as a,
// or is what the alias a leads to.
func foreign(env *mail.Envelope, a mail.Address, r mail.Recipient) error {
	if env.Login == "" && (r.Address == a || r.Address.IsZero()) {
		return errRelay
	}
	return errNoOutbound
}

// Open begins a mail. env must not change until Deliver has returned.
func (in *Intake) Open(ctx context.Context, env *mail.Envelope) Incoming {
	m := &message{in: in, env: env, w: in.cell.NewBody(ctx), hold: env.Login != ""}
	if p, ok := in.heads.Get().(*[]byte); ok {
		m.head = (*p)[:0]
	}
	return m
}
