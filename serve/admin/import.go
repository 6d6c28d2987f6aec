package admin

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"bahnpost/mail"
	"bahnpost/store/directory"
)

// createConcurrency is how many mail store accounts are made at once: enough
// for group commit to gather them.
const createConcurrency = 64

// Create makes an account usable: the directory stores it, the mail store
// gets its mailboxes.
func (a *API) Create(ctx context.Context, acc directory.Account, password string) (directory.Account, error) {
	acc, err := a.cfg.Directory.AddAccount(ctx, acc, password)
	if err != nil {
		return acc, err
	}
	return acc, a.cfg.Mailstore.CreateAccount(ctx, acc.ID, 1, a.quota(acc))
}

// ImportReport is the line for one row; the last line has Done set.
type ImportReport struct {
	Row     int    `json:"row,omitempty"` // 1 is the first after the header
	Address string `json:"address,omitempty"`
	Result  string `json:"result,omitempty"` // created, updated, error
	Error   string `json:"error,omitempty"`

	Done bool `json:"done,omitempty"`
	*ImportSum
}

// ImportSum is how an import ended, in the last line only.
type ImportSum struct {
	Created int `json:"created"`
	Updated int `json:"updated"`
	Failed  int `json:"failed"`
}

// importAccounts reads CSV (header: address,password,name,quota in any order;
// address is required) and streams a report per row.
func (a *API) importAccounts(w http.ResponseWriter, r *http.Request) (any, error) {
	dryRun := r.URL.Query().Get("dry_run") == "true"
	rows, err := csvRows(r.Body, a.cfg.DefaultQuota)
	if err != nil {
		return nil, err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	var sum ImportSum
	report := func(n int, acc directory.Account, created bool, err error) {
		rep := ImportReport{Row: n, Address: acc.Address.String(), Result: "updated"}
		switch {
		case err != nil:
			sum.Failed++
			rep.Result, rep.Error = "error", a.importError(n, err)
		case created:
			sum.Created++
			rep.Result = "created"
		default:
			sum.Updated++
		}
		enc.Encode(rep)
	}
	if dryRun {
		err = a.rehearse(r.Context(), rows, report)
	} else {
		err = a.importRows(r.Context(), rows, report)
	}
	if err != nil {
		_, refusal := a.refusal(r, err)
		enc.Encode(ImportReport{Result: "error", Error: refusal.Error})
		sum.Failed++
	}
	enc.Encode(ImportReport{Done: true, ImportSum: &sum})
	a.cfg.Log.Info("accounts imported", "created", sum.Created, "updated", sum.Updated, "failed", sum.Failed, "dry_run", dryRun)
	return nil, nil
}

// importRows lets the directory take the rows, then makes what the mail store
// lacks. Both are idempotent: an interrupted import is simply run again.
func (a *API) importRows(ctx context.Context, rows iter.Seq2[directory.ImportRow, error], report func(int, directory.Account, bool, error)) error {
	type outcome struct {
		n       int
		acc     directory.Account
		created bool
		err     error
	}
	var all []*outcome
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(createConcurrency)
	err := a.cfg.Directory.ImportAccounts(ctx, rows, func(n int, acc directory.Account, created bool, err error) {
		o := &outcome{n, acc, created, err}
		all = append(all, o)
		if err != nil {
			return
		}
		g.Go(func() error {
			if o.err = a.cfg.Mailstore.CreateAccount(gctx, acc.ID, 1, a.quota(acc)); o.err == nil && !created {
				o.err = a.cfg.Mailstore.SetQuota(gctx, acc.ID, a.quota(acc))
				a.shutOut(acc.ID, acc.Disabled)
			}
			return nil
		})
	})
	g.Wait()
	for _, o := range all {
		report(o.n, o.acc, o.created, o.err)
	}
	return err
}

// rehearse checks the rows against the directory without writing.
func (a *API) rehearse(ctx context.Context, rows iter.Seq2[directory.ImportRow, error], report func(int, directory.Account, bool, error)) error {
	n, seen := 0, map[string]bool{}
	for row, err := range rows {
		n++
		created := false
		if err == nil {
			var local bool
			local, err = a.cfg.Directory.IsLocalDomain(ctx, row.Account.Address.Domain)
			if err == nil && !local {
				err = &mail.Error{Kind: mail.NoSuchAccount, Text: "domain is not served here"}
			}
		}
		if err == nil {
			err = a.cfg.Directory.CheckPassword(row.Password)
		}
		if err == nil {
			_, err = a.cfg.Directory.AccountByAddress(ctx, row.Account.Address)
			if mail.KindOf(err) == mail.NoSuchAccount {
				key := strings.ToLower(row.Account.Address.String())
				created, err = !seen[key], nil
				seen[key] = true
			}
		}
		report(n, row.Account, created, err)
	}
	return nil
}

func (a *API) importError(n int, err error) string {
	if e, ok := errors.AsType[*mail.Error](err); ok {
		return e.Text
	}
	a.cfg.Log.Error("import row failed", "row", n, "err", err)
	return "internal error, see the log"
}

// csvRows reads the header now and yields the rows. A bad row is yielded as
// its error; the import goes on behind it.
func csvRows(r io.Reader, defaultQuota int64) (iter.Seq2[directory.ImportRow, error], error) {
	cr := csv.NewReader(r)
	cr.FieldsPerRecord = -1
	cr.ReuseRecord = true
	header, err := cr.Read()
	if err != nil {
		return nil, &mail.Error{Kind: mail.BadInput, Text: "the file is empty or not CSV; its first line must be: address,password,name,quota"}
	}
	col := map[string]int{}
	for i, h := range header {
		h = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(h, "\ufeff")))
		switch h {
		case "address", "password", "name", "quota":
			col[h] = i
		default:
			return nil, &mail.Error{Kind: mail.BadInput, Text: fmt.Sprintf("column %q is unknown; the header must be: address,password,name,quota", h)}
		}
	}
	if _, ok := col["address"]; !ok {
		return nil, &mail.Error{Kind: mail.BadInput, Text: "the header has no column address"}
	}
	return func(yield func(directory.ImportRow, error) bool) {
		for {
			rec, err := cr.Read()
			if err == io.EOF {
				return
			}
			var row directory.ImportRow
			if err != nil {
				err = &mail.Error{Kind: mail.BadInput, Text: "not CSV: " + err.Error()}
			} else {
				row, err = csvRow(rec, col, defaultQuota)
			}
			if !yield(row, err) {
				return
			}
		}
	}, nil
}

func csvRow(rec []string, col map[string]int, defaultQuota int64) (directory.ImportRow, error) {
	get := func(name string) string {
		if i, ok := col[name]; ok && i < len(rec) {
			return strings.TrimSpace(rec[i])
		}
		return ""
	}
	row := directory.ImportRow{Account: directory.Account{Name: get("name"), Role: "user", QuotaBytes: defaultQuota}}
	if i, ok := col["password"]; ok && i < len(rec) {
		row.Password = strings.Clone(rec[i])
	}
	row.Account.Name = strings.Clone(row.Account.Name)
	addr, err := mail.ParseAddress(get("address"))
	if err != nil {
		return row, named(err, get("address"))
	}
	row.Account.Address = addr
	if len(row.Password) > MaxPassword {
		return row, &mail.Error{Kind: mail.BadInput, Text: "password is longer than 1024 octets"}
	}
	if q := get("quota"); q != "" {
		if row.Account.QuotaBytes, err = ParseSize(q); err != nil {
			return row, &mail.Error{Kind: mail.BadInput, Text: err.Error()}
		}
	}
	return row, nil
}

// named adds to a complaint what it is about, as the row has no address to show.
func named(err error, what string) error {
	e, ok := errors.AsType[*mail.Error](err)
	if !ok {
		return err
	}
	return &mail.Error{Kind: e.Kind, Text: fmt.Sprintf("%s: %q", e.Text, what), Err: e.Err}
}

// ParseSize reads "5GB" (powers of 1000), "5GiB" (powers of 1024) or plain octets.
func ParseSize(text string) (int64, error) {
	t := strings.ToUpper(strings.TrimSpace(text))
	i := strings.IndexFunc(t, func(r rune) bool { return r < '0' || r > '9' })
	unit := ""
	if i >= 0 {
		t, unit = t[:i], strings.TrimSpace(t[i:])
	}
	n, err := strconv.ParseInt(t, 10, 64)
	factor, ok := sizeUnits[unit]
	if err != nil || !ok || n > (1<<62)/factor {
		return 0, fmt.Errorf("%q is no size; right is for example \"5GB\", \"64KiB\" or \"0\"", text)
	}
	return n * factor, nil
}

var sizeUnits = map[string]int64{"": 1, "B": 1, "K": 1e3, "KB": 1e3, "M": 1e6, "MB": 1e6, "G": 1e9, "GB": 1e9, "T": 1e12, "TB": 1e12,
	"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
