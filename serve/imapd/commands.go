package imapd

import "bahnpost/wire/imap"

// seqUse says what a command has to do with message numbers (RFC 9051 §7.5.1).
type seqUse uint8

const (
	none   seqUse = iota
	uses          // its numbers must stay valid while it runs: no EXPUNGE is said (unless it is a UID command)
	breaks        // it may renumber messages itself
)

// command is a row of the table: all that the loop knows of a command.
type command struct {
	name      string // filled in from the key
	run       func(s *session, d *imap.Decoder) error
	in        state  // where it is allowed
	seqs      seqUse // what it has to do with message numbers
	numbers   bool   // takes or gives message numbers unless written with UID (RFC 9586 §3.2)
	writesBox bool   // refused in a mailbox selected with EXAMINE
	silent    bool   // answers its OK itself, later
	ext       string // capability that announces it, "" for the base protocols
}

// commandTable returns all commands. A new command is a row here and a file
// cmd_x.go; rows of the search, sharing and notification families are in
// commands_ext.go.
func commandTable() map[string]*command {
	rows := map[string]command{
		// Any state.
		"CAPABILITY": {run: capability, in: anyState},    // RFC 9051 §6.1.1
		"NOOP":       {run: noop, in: anyState},          // RFC 9051 §6.1.2
		"LOGOUT":     {run: logout, in: anyState},        // RFC 9051 §6.1.3
		"ID":         {run: id, in: anyState, ext: "ID"}, // RFC 2971

		// Before login.
		"STARTTLS":     {run: startTLS, in: notAuthenticated},     // RFC 9051 §6.2.1
		"AUTHENTICATE": {run: authenticate, in: notAuthenticated}, // RFC 9051 §6.2.2
		"LOGIN":        {run: loginCommand, in: notAuthenticated}, // RFC 9051 §6.2.3

		// After login.
		"ENABLE":         {run: enable, in: loggedIn, ext: "ENABLE"},                 // RFC 5161
		"UNAUTHENTICATE": {run: unauthenticate, in: loggedIn, ext: "UNAUTHENTICATE"}, // RFC 8437
		"SELECT":         {run: selectMailbox, in: loggedIn, seqs: breaks},           // RFC 9051 §6.3.2
		"EXAMINE":        {run: examine, in: loggedIn, seqs: breaks},                 // RFC 9051 §6.3.3
		"CREATE":         {run: create, in: loggedIn},                                // RFC 9051 §6.3.4
		"DELETE":         {run: deleteMailbox, in: loggedIn},                         // RFC 9051 §6.3.5
		"RENAME":         {run: rename, in: loggedIn},                                // RFC 9051 §6.3.6
		"SUBSCRIBE":      {run: subscribe, in: loggedIn},                             // RFC 9051 §6.3.7
		"UNSUBSCRIBE":    {run: unsubscribe, in: loggedIn},                           // RFC 9051 §6.3.8
		"LIST":           {run: list, in: loggedIn},                                  // RFC 9051 §6.3.9
		"LSUB":           {run: lsub, in: loggedIn},                                  // RFC 3501 §6.3.9
		"NAMESPACE":      {run: namespace, in: loggedIn, ext: "NAMESPACE"},           // RFC 9051 §6.3.10
		"STATUS":         {run: status, in: loggedIn},                                // RFC 9051 §6.3.11
		"APPEND":         {run: appendCommand, in: loggedIn},                         // RFC 9051 §6.3.12
		"IDLE":           {run: idle, in: loggedIn, silent: true, ext: "IDLE"},       // RFC 9051 §6.3.13

		// With a mailbox selected.
		"CHECK":       {run: check, in: selected},                                                                 // RFC 3501 §6.4.1
		"CLOSE":       {run: closeMailbox, in: selected, seqs: breaks},                                            // RFC 9051 §6.4.1
		"UNSELECT":    {run: unselect, in: selected, seqs: breaks, ext: "UNSELECT"},                               // RFC 9051 §6.4.2
		"EXPUNGE":     {run: expunge, in: selected, seqs: breaks, writesBox: true},                                // RFC 9051 §6.4.3
		"UID EXPUNGE": {run: uidExpunge, in: selected, seqs: breaks, writesBox: true, ext: "UIDPLUS"},             // RFC 9051 §6.4.9
		"FETCH":       {run: fetch, in: selected, seqs: uses, numbers: true},                                      // RFC 9051 §6.4.5
		"UID FETCH":   {run: fetch, in: selected},                                                                 // RFC 9051 §6.4.9
		"STORE":       {run: storeFlags, in: selected, seqs: uses, numbers: true, writesBox: true},                // RFC 9051 §6.4.6
		"UID STORE":   {run: storeFlags, in: selected, writesBox: true},                                           // RFC 9051 §6.4.9
		"COPY":        {run: copyMessages, in: selected, numbers: true},                                           // RFC 9051 §6.4.7
		"UID COPY":    {run: copyMessages, in: selected},                                                          // RFC 9051 §6.4.9
		"MOVE":        {run: move, in: selected, seqs: breaks, numbers: true, writesBox: true, ext: "MOVE"},       // RFC 9051 §6.4.8
		"UID MOVE":    {run: move, in: selected, seqs: breaks, writesBox: true, ext: "MOVE"},                      // RFC 9051 §6.4.9
		"REPLACE":     {run: replace, in: selected, seqs: breaks, numbers: true, writesBox: true, ext: "REPLACE"}, // RFC 8508
		"UID REPLACE": {run: replace, in: selected, seqs: breaks, writesBox: true, ext: "REPLACE"},                // RFC 8508
	}
	for name, row := range extCommands() {
		rows[name] = row
	}
	table := make(map[string]*command, len(rows))
	for name, row := range rows {
		row.name = name
		table[name] = &row
	}
	return table
}
