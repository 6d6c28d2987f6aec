package cell

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"bahnpost/home"
	"bahnpost/mail"
	"bahnpost/store/mailstore"
	"bahnpost/wire/smtp"
)

const inbox = "INBOX"

// delivery is one mail on its way into the accounts of this cell.
type delivery struct {
	l        *Local
	env      *mail.Envelope
	body     *mailstore.Body
	epoch    home.Epoch
	receipts []mail.Receipt
}

// Deliver implements home.Door: one Update for each account, all at once.
func (l *Local) Deliver(ctx context.Context, env *mail.Envelope, body home.Body, epoch home.Epoch) []mail.Receipt {
	own, release, err := l.adopt(ctx, body)
	if err != nil {
		return receiptsOf(env, err)
	}
	defer release()
	d := &delivery{l: l, env: env, body: own, epoch: epoch, receipts: receiptsOf(env, nil)}
	accounts := byAccount(env.To)
	if len(accounts) == 1 {
		d.account(ctx, accounts[0])
		return d.receipts
	}
	if err := own.Spread(ctx, len(accounts)); err != nil {
		return receiptsOf(env, err)
	}
	var wg sync.WaitGroup
	for _, which := range accounts {
		wg.Go(func() { d.account(ctx, which) })
	}
	wg.Wait()
	return d.receipts
}

// byAccount groups the places of to by their account.
func byAccount(to []mail.Recipient) [][]int {
	all := make([]int, len(to))
	out := make([][]int, 0, len(to))
	var index map[mail.AccountID]int
	if len(to) > 1 {
		index = make(map[mail.AccountID]int, len(to))
	}
	for i := range to {
		all[i] = i
		if j, ok := index[to[i].Account]; ok {
			out[j] = append(out[j], i)
			continue
		}
		if index != nil {
			index[to[i].Account] = len(out)
		}
		out = append(out, all[i:i+1:i+1])
	}
	return out
}

// account stores the copies of one account, which are env.To[i] for the i in
// which: one for each mailbox they lead to.
func (d *delivery) account(ctx context.Context, which []int) {
	err := d.update(ctx, which)
	if unfurnished(err) {
		if err = d.l.ensure(ctx, d.env.To[which[0]].Account, d.epoch); err == nil {
			if err = d.update(ctx, which); unfurnished(err) { // the directory has it: no reason to bounce
				err = fmt.Errorf("cell: account %d can't be made: %w", d.env.To[which[0]].Account, errNoInbox)
			}
		}
	}
	if err == nil {
		return
	}
	for _, i := range which {
		d.receipts[i] = mail.Receipt{To: d.env.To[i].Address, Err: err}
	}
}

func (d *delivery) update(ctx context.Context, which []int) (err error) {
	defer guard(&err)
	account := d.env.To[which[0]].Account
	targets := make([]mailstore.MailboxID, len(which)) // 0: INBOX
	prefixes := make([][]byte, len(which))
	for k, i := range which {
		to := &d.env.To[i]
		if targets[k], err = d.l.folder(ctx, account, to.Detail); err != nil {
			return err
		}
		prefixes[k] = d.prefix(to)
	}
	ticket := mailstore.Ticket{Account: account, Epoch: d.epoch}
	return d.l.store.UpdateWith(ctx, ticket, d.expect(account, targets), func(tx *mailstore.Tx) error {
		for k, i := range which {
			if err := d.append(tx, which[:k], i, targets[k], prefixes[k]); err != nil {
				return err
			}
		}
		return nil
	})
}

// expect says what the update will most likely append.
func (d *delivery) expect(a mail.AccountID, targets []mailstore.MailboxID) []mailstore.Expect {
	if !d.l.store.Shared() {
		return nil // a question costs nothing
	}
	out := make([]mailstore.Expect, len(targets))
	for k, id := range targets {
		if id == 0 {
			id = d.l.store.LikelyInbox(a)
		}
		out[k] = mailstore.Expect{Body: d.body, Dedup: d.key(id)}
	}
	return out
}

// key makes the delivery into a mailbox idempotent, "" if the envelope has no name.
func (d *delivery) key(box mailstore.MailboxID) string {
	if d.env.ID == "" {
		return ""
	}
	return d.env.ID + "/" + strconv.FormatInt(int64(box), 10)
}

// append stores the copy of recipient i, unless one of those before it put the
// mail into the same mailbox. It runs on the store's writer.
func (d *delivery) append(tx *mailstore.Tx, before []int, i int, target mailstore.MailboxID, prefix []byte) error {
	box, err := pick(tx, target)
	if err != nil {
		return err
	}
	r := &d.receipts[i]
	for _, j := range before {
		if d.receipts[j].Mailbox == box.Name {
			r.Mailbox, r.UID = box.Name, d.receipts[j].UID
			return nil
		}
	}
	m := mailstore.NewMessage{Body: d.body, Prefix: prefix, Internal: d.env.Received}
	m.Dedup = d.key(box.ID)
	a, err := tx.Append(box.ID, m)
	if err != nil {
		return err
	}
	r.Mailbox, r.UID = box.Name, uint32(a.UID)
	return nil
}

// pick is the mailbox id, or INBOX if it has gone or holds no messages.
func pick(tx *mailstore.Tx, id mailstore.MailboxID) (mailstore.Mailbox, error) {
	if id != 0 {
		box, err := tx.Mailbox(id)
		if err == nil && !box.NoSelect {
			return box, nil
		}
		if err != nil && mail.KindOf(err) != mail.NoSuchMailbox {
			return box, err
		}
	}
	box, err := tx.MailboxByName(inbox)
	if err != nil && mail.KindOf(err) == mail.NoSuchMailbox {
		err = errNoInbox
	}
	return box, err
}

// errNoInbox: the making of the account was interrupted, or is under way. It is transient.
var errNoInbox = errors.New("cell: account has no INBOX")

// unfurnished: the store doesn't know the account, or has not finished to make it.
func unfurnished(err error) bool {
	return err != nil && (errors.Is(err, errNoInbox) || mail.KindOf(err) == mail.NoSuchAccount)
}

// maxAnyCase is how many mailboxes an account may have for names to be compared
// in any case: that reads all of them, and whoever writes to user+x@ makes us do it.
const maxAnyCase = 500

// folder finds the mailbox that a detail (RFC 5233) names, whatever its case
// (up to maxAnyCase): 0 if there is none, and INBOX gets the mail.
func (l *Local) folder(ctx context.Context, a mail.AccountID, detail string) (mailstore.MailboxID, error) {
	if detail == "" || l.cfg.IgnoreDetails || len(detail) > mailstore.MaxMailboxLevel {
		return 0, nil
	}
	if m, err := l.store.MailboxByName(ctx, a, detail); err == nil {
		return m.ID, nil
	} else if k := mail.KindOf(err); k != mail.NoSuchMailbox && k != mail.NoSuchAccount && k != mail.BadInput {
		return 0, err
	}
	acc, err := l.store.Account(ctx, a)
	if err == nil && acc.Mailboxes > maxAnyCase {
		return 0, nil
	}
	var ms []mailstore.Mailbox
	if err == nil {
		ms, err = l.store.Mailboxes(ctx, a)
	}
	if err != nil {
		if mail.KindOf(err) == mail.NoSuchAccount {
			return 0, nil
		}
		return 0, err
	}
	for i := range ms {
		if strings.EqualFold(ms[i].Name, detail) {
			return ms[i].ID, nil
		}
	}
	return 0, nil
}

// prefix is the trace of one copy: Return-Path, which final delivery adds (RFC
// 5321 §4.4), Delivered-To, which stops loops, and our Received.
func (d *delivery) prefix(to *mail.Recipient) []byte {
	b := make([]byte, 0, 512)
	b = append(b, "Return-Path: <"...)
	b = append(b, written(d.env.From.Address)...)
	b = append(b, ">\r\nDelivered-To: "...)
	b = append(b, written(to.Address)...)
	b = append(b, '\r', '\n')
	_, cipher, _ := strings.Cut(d.env.TLS, " ")
	t := smtp.Trace{Helo: d.env.Helo, IP: d.env.ClientIP, By: d.l.cfg.Hostname, With: d.env.Protocol, Cipher: cipher,
		ID: d.env.Ref, For: to.Orig, At: d.env.Received}
	return t.AppendTo(b)
}

// written is a in ASCII if that is possible, so that old readers can read it.
func written(a mail.Address) string {
	if a.IsZero() {
		return ""
	}
	if s, ok := a.ASCII(); ok {
		return s
	}
	return a.String()
}
