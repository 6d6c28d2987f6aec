package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"bahnpost/app"
	"bahnpost/serve/admin"
)

type initCmd struct {
	Dir        string   `arg:"" help:"The node's directory; is made."`
	Domain     string   `help:"First mail domain; needed unless a cell is joined." placeholder:"DOMAIN"`
	Hostname   string   `help:"Full name of this machine [mx.DOMAIN]." placeholder:"NAME"`
	Loopback   bool     `help:"Listen on 127.0.0.1 and ::1 only and allow plaintext login there."`
	PortOffset int      `help:"Add N to every standard port." placeholder:"N"`
	Admin      string   `help:"Address of the first administrator [admin@DOMAIN]." placeholder:"ADDRESS"`
	Store      string   `help:"PostgreSQL of the cell, like postgres://bahnpost@db1,db2/bahnpost; a cell that it holds already is joined." placeholder:"URL"`
	Blobs      []string `help:"Where the cell's bodies live, like s3://bucket?endpoint=https://s3.example.org; twice: each in both." placeholder:"URL" sep:"none"`
	JSON       bool     `name:"json" help:"Print JSON."`
}

// Validate is asked by the parser: what is wrong here is wrong usage.
func (c *initCmd) Validate() error {
	switch {
	case c.Domain == "" && c.Store == "":
		return errors.New("--domain is needed: the first mail domain; only with --store a cell can be joined")
	case c.Hostname == "" && c.Domain == "":
		return errors.New("--hostname is needed: the full name of this machine")
	case len(c.Blobs) > 0 && c.Store == "":
		return errors.New("--blobs needs --store: a node without a database of the cell's keeps bodies in its directory")
	}
	return nil
}

func (c *initCmd) Run() error {
	if c.Hostname == "" {
		c.Hostname = "mx." + c.Domain
	}
	if c.Admin == "" && c.Domain != "" {
		c.Admin = "admin@" + c.Domain
	}
	o := app.InitOptions{Domain: c.Domain, Hostname: c.Hostname, Loopback: c.Loopback, PortOffset: c.PortOffset, Database: c.Store, Bodies: c.Blobs}
	made, err := app.Init(context.Background(), c.Dir, o, c.Admin)
	switch {
	case err != nil:
		return err
	case c.JSON && made.Password == "":
		return printJSON(map[string]any{"dir": c.Dir, "joined": made.Domains})
	case c.JSON:
		return printJSON(map[string]string{"dir": c.Dir, "admin": made.Admin, "password": made.Password})
	case made.Password == "":
		fmt.Printf("wrote %s/%s\njoined the cell of %s\n", c.Dir, app.ConfigFile, strings.Join(made.Domains, ", "))
	default:
		fmt.Printf("wrote %s/%s\nadministrator: %s\npassword:      %s\n", c.Dir, app.ConfigFile, made.Admin, made.Password)
	}
	fmt.Printf("\nstart it with: bahnpost serve %s\n", c.Dir)
	return nil
}

type serveCmd struct {
	Dir string `arg:"" help:"The node's directory."`
}

func (c *serveCmd) Run() error { return serve(c.Dir, nil) }

// serve runs a node until SIGTERM or SIGINT; SIGHUP re-reads.
func serve(dir string, started func(*app.Node)) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hup := make(chan os.Signal, 1) // from the first: a reload asked for while the node starts must not end it
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	n, err := app.Start(ctx, dir, app.Options{Version: version, Commit: commit})
	switch {
	case err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
		slog.Info("stopped while starting")
		return nil
	case err != nil:
		return err
	}
	go func() {
		for range hup {
			n.Reload()
		}
	}()
	if started != nil {
		started(n)
	}
	return n.Run(ctx)
}

type demoCmd struct {
	Dir        string `arg:"" default:"bahnpost-data" help:"Its directory [bahnpost-data]; is made."`
	PortOffset int    `help:"Add N to every standard port [10000]; of a new directory only." default:"10000" placeholder:"N"`
}

func (c *demoCmd) Run() error {
	demo, err := app.PrepareDemo(context.Background(), c.Dir, c.PortOffset)
	if err != nil {
		return err
	}
	return serve(c.Dir, func(n *app.Node) { demo.Print(os.Stdout, n) })
}

type checkCmd struct {
	Dir   string `arg:"" help:"The node's directory."`
	Quick bool   `help:"Do not read the bodies."`
	JSON  bool   `name:"json" help:"Print JSON lines."`
}

func (c *checkCmd) Run() error {
	a, err := openAPI(c.Dir)
	if err != nil {
		return err
	}
	defer a.close()
	resp, err := a.send("POST", fmt.Sprintf("/v1/check?bodies=%v", !c.Quick), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	problems, err := c.report(resp.Body)
	if err != nil {
		return err
	}
	if problems > 0 {
		return exitError(1)
	}
	return nil
}

func (c *checkCmd) report(r io.Reader) (problems int, err error) {
	dec := json.NewDecoder(r)
	bar := newBar("checking")
	for {
		var l admin.CheckLine
		if err := dec.Decode(&l); err != nil {
			return 0, fmt.Errorf("the check ended early: %w", err)
		}
		if c.JSON {
			json.NewEncoder(os.Stdout).Encode(l)
		}
		switch {
		case l.CheckSum != nil:
			bar.end()
			if !c.JSON {
				fmt.Printf("%d messages checked, %d problems\n", l.Checked, l.Problems)
			}
			return l.Problems, nil
		case l.Remark != "":
			if !c.JSON {
				fmt.Println(l.Remark)
			}
		case l.Problem == "":
			bar.set(l.CheckedSoFar, l.Total)
		case !c.JSON:
			bar.end()
			fmt.Println(problem(l))
		}
	}
}

// problem is a line for people: where, as far as it is known, and what.
func problem(l admin.CheckLine) string {
	var where []string
	switch {
	case l.Address != "":
		where = append(where, l.Address)
	case l.Account != 0:
		where = append(where, fmt.Sprintf("account %d", l.Account))
	}
	if l.Mailbox != 0 {
		where = append(where, fmt.Sprintf("mailbox %d", l.Mailbox))
	}
	if l.UID != 0 {
		where = append(where, fmt.Sprintf("uid %d", l.UID))
	}
	text := l.Problem
	switch {
	case l.Fatal:
		text = "FATAL: " + text
	case l.Note:
		text = "note: " + text + "; it goes by itself"
	}
	if len(where) == 0 {
		return text
	}
	return strings.Join(where, " ") + ": " + text
}

type doctorCmd struct {
	Dir  string `arg:"" help:"The node's directory."`
	JSON bool   `name:"json" help:"Print JSON."`
}

func (c *doctorCmd) Run() error {
	findings := app.Doctor(context.Background(), c.Dir)
	if c.JSON {
		if err := printJSON(findings); err != nil {
			return err
		}
	} else {
		for _, f := range findings {
			fmt.Printf("%-5s %-12s %s\n", f.Mark, f.Subject, f.Text)
		}
	}
	for _, f := range findings {
		if f.Mark == app.Bad {
			return exitError(1)
		}
	}
	return nil
}

type versionCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

func (c *versionCmd) Run() error {
	if c.JSON {
		return printJSON(map[string]string{"version": version, "commit": commit})
	}
	fmt.Printf("bahnpost %s (%s)\n", version, commit)
	return nil
}
