package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"bahnpost/app"
	"bahnpost/serve/admin"
)

type accountCmd struct {
	Add     accountAdd     `cmd:"" help:"Add an account; prints its password once unless --password-stdin gives one."`
	List    accountList    `cmd:"" help:"List accounts."`
	Show    accountShow    `cmd:"" help:"Show one account."`
	Set     accountSet     `cmd:"" help:"Change name, quota, role or UIDL format."`
	Passwd  accountPasswd  `cmd:"" help:"Set a password."`
	Disable accountDisable `cmd:"" help:"Refuse logins and end sessions; mail is still taken. --enable undoes it."`
	Remove  accountRemove  `cmd:"" help:"Delete an account with all its mail."`
	Import  accountImport  `cmd:"" help:"Add or update many from a CSV file."`
}

type accountAdd struct {
	manage
	Address       string `arg:"" help:"The account's address."`
	Name          string `help:"Display name." placeholder:"NAME"`
	Quota         string `help:"Like 5GB; 0 is none." placeholder:"SIZE"`
	Admin         bool   `help:"Give the role admin."`
	PasswordStdin bool   `help:"Read the password (or {SCHEME}hash) from standard input."`
}

func (c *accountAdd) Run() error {
	ch := admin.AccountChange{Address: c.Address, Name: &c.Name}
	if err := quotaFlag(c.Quota, &ch); err != nil {
		return err
	}
	if c.Admin {
		role := "admin"
		ch.Role = &role
	}
	password, generated, err := choosePassword(c.PasswordStdin)
	if err != nil {
		return err
	}
	ch.Password = &password
	return c.call(func(a *api) error {
		var out admin.AccountJSON
		if err := a.do("POST", "/v1/accounts", ch, &out); err != nil {
			return err
		}
		if c.JSON {
			v := struct {
				admin.AccountJSON
				Password string `json:"password,omitempty"`
			}{AccountJSON: out}
			if generated {
				v.Password = password
			}
			return printJSON(v)
		}
		fmt.Printf("added %s\n", out.Address)
		if generated {
			fmt.Printf("password: %s\n", password)
		}
		return nil
	})
}

func quotaFlag(s string, ch *admin.AccountChange) error {
	if s == "" {
		return nil
	}
	n, err := admin.ParseSize(s)
	ch.QuotaBytes = &n
	return err
}

func choosePassword(stdin bool) (password string, generated bool, err error) {
	if !stdin {
		return app.NewPassword(), true, nil
	}
	line, err := bufio.NewReader(io.LimitReader(os.Stdin, admin.MaxPassword+2)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", false, err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", false, errors.New("standard input held no password")
	}
	return line, false, nil
}

type accountList struct{ manage }

func (c *accountList) Run() error {
	return c.call(func(a *api) error {
		var list []admin.AccountJSON
		if err := a.do("GET", "/v1/accounts", nil, &list); err != nil {
			return err
		}
		if c.JSON {
			return printJSON(list)
		}
		return table("ADDRESS\tNAME\tUSED\tQUOTA\tMESSAGES\tSTATE", func(line func(string, ...any)) {
			for _, x := range list {
				line("%s\t%s\t%s\t%s\t%d\t%s", x.Address, x.Name, size(x.UsedBytes), quotaText(x.QuotaBytes), x.UsedMessages, state(x))
			}
		})
	})
}

func state(a admin.AccountJSON) string {
	switch {
	case a.Disabled:
		return "disabled"
	case a.Role == "admin":
		return "admin"
	}
	return "active"
}

func quotaText(n int64) string {
	if n == 0 {
		return "none"
	}
	return size(n)
}

// size writes octets for people.
func size(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	f, i := float64(n), 0
	for f >= 1000 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

type accountShow struct {
	manage
	Address string `arg:"" help:"The account's address."`
}

func (c *accountShow) Run() error {
	return c.call(func(a *api) error {
		var x admin.AccountJSON
		if err := a.do("GET", "/v1/accounts/"+escape(c.Address), nil, &x); err != nil {
			return err
		}
		if c.JSON {
			return printJSON(x)
		}
		return table("address\t"+x.Address, func(line func(string, ...any)) {
			line("name\t%s", x.Name)
			line("state\t%s", state(x))
			line("used\t%s in %d messages, %d mailboxes", size(x.UsedBytes), x.UsedMessages, x.Mailboxes)
			line("quota\t%s", quotaText(x.QuotaBytes))
			line("created\t%s", x.Created.Format("2006-01-02 15:04:05 MST"))
		})
	})
}

type accountSet struct {
	manage
	Address    string  `arg:""`
	Name       *string `help:"Display name." placeholder:"NAME"`
	Quota      string  `help:"Like 5GB; 0 is none." placeholder:"SIZE"`
	Role       *string `help:"user or admin." placeholder:"ROLE"`
	UIDLFormat *string `name:"uidl-format" help:"POP3 UIDL template of this account, like %v.%u; see bahnpost.toml." placeholder:"TEMPLATE"`
}

func (c *accountSet) Run() error {
	ch := admin.AccountChange{Name: c.Name, Role: c.Role, UIDLFormat: c.UIDLFormat}
	if err := quotaFlag(c.Quota, &ch); err != nil {
		return err
	}
	return c.change(c.Address, ch, "changed")
}

// change patches an account and says so.
func (m *manage) change(address string, ch admin.AccountChange, word string) error {
	return m.call(func(a *api) error {
		var x admin.AccountJSON
		if err := a.do("PATCH", "/v1/accounts/"+escape(address), ch, &x); err != nil {
			return err
		}
		if m.JSON {
			return printJSON(x)
		}
		fmt.Println(word, x.Address)
		return nil
	})
}

type accountPasswd struct {
	manage
	Address       string `arg:"" help:"The account's address."`
	PasswordStdin bool   `help:"Read the password (or {SCHEME}hash) from standard input; without it one is made and printed."`
}

func (c *accountPasswd) Run() error {
	password, generated, err := choosePassword(c.PasswordStdin)
	if err != nil {
		return err
	}
	return c.call(func(a *api) error {
		if err := a.do("POST", "/v1/accounts/"+escape(c.Address)+"/password", map[string]string{"password": password}, nil); err != nil {
			return err
		}
		out := map[string]string{"address": c.Address}
		if generated {
			out["password"] = password
		}
		if c.JSON {
			return printJSON(out)
		}
		fmt.Println("password set for", c.Address)
		if generated {
			fmt.Println("password:", password)
		}
		return nil
	})
}

type accountDisable struct {
	manage
	Address string `arg:"" help:"The account's address."`
	Enable  bool   `help:"Allow logins again."`
}

func (c *accountDisable) Run() error {
	off := !c.Enable
	word := "disabled"
	if c.Enable {
		word = "enabled"
	}
	return c.change(c.Address, admin.AccountChange{Disabled: &off}, word)
}

type accountRemove struct {
	manage
	Address string `arg:"" help:"The account's address."`
}

func (c *accountRemove) Run() error {
	return c.call(func(a *api) error {
		if err := a.do("DELETE", "/v1/accounts/"+escape(c.Address), nil, nil); err != nil {
			return err
		}
		return c.said("removed", c.Address)
	})
}

// said reports an act on one thing.
func (m *manage) said(word, thing string) error {
	if m.JSON {
		return printJSON(map[string]string{word: thing})
	}
	fmt.Println(word, thing)
	return nil
}

type accountImport struct {
	manage
	File   string `arg:"" help:"CSV with the header address,password,name,quota; - is standard input."`
	DryRun bool   `help:"Check the rows and say what would happen."`
}

func (c *accountImport) Run() error {
	in := os.Stdin
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	return c.call(func(a *api) error {
		path := "/v1/import"
		if c.DryRun {
			path += "?dry_run=true"
		}
		resp, err := a.send("POST", path, in)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		return c.report(resp.Body)
	})
}

// report prints a line per row and fails if a row failed.
func (c *accountImport) report(r io.Reader) error {
	dec := json.NewDecoder(r)
	for {
		var l admin.ImportReport
		if err := dec.Decode(&l); err != nil {
			return fmt.Errorf("the import ended early: %w", err)
		}
		switch {
		case c.JSON:
			json.NewEncoder(os.Stdout).Encode(l)
		case l.ImportSum != nil:
			fmt.Printf("%d created, %d updated, %d failed\n", l.Created, l.Updated, l.Failed)
		case l.Error != "" && l.Address == "":
			fmt.Printf("row %d: error: %s\n", l.Row, l.Error)
		case l.Error != "":
			fmt.Printf("row %d: %s: error: %s\n", l.Row, l.Address, l.Error)
		default:
			fmt.Printf("row %d: %s: %s\n", l.Row, l.Address, l.Result)
		}
		if l.ImportSum != nil {
			if l.Failed > 0 {
				return exitError(1)
			}
			return nil
		}
	}
}
