package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bahnpost/mail"
	"bahnpost/store"
	"bahnpost/store/directory"
)

// founded refuses a store that has lost its database: opening would make an
// empty one, which answers for every address that it is unknown, for good.
func founded(dir string, c *Config) error {
	if c.Store.shared() {
		return nil // cellFounded asks the database
	}
	path := filepath.Join(dir, storeDir, "mail.db")
	fi, err := os.Stat(path)
	if err == nil && fi.Size() > 0 {
		return nil
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not there or empty: is its file system mounted? Bring it back from the backup, with the bodies of the same instant; "+
			"\"bahnpost init\" makes a new node in a new directory", path)
	}
	return err
}

// settle is founded for a cell of many nodes: one that is there must be the one that is meant, a new one must have a place for bodies.
func (f *floor) settle(ctx context.Context, c *Config, how opening) error {
	if !c.Store.shared() {
		return nil
	}
	there, err := f.store.Founded(ctx)
	if err == nil && !there && !how.found {
		place, _ := store.ParseDatabase(c.Store.Database) // checked by LoadConfig
		err = fmt.Errorf("there is no cell in the %v: is it the right one? \"bahnpost init DIR --store … --domain …\" makes a new cell", place)
	}
	if err != nil {
		return err
	}
	if r := f.store.Remote(); r != nil && how.found {
		prepare := r.Found
		if there {
			prepare = r.Ready
		}
		if err := prepare(ctx); err != nil {
			return fmt.Errorf("[store] bodies: %w", err)
		}
	}
	return f.store.Agree(ctx, c.Store.Bodies)
}

// FirstAccounts founds the cell of the node in dir: the domain and the administrator, to whom it
// lets postmaster's and abuse's mail go (RFC 5321 §4.5.1, RFC 2142). A database that
// has accounts is a cell already and is joined: then domain may be "", else it must be one of the cell's.
//
// The administrator comes last and makes the cell one, so a founding that was cut off is made again by the next.
func FirstAccounts(ctx context.Context, dir, domain, address string) (_ *Founding, err error) {
	c, err := LoadConfig(dir)
	if err != nil {
		return nil, err
	}
	o, err := openOffline(ctx, dir, c, "", "", true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	d := o.f.directory
	if there, err := inhabited(ctx, d); err != nil || there {
		if err == nil && !c.Store.shared() {
			err = errors.New("the store has accounts already")
		}
		return join(ctx, d, domain, err)
	}
	if domain == "" {
		return nil, errors.New("the database holds no cell to join; --domain makes a new one")
	}
	a, err := mail.ParseAddress(address)
	if err != nil {
		return nil, err
	}
	if domain, err = mail.ParseDomain(domain); err != nil {
		return nil, err
	}
	for _, name := range []string{domain, a.Domain} {
		if err := d.AddDomain(ctx, name); err != nil && mail.KindOf(err) != mail.Conflict {
			return nil, err
		}
	}
	for _, l := range []string{"postmaster", "abuse"} {
		if l != a.Local {
			if err := d.AddAlias(ctx, l+"@"+domain, []mail.Address{a}); err != nil {
				return nil, err
			}
		}
	}
	made := &Founding{Admin: address, Password: NewPassword()}
	_, err = o.API.Create(ctx, directory.Account{Address: a, Role: "admin", Name: "Administrator"}, made.Password)
	if mail.KindOf(err) == mail.Conflict && c.Store.shared() { // another node's init was quicker
		return join(ctx, d, domain, nil)
	}
	return made, err
}

func inhabited(ctx context.Context, d *directory.Directory) (bool, error) {
	for _, err := range d.Accounts(ctx) {
		return err == nil, err
	}
	return false, nil
}

// join says which cell a node found, and that it is the one that was meant.
func join(ctx context.Context, d *directory.Directory, domain string, err error) (*Founding, error) {
	if err != nil {
		return nil, err
	}
	domains, err := d.Domains(ctx)
	if err != nil {
		return nil, err
	}
	if domain != "" {
		name, err := mail.ParseDomain(domain)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(domains, name) {
			return nil, fmt.Errorf("the database holds a cell already, and %s is none of its domains (%s): leave --domain out to join it", domain, strings.Join(domains, ", "))
		}
	}
	return &Founding{Domains: domains}, nil
}
