package directory

import (
	"context"
	"time"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

const (
	sqlDomains      = `SELECT name FROM directory_domains`
	sqlHasDomain    = `SELECT 1 FROM directory_domains WHERE name=?`
	sqlAddDomain    = `INSERT INTO directory_domains (name, created) VALUES (?,?)`
	sqlRemoveDomain = `DELETE FROM directory_domains WHERE name=?`
	sqlDomainInUse  = `SELECT account_id FROM directory_accounts WHERE domain=? LIMIT 1`
	sqlDropAliases  = `DELETE FROM directory_aliases WHERE domain=?`
)

func (d *directory) loadDomains(ctx context.Context) error {
	m := make(map[string]bool)
	err := d.db.View(ctx, func(c *db.Conn) error {
		for r, err := range c.Rows(sqlDomains) {
			if err != nil {
				return err
			}
			m[r.Text(0)] = true
		}
		return nil
	})
	d.cache.domains.Store(&m)
	return wrap("domains", err)
}

func (d *directory) addDomain(ctx context.Context, name string) error {
	name, err := mail.ParseDomain(name)
	if err != nil {
		return err
	}
	if name[0] == '[' {
		return badInput("an address literal is not a domain that can be served")
	}
	err = d.db.Update(ctx, func(tx *db.Tx) error {
		if has, err := hasDomain(tx, name); err != nil {
			return err
		} else if has {
			return &mail.Error{Kind: mail.Conflict, Text: "domain is already there"}
		}
		_, err := tx.Exec(sqlAddDomain, db.Text(name), db.Int(time.Now().Unix()))
		return err
	}, func() { d.cache.domain(name, true) })
	return wrap("add domain", err)
}

func (d *directory) removeDomain(ctx context.Context, name string) error {
	name, err := mail.ParseDomain(name)
	if err != nil {
		return err
	}
	err = d.db.Update(ctx, func(tx *db.Tx) error {
		var id int64
		if used, err := tx.Row(sqlDomainInUse, db.Text(name)).Scan(&id); err != nil {
			return err
		} else if used {
			return &mail.Error{Kind: mail.Conflict, Text: "there are still accounts in the domain"}
		}
		if _, err := tx.Exec(sqlDropAliases, db.Text(name)); err != nil {
			return err
		}
		if n, err := tx.Exec(sqlRemoveDomain, db.Text(name)); err != nil || n > 0 {
			return err
		}
		return errNoDomain
	}, func() { d.cache.domain(name, false) })
	return wrap("remove domain", err)
}

func hasDomain(tx *db.Tx, name string) (bool, error) {
	var one int64
	return tx.Row(sqlHasDomain, db.Text(name)).Scan(&one)
}
