package db

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Hint says that an account has changed: its modseq is at least so. Account 0 is the directory.
type Hint struct{ Account, ModSeq int64 }

// Hint tells the other nodes of a change that is committed. It never blocks:
// hints are collected for some milliseconds, the greatest modseq of each account
// counts, and they may be lost. With nobody to tell (SQLite) it does nothing.
func (d *DB) Hint(account, modseq int64) {
	if d.gate != nil {
		d.gate.hints.add(account, modseq)
	}
}

// OnHint says who hears of the hints of other nodes. Both functions run on one
// goroutine of its own, must not block, and may call Hint. lost is called whenever hints may
// have been missed: after the connection that listens was made, anew too. Who hears it
// looks at the tables. Several may call it, each before it reads what it wants to follow (the directory and the
// mail store do): all hear all hints. Without a call nobody listens.
func (d *DB) OnHint(fn func([]Hint), lost func()) {
	g := d.gate
	if g == nil {
		return
	}
	h := &g.hints
	h.mu.Lock()
	h.ears = append(h.ears, ear{fn, lost})
	first := len(h.ears) == 1
	h.mu.Unlock()
	if first {
		g.counted.deaf.Store(time.Now().UnixNano())
		g.work.Go(g.listen)
	}
}

// ear is somebody who called OnHint.
type ear struct {
	heard func([]Hint)
	lost  func()
}

const (
	hintEvery   = 5 * time.Millisecond // hints are collected for so long
	hintsMax    = 10_000               // accounts in one collection; of more, all are told to look
	hintPayload = 7900                 // octets; PostgreSQL takes 7,999 in one NOTIFY
	listenCheck = 2 * time.Second      // how often the connection that listens is tried
	lookAll     = "*"                  // payload that stands for lost hints
)

// hints are to be told by one goroutine and heard by another.
type hints struct {
	channel string
	node    string // what is ours begins with it
	wake    chan struct{}

	mu   sync.Mutex
	ears []ear           // only ever grows
	next map[int64]int64 // by account
	many bool            // more than can be told
}

func (h *hints) init(schema string, node int64) {
	h.channel = "bahnpost_" + schema
	h.node = strconv.FormatInt(node, 36) + ":"
	h.wake = make(chan struct{}, 1)
	h.next = make(map[int64]int64)
}

func (h *hints) add(account, modseq int64) {
	h.mu.Lock()
	if old, ok := h.next[account]; !ok && len(h.next) >= hintsMax {
		h.many = true
	} else if !ok || modseq > old {
		h.next[account] = modseq
	}
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// payloads are what was collected, in the words of NOTIFY.
func (h *hints) payloads() (list []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.many {
		h.many = false
		clear(h.next)
		return []string{h.node + lookAll}
	}
	var b strings.Builder
	for account, modseq := range h.next {
		if b.Len() > hintPayload-2*14 {
			list = append(list, b.String())
			b.Reset()
		}
		if b.Len() == 0 {
			b.WriteString(h.node)
		} else {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(account, 36))
		b.WriteByte('.')
		b.WriteString(strconv.FormatInt(modseq, 36))
	}
	clear(h.next)
	if b.Len() > 0 {
		list = append(list, b.String())
	}
	return list
}

// parse reads a payload; all says that it stands for lost hints.
func (h *hints) parse(payload string) (list []Hint, all bool) {
	rest, ours := strings.CutPrefix(payload, h.node)
	if ours {
		return nil, false
	}
	if _, rest, _ = strings.Cut(rest, ":"); rest == lookAll {
		return nil, true
	}
	for item := range strings.SplitSeq(rest, ",") {
		a, m, _ := strings.Cut(item, ".")
		account, err := strconv.ParseInt(a, 36, 64)
		modseq, err2 := strconv.ParseInt(m, 36, 64)
		if err != nil || err2 != nil {
			return nil, true // a newer program's
		}
		list = append(list, Hint{account, modseq})
	}
	return list, false
}

// tell sends what is collected. NOTIFY draws a transaction's number, so its commit would wait for the disk and the standby: it need not.
func (g *gate) tell() {
	h := &g.hints
	for {
		select {
		case <-h.wake:
		case <-g.ctx.Done():
			return
		}
		if !sleep(g.ctx, hintEvery) {
			return
		}
		for _, p := range h.payloads() {
			g.counted.told.Add(1 + int64(strings.Count(p, ",")))
			_ = g.side.script(g.ctx, fmt.Sprintf(`BEGIN; SET LOCAL synchronous_commit TO off; SELECT pg_notify('%s', '%s'); COMMIT`, quoted(h.channel), p)) // lost hints are the listeners' business
		}
	}
}

// quoted is the inside of an SQL string.
func quoted(s string) string { return strings.ReplaceAll(s, "'", "''") }

// listen hears what other nodes tell.
func (g *gate) listen() {
	for g.ctx.Err() == nil {
		down, turned := g.state()
		if down != nil {
			select {
			case <-turned:
			case <-g.ctx.Done():
			}
			continue
		}
		if c, err := g.connect(g.ctx); err == nil {
			g.hear(c)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			c.Close(ctx)
			cancel()
		}
		sleep(g.ctx, probeFirst)
	}
}

// hear listens on c until it is lost.
func (g *gate) hear(c *pgconn.PgConn) {
	ask := func(sql string) error {
		ctx, cancel := context.WithTimeout(g.ctx, pingPatience)
		defer cancel()
		return c.Exec(ctx, sql).Close()
	}
	if ask(`LISTEN "`+strings.ReplaceAll(g.hints.channel, `"`, `""`)+`"`) != nil {
		return
	}
	g.counted.lost.Add(1)
	g.hints.lost()
	g.counted.deaf.Store(0)
	defer func() { g.counted.deaf.Store(time.Now().UnixNano()) }()
	for g.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(g.ctx, listenCheck)
		err := c.WaitForNotification(ctx)
		cancel()
		if err != nil && (c.IsClosed() || ask("SELECT 1") != nil) {
			return
		}
	}
}

// notified is called with each notification.
func (g *gate) notified(_ *pgconn.PgConn, n *pgconn.Notification) {
	h := &g.hints
	if n.Channel != h.channel {
		return
	}
	switch list, all := h.parse(n.Payload); {
	case all:
		g.counted.lost.Add(1)
		h.lost()
	case len(list) > 0:
		g.counted.heard.Add(int64(len(list)))
		for _, e := range h.all() {
			e.heard(list)
		}
	}
}

func (h *hints) all() []ear {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ears
}

// lost tells all that hints may have been missed.
func (h *hints) lost() {
	for _, e := range h.all() {
		e.lost()
	}
}
