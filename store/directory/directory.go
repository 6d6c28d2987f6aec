// Package directory keeps accounts, domains, aliases, credentials and
// placements: who exists and where they live. It knows no mailbox.
//
// Safe for concurrent use. Lookups on the delivery and login path are answered
// from a bounded memory cache that each committed change corrects.
package directory

import (
	"context"
	"iter"
	"time"

	"bahnpost/home"
	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// Directory is the built-in directory of a cell.
type Directory struct{ directory }

// New migrates the schema and returns the directory.
func New(ctx context.Context, d *db.DB, cfg Config) (*Directory, error) { panic("contract") }

// Config has a working zero value; defaults in brackets.
type Config struct {
	DetailSeparator string // RFC 5233 [+]
	Argon2          Argon2 // cost of new password hashes
	ScramIterations int    // [10000]
}

// Argon2 is the cost of argon2id [64 MiB, 1 pass, 4 lanes … RFC 9106 §4, scaled by the owner to ~50 ms].
type Argon2 struct {
	MemoryKB, Time, Lanes int
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

// Resolution is where mail for an address goes.
type Resolution struct {
	Recipients []mail.Recipient // after alias expansion; Account 0: another system's address
}

// MaxAliasDepth bounds alias expansion; MaxAliasTargets the addresses one may expand to.
const (
	MaxAliasDepth   = 10
	MaxAliasTargets = 1000
)

// AddDomain, RemoveDomain (refused with kind Conflict while accounts are in it), Domains.
func (d *Directory) AddDomain(ctx context.Context, name string) error    { panic("contract") }
func (d *Directory) RemoveDomain(ctx context.Context, name string) error { panic("contract") }
func (d *Directory) Domains(ctx context.Context) ([]string, error)       { panic("contract") }

// AddAccount stores an account with its credential (clear text is hashed here; or {SCHEME}hash; "" no login) and
// returns it with its ID. Existing address: kind Conflict. Unknown domain: kind NoSuchAccount.
func (d *Directory) AddAccount(ctx context.Context, a Account, password string) (Account, error) {
	panic("contract")
}

// ImportAccounts adds or updates many in few transactions; report is called once per row, in order.
// 10,000 rows with ready hashes take seconds.
func (d *Directory) ImportAccounts(ctx context.Context, rows iter.Seq2[ImportRow, error], report func(n int, a Account, created bool, err error)) error {
	panic("contract")
}

// ImportRow is one account to import.
type ImportRow struct {
	Account  Account
	Password string // clear or {SCHEME}hash; "": keep (existing) or none
}

func (d *Directory) SetAccount(ctx context.Context, a Account) error { panic("contract") }
func (d *Directory) SetPassword(ctx context.Context, id mail.AccountID, password string) error {
	panic("contract")
}
func (d *Directory) RemoveAccount(ctx context.Context, id mail.AccountID) error { panic("contract") }
func (d *Directory) Account(ctx context.Context, id mail.AccountID) (Account, error) {
	panic("contract")
}
func (d *Directory) AccountByAddress(ctx context.Context, a mail.Address) (Account, error) {
	panic("contract")
}
func (d *Directory) Accounts(ctx context.Context) iter.Seq2[Account, error] { panic("contract") }

// AddAlias makes from (an address, or "@domain" for the domain's catch-all) expand to targets.
func (d *Directory) AddAlias(ctx context.Context, from string, targets []mail.Address) error {
	panic("contract")
}
func (d *Directory) RemoveAlias(ctx context.Context, from string) error { panic("contract") }

// Alias is one alias with its targets.
type Alias struct {
	From    string         `json:"from"`
	Targets []mail.Address `json:"-"`
}

func (d *Directory) Aliases(ctx context.Context) iter.Seq2[Alias, error] { panic("contract") }

// IsLocalDomain reports whether mail for the domain is ours.
func (d *Directory) IsLocalDomain(ctx context.Context, domain string) (bool, error) {
	panic("contract")
}

// Resolve finds the recipients of an address: exact account, alias, account without +detail, catch-all, in
// this order. Not ours: one Recipient with Account 0. Ours but unknown: kind NoSuchAccount. Disabled accounts still resolve
// (mail is accepted for them) unless removed.
func (d *Directory) Resolve(ctx context.Context, a mail.Address) (Resolution, error) {
	panic("contract")
}

// Verify and SCRAM implement listen.Directory (declared there; the caller owns the interface).
func (d *Directory) Verify(ctx context.Context, login, password string) (mail.AccountID, mail.Address, error) {
	panic("contract")
}

// Placement implements home.Placements. Accounts of the built-in directory live at home.Local.
func (d *Directory) Placement(ctx context.Context, id mail.AccountID) (home.Placement, error) {
	panic("contract")
}
