package intake

import (
	"bytes"
	"context"
	"strings"

	"bahnpost/mail"
)

const (
	headStep = 4 << 10  // octets copied at a time while the end of the header is looked for; most headers are shorter
	headKeep = 64 << 10 // larger buffers are not kept for the next mail
)

// message implements Incoming. It watches the header go by on its way to the store.
type message struct {
	in   *Intake
	env  *mail.Envelope
	w    BodyWriter
	head []byte // header so far
	done bool   // head is complete, or too long
	hold bool   // head is held back until it is complete: the gate may add to it (RFC 6409 §8)
}

// Write takes octets of the message.
func (m *message) Write(p []byte) (int, error) {
	if m.done {
		return m.w.Write(p)
	}
	rest := m.watch(p)
	if !m.hold {
		return m.w.Write(p)
	}
	if !m.done {
		return len(p), nil
	}
	if err := m.flush(); err != nil {
		return 0, err
	}
	if len(rest) > 0 {
		if _, err := m.w.Write(rest); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// watch appends p to the header as far as it goes, and returns the rest.
func (m *message) watch(p []byte) (rest []byte) {
	for len(p) > 0 && !m.done {
		step := p[:min(len(p), headStep)]
		from := max(len(m.head)-3, 0)
		had := len(m.head)
		m.head = append(m.head, step...)
		switch i := endOfHeader(m.head, from); {
		case i >= 0:
			m.head, m.done = m.head[:i], true
			p = p[i-had:]
			return p
		case len(m.head) >= MaxHeader:
			m.done = true
		}
		p = p[len(step):]
	}
	return p
}

// endOfHeader is where the empty line ends that ends the header, -1 if it is not there.
func endOfHeader(b []byte, from int) int {
	if len(b) >= 2 && b[0] == '\r' && b[1] == '\n' {
		return 2
	}
	if i := bytes.Index(b[from:], []byte("\r\n\r\n")); i >= 0 {
		return from + i + 4
	}
	return -1
}

// flush writes a header that was held back, and before it what a submission lacks.
func (m *message) flush() error {
	m.hold = false
	if add := missing(m.head, m.env, m.in.cfg.Hostname); len(add) > 0 {
		if _, err := m.w.Write(add); err != nil {
			return err
		}
	}
	if len(m.head) == 0 {
		return nil
	}
	_, err := m.w.Write(m.head)
	return err
}

// Abort forgets the message.
func (m *message) Abort() {
	m.w.Abort()
	m.free()
}

func (m *message) free() {
	if cap(m.head) > 0 && cap(m.head) <= headKeep {
		h := m.head
		m.in.heads.Put(&h)
	}
	m.head = nil
}

// Deliver implements Incoming.
func (m *message) Deliver(ctx context.Context, rcpts [][]mail.Recipient) ([][]mail.Receipt, error) {
	defer m.free()
	if m.hold {
		if err := m.flush(); err != nil {
			m.w.Abort()
			return nil, err
		}
	}
	body, err := m.w.Finish()
	if err != nil {
		m.w.Abort()
		return nil, err
	}
	defer body.Release()

	t := readTrace(m.head)
	if t.hops > m.in.cfg.MaxHops {
		return nil, errHops
	}
	for _, f := range m.in.cfg.Filters {
		if err := f.Judge(ctx, m.env, m.head, body); err != nil {
			return nil, err
		}
	}
	p := newPlan(rcpts)
	if !m.in.cfg.IgnoreDeliveredTo {
		p.refuseLoops(t)
	}
	key := ledgerKey(m.env, body)
	m.in.ledger.recall(key, p)
	m.in.hand(ctx, m.env, body, p)
	m.in.ledger.record(key, p, strings.Contains(m.env.Protocol, "LMTP"))
	return p.answer(rcpts), nil
}
