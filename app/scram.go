package app

import (
	"context"
	"sync/atomic"
	"time"

	"bahnpost/mail"
)

// scramEvery bounds how often the accounts without SCRAM keys are counted.
const scramEvery = 5 * time.Second

// watchDirectory keeps the gate's memory of the directory true: logins of
// changed accounts are forgotten at once, and SCRAM is offered while it works for everybody.
func (n *Node) watchDirectory(ctx context.Context) error {
	var changed atomic.Bool
	n.floor.directory.OnChange(func(a mail.AccountID) {
		n.gate.Forget(a)
		changed.Store(true)
	})
	switch n.cfg.Load().Login.SCRAM {
	case "off":
		n.gate.OfferSCRAM(false)
		return nil
	case "on":
		return nil
	}
	missing, err := n.judgeSCRAM(ctx)
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
			if changed.Swap(false) || missing > 0 {
				if m, err := n.judgeSCRAM(ctx); err == nil {
					missing = m
				}
			}
		}
	}()
	return nil
}

func (n *Node) judgeSCRAM(ctx context.Context) (missing int, err error) {
	_, missing, err = n.floor.directory.SCRAMCoverage(ctx)
	if err == nil {
		n.gate.OfferSCRAM(missing == 0)
	}
	return missing, err
}
