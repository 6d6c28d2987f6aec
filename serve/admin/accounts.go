package admin

import (
	"context"
	"net/http"
	"time"

	"bahnpost/mail"
	"bahnpost/store/directory"
	"bahnpost/store/mailstore"
)

// AccountJSON is an account as the API shows it.
type AccountJSON struct {
	ID            mail.AccountID `json:"id"`
	Address       string         `json:"address"`
	Name          string         `json:"name"`
	Role          string         `json:"role"`
	QuotaBytes    int64          `json:"quota_bytes"`
	QuotaMessages int64          `json:"quota_messages"`
	UsedBytes     int64          `json:"used_bytes"`
	UsedMessages  int64          `json:"used_messages"`
	Mailboxes     int            `json:"mailboxes,omitempty"`
	Disabled      bool           `json:"disabled"`
	UIDLFormat    string         `json:"uidl_format,omitempty"`
	Created       time.Time      `json:"created"`
}

// AccountChange is what POST and PATCH take; a nil field stays (PATCH) or is the default (POST).
type AccountChange struct {
	Address       string  `json:"address,omitempty"`
	Name          *string `json:"name,omitempty"`
	Role          *string `json:"role,omitempty"`
	QuotaBytes    *int64  `json:"quota_bytes,omitempty"`
	QuotaMessages *int64  `json:"quota_messages,omitempty"`
	Disabled      *bool   `json:"disabled,omitempty"`
	UIDLFormat    *string `json:"uidl_format,omitempty"`
	Password      *string `json:"password,omitempty"`
}

// MaxPassword bounds a password in octets: long enough for any passphrase, short enough to hash.
const MaxPassword = 1024

func (c *AccountChange) apply(to *directory.Account) error {
	set(&to.Name, c.Name)
	set(&to.Role, c.Role)
	set(&to.QuotaBytes, c.QuotaBytes)
	set(&to.QuotaCount, c.QuotaMessages)
	set(&to.Disabled, c.Disabled)
	set(&to.UIDLFormat, c.UIDLFormat)
	switch {
	case to.QuotaBytes < 0 || to.QuotaCount < 0:
		return &mail.Error{Kind: mail.BadInput, Text: "a quota can't be negative; 0 is none"}
	case to.Role != "" && to.Role != "user" && to.Role != "admin":
		return &mail.Error{Kind: mail.BadInput, Text: `role must be "user" or "admin"`}
	case c.Password != nil && len(*c.Password) > MaxPassword:
		return &mail.Error{Kind: mail.BadInput, Text: "password is longer than 1024 octets"}
	}
	return nil
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (a *API) accounts(_ http.ResponseWriter, r *http.Request) (any, error) {
	list := []AccountJSON{}
	for acc, err := range a.cfg.Directory.Accounts(r.Context()) {
		if err != nil {
			return nil, err
		}
		j, err := a.accountJSON(r.Context(), acc)
		if err != nil {
			return nil, err
		}
		list = append(list, j)
	}
	return list, nil
}

func (a *API) account(_ http.ResponseWriter, r *http.Request) (any, error) {
	acc, err := a.find(r)
	if err != nil {
		return nil, err
	}
	return a.accountJSON(r.Context(), acc)
}

func (a *API) find(r *http.Request) (directory.Account, error) {
	addr, err := mail.ParseAddress(r.PathValue("address"))
	if err != nil {
		return directory.Account{}, err
	}
	return a.cfg.Directory.AccountByAddress(r.Context(), addr)
}

func (a *API) accountJSON(ctx context.Context, acc directory.Account) (AccountJSON, error) {
	j := AccountJSON{ID: acc.ID, Address: acc.Address.String(), Name: acc.Name, Role: acc.Role, QuotaBytes: acc.QuotaBytes,
		QuotaMessages: acc.QuotaCount, Disabled: acc.Disabled, UIDLFormat: acc.UIDLFormat, Created: acc.Created}
	st, err := a.cfg.Mailstore.Account(ctx, acc.ID)
	if err != nil && mail.KindOf(err) != mail.NoSuchAccount {
		return j, err
	}
	j.UsedBytes, j.UsedMessages, j.Mailboxes = st.UsedBytes, st.UsedCount, st.Mailboxes
	return j, nil
}

func (a *API) addAccount(w http.ResponseWriter, r *http.Request) (any, error) {
	var in AccountChange
	if err := readJSON(w, r, &in); err != nil {
		return nil, err
	}
	addr, err := mail.ParseAddress(in.Address)
	if err != nil {
		return nil, err
	}
	acc := directory.Account{Address: addr, Role: "user", QuotaBytes: a.cfg.DefaultQuota}
	if err := in.apply(&acc); err != nil {
		return nil, err
	}
	password := ""
	set(&password, in.Password)
	if acc, err = a.Create(r.Context(), acc, password); err != nil {
		return nil, err
	}
	a.cfg.Log.Info("account added", "account", acc.Address.String(), "id", acc.ID)
	return a.accountJSON(r.Context(), acc)
}

// quota is the mail store's view of an account's limits.
func (a *API) quota(acc directory.Account) mailstore.Quota {
	return mailstore.Quota{Bytes: acc.QuotaBytes, Messages: acc.QuotaCount, Warn: a.cfg.QuotaWarn}
}

func (a *API) setAccount(w http.ResponseWriter, r *http.Request) (any, error) {
	var in AccountChange
	if err := readJSON(w, r, &in); err != nil {
		return nil, err
	}
	acc, err := a.find(r)
	if err != nil {
		return nil, err
	}
	if err := in.apply(&acc); err != nil {
		return nil, err
	}
	if err := a.cfg.Directory.SetAccount(r.Context(), acc); err != nil {
		return nil, err
	}
	if in.QuotaBytes != nil || in.QuotaMessages != nil {
		if err := a.cfg.Mailstore.SetQuota(r.Context(), acc.ID, a.quota(acc)); err != nil {
			return nil, err
		}
	}
	if in.Password != nil {
		if err := a.cfg.Directory.SetPassword(r.Context(), acc.ID, *in.Password); err != nil {
			return nil, err
		}
	}
	a.shutOut(acc.ID, acc.Disabled)
	return a.accountJSON(r.Context(), acc)
}

// shutOut drops cached logins and, if the account may not be used any more, its sessions.
func (a *API) shutOut(id mail.AccountID, kick bool) {
	if a.cfg.Forget != nil {
		a.cfg.Forget(id)
	}
	if kick && a.cfg.Kick != nil {
		a.cfg.Kick(id)
	}
}

func (a *API) setPassword(w http.ResponseWriter, r *http.Request) (any, error) {
	var in struct {
		Password string `json:"password"`
	}
	if err := readJSON(w, r, &in); err != nil {
		return nil, err
	}
	if in.Password == "" || len(in.Password) > MaxPassword {
		return nil, &mail.Error{Kind: mail.BadInput, Text: "a password has between 1 and 1024 octets"}
	}
	acc, err := a.find(r)
	if err != nil {
		return nil, err
	}
	if err := a.cfg.Directory.SetPassword(r.Context(), acc.ID, in.Password); err != nil {
		return nil, err
	}
	a.shutOut(acc.ID, false)
	return done{true}, nil
}

// removeAccount marks the account in the mail store, makes it unknown, then
// deletes its mail. A crash meanwhile: the mail store goes on at the next start;
// an account that is still listed then is empty and can be removed again.
func (a *API) removeAccount(_ http.ResponseWriter, r *http.Request) (any, error) {
	acc, err := a.find(r)
	if err != nil {
		return nil, err
	}
	if err := a.cfg.Mailstore.RemoveAccount(r.Context(), acc.ID, func(ctx context.Context) error {
		defer a.shutOut(acc.ID, true)
		return a.cfg.Directory.RemoveAccount(ctx, acc.ID)
	}); err != nil {
		return nil, err
	}
	a.cfg.Log.Info("account removed", "account", acc.Address.String(), "id", acc.ID)
	return done{true}, nil
}
