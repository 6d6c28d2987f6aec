package app

import (
	"context"

	"bahnpost/flow/intake"
	"bahnpost/home"
	"bahnpost/home/cell"
	"bahnpost/mail"
	"bahnpost/serve/listen"
	"bahnpost/store/directory"
)

// The adapters let neighbours meet: each gives one room the small interface
// that another declared. They hold no state and decide nothing.

// resolver answers intake from the directory.
type resolver struct{ d *directory.Directory }

func (r resolver) Resolve(ctx context.Context, a mail.Address) ([]mail.Recipient, error) {
	res, err := r.d.Resolve(ctx, a)
	return res.Recipients, err
}

// doors shows intake the router.
type doors struct{ r *home.Router }

func (d doors) Door(ctx context.Context, a mail.AccountID) (intake.Door, int64, error) {
	door, epoch, err := d.r.Door(ctx, a)
	if err != nil {
		return nil, 0, err
	}
	return doorway{door}, int64(epoch), nil
}

type doorway struct{ home.Door }

func (d doorway) Deliver(ctx context.Context, env *mail.Envelope, body intake.Body, epoch int64) []mail.Receipt {
	return d.Door.Deliver(ctx, env, body, home.Epoch(epoch))
}

// accounts shows the gate the directory; the type of SCRAM keys differs, and who
// logs in to an account of this cell finds it furnished.
type accounts struct {
	*directory.Directory
	cell *cell.Local
}

func (a accounts) Placement(ctx context.Context, id mail.AccountID) (home.Placement, error) {
	p, err := a.Directory.Placement(ctx, id)
	if err == nil && p.Home == home.Local {
		err = a.cell.Furnish(ctx, id, p.Epoch)
	}
	return p, err
}

func (a accounts) SCRAM(ctx context.Context, login string) (listen.SCRAMKeys, bool, error) {
	k, ok, err := a.Directory.SCRAM(ctx, login)
	return listen.SCRAMKeys(k), ok, err
}
