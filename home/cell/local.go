package cell

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"

	"bahnpost/home"
	"bahnpost/mail"
	"bahnpost/store/directory"
	"bahnpost/store/mailstore"
)

// Config has a working zero value; the default is in brackets.
type Config struct {
	Hostname      string // by which our Received fields name us [localhost]
	IgnoreDetails bool   // don't deliver user+name@ into the mailbox "name"

	// Sessions serve a handed-off connection, by Handoff.Protocol [none: all are turned away].
	Sessions map[string]func(context.Context, *home.Handoff) error
	// Web answers HTTP [none: unavailable].
	Web http.Handler
}

// Directory is what Local needs to know of accounts; *directory.Directory is one.
type Directory interface {
	Account(ctx context.Context, id mail.AccountID) (directory.Account, error)
}

// Local is the door of this cell.
type Local struct {
	store *mailstore.Store
	dir   Directory
	cfg   Config
}

// New returns the door over s.
func New(s *mailstore.Store, dir Directory, cfg Config) *Local {
	if cfg.Hostname == "" {
		cfg.Hostname = "localhost"
	}
	return &Local{store: s, dir: dir, cfg: cfg}
}

var _ home.Door = (*Local)(nil)

// Serve implements home.Door.
func (l *Local) Serve(ctx context.Context, h *home.Handoff) error {
	if f := l.cfg.Sessions[h.Protocol]; f != nil {
		return f(ctx, h)
	}
	return home.Nowhere{}.Serve(ctx, h)
}

// HTTP implements home.Door.
func (l *Local) HTTP() http.Handler {
	if l.cfg.Web != nil {
		return l.cfg.Web
	}
	return home.Nowhere{}.HTTP()
}

// Room fails with kind OverQuota if size more octets, or (0) any message at
// all, don't fit into the account's quota. Append checks again, and decides.
func (l *Local) Room(ctx context.Context, a mail.AccountID, size int64) error {
	acc, err := l.store.Account(ctx, a)
	if err != nil {
		if mail.KindOf(err) == mail.NoSuchAccount {
			return nil // will be made by the delivery
		}
		return err
	}
	q := acc.Quota
	if q.Bytes > 0 && (acc.UsedBytes >= q.Bytes || size > q.Bytes-acc.UsedBytes) ||
		q.Messages > 0 && acc.UsedCount >= q.Messages {
		return errQuota
	}
	return nil
}

var errQuota = &mail.Error{Kind: mail.OverQuota, Text: "mailbox is full"}

// Furnish sees to it that the account has its mailboxes in the store. Who makes
// accounts tells the directory first; if that was cut off, the first login or
// delivery goes on.
func (l *Local) Furnish(ctx context.Context, a mail.AccountID, epoch home.Epoch) error {
	acc, err := l.store.Account(ctx, a)
	if err == nil && acc.ModSeq > 0 || err != nil && !unfurnished(err) {
		return err
	}
	return l.ensure(ctx, a, epoch)
}

// ensure makes the account in the store if only the directory knows it.
func (l *Local) ensure(ctx context.Context, a mail.AccountID, epoch home.Epoch) error {
	acc, err := l.dir.Account(ctx, a)
	if err != nil {
		return err
	}
	return l.store.CreateAccount(ctx, a, epoch, mailstore.Quota{Bytes: acc.QuotaBytes, Messages: acc.QuotaCount})
}

// guard turns a panic of one delivery into a transient error of that delivery.
func guard(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("cell: panic in delivery: %v\n%s", p, debug.Stack())
	}
}
