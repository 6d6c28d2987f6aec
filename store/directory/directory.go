// Package directory keeps accounts, domains, aliases, credentials and
// placements: who exists and where they live. It knows no mailbox (mailstore
// does), no protocol, and decides no policy but "is this ours, who is it".
//
// Every method that changes something returns after a durable commit; after a
// crash at any line a change is there wholly or not at all, and each may be
// repeated. Safe for concurrent use. Lookups on the delivery and login path are
// answered from a bounded memory cache that each committed change corrects,
// in commit order, before the change is reported: who got the answer to a
// change never sees the state before it. On the other nodes of a cell the change
// holds when Run has heard of it: some milliseconds later, at most Config.PollEvery. That something
// is not ours or not there is never said from memory. No clock decides anything but
// the pace of the poll; the times that are stored are for people. Locks are leaves: none is held over
// SQL or hashing.
//
// The local part of our own addresses is compared without regard to case
// (Unicode lower-case of its NFC form): RFC 5321 §2.4 leaves that to the
// receiving system, and two accounts that differ in case only are a trap. The
// spelling that was given is kept and shown. Other systems' local parts are
// never touched.
//
// Errors that a client may hear are *mail.Error; all others are internal.
package directory

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"bahnpost/mail"
	"bahnpost/store/internal/db"

	"golang.org/x/text/unicode/norm"
)

// Directory is the built-in directory of a cell.
type Directory struct{ directory }

// New migrates the schema and returns the directory.
func New(ctx context.Context, d *db.DB, cfg Config) (*Directory, error) {
	n := new(Directory)
	n.db, n.cfg = d, cfg.withDefaults()
	n.cache.init(n.cfg.CacheSize)
	n.follow.init()
	if d.Shared() {
		n.ask = []db.Question{db.AskLock(sqlModSeq)}
	}
	n.dummy = n.cfg.Argon2.hash("nobody has this password", []byte("bahnpost-no-such"))
	d.OnHint(n.hear, n.follow.rouse)
	if err := d.Migrate(ctx, "directory", steps()); err != nil {
		return nil, err
	}
	if err := n.begin(ctx); err != nil {
		return nil, err
	}
	return n, nil
}

// Config has a working zero value; defaults in brackets.
type Config struct {
	DetailSeparator string        // RFC 5233 [+]
	Argon2          Argon2        // cost of new password hashes
	ScramIterations int           // [10000]; RFC 7677 §4: at least 4096
	KeepHashes      bool          // do not replace weaker hashes when their owner logs in (a way back to the old system stays open)
	UpgradeEvery    time.Duration // at most one foreign hash is made anew in this time [30s: a thousandth of a core]: a migration day's logins are not slowed
	CacheSize       int           // accounts, and resolved addresses, kept in memory [20000], about 600 octets each
	PollEvery       time.Duration // how often Run looks for the changes of other nodes, should their hints be lost [2s]
	Log             *slog.Logger  // [discards]
}

// DefaultCacheSize is for accounts; a busy cell's daily users should fit.
const DefaultCacheSize = 20000

// DefaultPollEvery: one row a node is read, by its key.
const DefaultPollEvery = 2 * time.Second

const defaultUpgradeEvery = 30 * time.Second // 10,000 accounts take three and a half days of logins

func (c Config) withDefaults() Config {
	if c.DetailSeparator == "" {
		c.DetailSeparator = "+"
	}
	c.Argon2 = c.Argon2.withDefaults()
	if c.ScramIterations <= 0 {
		c.ScramIterations = defaultScramIterations
	}
	if c.UpgradeEvery == 0 {
		c.UpgradeEvery = defaultUpgradeEvery
	}
	if c.CacheSize <= 0 {
		c.CacheSize = DefaultCacheSize
	}
	if c.PollEvery <= 0 {
		c.PollEvery = DefaultPollEvery
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// directory is the inside of Directory.
type directory struct {
	db     *db.DB
	cfg    Config
	cache  cache
	follow follower
	ask    []db.Question // what each change asks first
	next   atomic.Int64  // Unix nanoseconds from which another hash may be made anew
	dummy  string        // hash that is tried for accounts that are not there
}

// Account is a person, a shared mailbox or a resource.
type Account struct {
	ID         mail.AccountID `json:"id"`
	Address    mail.Address   `json:"-"`
	Name       string         `json:"name"`
	QuotaBytes int64          `json:"quota_bytes"` // 0: none
	QuotaCount int64          `json:"quota_messages"`
	Disabled   bool           `json:"disabled"`
	UIDLFormat string         `json:"uidl_format"` // POP3 UIDL template of the account, "" default
	Role       string         `json:"role"`        // "user", "admin"
	Created    time.Time      `json:"created"`
}

// Roles of an account.
const (
	RoleUser  = "user"
	RoleAdmin = "admin"
)

// Resolution is where mail for an address goes.
type Resolution struct {
	Recipients []mail.Recipient // after alias expansion; Account 0: another system's address
}

// MaxAliasDepth bounds alias expansion; MaxAliasTargets the addresses one may expand to.
const (
	MaxAliasDepth   = 10
	MaxAliasTargets = 1000
)

// MaxName bounds an account's display name, in octets.
const MaxName = 1000

// AddDomain makes a domain ours. It may be given in any form (IDNA). There already: kind Conflict.
func (d *Directory) AddDomain(ctx context.Context, name string) error { return d.addDomain(ctx, name) }

// RemoveDomain forgets a domain and the aliases in it; refused with kind Conflict while accounts are in it.
func (d *Directory) RemoveDomain(ctx context.Context, name string) error {
	return d.removeDomain(ctx, name)
}

// Domains lists our domains in alphabetical order.
func (d *Directory) Domains(ctx context.Context) ([]string, error) { return d.listDomains(), nil }

// NewAccountID reserves an id that AddAccount or ImportAccounts then take in
// Account.ID. Whoever creates an account first reserves the id, then creates
// the mailstore's account, then adds the row here: a crash in between leaves an
// unused id and an empty mail account that nobody can reach, never an account
// that accepts mail and has no mailbox.
func (d *Directory) NewAccountID(ctx context.Context) (mail.AccountID, error) {
	return d.NewAccountIDs(ctx, 1)
}

// NewAccountIDs reserves n consecutive ids and returns the first.
func (d *Directory) NewAccountIDs(ctx context.Context, n int) (first mail.AccountID, err error) {
	return d.reserveIDs(ctx, n)
}

// AddAccount stores an account with its credential (clear text is hashed here; or {SCHEME}hash; "" no login) and
// returns it with its ID. Existing address: kind Conflict. Unknown domain: kind NoSuchAccount.
//
// With a.ID from NewAccountID it may be repeated: if this ID already has this address, it returns what is stored. With a.ID zero
// it reserves an ID itself.
func (d *Directory) AddAccount(ctx context.Context, a Account, password string) (Account, error) {
	return d.addAccount(ctx, a, password)
}

// ImportAccounts adds or updates many in few transactions; report is called once per row, in order, n from 1.
// 10,000 rows with ready hashes take seconds. A bad row is reported and skipped; the returned error ends the import,
// rows that were reported stay. Rows of new accounts may carry an ID from NewAccountIDs; the ID of an existing account stays.
func (d *Directory) ImportAccounts(ctx context.Context, rows iter.Seq2[ImportRow, error], report func(n int, a Account, created bool, err error)) error {
	return d.importAccounts(ctx, rows, report)
}

// ImportRow is one account to import.
type ImportRow struct {
	Account  Account
	Password string // clear or {SCHEME}hash; "": keep (existing) or none
}

// SetAccount changes everything but ID, credential and Created. A zero Address keeps the address; a taken one: kind Conflict.
func (d *Directory) SetAccount(ctx context.Context, a Account) error { return d.setAccount(ctx, a) }

// SetPassword sets the credential: clear text, {SCHEME}hash, or "" for no login.
func (d *Directory) SetPassword(ctx context.Context, id mail.AccountID, password string) error {
	return d.setPassword(ctx, id, password)
}

// CheckPassword says whether SetPassword would take a password; it hashes nothing.
func (d *Directory) CheckPassword(password string) error {
	_, err := clearText(password)
	return err
}

// RemoveAccount forgets an account. Not there: kind NoSuchAccount. Aliases that lead to it stay and lead nowhere.
func (d *Directory) RemoveAccount(ctx context.Context, id mail.AccountID) error {
	return d.removeAccount(ctx, id)
}

// Account returns an account. Not there: kind NoSuchAccount.
func (d *Directory) Account(ctx context.Context, id mail.AccountID) (Account, error) {
	e, err := d.byID(ctx, id)
	if err != nil {
		return Account{}, err
	}
	return e.acct, nil
}

// AccountByAddress finds an account by its own address, not through aliases. Not there: kind NoSuchAccount.
func (d *Directory) AccountByAddress(ctx context.Context, a mail.Address) (Account, error) {
	e, err := d.byAddress(ctx, a)
	if err != nil {
		return Account{}, err
	}
	return e.acct, nil
}

// Accounts yields all accounts in the order of their IDs. It reads in pages, so a change meanwhile may or may not be seen.
func (d *Directory) Accounts(ctx context.Context) iter.Seq2[Account, error] { return d.accounts(ctx) }

// AddAlias makes from (an address, or "@domain" for the domain's catch-all) expand to targets, instead of what it
// expanded to before. An account's own address: kind Conflict. Unknown domain: kind NoSuchAccount.
func (d *Directory) AddAlias(ctx context.Context, from string, targets []mail.Address) error {
	return d.addAlias(ctx, from, targets)
}

// RemoveAlias forgets an alias. Not there: kind NoSuchAccount.
func (d *Directory) RemoveAlias(ctx context.Context, from string) error {
	return d.removeAlias(ctx, from)
}

// Alias is one alias with its targets.
type Alias struct {
	From    string         `json:"from"`
	Targets []mail.Address `json:"-"`
}

// Aliases yields all aliases by domain and local part, read in pages.
func (d *Directory) Aliases(ctx context.Context) iter.Seq2[Alias, error] { return d.aliases(ctx) }

// IsLocalDomain reports whether mail for the domain (in canonical form, as in mail.Address) is ours.
func (d *Directory) IsLocalDomain(ctx context.Context, domain string) (bool, error) {
	return d.isLocal(domain), nil
}

// OnChange makes fn hear of each account that is new, whose credential or state changed or that was removed, after the commit and before the
// change is reported: the place to call Gate.Forget and to look whether its sessions may go on. Changes by other nodes are
// heard as Run learns of them; account 0 means that any may have changed. fn must be quick and must not call the
// Directory. Call it before the directory is in use.
func (d *Directory) OnChange(fn func(mail.AccountID)) { d.cache.onChange(fn) }

// Errors of lookups.
var (
	errNoAccount = &mail.Error{Kind: mail.NoSuchAccount, Text: "no such account"}
	errNoDomain  = &mail.Error{Kind: mail.NoSuchAccount, Text: "domain is not served here"}
	errNoAlias   = &mail.Error{Kind: mail.NoSuchAccount, Text: "no such alias"}
	errTaken     = &mail.Error{Kind: mail.Conflict, Text: "address is already in use"}
)

func badInput(text string) error { return &mail.Error{Kind: mail.BadInput, Text: text} }

// fold is the form in which local parts are compared.
func fold(local string) string {
	for i := 0; i < len(local); i++ {
		if c := local[i]; c >= 0x80 || 'A' <= c && c <= 'Z' {
			return norm.NFC.String(strings.ToLower(local))
		}
	}
	return local
}

func key(a mail.Address) string { return fold(a.Local) + "@" + a.Domain }

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("directory: %s: %w", what, err)
	if errors.Is(err, db.ErrAway) || errors.Is(err, db.ErrUnknown) {
		return &mail.Error{Kind: mail.Unavailable, Text: "directory cannot be reached, try again later", Err: err}
	}
	return err
}
