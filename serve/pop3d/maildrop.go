package pop3d

import (
	"context"
	"slices"
	"strconv"

	"bahnpost/serve/listen"
	"bahnpost/store/mailstore"
)

// maildrop is the INBOX as it was at login (RFC 1939 §3).
type maildrop struct {
	login    listen.Login
	mailbox  mailstore.MailboxID
	validity uint32
	msgs     []msg // message n is msgs[n-1]
	left     int   // not deleted
	size     int64 // of those
	format   *UIDLFormat
	imports  map[mailstore.UID]imported
}

// msg is 24 octets.
type msg struct {
	id      mailstore.MessageID
	uid     mailstore.UID
	size    uint32
	deleted bool
	read    bool
}

// open takes the snapshot.
func (d *maildrop) open(s *session, l listen.Login) error {
	srv := s.srv
	inbox, err := srv.store.MailboxByName(s.ctx, l.Account, "INBOX")
	if err != nil {
		return err
	}
	d.login, d.mailbox, d.validity = l, inbox.ID, inbox.UIDValidity
	if inbox.Messages > 0 { // most who poll find nothing: for them no index is loaded
		if err := d.fill(s.ctx, srv); err != nil {
			return err
		}
	}
	d.format = srv.format
	own, err := srv.cfg.AccountUIDLFormat(s.ctx, l.Account)
	if err != nil {
		return err
	}
	if own != "" {
		d.format = srv.parseFormat(own)
	}
	return nil
}

// fill reads the messages of the INBOX, and what a move brought along for them.
func (d *maildrop) fill(ctx context.Context, srv *Server) error {
	box, err := srv.store.OpenBox(ctx, d.login.Account, d.mailbox)
	if err != nil {
		return err
	}
	defer box.Close()
	if err := d.take(ctx, srv, box.NewView()); err != nil {
		return err
	}
	if d.imports, err = srv.imports.of(ctx, box, d); err != nil {
		return err
	}
	if len(d.imports) > 0 {
		d.arrange()
	}
	return nil
}

func (d *maildrop) take(ctx context.Context, srv *Server, v *mailstore.View) error {
	d.msgs = make([]msg, 0, min(v.Count(), srv.cfg.MaxMessages))
	for e, err := range v.Entries(ctx, nil) {
		if err != nil {
			return err
		}
		d.msgs = append(d.msgs, msg{id: e.Row.Message, uid: e.Row.UID, size: e.Row.Size})
		if len(d.msgs) == srv.cfg.MaxMessages {
			break
		}
	}
	d.reset()
	return nil
}

// reset forgets the deletions.
func (d *maildrop) reset() {
	d.left, d.size = len(d.msgs), 0
	for i := range d.msgs {
		d.msgs[i].deleted = false
		d.size += int64(d.msgs[i].size)
	}
}

// arrange puts the messages that came with a move in the order they had, the
// others after them: a client that counts by number finds its place.
func (d *maildrop) arrange() {
	place := func(m msg) int64 {
		if o := d.imports[m.uid].order; o > 0 {
			return o
		}
		return int64(^uint64(0) >> 1)
	}
	slices.SortStableFunc(d.msgs, func(a, b msg) int {
		switch x, y := place(a), place(b); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
}

// message finds a message number that is there and not deleted.
func (d *maildrop) message(arg string) (int, *msg, error) {
	n, ok := number(arg)
	switch {
	case !ok:
		return 0, nil, errNumber
	case n < 1 || n > len(d.msgs):
		return 0, nil, errNoMessage
	}
	m := &d.msgs[n-1]
	if m.deleted {
		return 0, nil, errDeleted
	}
	return n, m, nil
}

// number reads digits; more than nine are too many.
func number(s string) (int, bool) {
	if len(s) == 0 || len(s) > 9 || s[0] == '+' || s[0] == '-' {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// appendUIDL appends the unique id of m: the one that came with a move, else
// by the template.
func (d *maildrop) appendUIDL(b []byte, m *msg) []byte {
	if i, ok := d.imports[m.uid]; ok && i.uidl != "" {
		return append(b, i.uidl...)
	}
	return d.format.Append(b, d.validity, m.uid, m.id)
}

// commit makes the deletions durable, and with MarkSeen what was read, in one step.
func (d *maildrop) commit(s *session) (removed int, err error) {
	var gone, seen []mailstore.UID
	for i := range d.msgs {
		switch m := &d.msgs[i]; {
		case m.deleted:
			gone = append(gone, m.uid)
		case m.read && s.srv.cfg.MarkSeen:
			seen = append(seen, m.uid)
		}
	}
	if len(gone) == 0 && len(seen) == 0 {
		return 0, nil
	}
	gs, ss := uidSet(gone), uidSet(seen)
	// The session may be cancelled by now; what the client asked for with QUIT is done all the same.
	ctx := context.WithoutCancel(s.ctx)
	err = s.srv.store.Update(ctx, mailstore.Ticket{Account: d.login.Account, Epoch: d.login.Epoch}, func(tx *mailstore.Tx) error {
		if len(ss) > 0 {
			if _, err := tx.StoreFlags(d.mailbox, ss, mailstore.AddFlags, mailstore.Seen, nil, false, 0); err != nil {
				return err
			}
		}
		if len(gs) == 0 {
			return nil
		}
		done, err := tx.Expunge(d.mailbox, gs, false)
		removed = done.Count()
		return err
	})
	return removed, err
}

func uidSet(uids []mailstore.UID) mailstore.UIDSet {
	slices.Sort(uids)
	var s mailstore.UIDSet
	for _, u := range uids {
		s.Add(u)
	}
	return s
}
