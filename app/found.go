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
func (f *floor) settle(ctx context.Context, c *Config, how opening) (err error) {
	if !c.Store.shared() {
		return nil
	}
	if f.there, err = f.store.Founded(ctx); err != nil {
		return err
	}
	if !f.there && !how.found {
		place, _ := store.ParseDatabase(c.Store.Database) // checked by LoadConfig
		return fmt.Errorf("there is no cell in the %v: is it the right one? \"bahnpost init DIR --store … --domain …\" makes a new cell", place)
	}
	if r := f.store.Remote(); r != nil && !f.there {
		if err := r.Found(ctx); err != nil {
			return fmt.Errorf("[store] bodies: %w", err)
		}
	}
	return f.store.Agree(ctx, c.Store.Bodies, !f.there)
}

// FirstAccounts founds the cell of the node in dir: the domain and the administrator, to whom it
// lets postmaster's and abuse's mail go (RFC 5321 §4.5.1, RFC 2142). A cell that its database
// holds already is joined: then domain may be "", else it must be one of the cell's.
//
// A founding that was cut off is made again by the next.
func FirstAccounts(ctx context.Context, dir, domain, address string) (_ *Founding, err error) {
	c, err := LoadConfig(dir)
	if err != nil {
		return nil, err
	}
	o, err := openOffline(ctx, dir, c, "", "", domain != "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	if o.f.there {
		return o.f.join(ctx, domain)
	}
	d := o.f.directory
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
	if mail.KindOf(err) == mail.Conflict && c.Store.shared() { // another node's init was quicker, or this one's was cut off here
		made, err = o.f.join(ctx, domain)
	}
	if err == nil && c.Store.shared() {
		err = o.f.store.SetFounded(ctx)
	}
	return made, err
}

// join says which cell a node found, and that it is the one that was meant.
func (f *floor) join(ctx context.Context, domain string) (*Founding, error) {
	domains, err := f.directory.Domains(ctx)
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
	if r := f.store.Remote(); r != nil {
		if err := r.Ready(ctx); err != nil {
			return nil, fmt.Errorf("[store] bodies: %w", err)
		}
	}
	return &Founding{Domains: domains}, nil
}
