package imapd

import (
	"crypto/rand"
	"errors"

	"bahnpost/mail"
	"bahnpost/wire/imap"
)

// errGiveUp ends a session whose client can't be understood any more.
var errGiveUp = errors.New("imapd: client can't be understood")

// refusal is a NO of this package's own making, with its response code.
type refusal struct{ code, text string }

func (r *refusal) Error() string { return r.text }

// no refuses with a response code ("" for none).
func no(code, text string) error { return &refusal{code, text} }

// bad is BAD for what the grammar can't see.
func bad(text string) error { return &imap.SyntaxError{Text: text} }

// codes is the one table from the kind of an error to its response code
// (RFC 9051 §7.1, RFC 5530 §3, RFC 9208 §4.3).
var codes = [...]string{
	mail.Internal:      "SERVERBUG",
	mail.Unavailable:   "UNAVAILABLE",
	mail.NoSuchAccount: "NONEXISTENT",
	mail.NoSuchMailbox: "NONEXISTENT",
	mail.MailboxExists: "ALREADYEXISTS",
	mail.NoSuchMessage: "EXPUNGEISSUED",
	mail.OverQuota:     "OVERQUOTA",
	mail.TooLarge:      "TOOBIG",
	mail.Limit:         "LIMIT",
	mail.Policy:        "CANNOT",
	mail.AuthFailed:    "AUTHENTICATIONFAILED",
	mail.AuthThrottled: "UNAVAILABLE",
	mail.Disabled:      "AUTHORIZATIONFAILED",
	mail.NoPermission:  "NOPERM",
	mail.BadInput:      "CANNOT",
	mail.Moved:         "UNAVAILABLE",
	mail.Conflict:      "INUSE",
	mail.Corrupt:       "CORRUPTION",
	mail.Loop:          "CANNOT",
	mail.Full:          "UNAVAILABLE",
}

// verdict is how a command ended.
type verdict struct {
	word, code, text string
	bye              bool // the session ends
}

// judge turns the error of a command into its answer. Internal ones are logged
// here, under the reference that the client hears.
func (s *session) judge(name string, err error) verdict {
	if syn, ok := errors.AsType[*imap.SyntaxError](err); ok {
		if syn.TooBig {
			return verdict{word: "BAD", code: "TOOBIG", text: syn.Text}
		}
		return verdict{word: "BAD", text: syn.Text}
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		return verdict{word: "NO", code: r.code, text: r.text}
	}
	if m, ok := errors.AsType[*mail.Error](err); ok && m.Kind != mail.Internal {
		v := verdict{word: "NO", code: codes[m.Kind], text: m.Text, bye: m.Kind == mail.Moved}
		if m.Kind == mail.Full {
			s.srv.cfg.Log.Error("no room", "session", s.conn.ID(), "command", name, "error", err)
		} else if m.Err != nil {
			s.srv.cfg.Log.Info("imap refused", "session", s.conn.ID(), "command", name, "error", err)
		}
		return v
	}
	ref := rand.Text()[:6]
	s.srv.cfg.Log.Error("imap internal error", "ref", ref, "session", s.conn.ID(),
		"login", s.login.Address.String(), "command", name, "error", err)
	return verdict{word: "NO", code: "SERVERBUG", text: "internal error, ref " + ref}
}

// tryCreate is for APPEND, COPY, MOVE: a destination that is not there
// (RFC 9051 §6.3.12, §6.4.7).
func tryCreate(err error) error {
	if mail.KindOf(err) == mail.NoSuchMailbox {
		return no("TRYCREATE", "mailbox does not exist")
	}
	return err
}
