package imapd

import (
	"encoding/base64"
	"strings"
	"time"

	"bahnpost/serve/listen"
	"bahnpost/wire/imap"
)

// capability: "CAPABILITY" (RFC 9051 §6.1.1).
func capability(s *session, d *imap.Decoder) error {
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	s.out.b = s.appendCapabilities(append(s.out.b, "* CAPABILITY "...))
	s.line("")
	return nil
}

// noop: "NOOP" (RFC 9051 §6.1.2).
func noop(_ *session, d *imap.Decoder) error {
	d.End()
	return d.Err()
}

// check: "CHECK" (RFC 3501 §6.4.1): everything acknowledged is durable already.
func check(s *session, d *imap.Decoder) error { return noop(s, d) }

// logout: "LOGOUT" (RFC 9051 §6.1.3).
func logout(s *session, d *imap.Decoder) error {
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	s.line("* BYE see you")
	s.end("logout")
	return nil
}

// id: "ID" SP ("NIL" / "(" string SP nstring … ")") (RFC 2971 §3.1).
func id(s *session, d *imap.Decoder) error {
	const maxPairs, maxShown = 30, 100 // RFC 2971 §3.3: at most 30 pairs
	var client []string
	d.SP()
	if !d.Is("NIL") {
		n := 0
		d.List(true, func() {
			if n++; n > maxPairs {
				d.Fail("ID has more than %d fields (RFC 2971 §3.3)", maxPairs)
			}
			field := strings.ToLower(d.String())
			d.SP()
			value, _ := d.NString()
			if field == "name" || field == "version" {
				client = append(client, imap.Text(value[:min(len(value), maxShown)]))
			}
		})
	}
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	s.clientID = strings.Join(client, " ")
	b := append(s.out.b, `* ID ("name" "Bahnpost"`...)
	if v := s.srv.cfg.Version; v != "" && s.state != notAuthenticated {
		b = imap.AppendString(append(b, ` "version" `...), v, false)
	}
	s.out.b = append(b, ")\r\n"...)
	return nil
}

// startTLS: "STARTTLS" (RFC 9051 §6.2.1). What the client sent behind it in
// clear is dropped: it may be an attacker's.
func startTLS(s *session, d *imap.Decoder) error {
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	if !s.conn.CanStartTLS() || s.deflate != nil { // RFC 4978 §3: compression lies above TLS
		return bad("TLS is not available or already on")
	}
	s.tagged(verdict{word: "OK", text: "begin TLS negotiation now"})
	s.out.flush()
	s.in.drop()
	if err := s.conn.StartTLS(s.ctx); err != nil {
		return wrapConn(err)
	}
	s.enabled = 0
	s.clientID = ""
	s.cmd.answered = true
	return nil
}

// loginCommand: "LOGIN" SP astring SP astring (RFC 9051 §6.2.3).
func loginCommand(s *session, d *imap.Decoder) error {
	if !s.conn.MayLogin() {
		return no("PRIVACYREQUIRED", "login needs TLS here")
	}
	d.SP()
	user := d.AString()
	d.SP()
	password := d.AString()
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	l, err := s.srv.gate.Password(s.ctx, s.conn, user, password)
	if err != nil {
		return err
	}
	return s.loggedIn(l)
}

// loggedIn makes l the session's identity, unless it has too many sessions.
func (s *session) loggedIn(l listen.Login) error {
	if err := s.conn.Bind(l); err != nil {
		return err
	}
	s.login, s.state = l, authenticated
	s.watched = time.Time{}                                        // the deadline of strangers no longer holds
	s.cmd.code = "CAPABILITY " + string(s.appendCapabilities(nil)) // RFC 9051 §6.2.3
	s.cmd.text = "logged in"
	return nil
}

// authenticate: "AUTHENTICATE" SP mechanism [SP initial-response] (RFC 9051
// §6.2.2, RFC 4959).
func authenticate(s *session, d *imap.Decoder) error {
	if !s.conn.MayLogin() {
		return no("PRIVACYREQUIRED", "login needs TLS here")
	}
	d.SP()
	mechanism := d.Keyword()
	var response []byte
	if d.TakeSP() {
		var ok bool
		if response, ok = decodeResponse(d.Base64OrEqual()); !ok {
			return bad("initial response is not base64")
		}
	}
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	x, err := s.srv.gate.Begin(s.ctx, s.conn, mechanism)
	if err != nil {
		return err
	}
	for {
		challenge, done, err := x.Next(s.ctx, response)
		if err != nil {
			return err
		}
		if done && len(challenge) == 0 {
			return s.loggedIn(x.Login())
		}
		if response, err = s.saslResponse(challenge); err != nil {
			return err
		}
		if done {
			return s.loggedIn(x.Login())
		}
	}
}

// saslResponse says a challenge and reads the client's answer.
func (s *session) saslResponse(challenge []byte) ([]byte, error) {
	b := append(s.out.b, "+ "...)
	s.out.b = append(base64.StdEncoding.AppendEncode(b, challenge), "\r\n"...)
	s.out.flush()
	line, err := (*source)(s).Line()
	if err != nil {
		return nil, err
	}
	if len(line) == 1 && line[0] == '*' {
		return nil, bad("authentication cancelled") // RFC 9051 §6.2.2
	}
	response, ok := decodeResponse(line)
	if !ok {
		return nil, bad("response is not base64")
	}
	return response, nil
}

// decodeResponse decodes base64; "=" is an empty one (RFC 4959 §3). The result is never nil.
func decodeResponse(b []byte) ([]byte, bool) {
	out := []byte{}
	if len(b) == 1 && b[0] == '=' {
		return out, true
	}
	out, err := base64.StdEncoding.Strict().AppendDecode(out, b)
	return out, err == nil
}

// enable: "ENABLE" 1*(SP capability) (RFC 9051 §6.3.1, RFC 5161).
func enable(s *session, d *imap.Decoder) error {
	var on features
	for n := 0; n == 0 || d.TakeSP() && !d.AtEnd(); n++ {
		if n == 0 {
			d.SP()
		}
		if n > imap.MaxItems {
			d.Fail("too many capabilities")
		}
		switch d.Keyword() {
		case "CONDSTORE":
			on |= condstore
		case "QRESYNC":
			on |= qresync | condstore // RFC 7162 §3.2.3
		case "UTF8=ACCEPT":
			on |= utf8Names
		case "IMAP4REV2":
			on |= rev2
		case "UIDONLY":
			on |= uidOnly
		}
	}
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	if s.state == selected && on&utf8Names != 0 && !s.has(utf8Names) {
		return bad("UTF8=ACCEPT must be enabled before a mailbox is selected") // RFC 6855 §3
	}
	b := append(s.out.b, "* ENABLED"...)
	for _, f := range enableNames {
		if on&f.bit != 0 && s.enabled&f.bit == 0 {
			b = append(append(b, ' '), f.name...)
		}
	}
	s.out.b = append(b, "\r\n"...)
	if on&condstore != 0 {
		s.enableCondstore()
	}
	s.enabled |= on
	return nil
}

var enableNames = [...]struct {
	bit  features
	name string
}{{condstore, "CONDSTORE"}, {qresync, "QRESYNC"}, {utf8Names, "UTF8=ACCEPT"}, {rev2, "IMAP4rev2"}, {uidOnly, "UIDONLY"}}

// unauthenticate: "UNAUTHENTICATE" (RFC 8437): as if just connected, but TLS and COMPRESS stay.
func unauthenticate(s *session, d *imap.Decoder) error {
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	s.deselect()
	s.dropNotify()
	s.login, s.state, s.enabled = listen.Login{}, notAuthenticated, 0
	s.clientID = ""
	s.strange = time.Now()
	s.conn.Bind(s.login)
	return nil
}

// namespace: "NAMESPACE" (RFC 2342 §5, RFC 9051 §6.3.10): one personal namespace.
func namespace(s *session, d *imap.Decoder) error {
	if d.End(); d.Err() != nil {
		return d.Err()
	}
	s.line(`* NAMESPACE (("" "/")) NIL NIL`)
	return nil
}
