package directory

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"time"

	"bahnpost/mail"
	"bahnpost/store/internal/db"

	"github.com/xdg-go/stringprep"
)

const (
	sqlUpgrade = `UPDATE directory_credentials SET hash=?2, salt=?3, iterations=?4, stored_key=?5, server_key=?6, changed=?7
		WHERE account_id=?1 AND hash=?8`
	sqlSecret    = `SELECT value FROM directory_secrets WHERE name=?`
	sqlAddSecret = `INSERT INTO directory_secrets (name, value) VALUES (?,?)`
)

const (
	defaultScramIterations = 10000
	maxScramIterations     = 5_000_000 // of imported keys: ~3 s
	scramSalt              = 16
)

// credential is what is stored of a password. "" hash: no login.
type credential struct {
	hash                 string
	salt                 []byte // SCRAM-SHA-256 (RFC 5803), nil if the clear password was never seen
	iterations           int
	storedKey, serverKey []byte
}

// newCredential hashes clear text or takes a ready hash. It is slow.
func (d *directory) newCredential(password string) (credential, error) {
	text, err := clearText(password)
	switch {
	case err != nil || password == "":
		return credential{}, err
	case text == "":
		scheme, rest, _ := cutScheme(password)
		c, _ := scramOf(rest) // or no keys yet
		if scheme != "SCRAM-SHA-256" {
			c = credential{}
		}
		c.hash = password
		return c, nil
	}
	password = text
	c := credential{hash: d.cfg.Argon2.hash(prepare(password), nil)}
	return c, d.cfg.addScram(&c, password)
}

// clearText checks a password as it was given and returns its clear text, "" if it is a hash or nothing.
func clearText(password string) (string, error) {
	if password == "" {
		return "", nil
	}
	if scheme, rest, ok := cutScheme(password); ok {
		switch scheme {
		case "PLAIN", "CLEAR", "CLEARTEXT":
			password = rest
		default:
			if _, ok := verifierOf(password); !ok {
				return "", badInput("password hash is malformed, too costly or of an unknown scheme")
			}
			return "", nil
		}
	}
	if password == "" || len(password) > maxPassword || strings.IndexByte(password, 0) >= 0 {
		return "", badInput("password is empty, longer than 1024 octets or has a NUL")
	}
	return password, nil
}

// addScram derives RFC 5802 §3 keys. (wire/sasl has the server's half of the
// conversation; a store imports no protocol, and these are ten lines.)
func (c Config) addScram(to *credential, password string) (err error) {
	to.salt, to.iterations = make([]byte, scramSalt), c.ScramIterations
	rand.Read(to.salt)
	to.storedKey, to.serverKey, err = scramKeys(prepare(password), to.salt, to.iterations)
	return err
}

func scramKeys(password string, salt []byte, iterations int) (stored, server []byte, err error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return nil, nil, err
	}
	sum := func(name string) []byte {
		m := hmac.New(sha256.New, salted)
		m.Write([]byte(name))
		return m.Sum(nil)
	}
	client := sha256.Sum256(sum("Client Key"))
	return client[:], sum("Server Key"), nil
}

// prepare is SASLprep (RFC 4013) where that is possible, as in wire/sasl.
func prepare(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] >= 0x7f {
			if p, err := stringprep.SASLprep.Prepare(s); err == nil {
				return p
			}
			break
		}
	}
	return s
}

// match tries the prepared password, then as it came: foreign systems hashed octets.
func match(stored, password string) bool {
	v, ok := verifierOf(stored)
	if !ok {
		return false
	}
	p := prepare(password)
	return v(p) || p != password && v(password)
}

var (
	errAuth     = &mail.Error{Kind: mail.AuthFailed, Text: "authentication failed"}
	errDisabled = &mail.Error{Kind: mail.Disabled, Text: "account is disabled"}
)

// Verify checks a password; login is an address or, in a one-domain system, a local part. Unknown and wrong are one kind
// (AuthFailed), one text and about one time; that an account is disabled hears who knows its password. With the
// errors comes the account if there is one, for the log. Slow on purpose: the caller bounds how many run at once.
//
// It implements a method of listen.Directory, declared there: the caller owns the interface.
func (d *Directory) Verify(ctx context.Context, login, password string) (mail.AccountID, mail.Address, error) {
	e, err := d.byLogin(ctx, login)
	if err != nil {
		return 0, mail.Address{}, err
	}
	if e == nil || e.cred.hash == "" || len(password) > maxPassword {
		match(d.dummy, password[:min(len(password), maxPassword)])
		return 0, mail.Address{}, errAuth
	}
	if !match(e.cred.hash, password) {
		return e.acct.ID, e.acct.Address, errAuth
	}
	if e.acct.Disabled {
		return e.acct.ID, e.acct.Address, errDisabled
	}
	d.upgrade(ctx, e, password)
	return e.acct.ID, e.acct.Address, nil
}

// byLogin finds who logs in; nil if nobody has that name.
func (d *directory) byLogin(ctx context.Context, login string) (*entry, error) {
	var a mail.Address
	if strings.Contains(login, "@") {
		p, err := mail.ParseAddress(login)
		if err != nil {
			return nil, nil
		}
		a = p
	} else if only, ok := d.onlyDomain(); ok {
		a = mail.Address{Local: login, Domain: only}
	} else {
		return nil, nil
	}
	e, err := d.byAddress(ctx, a)
	if mail.KindOf(err) == mail.NoSuchAccount {
		return nil, nil
	}
	return e, err
}

// mayUpgrade takes the turn of one upgrade. They cost a slow hash each: a
// hundred thousand on the day everybody moved in would be all that the node does.
func (d *directory) mayUpgrade(now int64) bool {
	next := d.next.Load()
	return now >= next && d.next.CompareAndSwap(next, now+int64(d.cfg.UpgradeEvery))
}

// upgrade makes the hash anew if it is weaker than configured, and SCRAM keys
// if there are none, now that the clear password is here. A failure is not the
// user's: it is logged and tried again at the next login.
func (d *directory) upgrade(ctx context.Context, e *entry, password string) {
	weak := !d.cfg.KeepHashes && d.cfg.Argon2.weaker(e.cred.hash)
	if !weak && e.cred.storedKey != nil || !d.mayUpgrade(time.Now().UnixNano()) {
		return
	}
	c := e.cred
	if weak {
		c.hash = d.cfg.Argon2.hash(prepare(password), nil)
	}
	err := d.cfg.addScram(&c, password)
	if err == nil {
		err = d.change(ctx, func(tx *db.Tx) ([]change, error) {
			n, err := tx.Exec(sqlUpgrade, db.Int(e.acct.ID), db.Text(c.hash), db.Blob(c.salt), db.Int(c.iterations), db.Blob(c.storedKey),
				db.Blob(c.serverKey), db.Int(time.Now().Unix()), db.Text(e.cred.hash))
			if n == 0 { // it was changed meanwhile
				return nil, err
			}
			return []change{{e.acct.ID, 0}}, err
		}, nil)
	}
	if err != nil {
		d.cfg.Log.Warn("credential was not made anew", "account", e.acct.ID, "err", err)
	}
}

// SCRAMKeys are the stored SCRAM-SHA-256 keys of an account (RFC 5803). The fields are those of listen.SCRAMKeys,
// so one converts to the other.
type SCRAMKeys struct {
	Account              mail.AccountID
	Address              mail.Address
	Salt                 []byte
	Iterations           int
	StoredKey, ServerKey []byte
}

// SCRAM returns the keys of an account; ok is false if there is no such account or it has no keys. Disabled: keys, true, and kind
// Disabled, to be told only after the proof. The slices are shared: read only.
func (d *Directory) SCRAM(ctx context.Context, login string) (_ SCRAMKeys, ok bool, err error) {
	e, err := d.byLogin(ctx, login)
	if err != nil || e == nil || e.cred.storedKey == nil {
		return SCRAMKeys{}, false, err
	}
	if e.acct.Disabled {
		err = errDisabled
	}
	return SCRAMKeys{e.acct.ID, e.acct.Address, e.cred.salt, e.cred.iterations, e.cred.storedKey, e.cred.serverKey}, true, err
}

const sqlScramless = `SELECT account_id FROM directory_credentials WHERE stored_key IS NULL LIMIT 1`

// SCRAMForAll says whether all who can log in can do so by SCRAM: of some only a foreign hash may be
// known yet. While there is one, offering SCRAM locks out clients that insist on the strongest mechanism.
// One look into an index, however many accounts there are.
func (d *Directory) SCRAMForAll(ctx context.Context) (bool, error) {
	lacking := true
	err := d.db.View(ctx, func(c *db.Conn) (err error) {
		var id int64
		lacking, err = c.Row(sqlScramless).Scan(&id)
		return err
	})
	return !lacking, wrap("scram", err)
}

// secretSize is the octets of a Secret.
const secretSize = 32

// Secret returns a random secret that is made at its first use and stays, such as the one for salts of unknown accounts.
func (d *Directory) Secret(ctx context.Context, name string) (value []byte, err error) {
	fresh := make([]byte, secretSize)
	rand.Read(fresh)
	err = d.change(ctx, func(tx *db.Tx) ([]change, error) {
		if found, err := tx.Row(sqlSecret, db.Text(name)).Scan(&value); found || err != nil {
			return nil, err
		}
		value = fresh
		_, err := tx.Exec(sqlAddSecret, db.Text(name), db.Blob(fresh))
		return nil, err
	}, nil)
	return value, wrap("secret", err)
}
