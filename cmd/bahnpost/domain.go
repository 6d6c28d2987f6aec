package main

import (
	"fmt"
	"strings"
	"time"

	"bahnpost/serve/admin"
	"bahnpost/serve/listen"
)

type domainCmd struct {
	Add    domainAdd    `cmd:"" help:"Take mail for a domain."`
	List   domainList   `cmd:"" help:"List domains."`
	Remove domainRemove `cmd:"" help:"Give up a domain without accounts."`
}

type domainAdd struct {
	manage
	Name string `arg:"" help:"Like example.org; in Unicode or as xn--."`
}

func (c *domainAdd) Run() error {
	return c.call(func(a *api) error {
		if err := a.do("POST", "/v1/domains", map[string]string{"name": c.Name}, nil); err != nil {
			return err
		}
		return c.said("added", c.Name)
	})
}

type domainList struct{ manage }

func (c *domainList) Run() error {
	return c.call(func(a *api) error {
		var list []string
		if err := a.do("GET", "/v1/domains", nil, &list); err != nil {
			return err
		}
		if c.JSON {
			return printJSON(list)
		}
		for _, d := range list {
			fmt.Println(d)
		}
		return nil
	})
}

type domainRemove struct {
	manage
	Name string `arg:"" help:"Like example.org; in Unicode or as xn--."`
}

func (c *domainRemove) Run() error {
	return c.call(func(a *api) error {
		if err := a.do("DELETE", "/v1/domains/"+escape(c.Name), nil, nil); err != nil {
			return err
		}
		return c.said("removed", c.Name)
	})
}

type aliasCmd struct {
	Add    aliasAdd    `cmd:"" help:"Make an address (or @domain: all unknown ones) lead to others."`
	List   aliasList   `cmd:"" help:"List aliases."`
	Remove aliasRemove `cmd:"" help:"Remove an alias."`
}

type aliasAdd struct {
	manage
	From    string   `arg:"" help:"Address, or @domain."`
	Targets []string `arg:"" help:"One or more addresses."`
}

func (c *aliasAdd) Run() error {
	return c.call(func(a *api) error {
		if err := a.do("POST", "/v1/aliases", admin.AliasJSON{From: c.From, Targets: c.Targets}, nil); err != nil {
			return err
		}
		return c.said("added", c.From)
	})
}

type aliasList struct{ manage }

func (c *aliasList) Run() error {
	return c.call(func(a *api) error {
		var list []admin.AliasJSON
		if err := a.do("GET", "/v1/aliases", nil, &list); err != nil {
			return err
		}
		if c.JSON {
			return printJSON(list)
		}
		return table("ALIAS\tTARGETS", func(line func(string, ...any)) {
			for _, al := range list {
				line("%s\t%s", al.From, strings.Join(al.Targets, ", "))
			}
		})
	})
}

type aliasRemove struct {
	manage
	From string `arg:"" help:"Address, or @domain."`
}

func (c *aliasRemove) Run() error {
	return c.call(func(a *api) error {
		if err := a.do("DELETE", "/v1/aliases/"+escape(c.From), nil, nil); err != nil {
			return err
		}
		return c.said("removed", c.From)
	})
}

type sessionCmd struct {
	List sessionList `cmd:"" help:"List the live sessions."`
}

type sessionList struct{ manage }

func (c *sessionList) Run() error {
	return c.call(func(a *api) error {
		var list []listen.SessionInfo
		if err := a.do("GET", "/v1/sessions", nil, &list); err != nil {
			return err
		}
		if c.JSON {
			return printJSON(list)
		}
		return table("ID\tPROTOCOL\tREMOTE\tLOGIN\tTLS\tSINCE", func(line func(string, ...any)) {
			for _, s := range list {
				line("%s\t%s\t%s\t%s\t%v\t%s", s.ID, s.Protocol, s.Remote, s.Login, s.TLS, s.Since.Format(time.DateTime))
			}
		})
	})
}
