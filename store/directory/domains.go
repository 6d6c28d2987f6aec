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

func readDomains(c *db.Conn) (map[string]bool, error) {
	m := make(map[string]bool)
	for r, err := range c.Rows(sqlDomains) {
		if err != nil {
			return nil, err
		}
		m[r.Text(0)] = true
	}
	return m, nil
}

func (d *directory) addDomain(ctx context.Context, name string) error {
	name, err := mail.ParseDomain(name)
	if err != nil {
		return err
	}
	if name[0] == '[' {
		return badInput("an address literal is not a domain that can be served")
	}
	err = d.change(ctx, func(tx *db.Tx) ([]change, error) {
		if has, err := hasDomain(&tx.Conn, name); err != nil {
			return nil, err
		} else if has {
			return nil, &mail.Error{Kind: mail.Conflict, Text: "domain is already there"}
		}
		_, err := tx.Exec(sqlAddDomain, db.Text(name), db.Int(time.Now().Unix()))
		return []change{{what: domained | routed}}, err
	}, func() { d.cache.domain(name, true) })
	return wrap("add domain", err)
}

func (d *directory) removeDomain(ctx context.Context, name string) error {
	name, err := mail.ParseDomain(name)
	if err != nil {
		return err
	}
	err = d.change(ctx, func(tx *db.Tx) ([]change, error) {
		var id int64
		if used, err := tx.Row(sqlDomainInUse, db.Text(name)).Scan(&id); err != nil {
			return nil, err
		} else if used {
			return nil, &mail.Error{Kind: mail.Conflict, Text: "there are still accounts in the domain"}
		}
		if _, err := tx.Exec(sqlDropAliases, db.Text(name)); err != nil {
			return nil, err
		}
		n, err := tx.Exec(sqlRemoveDomain, db.Text(name))
		if err == nil && n == 0 {
			err = errNoDomain
		}
		return []change{{what: domained | routed}}, err
	}, func() { d.cache.domain(name, false) })
	return wrap("remove domain", err)
}

func hasDomain(c *db.Conn, name string) (bool, error) {
	var one int64
	return c.Row(sqlHasDomain, db.Text(name)).Scan(&one)
}
