package directory

import (
	"context"
	"errors"
	"slices"
	"strings"

	"bahnpost/home"
	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

const sqlAdmin = `SELECT ` + columns + ` WHERE a.role='admin' ORDER BY a.account_id LIMIT 1`

// Resolve finds the recipients of an address: exact account, alias, account without +detail, alias without +detail,
// catch-all, in this order; at last postmaster, which RFC 5321 §4.5.1 wants to be there always, is the first
// admin. Not ours: one Recipient with Account 0. Ours but unknown: kind NoSuchAccount. Disabled accounts
// still resolve (mail is accepted for them) unless removed. A target of an alias that is ours and unknown is left out; if
// none remains: NoSuchAccount. Loops end silently; more depth or targets than the limits: kind Limit.
//
// An address without domain is "postmaster" (RFC 5321 §2.3.5) or, in a one-domain system, a local part.
// Recipients carry Address (the given one where it is the account's own, else the final target), Account and Detail; the slice is the caller's.
func (d *Directory) Resolve(ctx context.Context, a mail.Address) (Resolution, error) {
	r, era, ok := d.cache.route(a)
	if !ok {
		x := expansion{d: &d.directory, seen: make(map[string]bool)}
		err := d.db.View(ctx, func(c *db.Conn) error { // no writes in between: one snapshot
			x.c, x.out = c, nil
			clear(x.seen)
			return x.root(a)
		})
		if err != nil {
			return Resolution{}, wrapUnlessSaid("resolve", err)
		}
		r.Recipients = x.out
		d.cache.putRoute(a, r, era)
	}
	return Resolution{slices.Clone(r.Recipients)}, nil
}

// wrapUnlessSaid keeps the hot refusals bare.
func wrapUnlessSaid(what string, err error) error {
	if _, ok := errors.AsType[*mail.Error](err); ok {
		return err
	}
	return wrap(what, err)
}

// expansion is one Resolve under way.
type expansion struct {
	d    *directory
	c    *db.Conn
	seen map[string]bool // addresses expanded, and accounts reached: loops end here
	out  []mail.Recipient
}

var (
	errDeep = &mail.Error{Kind: mail.Limit, Text: "aliases are nested too deeply"}
	errWide = &mail.Error{Kind: mail.Limit, Text: "alias expands to too many addresses"}
)

func (x *expansion) root(a mail.Address) error {
	if a.Domain == "" {
		only, ok := x.d.onlyDomain()
		if !ok && !strings.EqualFold(a.Local, "postmaster") {
			return errNoAccount
		}
		if !ok {
			return x.postmaster(a)
		}
		a.Domain = only
	}
	err := x.expand(a, "", 0)
	if err != nil {
		return err
	}
	if len(x.out) == 0 {
		if strings.EqualFold(a.Local, "postmaster") {
			return x.postmaster(a)
		}
		return errNoAccount
	}
	return nil
}

// postmaster is the last resort for the one address that must not bounce.
func (x *expansion) postmaster(a mail.Address) error {
	e, err := find(x.c, sqlAdmin)
	if err != nil {
		return err
	}
	if e == nil {
		return errNoAccount
	}
	return x.add(mail.Recipient{Address: a, Account: e.acct.ID})
}

// expand follows one address; detail came with an alias on the way.
func (x *expansion) expand(a mail.Address, detail string, depth int) error {
	if depth > MaxAliasDepth {
		return errDeep
	}
	if ours, err := x.ours(a.Domain); err != nil {
		return err
	} else if !ours {
		return x.add(mail.Recipient{Address: a, Detail: ""})
	}
	if k := key(a); x.seen[k] {
		return nil
	} else {
		x.seen[k] = true
	}
	if done, err := x.match(a, a.Local, detail, depth); done || err != nil {
		return err
	}
	if base, own, ok := strings.Cut(a.Local, x.d.cfg.DetailSeparator); ok && base != "" {
		if done, err := x.match(a, base, own, depth); done || err != nil {
			return err
		}
	}
	_, err := x.alias(a.Domain, "", detail, depth)
	return err
}

// ours does not believe memory that a domain is not ours: another node may have
// made it so a moment ago, and mail would be refused for good.
func (x *expansion) ours(domain string) (bool, error) {
	if x.d.isLocal(domain) {
		return true, nil
	}
	return hasDomain(x.c, domain)
}

// match tries local as an account, then as an alias.
func (x *expansion) match(a mail.Address, local, detail string, depth int) (done bool, err error) {
	e, err := find(x.c, sqlByAddress, db.Text(a.Domain), db.Text(fold(local)))
	if err != nil {
		return false, err
	}
	if e != nil {
		return true, x.add(mail.Recipient{Address: a, Account: e.acct.ID, Detail: detail})
	}
	return x.alias(a.Domain, fold(local), detail, depth)
}

func (x *expansion) alias(domain, localKey, detail string, depth int) (done bool, err error) {
	targets, err := aliasTargets(x.c, domain, localKey)
	if err != nil {
		return false, err
	}
	for _, t := range targets {
		if err := x.expand(t, detail, depth+1); err != nil {
			return false, err
		}
	}
	return len(targets) > 0, nil
}

// add appends a recipient once: an account gets one copy, whatever ways lead to it.
func (x *expansion) add(r mail.Recipient) error {
	for i := range x.out {
		if o := &x.out[i]; r.Account != 0 && o.Account == r.Account || r.Account == 0 && o.Account == 0 && o.Address == r.Address {
			return nil
		}
	}
	if len(x.out) >= MaxAliasTargets {
		return errWide
	}
	x.out = append(x.out, r)
	return nil
}

// Placement implements home.Placements. Accounts of the built-in directory live at home.Local.
func (d *Directory) Placement(ctx context.Context, id mail.AccountID) (home.Placement, error) {
	e, err := d.byID(ctx, id)
	if err != nil {
		return home.Placement{}, err
	}
	return e.place, nil
}

var _ home.Placements = (*Directory)(nil)
