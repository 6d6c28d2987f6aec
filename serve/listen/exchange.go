package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"strings"

	"bahnpost/mail"
	"bahnpost/wire/sasl"
)

func allMechanisms() []string {
	return []string{sasl.ScramSHA256Plus, sasl.ScramSHA256, sasl.Plain, sasl.Login}
}

// Mechanisms lists the SASL mechanisms for this connection, strongest first; empty if MayLogin is false
// (SCRAM-SHA-256-PLUS only over TLS).
func (g *Gate) Mechanisms(c *Conn) []string {
	if !c.MayLogin() {
		return nil
	}
	withoutPlus, withoutScram := !c.secure.Load(), g.scramOff.Load()
	if !withoutPlus && !withoutScram {
		return g.cfg.Mechanisms
	}
	out := make([]string, 0, len(g.cfg.Mechanisms))
	for _, m := range g.cfg.Mechanisms {
		plus, scram := m == sasl.ScramSHA256Plus, m == sasl.ScramSHA256Plus || m == sasl.ScramSHA256
		if !(plus && withoutPlus || scram && withoutScram) {
			out = append(out, m)
		}
	}
	return out
}

// OfferSCRAM turns the SCRAM mechanisms on or off from the next question on.
// While some accounts have no SCRAM keys (foreign hashes whose owner has not
// logged in yet), offering SCRAM locks out clients that insist on the strongest mechanism.
func (g *Gate) OfferSCRAM(on bool) { g.scramOff.Store(!on) }

// Begin starts a SASL exchange. Unknown mechanism: kind BadInput; none before TLS: kind Policy.
func (g *Gate) Begin(ctx context.Context, c *Conn, mechanism string) (*Exchange, error) {
	if !c.MayLogin() {
		return nil, errNoTLS
	}
	mechanism = strings.ToUpper(mechanism)
	offered := g.Mechanisms(c)
	if !slices.Contains(offered, mechanism) {
		return nil, &mail.Error{Kind: mail.BadInput, Text: "authentication mechanism is not supported here"}
	}
	x := &Exchange{exchange{g: g, c: c, mechanism: mechanism}}
	if mechanism == sasl.ScramSHA256 || mechanism == sasl.ScramSHA256Plus {
		x.scram = &sasl.Scram{Plus: mechanism == sasl.ScramSHA256Plus, PlusOffered: slices.Contains(offered, sasl.ScramSHA256Plus)}
		x.scram.Binding = x.binding
	}
	return x, nil
}

// Exchange is a SASL conversation (RFC 4422), octets without base64.
type Exchange struct{ exchange }

type exchange struct {
	g         *Gate
	c         *Conn
	mechanism string
	login     Login
	done      bool

	plainLogin sasl.LoginServer
	scram      *sasl.Scram
	name       string    // of SCRAM
	keys       SCRAMKeys // zero Account: fake
	keyErr     error     // told after the proof
	asked      bool
	started    bool
}

// Mechanism is the name, in upper case.
func (x *Exchange) Mechanism() string { return x.mechanism }

// Next takes the client's response (nil: no initial response) and returns the next challenge, or done.
// When done, challenge may still hold additional data for the client (SCRAM's server-final): protocols that
// cannot carry data with success send it as a challenge and expect an empty response.
//
// Errors are Password's, and BadInput for what breaks the mechanism's grammar.
func (x *Exchange) Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error) {
	if x.done {
		return nil, false, errMalformed
	}
	if response == nil && x.asked {
		response = []byte{}
	}
	x.asked = true
	switch x.mechanism {
	case sasl.Plain:
		if response == nil {
			return nil, false, nil
		}
		cred, err := sasl.ParsePlain(response)
		return nil, err == nil, x.finish(ctx, cred, err)
	case sasl.Login:
		prompt, done, err := x.plainLogin.Next(response)
		if !done && err == nil {
			return []byte(prompt), false, nil
		}
		return nil, err == nil, x.finish(ctx, x.plainLogin.Credentials(), err)
	}
	if response == nil {
		return nil, false, nil
	}
	if !x.started {
		x.started = true
		challenge, err = x.scramFirst(ctx, response)
		return challenge, false, err
	}
	challenge, err = x.scramFinal(ctx, response)
	return challenge, err == nil, err
}

// Login is valid after done.
func (x *Exchange) Login() Login { return x.login }

var errMalformed = &mail.Error{Kind: mail.BadInput, Text: "malformed authentication message"}

// finish verifies a clear password.
func (x *Exchange) finish(ctx context.Context, cred sasl.Credentials, err error) error {
	x.done = true
	if err != nil {
		return &mail.Error{Kind: mail.BadInput, Text: errMalformed.Text, Err: err}
	}
	l, err := x.g.Password(ctx, x.c, cred.Login, cred.Password)
	if err != nil {
		return err
	}
	if err := x.actAs(cred.AuthzID, cred.Login, l); err != nil {
		return err
	}
	x.login = l
	return nil
}

// actAs allows only oneself: nobody may act for another yet (RFC 4422 §3.4.1).
func (x *Exchange) actAs(authz, name string, l Login) error {
	if authz == "" || strings.EqualFold(authz, name) {
		return nil
	}
	if a, err := mail.ParseAddress(authz); err == nil && strings.EqualFold(a.String(), l.Address.String()) {
		return nil
	}
	x.g.fail(x.c, name, errAuthFailed, "authorization as somebody else")
	return errAuthFailed
}

func (x *Exchange) scramFirst(ctx context.Context, m []byte) ([]byte, error) {
	name, err := x.scram.First(m)
	if err != nil {
		return nil, x.scramError(err)
	}
	x.name = name
	if err := x.g.mayTry(x.c, name); err != nil {
		x.done = true
		return nil, err
	}
	keys, ok, err := x.g.dir.SCRAM(ctx, name)
	switch {
	case err != nil && mail.KindOf(err) == mail.Disabled && ok:
		x.keyErr = err
	case err != nil && mail.KindOf(err) != mail.NoSuchAccount && mail.KindOf(err) != mail.AuthFailed:
		x.done = true
		x.g.failed(x.c, name, err)
		return nil, err
	}
	if !ok {
		f := sasl.FakeKeys(x.g.cfg.FakeSecret, strings.ToLower(name), sasl.DefaultIterations)
		keys = SCRAMKeys{Salt: f.Salt, Iterations: f.Iterations, StoredKey: f.StoredKey, ServerKey: f.ServerKey}
	}
	x.keys = keys
	return x.scram.Challenge(sasl.Keys{Salt: keys.Salt, Iterations: keys.Iterations, StoredKey: keys.StoredKey, ServerKey: keys.ServerKey}), nil
}

func (x *Exchange) scramFinal(ctx context.Context, m []byte) ([]byte, error) {
	x.done = true
	final, err := x.scram.Final(m)
	if err == nil && x.keys.Account == 0 {
		err = sasl.ErrRefused // nobody knows the key to a fake
	}
	if err != nil {
		return nil, x.scramError(err)
	}
	if x.keyErr != nil {
		x.g.failed(x.c, x.name, x.keyErr)
		return nil, x.keyErr
	}
	l, err := x.g.place(ctx, Login{Account: x.keys.Account, Address: x.keys.Address})
	if err != nil {
		return nil, err
	}
	if err := x.actAs(x.scram.AuthzID(), x.name, l); err != nil {
		return nil, err
	}
	x.g.stats.verified.Add(1)
	x.g.byName.clear(x.g.byName.name(x.name))
	x.login = l
	return final, nil
}

func (x *Exchange) scramError(err error) error {
	x.done = true
	if errors.Is(err, sasl.ErrMalformed) {
		return &mail.Error{Kind: mail.BadInput, Text: errMalformed.Text, Err: err}
	}
	failed := &mail.Error{Kind: mail.AuthFailed, Text: errAuthFailed.Text, Err: err}
	x.g.failed(x.c, x.name, failed)
	return failed
}

// binding gives wire/sasl what it may know of the connection.
func (x *Exchange) binding(cbType string) ([]byte, bool) {
	t, ok := x.c.Conn.(*tls.Conn)
	if !ok {
		return nil, false
	}
	st := t.ConnectionState()
	return sasl.Binding(cbType, &st, x.c.Certificate())
}
