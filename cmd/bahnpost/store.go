package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"

	"bahnpost/app"
)

type storeCmd struct {
	Copy storeCopyCmd `cmd:"" help:"Copy everything that a stopped node remembers into the store of a new one."`
}

type storeCopyCmd struct {
	From   string `required:"" help:"Directory of the node to copy; no node may serve its store." placeholder:"DIR"`
	To     string `required:"" help:"Directory of the new node, just made by init." placeholder:"DIR"`
	Again  bool   `help:"The new store is a finished copy: take anew what differs. What it got since is lost."`
	DryRun bool   `help:"Look whether it can be done, and how much there is."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

func (c *storeCopyCmd) Run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	b := newBar("messages")
	r, err := app.CopyStore(ctx, app.StoreCopy{From: c.From, To: c.To, DryRun: c.DryRun, Again: c.Again, Progress: b.set})
	b.end()
	switch {
	case err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return errors.New("interrupted; run it again to go on")
	case err != nil:
		return err
	case c.JSON:
		return printJSON(r)
	case c.DryRun:
		fmt.Printf("would copy %d accounts with %d messages, %s, from %s to %s", r.Accounts, r.Messages, size(r.Octets), c.From, c.To)
		if r.Resumed {
			fmt.Print("; a part is there already")
		}
		fmt.Println()
		return nil
	}
	fmt.Printf("copied %d accounts with %d messages in %.1f s", r.Accounts, r.Messages, r.Seconds)
	if r.Resumed {
		fmt.Print(", a part of them by runs before this one\n")
	} else {
		fmt.Printf(" (%.0f messages/s)\n", float64(r.Messages)/r.Seconds)
	}
	fmt.Printf("%d bodies, %s, were read now, each matched its SHA-256\n", r.Bodies, size(r.Octets))
	fmt.Printf("%d accounts and the directory were compared on both sides: no difference\n", r.Verified)
	fmt.Printf("\nthe search index is made anew while it serves\nstart it with: bahnpost serve %s\n", c.To)
	return nil
}
