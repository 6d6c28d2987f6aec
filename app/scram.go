package app

import (
	"context"
	"sync/atomic"
	"time"

	"bahnpost/mail"
)

// scramEvery bounds how often it is looked whether an account is without SCRAM keys.
const scramEvery = 5 * time.Second

// watchDirectory keeps the gate's memory of the directory true, whichever node changed it: logins of
// changed accounts are forgotten at once, their sessions end if they may not be used any more,
// and SCRAM is offered while it works for everybody.
func (n *Node) watchDirectory(ctx context.Context) error {
	var changed atomic.Bool
	n.floor.directory.OnChange(func(a mail.AccountID) {
		n.gate.Forget(a)
		n.suspects.add(a)
		changed.Store(true)
	})
	switch n.cfg.Load().Login.SCRAM {
	case "off":
		n.gate.OfferSCRAM(false)
		return nil
	case "on":
		return nil
	}
	all, err := n.judgeSCRAM(ctx)
	if err != nil {
		return err
	}
	go func() {
		tick := time.NewTicker(scramEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if changed.Swap(false) || !all {
				if now, err := n.judgeSCRAM(ctx); err == nil {
					all = now
				}
			}
		}
	}()
	return nil
}

func (n *Node) judgeSCRAM(ctx context.Context) (all bool, err error) {
	all, err = n.floor.directory.SCRAMForAll(ctx)
	if err == nil {
		n.gate.OfferSCRAM(all)
	}
	return all, err
}
