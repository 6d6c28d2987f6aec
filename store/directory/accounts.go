package directory

import (
	"context"
	"iter"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"bahnpost/home"
	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

const (
	columns = `a.account_id, a.local, a.domain, a.name, a.quota_bytes, a.quota_count, a.disabled, a.uidl_format, a.role, a.created,
		a.home, a.epoch, a.phase, a.moving_to, c.hash, c.salt, c.iterations, c.stored_key, c.server_key
		FROM directory_accounts a LEFT JOIN directory_credentials c ON c.account_id = a.account_id`
	sqlByID      = `SELECT ` + columns + ` WHERE a.account_id=?`
	sqlByAddress = `SELECT ` + columns + ` WHERE a.domain=? AND a.local_key=?`
	sqlNext      = `SELECT ` + columns + ` WHERE a.account_id>? ORDER BY a.account_id LIMIT ?`
	sqlAccounts  = `SELECT ` + columns + ` WHERE a.account_id>? ORDER BY a.account_id LIMIT 500`

	sqlReserve = `UPDATE directory_counters SET value=value+? WHERE name='account' RETURNING value`
	sqlRaise   = `UPDATE directory_counters SET value=?1 WHERE name='account' AND value<?1`
	sqlInsert  = `INSERT INTO directory_accounts (account_id, domain, local_key, local, name, quota_bytes, quota_count, disabled,
		uidl_format, role, created, home, epoch, phase, moving_to) VALUES (?,?,?,?,?,?,?,?,?,?,?,'cell:local',1,0,'')`
	sqlSet = `UPDATE directory_accounts SET domain=?, local_key=?, local=?, name=?, quota_bytes=?, quota_count=?, disabled=?,
		uidl_format=?, role=? WHERE account_id=?`
	sqlWhoHas     = `SELECT account_id FROM directory_accounts WHERE domain=? AND local_key=?`
	sqlAddressOf  = `SELECT domain, local_key FROM directory_accounts WHERE account_id=?`
	sqlRemove     = `DELETE FROM directory_accounts WHERE account_id=?`
	sqlRemoveCred = `DELETE FROM directory_credentials WHERE account_id=?`
	sqlSetCred    = `INSERT INTO directory_credentials (account_id, hash, salt, iterations, stored_key, server_key, changed)
		VALUES (?1,?2,?3,?4,?5,?6,?7) ON CONFLICT (account_id) DO UPDATE SET hash=?2, salt=?3, iterations=?4, stored_key=?5,
		server_key=?6, changed=?7`
)

// check judges what a person may have typed, and fills defaults.
func (a *Account) check() error {
	switch {
	case a.Address.Local == "" || a.Address.Domain == "":
		return badInput("address is incomplete")
	case len(a.Name) > MaxName || !utf8.ValidString(a.Name) || strings.ContainsFunc(a.Name, unicode.IsControl):
		return badInput("name is too long, not UTF-8 or has control characters")
	case a.QuotaBytes < 0 || a.QuotaCount < 0:
		return badInput("quota is negative")
	case a.ID < 0:
		return badInput("account id is negative")
	case a.Role != "" && a.Role != RoleUser && a.Role != RoleAdmin:
		return badInput("role is neither user nor admin")
	}
	if a.Role == "" {
		a.Role = RoleUser
	}
	if a.Created.IsZero() {
		a.Created = time.Now()
	}
	a.Created = a.Created.Truncate(time.Second)
	return nil
}

// entryOf reads the columns.
func entryOf(r *db.Row) *entry {
	e := &entry{
		acct: Account{ID: mail.AccountID(r.Int(0)), Address: mail.Address{Local: r.Text(1), Domain: r.Text(2)}, Name: r.Text(3), QuotaBytes: r.Int(4),
			QuotaCount: r.Int(5), Disabled: r.Int(6) != 0, UIDLFormat: r.Text(7), Role: r.Text(8), Created: time.Unix(r.Int(9), 0)},
		cred: credential{hash: r.Text(14), salt: r.Bytes(15), iterations: int(r.Int(16)), storedKey: r.Bytes(17), serverKey: r.Bytes(18)},
	}
	e.place = home.Placement{Account: e.acct.ID, Home: home.ID(r.Text(10)), Epoch: home.Epoch(r.Int(11)), Phase: home.Phase(r.Int(12)), To: home.ID(r.Text(13))}
	return e
}

// find reads one entry; nil if there is none.
func find(c *db.Conn, sql string, args ...db.Value) (*entry, error) {
	for r, err := range c.Rows(sql, args...) {
		if err != nil {
			return nil, err
		}
		return entryOf(r), nil
	}
	return nil, nil
}

func (d *directory) byID(ctx context.Context, id mail.AccountID) (*entry, error) {
	e, era := d.cache.byID(id)
	if e != nil {
		return e, nil
	}
	return d.load(ctx, era, sqlByID, db.Int(id))
}

func (d *directory) byAddress(ctx context.Context, a mail.Address) (*entry, error) {
	e, era := d.cache.byKey(key(a))
	if e != nil {
		return e, nil
	}
	return d.load(ctx, era, sqlByAddress, db.Text(a.Domain), db.Text(fold(a.Local)))
}

// readAhead is how many accounts are read along with one that was not known, while the cache has room: they lie on the same
// pages, and after a start everybody comes at once.
const readAhead = 16

func (d *directory) load(ctx context.Context, era uint64, sql string, args ...db.Value) (e *entry, err error) {
	var ahead []*entry
	err = d.db.View(ctx, func(c *db.Conn) (err error) {
		ahead = ahead[:0]
		if e, err = find(c, sql, args...); err != nil || e == nil || !d.cache.roomy() {
			return err
		}
		for r, err := range c.Rows(sqlNext, db.Int(e.acct.ID), db.Int(readAhead)) {
			if err != nil {
				return err
			}
			ahead = append(ahead, entryOf(r))
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, wrap("account", err)
	case e == nil:
		return nil, errNoAccount
	}
	for _, x := range ahead {
		d.cache.put(x, era)
	}
	d.cache.put(e, era)
	return e, nil
}

func (d *directory) accounts(ctx context.Context) iter.Seq2[Account, error] {
	return func(yield func(Account, error) bool) {
		var after mail.AccountID
		for {
			page, err := d.page(ctx, after)
			if err != nil {
				yield(Account{}, wrap("accounts", err))
				return
			}
			for _, a := range page {
				if !yield(a, nil) {
					return
				}
				after = a.ID
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

func (d *directory) page(ctx context.Context, after mail.AccountID) (page []Account, err error) {
	err = d.db.View(ctx, func(c *db.Conn) error {
		for r, err := range c.Rows(sqlAccounts, db.Int(after)) {
			if err != nil {
				return err
			}
			page = append(page, entryOf(r).acct)
		}
		return nil
	})
	return page, err
}

// maxReserve bounds what a slip of the caller may burn.
const maxReserve = 1 << 20

func (d *directory) reserveIDs(ctx context.Context, n int) (first mail.AccountID, err error) {
	if n < 1 || n > maxReserve {
		return 0, badInput("number of ids is out of range")
	}
	err = d.change(ctx, func(tx *db.Tx) (_ []change, err error) {
		first, err = reserve(tx, n)
		return nil, err
	}, nil)
	return first, wrap("reserve ids", err)
}

func reserve(tx *db.Tx, n int) (mail.AccountID, error) {
	var last int64
	if _, err := tx.Row(sqlReserve, db.Int(n)).Scan(&last); err != nil {
		return 0, err
	}
	return mail.AccountID(last - int64(n) + 1), nil
}

func (d *directory) addAccount(ctx context.Context, a Account, password string) (Account, error) {
	if err := a.check(); err != nil {
		return Account{}, err
	}
	cred, err := d.newCredential(password)
	if err != nil {
		return Account{}, err
	}
	out := a
	err = d.change(ctx, func(tx *db.Tx) ([]change, error) {
		out = a
		old, err := find(&tx.Conn, sqlByAddress, db.Text(a.Address.Domain), db.Text(fold(a.Address.Local)))
		if err != nil {
			return nil, err
		}
		if old != nil {
			if a.ID == 0 || old.acct.ID != a.ID {
				return nil, errTaken
			}
			out = old.acct
			return nil, nil
		}
		err = insert(tx, &out, cred)
		return []change{{out.ID, told | routed}}, err
	}, nil)
	if err != nil {
		return Account{}, wrap("add account", err)
	}
	return out, nil
}

// insert adds an account whose address was found free among accounts.
func insert(tx *db.Tx, a *Account, cred credential) error {
	if err := free(tx, a.Address); err != nil {
		return err
	}
	if a.ID == 0 {
		id, err := reserve(tx, 1)
		if err != nil {
			return err
		}
		a.ID = id
	} else {
		var domain, local string
		if found, err := tx.Row(sqlAddressOf, db.Int(a.ID)).Scan(&domain, &local); err != nil {
			return err
		} else if found {
			return &mail.Error{Kind: mail.Conflict, Text: "account id belongs to another address"}
		}
		tx.Send(db.AnyCount, sqlRaise, db.Int(a.ID)) // an id from elsewhere must not come again
	}
	tx.Send(1, sqlInsert, db.Int(a.ID), db.Text(a.Address.Domain), db.Text(fold(a.Address.Local)), db.Text(a.Address.Local), db.Text(a.Name),
		db.Int(a.QuotaBytes), db.Int(a.QuotaCount), db.Bool(a.Disabled), db.Text(a.UIDLFormat), db.Text(a.Role), db.Int(a.Created.Unix()))
	putCredential(tx, a.ID, cred)
	return nil
}

// free checks that the domain is ours and no alias has the address.
func free(tx *db.Tx, a mail.Address) error {
	if has, err := hasDomain(&tx.Conn, a.Domain); err != nil {
		return err
	} else if !has {
		return errNoDomain
	}
	targets, err := aliasTargets(&tx.Conn, a.Domain, fold(a.Local))
	if err != nil {
		return err
	}
	if len(targets) > 0 {
		return &mail.Error{Kind: mail.Conflict, Text: "address is already an alias"}
	}
	return nil
}

func putCredential(tx *db.Tx, id mail.AccountID, c credential) {
	if c.hash == "" {
		tx.Send(db.AnyCount, sqlRemoveCred, db.Int(id))
		return
	}
	tx.Send(1, sqlSetCred, db.Int(id), db.Text(c.hash), db.Blob(c.salt), db.Int(c.iterations), db.Blob(c.storedKey), db.Blob(c.serverKey),
		db.Int(time.Now().Unix()))
}

func (d *directory) setAccount(ctx context.Context, a Account) error {
	keep := a.Address == mail.Address{}
	if keep { // any valid one, for check
		a.Address = mail.Address{Local: "x", Domain: "x"}
	}
	if err := a.check(); err != nil {
		return err
	}
	err := d.change(ctx, func(tx *db.Tx) ([]change, error) {
		old, err := find(&tx.Conn, sqlByID, db.Int(a.ID))
		if err != nil {
			return nil, err
		}
		if old == nil {
			return nil, errNoAccount
		}
		to := a
		if keep {
			to.Address = old.acct.Address
		}
		return update(tx, to, old.acct)
	}, nil)
	return wrap("set account", err)
}

func update(tx *db.Tx, a, old Account) ([]change, error) {
	what := told
	if a.Role != old.Role { // the first admin is postmaster
		what |= routed
	}
	if key(a.Address) != key(old.Address) {
		what |= routed
		var id int64
		if taken, err := tx.Row(sqlWhoHas, db.Text(a.Address.Domain), db.Text(fold(a.Address.Local))).Scan(&id); err != nil {
			return nil, err
		} else if taken {
			return nil, errTaken
		}
		if err := free(tx, a.Address); err != nil {
			return nil, err
		}
	}
	tx.Send(1, sqlSet, db.Text(a.Address.Domain), db.Text(fold(a.Address.Local)), db.Text(a.Address.Local), db.Text(a.Name),
		db.Int(a.QuotaBytes), db.Int(a.QuotaCount), db.Bool(a.Disabled), db.Text(a.UIDLFormat), db.Text(a.Role), db.Int(a.ID))
	return []change{{a.ID, what}}, nil
}

func (d *directory) setPassword(ctx context.Context, id mail.AccountID, password string) error {
	cred, err := d.newCredential(password)
	if err != nil {
		return err
	}
	err = d.change(ctx, func(tx *db.Tx) ([]change, error) {
		var domain, local string
		if found, err := tx.Row(sqlAddressOf, db.Int(id)).Scan(&domain, &local); err != nil {
			return nil, err
		} else if !found {
			return nil, errNoAccount
		}
		putCredential(tx, id, cred)
		return []change{{id, told}}, nil
	}, nil)
	return wrap("set password", err)
}

func (d *directory) removeAccount(ctx context.Context, id mail.AccountID) error {
	err := d.change(ctx, func(tx *db.Tx) ([]change, error) {
		if _, err := tx.Exec(sqlRemoveCred, db.Int(id)); err != nil {
			return nil, err
		}
		n, err := tx.Exec(sqlRemove, db.Int(id))
		if err == nil && n == 0 {
			err = errNoAccount
		}
		return []change{{id, told | routed}}, err
	}, nil)
	return wrap("remove account", err)
}
