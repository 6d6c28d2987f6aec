package directory

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bahnpost/home"
	"bahnpost/mail"
	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"
)

// cheap is a cost for tests.
var cheap = Argon2{MemoryKB: 64, Time: 1, Lanes: 1}

func open(t testing.TB, path string, cfg Config) *Directory {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "d.sqlite")
	}
	if cfg.Argon2 == (Argon2{}) {
		cfg.Argon2 = cheap
	}
	if cfg.ScramIterations == 0 {
		cfg.ScramIterations = 4096
	}
	ctx := context.Background()
	d, err := db.Open(ctx, dbtest.Config(t, path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	n, err := New(ctx, d, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func addr(t testing.TB, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func wantKind(t testing.TB, what string, err error, k mail.Kind) {
	t.Helper()
	if err == nil || mail.KindOf(err) != k {
		t.Errorf("%s: error %v, want kind %d", what, err, k)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// town is a directory with example.org and the named accounts, password "pw-NAME".
func town(t testing.TB, names ...string) (*Directory, map[string]Account) {
	t.Helper()
	d := open(t, "", Config{})
	ctx := context.Background()
	must(t, d.AddDomain(ctx, "example.org"))
	m := make(map[string]Account)
	for _, n := range names {
		a, err := d.AddAccount(ctx, Account{Address: addr(t, n+"@example.org")}, "pw-"+n)
		must(t, err)
		m[n] = a
	}
	return d, m
}

func TestAccountLife(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "d.sqlite")
	d := open(t, path, Config{})
	_, err := d.AddAccount(ctx, Account{Address: addr(t, "a@example.org")}, "x")
	wantKind(t, "unknown domain", err, mail.NoSuchAccount)
	must(t, d.AddDomain(ctx, "Example.ORG."))
	wantKind(t, "domain again", d.AddDomain(ctx, "example.org"), mail.Conflict)

	a, err := d.AddAccount(ctx, Account{Address: addr(t, "Alice.Doe@example.org"), Name: "Alice", QuotaBytes: 5}, "secret")
	must(t, err)
	if a.ID == 0 || a.Role != RoleUser || a.Created.IsZero() {
		t.Fatalf("account %+v", a)
	}
	_, err = d.AddAccount(ctx, Account{Address: addr(t, "alice.doe@EXAMPLE.org")}, "x")
	wantKind(t, "same address in other case", err, mail.Conflict)

	got, err := d.AccountByAddress(ctx, addr(t, "ALICE.DOE@example.org"))
	must(t, err)
	if got != a {
		t.Errorf("by address %+v, want %+v", got, a)
	}
	got.Disabled, got.QuotaBytes, got.UIDLFormat = true, 7, "%u"
	must(t, d.SetAccount(ctx, got))
	again, err := d.Account(ctx, a.ID)
	must(t, err)
	if again != got {
		t.Errorf("after set %+v, want %+v", again, got)
	}
	if p, err := d.Placement(ctx, a.ID); err != nil || p != (home.Placement{Account: a.ID, Home: home.Local, Epoch: 1}) {
		t.Errorf("placement %+v %v", p, err)
	}
	wantKind(t, "domain in use", d.RemoveDomain(ctx, "example.org"), mail.Conflict)

	e := open(t, path, Config{}) // a second process sees it all
	if got, err := e.Account(ctx, a.ID); err != nil || got != again {
		t.Errorf("reopened: %+v %v", got, err)
	}
	must(t, d.RemoveAccount(ctx, a.ID))
	wantKind(t, "removed twice", d.RemoveAccount(ctx, a.ID), mail.NoSuchAccount)
	_, err = d.Account(ctx, a.ID)
	wantKind(t, "removed", err, mail.NoSuchAccount)
	_, err = d.Placement(ctx, a.ID)
	wantKind(t, "placement of removed", err, mail.NoSuchAccount)
	must(t, d.RemoveDomain(ctx, "example.org"))
	wantKind(t, "domain again", d.RemoveDomain(ctx, "example.org"), mail.NoSuchAccount)
}

func TestReservedIDMayBeRepeated(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, _ := town(t, "alice")
	id, err := d.NewAccountID(ctx)
	must(t, err)
	a := Account{ID: id, Address: addr(t, "bob@example.org")}
	first, err := d.AddAccount(ctx, a, "x")
	must(t, err)
	second, err := d.AddAccount(ctx, a, "y")
	must(t, err)
	if first != second {
		t.Errorf("second %+v, want %+v", second, first)
	}
	if _, _, err := d.Verify(ctx, "bob", "x"); err != nil {
		t.Errorf("the first password went: %v", err)
	}
	a.Address = addr(t, "carol@example.org")
	_, err = d.AddAccount(ctx, a, "x")
	wantKind(t, "id of another", err, mail.Conflict)
	// An id that came from elsewhere is not given again.
	must(t, func() error {
		_, err := d.AddAccount(ctx, Account{ID: 1000, Address: addr(t, "dan@example.org")}, "")
		return err
	}())
	next, err := d.NewAccountIDs(ctx, 3)
	must(t, err)
	if next != 1001 {
		t.Errorf("next id %d, want 1001", next)
	}
	if after, _ := d.NewAccountID(ctx); after != 1004 {
		t.Errorf("next id %d, want 1004", after)
	}
}

// The order of Resolve, with sub-addresses (RFC 5233 §1) and the postmaster of RFC 5321 §4.5.1.
func TestResolve(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, m := town(t, "alice", "bob", "carol", "al+ice", "root")
	must(t, d.AddDomain(ctx, "bücher.example"))
	root := m["root"]
	root.Role = RoleAdmin
	must(t, d.SetAccount(ctx, root))
	alias := func(from string, to ...string) {
		var ts []mail.Address
		for _, s := range to {
			ts = append(ts, addr(t, s))
		}
		must(t, d.AddAlias(ctx, from, ts))
	}
	alias("all@example.org", "alice@example.org", "bob@example.org", "friend@elsewhere.net", "all@example.org")
	alias("team@example.org", "all@example.org", "carol@example.org", "bob@example.org")
	alias("sales@example.org", "alice@example.org")
	alias("loop1@example.org", "loop2@example.org")
	alias("loop2@example.org", "loop1@example.org")
	alias("dead@example.org", "nobody@example.org")
	alias("@bücher.example", "bob@example.org")
	for i := range MaxAliasDepth + 2 {
		alias(fmt.Sprintf("deep%d@example.org", i), fmt.Sprintf("deep%d@example.org", i+1))
	}
	for _, c := range []struct{ in, want string }{
		{"alice@example.org", "alice"},
		{"ALICE@example.org", "alice"},
		{"alice+News@example.org", "alice(News)"},
		{"al+ice@example.org", "al+ice"}, // exact before +detail
		{"all@example.org", "alice bob friend@elsewhere.net"},
		{"team@example.org", "alice bob friend@elsewhere.net carol"},
		{"sales+x@example.org", "alice(x)"},
		{"anyone@xn--bcher-kva.example", "bob"},
		{"postmaster@example.org", "root"},
		{"PostMaster@bücher.example", "bob"}, // catch-all first
		{"someone@elsewhere.net", "someone@elsewhere.net"},
		{"nobody@example.org", "NoSuchAccount"},
		{"+x@example.org", "NoSuchAccount"},
		{"dead@example.org", "NoSuchAccount"},
		{"loop1@example.org", "NoSuchAccount"},
		{"deep0@example.org", "Limit"},
	} {
		for range 2 { // the second time from the cache
			r, err := d.Resolve(ctx, addr(t, c.in))
			if got := describe(m, r, err); got != c.want {
				t.Errorf("%s resolved to %q, want %q", c.in, got, c.want)
			}
		}
	}
	r, err := d.Resolve(ctx, mail.Address{Local: "postmaster"})
	if got := describe(m, r, err); got != "root" {
		t.Errorf("bare postmaster: %s", got)
	}
}

func describe(m map[string]Account, r Resolution, err error) string {
	switch mail.KindOf(err) {
	case mail.NoSuchAccount:
		return "NoSuchAccount"
	case mail.Limit:
		return "Limit"
	}
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, x := range r.Recipients {
		s := x.Address.String()
		for n, a := range m {
			if a.ID == x.Account {
				s = n
			}
		}
		if x.Detail != "" {
			s += "(" + x.Detail + ")"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// Each change must be seen by the next lookup, cached or not.
func TestCacheFollowsChanges(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, m := town(t, "alice", "bob")
	a, b := addr(t, "alice@example.org"), addr(t, "bob@example.org")
	see := func(in mail.Address, want string) {
		t.Helper()
		r, err := d.Resolve(ctx, in)
		if got := describe(m, r, err); got != want {
			t.Errorf("%v resolved to %q, want %q", in, got, want)
		}
	}
	x := addr(t, "x@example.org")
	see(x, "NoSuchAccount")
	must(t, d.AddAlias(ctx, "x@example.org", []mail.Address{a}))
	see(x, "alice")
	must(t, d.AddAlias(ctx, "X@example.org", []mail.Address{b}))
	see(x, "bob")
	must(t, d.RemoveAlias(ctx, "x@example.org"))
	wantKind(t, "alias removed twice", d.RemoveAlias(ctx, "x@example.org"), mail.NoSuchAccount)
	see(x, "NoSuchAccount")
	must(t, d.AddAlias(ctx, "@example.org", []mail.Address{b}))
	see(x, "bob")
	acct, err := d.AddAccount(ctx, Account{Address: x}, "")
	must(t, err)
	m["x"] = acct
	see(x, "x")
	acct.Address = addr(t, "y@example.org")
	must(t, d.SetAccount(ctx, acct))
	see(x, "bob")
	see(acct.Address, "x")
	must(t, d.RemoveAccount(ctx, acct.ID))
	see(acct.Address, "bob")
	see(addr(t, "z@new.example"), "z@new.example")
	must(t, d.AddDomain(ctx, "new.example"))
	see(addr(t, "z@new.example"), "NoSuchAccount")
	must(t, d.RemoveDomain(ctx, "new.example"))
	see(addr(t, "z@new.example"), "z@new.example")
	wantKind(t, "alias over account", d.AddAlias(ctx, "alice@example.org", []mail.Address{b}), mail.Conflict)
	must(t, d.AddAlias(ctx, "taken@example.org", []mail.Address{b}))
	_, err = d.AddAccount(ctx, Account{Address: addr(t, "taken@example.org")}, "")
	wantKind(t, "account over alias", err, mail.Conflict)
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d := open(t, "", Config{CacheSize: 10})
	must(t, d.AddDomain(ctx, "example.org"))
	for i := range 50 {
		a, err := d.AddAccount(ctx, Account{Address: addr(t, fmt.Sprintf("u%d@example.org", i))}, "")
		must(t, err)
		_, err = d.Account(ctx, a.ID)
		must(t, err)
		_, err = d.Resolve(ctx, a.Address)
		must(t, err)
	}
	if n, k, r := len(d.cache.id), len(d.cache.addr), len(d.cache.routes); n > 10 || k > 10 || r > 10 {
		t.Errorf("cache has %d %d %d entries, want at most 10", n, k, r)
	}
}

// Who is looked for brings those behind along, as they are then and not as they were.
func TestReadAhead(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, m := town(t, "alice", "bob", "carol")
	d.cache.forget()
	known := func(name string) bool {
		e, _ := d.cache.byID(m[name].ID)
		return e != nil
	}
	if known("bob") {
		t.Fatal("forget left something")
	}
	_, err := d.AccountByAddress(ctx, m["alice"].Address)
	must(t, err)
	if !known("alice") || !known("bob") || !known("carol") {
		t.Errorf("in memory: alice %v, bob %v, carol %v", known("alice"), known("bob"), known("carol"))
	}
	must(t, d.SetPassword(ctx, m["bob"].ID, "new"))
	_, _, err = d.Verify(ctx, "bob@example.org", "new")
	must(t, err)
	_, _, err = d.Verify(ctx, "bob@example.org", "pw-bob")
	wantKind(t, "the old password", err, mail.AuthFailed)
	small := open(t, "", Config{CacheSize: 10})
	if small.cache.roomy() {
		t.Error("a small cache has room for what nobody asked for")
	}
}

// While somebody writes, no reader goes back in time, and the writer sees each change at once.
func TestCacheNeverGoesBack(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, m := town(t, "anna", "bert")
	a := m["anna"]
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			var last int64
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := d.Account(ctx, a.ID)
				if i%2 == 0 {
					got, err = d.AccountByAddress(ctx, a.Address)
				}
				if err != nil || got.QuotaBytes < last {
					t.Errorf("read %d after %d: %v", got.QuotaBytes, last, err)
					return
				}
				last = got.QuotaBytes
			}
		})
	}
	for i := range int64(300) {
		a.QuotaBytes = i
		must(t, d.SetAccount(ctx, a))
		if got, err := d.Account(ctx, a.ID); err != nil || got.QuotaBytes != i {
			t.Fatalf("read %d after writing %d: %v", got.QuotaBytes, i, err)
		}
	}
	close(stop)
	wg.Wait()
}

func TestLists(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d := open(t, "", Config{})
	must(t, d.AddDomain(ctx, "example.org"))
	const n = 1203 // more than two pages
	err := d.ImportAccounts(ctx, func(yield func(ImportRow, error) bool) {
		for i := range n {
			if !yield(ImportRow{Account: Account{Address: addr(t, fmt.Sprintf("u%d@example.org", i))}}, nil) {
				return
			}
		}
	}, func(n int, a Account, created bool, err error) {
		if err != nil || !created || a.ID != mail.AccountID(n) {
			t.Errorf("row %d: %+v %v %v", n, a, created, err)
		}
	})
	must(t, err)
	seen := 0
	for a, err := range d.Accounts(ctx) {
		must(t, err)
		if seen++; a.ID != mail.AccountID(seen) {
			t.Fatalf("account %d at place %d", a.ID, seen)
		}
	}
	if seen != n {
		t.Errorf("%d accounts, want %d", seen, n)
	}
	wantKind(t, "alias without targets", d.AddAlias(ctx, "list@example.org", nil), mail.BadInput)
}

func TestAliasPages(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d := open(t, "", Config{})
	must(t, d.AddDomain(ctx, "example.org"))
	var wide []mail.Address
	for i := range 900 {
		wide = append(wide, addr(t, fmt.Sprintf("w%d@elsewhere.net", i)))
	}
	for i := range 7 {
		must(t, d.AddAlias(ctx, fmt.Sprintf("List%d@example.org", i), wide[:1+i*149]))
	}
	must(t, d.AddAlias(ctx, "@example.org", wide[:2]))
	i := -1
	for a, err := range d.Aliases(ctx) {
		must(t, err)
		want, n := "@example.org", 2
		if i >= 0 {
			want, n = fmt.Sprintf("List%d@example.org", i), 1+i*149
		}
		if a.From != want || len(a.Targets) != n {
			t.Errorf("alias %q with %d targets, want %q with %d", a.From, len(a.Targets), want, n)
		}
		i++
	}
	if i != 7 {
		t.Errorf("%d aliases, want 8", i+1)
	}
}

func TestImportReports(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, m := town(t, "alice")
	hash := "{SSHA}" + "0mDMw8vJkKFxtB3bvYjyRYPcZ8UvAQID"
	rows := []ImportRow{
		{Account: Account{Address: addr(t, "new@example.org"), Name: "New", QuotaBytes: 9}, Password: hash},
		{Account: Account{Address: addr(t, "ALICE@example.org"), Name: "Alice"}},
		{Account: Account{Address: addr(t, "x@unknown.example")}},
		{Account: Account{Address: addr(t, "bad@example.org")}, Password: "{SHA512-CRYPT}nonsense"},
		{Account: Account{Address: addr(t, "clear@example.org")}, Password: "open sesame"},
		{Account: Account{Address: addr(t, "new@example.org"), Name: "Newer"}},
	}
	var seq iter.Seq2[ImportRow, error] = func(yield func(ImportRow, error) bool) {
		for i, r := range rows {
			if i == 3 && !yield(ImportRow{}, errors.New("csv: line 4 is broken")) {
				return
			}
			if !yield(r, nil) {
				return
			}
		}
	}
	var got []string
	must(t, d.ImportAccounts(ctx, seq, func(n int, a Account, created bool, err error) {
		got = append(got, fmt.Sprintf("%d %s %v %v", n, a.Address, created, err))
	}))
	want := []string{
		"1 new@example.org true <nil>",
		"2 ALICE@example.org false <nil>",
		"3 x@unknown.example false domain is not served here",
		"4  false row cannot be read: csv: line 4 is broken",
		"5 bad@example.org false password hash is malformed, too costly or of an unknown scheme",
		"6 clear@example.org true <nil>",
		"7 new@example.org false <nil>",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("reports:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, _, err := d.Verify(ctx, "alice", "pw-alice"); err != nil {
		t.Errorf("an import without password took alice's: %v", err)
	}
	if _, _, err := d.Verify(ctx, "clear", "open sesame"); err != nil {
		t.Errorf("imported clear password: %v", err)
	}
	a, err := d.Account(ctx, m["alice"].ID)
	must(t, err)
	if a.Name != "Alice" || a.Address.Local != "ALICE" || a.Created != m["alice"].Created {
		t.Errorf("updated account %+v", a)
	}
}

func TestImportIsFast(t *testing.T) {
	ctx := context.Background()
	d := open(t, "", Config{})
	must(t, d.AddDomain(ctx, "example.org"))
	hash := cheap.hash("x", nil)
	rows := func(yield func(ImportRow, error) bool) {
		for i := range 10000 {
			a := Account{Address: mail.Address{Local: fmt.Sprintf("user%05d", i), Domain: "example.org"}, Name: "User", QuotaBytes: 1 << 30}
			if !yield(ImportRow{a, hash}, nil) {
				return
			}
		}
	}
	begin, used, n := time.Now(), cpu(t), 0
	must(t, d.ImportAccounts(ctx, rows, func(i int, a Account, created bool, err error) {
		if err != nil || !created {
			t.Fatal(i, a, created, err)
		}
		n++
	}))
	took, used := time.Since(begin), cpu(t)-used
	t.Logf("%d rows in %v, CPU %v", n, took, used)
	const fast = 20 * time.Second
	if n != 10000 || took > fast && used > fast { // not what others use of the machine
		t.Errorf("%d rows in %v, CPU %v", n, took, used)
	}
}

// cpu is what this process has used.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
