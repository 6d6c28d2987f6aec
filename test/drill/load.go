package drill

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// The accounts of the load.
const (
	readers  = 6        // u0 … u5: delivered to and appended to
	idlers   = 3        // u0 … u2 have somebody who idles
	poppers  = 2        // p0, p1: delivered to, emptied by POP3
	probed   = "probe"  // the probes deliver to it
	lookedAt = "looked" // has one message, which the probes read
)

// The mailboxes of each of u0 … u5, besides INBOX, into which deliveries come.
const (
	boxAppended = "Appended"
	boxFlags    = "Flags"
	boxGone     = "Gone"
)

// How long clients wait for an answer before they take another node. Probes hurry: they measure.
const (
	clientPatience = 15 * time.Second
	probePatience  = time.Second
	// retreat is how long a client rests after it was refused or cut off.
	retreat = 100 * time.Millisecond
)

func address(local string) string { return local + "@" + domain }

func reader(i int) string { return fmt.Sprint("u", i%readers) }
func popper(i int) string { return fmt.Sprint("p", i%poppers) }

// Load is clients at work on a cell until they are stopped.
type Load struct {
	nodes []*Node
	j     *Journal
	g     *gauge
	round int

	work, idle *shift
	acked      sync.Map  // "account token" → ack
	ended      time.Time // when Stop was called
}

// shift is clients that stop together.
type shift struct {
	ctx context.Context
	end context.CancelFunc
	wg  sync.WaitGroup
}

func newShift() *shift {
	ctx, end := context.WithCancel(context.Background())
	return &shift{ctx: ctx, end: end}
}

func (s *shift) stop() {
	s.end()
	s.wg.Wait()
}

// ack is a delivery that was acknowledged.
type ack struct {
	at   time.Time
	node *Node
}

func newLoad(nodes []*Node, j *Journal, round int) *Load {
	return &Load{nodes: nodes, j: j, g: newGauge(), round: round, work: newShift(), idle: newShift()}
}

// settle makes the accounts and mailboxes through a node that runs, and the message that the probes read.
func settle(t testing.TB, n *Node, j *Journal) {
	t.Helper()
	for i := range readers {
		n.Verb(secret+"\n", "account", "add", address(reader(i)), "--password-stdin")
	}
	for i := range poppers {
		n.Verb(secret+"\n", "account", "add", address(popper(i)), "--password-stdin")
	}
	n.Verb(secret+"\n", "account", "add", address(probed), "--password-stdin")
	n.Verb(secret+"\n", "account", "add", address(lookedAt), "--password-stdin")
	for i := range readers {
		w, err := dialIMAP(n, reader(i), startTimeout)
		if err != nil {
			t.Fatal(err)
		}
		for _, box := range []string{boxAppended, boxFlags, boxGone} {
			if _, err := w.imap("CREATE %s", box); err != nil {
				t.Fatal(err)
			}
		}
		w.Close()
	}
	l := newLoad([]*Node{n}, j, 0)
	c := &client{l: l, ctx: l.work.ctx, patience: startTimeout}
	if c.deliver("first-0-s1", []string{lookedAt}); len(l.g.errs) > 0 {
		t.Fatal(l.g.errors())
	}
}

// Begin lets the clients loose on the nodes. round makes their messages' names different from those of other loads.
func Begin(nodes []*Node, j *Journal, round int) *Load {
	l := newLoad(nodes, j, round)
	for i := range idlers {
		l.add(l.work, "deliver", i, clientPatience, 30*time.Millisecond, deliverer)
		l.add(l.idle, "idle", i, clientPatience, 0, idler)
		l.add(l.work, "probe", i, probePatience, 50*time.Millisecond, deliverProbe)
		l.add(l.work, "look", i, probePatience, 50*time.Millisecond, readProbe)
	}
	for i := range 2 {
		l.add(l.work, "append", i, clientPatience, 60*time.Millisecond, appender)
		l.add(l.work, "flag", i, clientPatience, 40*time.Millisecond, flagger)
		l.add(l.work, "gone", i, clientPatience, 80*time.Millisecond, expunger)
		l.add(l.work, "pop", i, clientPatience, 250*time.Millisecond, popSessions)
	}
	return l
}

// hearing bounds how long those who idle may need to hear of the last message: more than the interval at which nodes poll.
const hearing = 2 * time.Minute

// Stop stops the clients: first those who do something, then, when they have been told of all or it took too long, those who
// idle. It returns what these were not told of.
func (l *Load) Stop() (deaf []string, err error) {
	l.ended = time.Now()
	l.work.stop()
	defer l.idle.stop()
	deadline := time.After(hearing)
	for {
		deaf, err = l.deaf()
		if len(deaf) == 0 || err != nil {
			return nil, err
		}
		select {
		case <-deadline:
			return deaf, nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// deaf is what was delivered to those who idle and not told to them.
func (l *Load) deaf() (tokens []string, err error) {
	ears := map[string]bool{}
	for i := range idlers {
		ears[reader(i)] = true
	}
	kept, told := map[string]bool{}, map[string]bool{} // who idles may know before the sender does
	err = l.j.Read(func(e Entry) {
		key := e.Account + " " + e.Token
		switch {
		case e.Act == Kept && e.Box == "INBOX" && ears[e.Account]:
			kept[key] = true
		case e.Act == Told:
			told[key] = true
		}
	})
	for key := range kept {
		if !told[key] {
			tokens = append(tokens, key)
		}
	}
	return tokens, err
}

// add lets a client begin. It starts at node number i and goes on to the next when one fails it; it does something every pace.
func (l *Load) add(s *shift, what string, i int, patience, pace time.Duration, do func(*client)) {
	c := &client{l: l, ctx: s.ctx, name: fmt.Sprintf("r%d%s%d", l.round, what, i), number: i, at: i, patience: patience, pace: pace}
	s.wg.Go(func() {
		for !c.stopped() {
			do(c)
		}
		c.hangUp()
	})
}

// client is one that works for the load: one goroutine.
type client struct {
	l        *Load
	ctx      context.Context // ends with the client's shift
	name     string          // in tokens
	number   int
	at       int // which node
	n        int // messages so far
	patience time.Duration
	pace     time.Duration

	w    *wire // the connection, nil without
	last uint32
	own  []uint32 // messages it works on
}

func (c *client) node() *Node { return c.l.nodes[c.at%len(c.l.nodes)] }

func (c *client) stopped() bool { return c.ctx.Err() != nil }

// rest waits, unless all is over.
func (c *client) rest(d time.Duration) {
	select {
	case <-c.ctx.Done():
	case <-time.After(d):
	}
}

func (c *client) hangUp() {
	if c.w != nil {
		c.w.Close()
		c.w = nil
	}
}

// failed counts an error and goes to the next node.
func (c *client) failed(protocol string, err error) {
	if c.stopped() {
		return
	}
	c.l.g.failed(protocol, err)
	c.hangUp()
	c.at++
	c.rest(retreat)
}

// next is a new token.
func (c *client) next() string {
	c.n++
	return token(c.name, c.n)
}

// lmtp sees to it that there is a connection.
func (c *client) lmtp() bool {
	if c.w == nil {
		w, err := dialLMTP(c.node(), c.patience)
		if err != nil {
			c.failed("LMTP", err)
			return false
		}
		c.w = w
	}
	return true
}

// imap sees to it that there is a connection with a mailbox selected, and says whether it is a new one.
func (c *client) imap(user, box string) (ready, anew bool) {
	if c.w != nil {
		return true, false
	}
	w, err := dialIMAP(c.node(), user, c.patience)
	if err != nil {
		c.failed("IMAP", err)
		return false, false
	}
	c.w = w
	if _, err := w.imap("ENABLE CONDSTORE"); err != nil {
		c.failed("IMAP", err)
		return false, false
	}
	lines, err := w.imap("SELECT %s", box)
	if err != nil {
		c.failed("IMAP", err)
		return false, false
	}
	c.l.j.Add(high(user, box, lines))
	return true, true
}

// deliver is an MTA's: it sends the message to each of its recipients until it is acknowledged, or all is over.
func (c *client) deliver(tok string, to []string) {
	text := message(tok)
	for left := slices.Clone(to); len(left) > 0 && !c.stopped(); {
		if !c.lmtp() {
			continue
		}
		left = c.once(tok, text, left)
	}
}

// once sends a message and returns to whom it has to be sent again.
func (c *client) once(tok, text string, to []string) (left []string) {
	var tries []Entry
	var full []string
	for _, u := range to {
		tries = append(tries, c.l.j.Begin(Entry{Act: Send, Account: u, Box: "INBOX", Token: tok}))
		full = append(full, address(u))
	}
	answers, sent, err := c.w.deliver(text, full)
	for i, u := range to {
		switch {
		case i < len(answers) && answers[i] == nil:
			c.l.acked.Store(u+" "+tok, ack{time.Now(), c.node()})
			c.l.j.End(tries[i], Kept)
			continue
		case i < len(answers):
			c.l.g.failed("LMTP", answers[i])
			c.l.j.End(tries[i], Refused)
		case !sent:
			c.l.j.End(tries[i], Refused)
		}
		left = append(left, u)
	}
	switch {
	case err != nil:
		c.failed("LMTP", err)
	case len(left) > 0:
		// An MTA would come back later; here a little later, elsewhere.
		c.hangUp()
		c.at++
		c.rest(retreat)
	}
	return left
}
