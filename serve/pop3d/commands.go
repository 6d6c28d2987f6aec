package pop3d

// state is how far a session has come (RFC 1939 §3). Values are bits: a command
// names those it may be given in.
type state uint8

const (
	authorization state = 1 << iota
	transaction
	over

	anywhere = authorization | transaction
)

// command is a row of the table.
type command struct {
	run func(s *session, arg string) error
	in  state
	// args says how many words may follow; -1: the rest of the line is one
	// argument, spaces and all.
	min, max int
	// capa is the line that CAPA shows for the command, "" for none now.
	capa func(s *session) string
}

func always(line string) func(*session) string { return func(*session) string { return line } }

// commandTable is all that a client may say.
func commandTable() map[string]command {
	return map[string]command{
		"CAPA": {run: capa, in: anywhere},                                        // RFC 2449 §5
		"STLS": {run: stls, in: authorization, capa: capaSTLS},                   // RFC 2595 §4
		"USER": {run: user, in: authorization, min: 1, max: -1, capa: capaUSER},  // RFC 1939 §7
		"PASS": {run: pass, in: authorization, min: 1, max: -1},                  // RFC 1939 §7
		"AUTH": {run: auth, in: authorization, max: 2, capa: capaSASL},           // RFC 5034 §4
		"UTF8": {run: utf8, in: authorization, capa: always("UTF8 USER")},        // RFC 6856 §2
		"LANG": {run: lang, in: anywhere, max: 1, capa: always("LANG")},          // RFC 6856 §3
		"STAT": {run: stat, in: transaction},                                     // RFC 1939 §5
		"LIST": {run: list, in: transaction, max: 1},                             // RFC 1939 §5
		"RETR": {run: retr, in: transaction, min: 1, max: 1},                     // RFC 1939 §5
		"DELE": {run: dele, in: transaction, min: 1, max: 1},                     // RFC 1939 §5
		"NOOP": {run: noop, in: transaction},                                     // RFC 1939 §5
		"RSET": {run: rset, in: transaction},                                     // RFC 1939 §5
		"TOP":  {run: top, in: transaction, min: 2, max: 2, capa: always("TOP")}, // RFC 1939 §7
		"UIDL": {run: uidl, in: transaction, max: 1, capa: always("UIDL")},       // RFC 1939 §7
		"QUIT": {run: quit, in: anywhere},                                        // RFC 1939 §5, §6
	}
}

// capaOrder is the order of the lines that commands contribute.
var capaOrder = [...]string{"TOP", "UIDL", "STLS", "USER", "AUTH", "UTF8", "LANG"}

// capaFixed are the capabilities that are no commands: we answer in order
// (RFC 2449 §6.8), with response codes (§6.4, RFC 3206 §6), keep mail for ever
// (§6.7) and let clients come back at once (§6.5).
const capaFixed = "RESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\nLOGIN-DELAY 0\r\nIMPLEMENTATION Bahnpost\r\n"
