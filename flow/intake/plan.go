package intake

import (
	"context"
	"strings"
	"sync"

	"bahnpost/mail"
)

// plan is one mail's recipients, each place once, and what became of them.
type plan struct {
	to       []mail.Recipient
	receipts []mail.Receipt
	settled  []bool   // the receipt stands; no door is asked
	index    [][]int  // for each RCPT the places in to
	flat     [16]bool // backing of settled for the common case
}

// place is where a mail may go once.
type place struct {
	account mail.AccountID
	detail  string
}

func placeOf(r *mail.Recipient) place { return place{r.Account, strings.ToLower(r.Detail)} }

// newPlan takes every account and detail once, however often it was named.
func newPlan(rcpts [][]mail.Recipient) *plan {
	p := &plan{index: make([][]int, len(rcpts))}
	n := 0
	for _, g := range rcpts {
		n += len(g)
	}
	p.to = make([]mail.Recipient, 0, n)
	var seen map[place]int
	if n > 1 {
		seen = make(map[place]int, n)
	}
	all := make([]int, 0, n)
	for i, g := range rcpts {
		start := len(all)
		for _, r := range g {
			k := placeOf(&r)
			j, ok := seen[k]
			if !ok {
				j = len(p.to)
				p.to = append(p.to, r)
				if seen != nil {
					seen[k] = j
				}
			}
			all = append(all, j)
		}
		p.index[i] = all[start:len(all):len(all)]
	}
	p.receipts = make([]mail.Receipt, len(p.to))
	p.settled = p.flat[:0]
	for i := range p.to {
		p.receipts[i].To = p.to[i].Address
		p.settled = append(p.settled, false)
	}
	return p
}

func (p *plan) settle(i int, err error) { p.receipts[i].Err, p.settled[i] = err, true }

// refuseLoops refuses recipients that had this mail before.
func (p *plan) refuseLoops(t trace) {
	for i := range p.to {
		for _, d := range t.delivered {
			if sameAccount(d, &p.to[i]) {
				p.settle(i, errLoop)
				break
			}
		}
	}
}

// answer gives the receipts as the client asked.
func (p *plan) answer(rcpts [][]mail.Recipient) [][]mail.Receipt {
	out := make([][]mail.Receipt, len(rcpts))
	all := make([]mail.Receipt, 0, len(p.to))
	for i, idx := range p.index {
		start := len(all)
		for _, j := range idx {
			all = append(all, p.receipts[j])
		}
		out[i] = all[start:len(all):len(all)]
	}
	return out
}

// group is what one door gets in one delivery.
type group struct {
	door  Door
	epoch int64
	which []int // places in plan.to
}

// hand gives the mail to all doors at once. Recipients whose account moved
// meanwhile are routed once more (law 2).
func (in *Intake) hand(ctx context.Context, env *mail.Envelope, body Body, p *plan) {
	var pending []int
	for i, s := range p.settled {
		if !s {
			pending = append(pending, i)
		}
	}
	for try := 0; len(pending) > 0 && try < 2; try++ {
		groups := in.groups(ctx, p, pending)
		if len(groups) == 1 {
			groups[0].deliver(ctx, env, body, p)
		} else {
			var wg sync.WaitGroup
			for i := range groups {
				wg.Go(func() { groups[i].deliver(ctx, env, body, p) })
			}
			wg.Wait()
		}
		var moved []int
		for _, i := range pending {
			if err := p.receipts[i].Err; err != nil && mail.KindOf(err) == mail.Moved {
				moved = append(moved, i)
			}
		}
		pending = moved
	}
}

// groups finds the doors of the pending recipients.
func (in *Intake) groups(ctx context.Context, p *plan, pending []int) []group {
	var gs []group
next:
	for _, i := range pending {
		door, epoch, err := in.doors.Door(ctx, p.to[i].Account)
		if err != nil {
			p.receipts[i].Err = err
			continue
		}
		for j := range gs {
			if gs[j].door == door && gs[j].epoch == epoch {
				gs[j].which = append(gs[j].which, i)
				continue next
			}
		}
		gs = append(gs, group{door, epoch, append(make([]int, 0, len(pending)), i)})
	}
	return gs
}

// deliver fills the receipts of its places only, so groups may run at once.
func (g *group) deliver(ctx context.Context, env *mail.Envelope, body Body, p *plan) {
	e := *env
	e.To = make([]mail.Recipient, len(g.which))
	for k, i := range g.which {
		e.To[k] = p.to[i]
	}
	rs := g.door.Deliver(ctx, &e, body, g.epoch)
	for k, i := range g.which {
		if k >= len(rs) { // a door that forgets a recipient has not delivered to it
			p.receipts[i].Err = errForgotten
			continue
		}
		p.receipts[i] = rs[k]
	}
}

var errForgotten = &mail.Error{Kind: mail.Unavailable, Text: "delivery was not confirmed, try again"}
