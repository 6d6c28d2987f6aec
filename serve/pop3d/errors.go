package pop3d

import (
	"crypto/rand"
	"errors"

	"bahnpost/mail"
)

// codes is the one table from the kind of an error to its response code
// (RFC 2449 §8.1, RFC 3206 §4, §5). "" is none. [AUTH] is what makes a client
// ask its user for another password, so only a wrong one gets it.
var codes = [...]string{
	mail.Internal:      "SYS/TEMP",
	mail.Unavailable:   "SYS/TEMP",
	mail.NoSuchAccount: "SYS/PERM",
	mail.NoSuchMailbox: "SYS/PERM",
	mail.OverQuota:     "SYS/TEMP",
	mail.Limit:         "SYS/TEMP",
	mail.AuthFailed:    "AUTH",
	mail.AuthThrottled: "SYS/TEMP",
	mail.Disabled:      "SYS/PERM",
	mail.NoPermission:  "SYS/PERM",
	mail.Moved:         "SYS/TEMP",
	mail.Conflict:      "IN-USE",
	mail.Corrupt:       "SYS/TEMP",
	mail.Full:          "SYS/TEMP",
}

// refusal is an -ERR of this package's own making.
type refusal string

func (r refusal) Error() string { return string(r) }

// Refusals.
const (
	errNoMessage = refusal("no such message")
	errDeleted   = refusal("message is deleted")
	errNumber    = refusal("argument is not a message number")
)

// answer turns the error of a command into its line. Internal ones are logged
// here, under the reference that the client hears.
func (s *session) answer(name string, err error) {
	if r, ok := errors.AsType[refusal](err); ok {
		s.bad++ // three thousand wrong numbers in a row are a lost client
		s.say("-ERR " + string(r))
		return
	}
	m, ok := errors.AsType[*mail.Error](err)
	if !ok || m.Kind == mail.Internal {
		ref := rand.Text()[:8]
		s.srv.cfg.Log.Error("pop3 command failed", "session", s.conn.ID(), "login", s.login.Address.String(), "command", name, "ref", ref, "err", err)
		s.say("-ERR [SYS/TEMP] internal error, reference " + ref)
		return
	}
	if m.Err != nil && m.Kind == mail.Corrupt {
		s.srv.cfg.Log.Error("pop3 found damage", "session", s.conn.ID(), "login", s.login.Address.String(), "command", name, "err", err)
	}
	code := ""
	if int(m.Kind) < len(codes) {
		code = codes[m.Kind]
	}
	if code != "" {
		code = "[" + code + "] "
	}
	s.say("-ERR " + code + m.Text)
}
