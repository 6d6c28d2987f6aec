// Command bahnpost is the whole mail system in one program: the node ("serve")
// and the verbs that administer it. Flags become calls of package app or of
// the admin API; nothing is decided here.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/alecthomas/kong"
)

// Set by the linker, see the Makefile.
var version, commit = "dev", "unknown"

// exitError ends the program with a status and no further words.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

type cli struct {
	Init    initCmd    `cmd:"" help:"Write a new node's configuration, store and certificate."`
	Serve   serveCmd   `cmd:"" help:"Run the node in the foreground."`
	Demo    demoCmd    `cmd:"" help:"Run a whole system on loopback with two accounts, to try it."`
	Account accountCmd `cmd:"" help:"Administer accounts."`
	Domain  domainCmd  `cmd:"" help:"Administer domains."`
	Alias   aliasCmd   `cmd:"" help:"Administer aliases."`
	Node    nodeCmd    `cmd:"" help:"See the nodes of the cell, and take them out of service."`
	Store   storeCmd   `cmd:"" help:"Copy a whole store, from one machine to a cluster or back."`
	Session sessionCmd `cmd:"" help:"See who is connected."`
	Check   checkCmd   `cmd:"" help:"Verify every invariant of the store."`
	Doctor  doctorCmd  `cmd:"" help:"Look at ports, certificate, clock, disk and limits."`
	Version versionCmd `cmd:"" help:"Print version and commit."`
}

// wrongUsage is the exit status of a command line that was not understood.
const wrongUsage = 2

// exit gives the parser's own status for that (80) the usual value.
func exit(status int) {
	if status > wrongUsage {
		status = wrongUsage
	}
	os.Exit(status)
}

func main() {
	var c cli
	parser := kong.Must(&c, kong.Name("bahnpost"), kong.ShortUsageOnError(), kong.Exit(exit),
		kong.Description("A mail system for large organisations. Documentation: docs/ in the source."))
	ctx, err := parser.Parse(os.Args[1:])
	parser.FatalIfErrorf(err)
	if err := ctx.Run(); err != nil {
		if code, ok := errors.AsType[exitError](err); ok {
			os.Exit(int(code))
		}
		fmt.Fprintln(os.Stderr, "bahnpost:", err)
		os.Exit(1)
	}
}
