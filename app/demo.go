package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"

	"bahnpost/mail"
	"bahnpost/store/directory"
)

// demoFile keeps the passwords of the demo accounts, so that the second start can print them.
const demoFile = "demo-accounts.json"

const demoDomain = "example.org"

// Demo is the system that "make run" starts.
type Demo struct {
	Accounts []DemoAccount
	dir      string
	offset   int
}

// DemoAccount is an account whose password may be shown.
type DemoAccount struct{ Address, Password string }

// PrepareDemo makes dir a node with two accounts, unless it is one already.
func PrepareDemo(ctx context.Context, dir string, portOffset int) (*Demo, error) {
	d := &Demo{dir: dir, offset: portOffset}
	path := filepath.Join(dir, demoFile)
	b, err := os.ReadFile(path)
	if err == nil {
		c, err := LoadConfig(dir)
		if err != nil {
			return nil, err
		}
		d.offset = c.Listen.PortOffset
		return d, json.Unmarshal(b, &d.Accounts)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, ConfigFile)); err == nil {
		return nil, fmt.Errorf("%s is a node, but not one that demo made to its end: run it with \"bahnpost serve %[1]s\", or remove it to start over", dir)
	}
	made, err := Init(ctx, dir, InitOptions{Domain: demoDomain, Hostname: "localhost", Loopback: true, PortOffset: portOffset}, "anna@"+demoDomain)
	if err != nil {
		return nil, err
	}
	d.Accounts = []DemoAccount{{"anna@" + demoDomain, made.Password}, {"bert@" + demoDomain, NewPassword()}}
	o, err := OpenOffline(ctx, dir, "", "")
	if err != nil {
		return nil, err
	}
	_, err = o.API.Create(ctx, directory.Account{Address: mail.Address{Local: "bert", Domain: demoDomain}, Name: "Bert", Role: "user"}, d.Accounts[1].Password)
	if err = errors.Join(err, o.Close()); err != nil {
		return nil, err
	}
	if b, err = json.MarshalIndent(d.Accounts, "", "  "); err != nil {
		return nil, err
	}
	return d, os.WriteFile(path, b, 0o600)
}

// Print says what listens where, who can log in, and three lines to copy.
func (d *Demo) Print(w io.Writer, n *Node) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "\nPROTOCOL\tADDRESS\tTLS")
	for _, e := range n.Listening() {
		tls := "STARTTLS"
		switch {
		case e.Implicit:
			tls = "from the start"
		case e.Protocol == "http" || e.Protocol == "lmtp":
			tls = "no"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", e.Protocol, e.Addr, tls)
	}
	fmt.Fprintln(t, "\nACCOUNT\tPASSWORD")
	for _, a := range d.Accounts {
		fmt.Fprintf(t, "%s\t%s\n", a.Address, a.Password)
	}
	t.Flush()
	a, b := d.Accounts[0], d.Accounts[1]
	fmt.Fprintf(w, `
send a mail     printf 'From: %[3]s\nTo: %[1]s\nSubject: hello\n\nIt works.\n' | curl -sS --mail-from %[3]s --mail-rcpt %[1]s -u %[3]s:%[4]s --crlf -T - smtp://127.0.0.1:%[5]d
read it, IMAP   curl -sS -u %[1]s:%[2]s 'imap://127.0.0.1:%[6]d/INBOX;MAILINDEX=*'
read it, POP3   curl -sS -u %[1]s:%[2]s pop3://127.0.0.1:%[7]d/1

Ctrl-C stops it. Its data is in %[8]s; remove that to start over.
`, a.Address, a.Password, b.Address, b.Password, 587+d.offset, 143+d.offset, 110+d.offset, d.dir)
}
