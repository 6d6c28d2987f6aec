package intake

import (
	"crypto/sha256"
	"sync"
	"time"

	"bahnpost/mail"
)

// Bounds of the ledger: partly delivered mails are rare.
const (
	ledgerMax = 10000              // mails remembered; the oldest go first
	ledgerFor = 5 * 24 * time.Hour // clients give up after 4 to 5 days (RFC 5321 §4.5.4.1)
)

// ledger remembers who has a mail that others still wait for; see the package
// comment. Its zero value is ready. mu is a leaf.
type ledger struct {
	mu    sync.Mutex
	mails map[[32]byte]*partial
	order [][32]byte // oldest first; may name what is gone
}

type partial struct {
	since time.Time
	has   map[place]bool
}

// ledgerKey is the same when a client sends the same octets from the same sender again.
func ledgerKey(env *mail.Envelope, body Body) [32]byte {
	sum := body.SHA256()
	b := append(make([]byte, 0, 128), sum[:]...)
	return sha256.Sum256(append(b, env.From.String()...))
}

// recall settles those who have the mail already.
func (l *ledger) recall(key [32]byte, p *plan) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.mails[key]
	if m == nil || time.Since(m.since) > ledgerFor {
		return
	}
	for i := range p.to {
		if m.has[placeOf(&p.to[i])] {
			p.settle(i, nil)
		}
	}
}

// record notes a partly delivered mail, and forgets it when all have it. each
// says that the client hears an answer for each RCPT (LMTP): then only what is
// behind one RCPT can be mixed.
func (l *ledger) record(key [32]byte, p *plan, each bool) {
	var has []int
	failed := false
	if each {
		for _, idx := range p.index {
			good, bad := p.split(idx)
			failed = failed || bad > 0
			if bad > 0 {
				has = append(has, good...)
			}
		}
	} else {
		all := make([]int, len(p.to))
		for i := range all {
			all[i] = i
		}
		var bad int
		has, bad = p.split(all)
		failed = bad > 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !failed {
		delete(l.mails, key)
		return
	}
	if len(has) == 0 {
		return
	}
	m := l.mails[key]
	if m == nil {
		m = l.add(key)
	}
	for _, i := range has {
		m.has[placeOf(&p.to[i])] = true
	}
}

// split tells the delivered ones of idx, and how many are not.
func (p *plan) split(idx []int) (good []int, bad int) {
	for _, i := range idx {
		if p.receipts[i].Err == nil {
			good = append(good, i)
		} else {
			bad++
		}
	}
	return good, bad
}

func (l *ledger) add(key [32]byte) *partial {
	if l.mails == nil {
		l.mails = make(map[[32]byte]*partial)
	}
	for len(l.order) >= ledgerMax {
		delete(l.mails, l.order[0])
		l.order = l.order[1:]
	}
	m := &partial{since: time.Now(), has: make(map[place]bool)}
	l.mails[key] = m
	l.order = append(l.order, key)
	return m
}
