package directory

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"
)

// all is everything that can be asked of a directory.
func (d *Directory) all(t *testing.T) (out []string) {
	t.Helper()
	ctx := context.Background()
	l, err := d.Domains(ctx)
	must(t, err)
	out = append(out, fmt.Sprint(l))
	for a, err := range d.Accounts(ctx) {
		must(t, err)
		e, err := d.byID(ctx, a.ID)
		must(t, err)
		out = append(out, fmt.Sprint(*e))
	}
	for a, err := range d.Aliases(ctx) {
		must(t, err)
		out = append(out, fmt.Sprint(a))
	}
	return out
}

// A copy holds what the source does, logins included, and is none until it is finished.
func TestCopyDirectory(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	from, m := town(t, "anna", "bert", "karl")
	must(t, from.AddAlias(ctx, "all@example.org", []mail.Address{m["anna"].Address, m["bert"].Address}))
	must(t, from.AddAlias(ctx, "@example.org", []mail.Address{addr(t, "x@elsewhere.net")}))
	karl := m["karl"]
	karl.Disabled, karl.Role, karl.Name, karl.QuotaBytes = true, RoleAdmin, "Karl der Große", 7
	must(t, from.SetAccount(ctx, karl))
	must(t, from.SetPassword(ctx, m["bert"].ID, hashes(t)["SSHA512"])) // no SCRAM keys
	_, err := from.NewAccountIDs(ctx, 100)
	must(t, err)
	secret, err := from.Secret(ctx, "scram-salts")
	must(t, err)
	me, err := from.Identity(ctx)
	must(t, err)

	to, _ := town(t, "admin", "other") // what init made, and more
	beside, err := New(ctx, to.db, to.cfg)
	must(t, err)
	_, err = beside.AccountByAddress(ctx, addr(t, "other@example.org"))
	must(t, err)
	if src, err := to.CopyingFrom(ctx); src != nil || err != nil {
		t.Error(src, err)
	}
	must(t, to.BeginCopy(ctx, me))
	rows := 0
	for range 2 { // the second as after a crash
		must(t, to.CopyFrom(ctx, from, func(n int) { rows += n }))
		if src, err := to.CopyingFrom(ctx); string(src) != string(me) || err != nil {
			t.Error(src, err)
		}
	}
	must(t, to.EndCopy(ctx))
	follow(t, beside)
	for _, d := range []*Directory{to, beside} {
		if src, err := d.CopyingFrom(ctx); src != nil || err != nil {
			t.Error(src, err)
		}
		if got, want := d.all(t), from.all(t); !slices.Equal(got, want) {
			t.Errorf("copied\n%s\nof\n%s", got, want)
		}
		_, err = d.AccountByAddress(ctx, addr(t, "other@example.org"))
		wantKind(t, "an account that was there before", err, mail.NoSuchAccount)
		if _, _, err := d.Verify(ctx, "anna", "pw-anna"); err != nil {
			t.Error(err)
		}
		if s, err := d.Secret(ctx, "scram-salts"); string(s) != string(secret) || err != nil {
			t.Error("another secret", err)
		}
	}
	if id, err := to.NewAccountID(ctx); err != nil || id != 104 {
		t.Errorf("the next account is %d, %v", id, err)
	}
	if rows < 2*9 {
		t.Errorf("heard of %d rows", rows)
	}
}

// Whoever adds a table or a column has to say what becomes of it in a copy.
func TestCopyKnowsAllTables(t *testing.T) {
	t.Parallel()
	if dbtest.OnPostgres() {
		t.Skip("asks SQLite for its tables")
	}
	d, _ := town(t)
	known := map[string][]string{}
	for _, table := range copyTables {
		known[table.Name] = table.Columns
	}
	must(t, d.db.View(t.Context(), func(c *db.Conn) error {
		for r, err := range c.Rows(`SELECT t.name, c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type='table' ORDER BY t.name, c.cid`) {
			if err != nil {
				return err
			}
			if name := r.Text(0); name != "directory_changes" && name != "schema_versions" && !slices.Contains(known[name], r.Text(1)) {
				t.Errorf("column %s of %s is not copied", r.Text(1), name)
			}
		}
		return nil
	}))
}
