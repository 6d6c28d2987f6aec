package smtpd

import (
	"slices"
	"strings"
	"time"
)

// phase is how far a session has come.
type phase uint8

const (
	fresh   phase = 1 << iota // no EHLO yet
	ready                     // no mail under way
	mailing                   // MAIL was accepted
	chunked                   // a BDAT was accepted: only BDAT goes on (RFC 3030 §2)

	anytime = fresh | ready | mailing | chunked
)

// command is a row: what runs, and when it may.
type command struct {
	run   func(s *session, args string)
	in    phase
	bare  bool // takes no argument (RFC 5321 §4.1.1.4 …)
	mails bool // is part of a mail: no chatter
	only  roles
	help  string
}

// roles is a set of Role.
type roles uint8

func only(rs ...Role) (set roles) {
	for _, r := range rs {
		set |= 1 << r
	}
	return set
}

// commandsOf is the table for a role.
func commandsOf(r Role) map[string]command {
	all := map[string]command{
		"EHLO":     {run: ehlo, in: anytime, only: only(MX, Submission), help: "EHLO domain"},        // RFC 5321 §4.1.1.1
		"HELO":     {run: helo, in: anytime, only: only(MX, Submission), help: "HELO domain"},        // RFC 5321 §4.1.1.1
		"LHLO":     {run: ehlo, in: anytime, only: only(LMTP), help: "LHLO domain"},                  // RFC 2033 §4.1
		"MAIL":     {run: mailFrom, in: ready, help: "MAIL FROM:<address> [parameters]"},             // RFC 5321 §4.1.1.2
		"RCPT":     {run: rcptTo, in: mailing, mails: true, help: "RCPT TO:<address> [parameters]"},  // RFC 5321 §4.1.1.3
		"DATA":     {run: dataCmd, in: mailing, bare: true, mails: true, help: "DATA"},               // RFC 5321 §4.1.1.4
		"BDAT":     {run: bdat, in: anytime, mails: true, help: "BDAT size [LAST]"},                  // RFC 3030 §2; looks at the phase itself: the octets come anyway
		"RSET":     {run: rset, in: anytime, bare: true, help: "RSET"},                               // RFC 5321 §4.1.1.5
		"VRFY":     {run: vrfy, in: anytime, help: "VRFY string"},                                    // RFC 5321 §4.1.1.6
		"EXPN":     {run: expn, in: anytime, help: "EXPN string (not served)"},                       // RFC 5321 §4.1.1.7
		"HELP":     {run: help, in: anytime, help: "HELP [command]"},                                 // RFC 5321 §4.1.1.8
		"NOOP":     {run: noop, in: anytime, help: "NOOP"},                                           // RFC 5321 §4.1.1.9
		"QUIT":     {run: quit, in: anytime, bare: true, help: "QUIT"},                               // RFC 5321 §4.1.1.10
		"STARTTLS": {run: startTLS, in: ready, bare: true, help: "STARTTLS"},                         // RFC 3207 §4
		"AUTH":     {run: auth, in: ready, only: only(Submission), help: "AUTH mechanism [initial]"}, // RFC 4954 §4
	}
	for verb, c := range all {
		if c.only != 0 && c.only&only(r) == 0 {
			delete(all, verb)
		}
	}
	return all
}

// dispatch runs one command, or says why not.
func (s *session) dispatch(verb, args string) {
	c, ok := s.srv.commands[verb]
	switch {
	case !ok && foreignVerb(verb):
		s.bye(421, "4.7.0", "this is not HTTP")
	case !ok:
		s.fail(500, "5.5.1", "unknown command")
	case c.bare && args != "":
		s.fail(501, "5.5.4", "no argument is allowed here")
	case c.in&s.phase == 0:
		s.fail(503, "5.5.1", s.outOfPhase(verb))
	case s.barren() && verb != "QUIT":
		s.bye(421, "4.4.2", "no mail for a long time")
	default:
		if !c.mails {
			if s.chatter++; s.chatter > s.cfg.MaxChatter {
				s.bye(421, "4.7.0", "too many commands without a mail")
				return
			}
		}
		c.run(s, args)
	}
}

// barren reports that no mail has been taken for too long. A message that comes in chunks has MinRate.
func (s *session) barren() bool {
	return s.cfg.MaxBarren > 0 && s.phase != chunked && time.Since(s.fruit) > s.cfg.MaxBarren
}

func (s *session) outOfPhase(verb string) string {
	switch {
	case s.phase == fresh && s.cfg.Role == LMTP:
		return "send LHLO first"
	case s.phase == fresh:
		return "send EHLO first"
	case s.phase == ready:
		return "send MAIL first"
	case s.phase == chunked:
		return "finish the message with BDAT, or send RSET"
	}
	return verb + " is not allowed during a mail"
}

// foreignVerb finds those who took us for a web server, often somebody's
// browser under a stranger's control: nothing of what follows may be run.
func foreignVerb(verb string) bool {
	switch verb {
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "TRACE", "PATCH", "HOST:", "USER-AGENT:":
		return true
	}
	return false
}

// help lists the commands, or the syntax of one.
func help(s *session, args string) {
	if c, ok := s.srv.commands[strings.ToUpper(args)]; ok {
		s.reply(214, "2.0.0", c.help)
		return
	}
	verbs := make([]string, 0, len(s.srv.commands))
	for v := range s.srv.commands {
		verbs = append(verbs, v)
	}
	slices.Sort(verbs)
	s.reply(214, "2.0.0", "Commands: "+strings.Join(verbs, " "))
}
