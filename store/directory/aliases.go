package directory

import (
	"context"
	"iter"
	"slices"
	"strings"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

const (
	sqlAliasTargets = `SELECT to_local, to_domain FROM directory_aliases WHERE domain=? AND local_key=? ORDER BY position`
	sqlAddAlias     = `INSERT INTO directory_aliases (domain, local_key, position, local, to_local, to_domain) VALUES (?,?,?,?,?,?)`
	sqlRemoveAlias  = `DELETE FROM directory_aliases WHERE domain=? AND local_key=?`
	sqlAliases      = `SELECT domain, local_key, local, to_local, to_domain FROM directory_aliases
		WHERE (domain, local_key) > (?,?) ORDER BY domain, local_key, position LIMIT 2000`
)

// parseFrom reads an address, or "@domain": Local is "" then.
func parseFrom(from string) (mail.Address, error) {
	if domain, ok := strings.CutPrefix(from, "@"); ok {
		name, err := mail.ParseDomain(domain)
		return mail.Address{Domain: name}, err
	}
	return mail.ParseAddress(from)
}

func (d *directory) addAlias(ctx context.Context, from string, targets []mail.Address) error {
	a, err := parseFrom(from)
	if err != nil {
		return err
	}
	if targets, err = checkTargets(targets); err != nil {
		return err
	}
	k := fold(a.Local)
	err = d.change(ctx, func(tx *db.Tx) ([]change, error) {
		if has, err := hasDomain(&tx.Conn, a.Domain); err != nil {
			return nil, err
		} else if !has {
			return nil, errNoDomain
		}
		var id int64
		if taken, err := tx.Row(sqlWhoHas, db.Text(a.Domain), db.Text(k)).Scan(&id); err != nil {
			return nil, err
		} else if taken {
			return nil, &mail.Error{Kind: mail.Conflict, Text: "address belongs to an account"}
		}
		tx.Send(db.AnyCount, sqlRemoveAlias, db.Text(a.Domain), db.Text(k))
		for i, t := range targets {
			tx.Send(1, sqlAddAlias, db.Text(a.Domain), db.Text(k), db.Int(i), db.Text(a.Local), db.Text(t.Local), db.Text(t.Domain))
		}
		return []change{{what: routed}}, nil
	}, nil)
	return wrap("add alias", err)
}

func checkTargets(targets []mail.Address) ([]mail.Address, error) {
	switch {
	case len(targets) == 0:
		return nil, badInput("alias has no target")
	case len(targets) > MaxAliasTargets:
		return nil, badInput("alias has more than 1000 targets")
	}
	out := make([]mail.Address, 0, len(targets))
	for _, t := range targets {
		if t.Local == "" || t.Domain == "" {
			return nil, badInput("a target of the alias is incomplete")
		}
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out, nil
}

func (d *directory) removeAlias(ctx context.Context, from string) error {
	a, err := parseFrom(from)
	if err != nil {
		return err
	}
	err = d.change(ctx, func(tx *db.Tx) ([]change, error) {
		n, err := tx.Exec(sqlRemoveAlias, db.Text(a.Domain), db.Text(fold(a.Local)))
		if err == nil && n == 0 {
			err = errNoAlias
		}
		return []change{{what: routed}}, err
	}, nil)
	return wrap("remove alias", err)
}

func aliasTargets(c *db.Conn, domain, localKey string) (targets []mail.Address, err error) {
	for r, err := range c.Rows(sqlAliasTargets, db.Text(domain), db.Text(localKey)) {
		if err != nil {
			return nil, err
		}
		targets = append(targets, mail.Address{Local: r.Text(0), Domain: r.Text(1)})
	}
	return targets, nil
}

func (d *directory) aliases(ctx context.Context) iter.Seq2[Alias, error] {
	return func(yield func(Alias, error) bool) {
		var domain, local string
		for {
			page, last, err := d.aliasPage(ctx, domain, local)
			if err != nil {
				yield(Alias{}, wrap("aliases", err))
				return
			}
			for _, a := range page {
				if !yield(a, nil) {
					return
				}
			}
			if len(page) == 0 {
				return
			}
			domain, local = last.Domain, last.Local
		}
	}
}

// aliasPage reads aliases after (domain, local key). A page ends between two
// aliases: the last, which may go on, is left to the next page.
func (d *directory) aliasPage(ctx context.Context, domain, local string) (page []Alias, last mail.Address, err error) {
	err = d.db.View(ctx, func(c *db.Conn) error {
		var keys []mail.Address
		rows := 0
		for r, err := range c.Rows(sqlAliases, db.Text(domain), db.Text(local)) {
			if err != nil {
				return err
			}
			rows++
			k := mail.Address{Local: r.Text(1), Domain: r.Text(0)}
			if len(keys) == 0 || keys[len(keys)-1] != k {
				keys = append(keys, k)
				page = append(page, Alias{From: fromText(mail.Address{Local: r.Text(2), Domain: r.Text(0)})})
			}
			t := &page[len(page)-1].Targets
			*t = append(*t, mail.Address{Local: r.Text(3), Domain: r.Text(4)})
		}
		if rows == aliasPageRows { // more may follow; 2000 rows hold more than one alias
			page, keys = page[:len(page)-1], keys[:len(keys)-1]
		}
		if len(keys) > 0 {
			last = keys[len(keys)-1]
		}
		return nil
	})
	return page, last, err
}

// aliasPageRows is the LIMIT of sqlAliases; above MaxAliasTargets.
const aliasPageRows = 2000

func fromText(a mail.Address) string {
	if a.Local == "" {
		return "@" + a.Domain
	}
	return a.String()
}
