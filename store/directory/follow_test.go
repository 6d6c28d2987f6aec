package directory

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// nodes are n directories on one database, as the nodes of a cell have.
func nodes(t testing.TB, n int, cfg Config) []*Directory {
	t.Helper()
	path := filepath.Join(t.TempDir(), "d.sqlite")
	var out []*Directory
	for range n {
		out = append(out, open(t, path, cfg))
	}
	return out
}

func follow(t testing.TB, d *Directory) {
	t.Helper()
	must(t, d.catchUp(context.Background()))
}

// What one node changes holds on the other after it has followed, and not before the other was told.
func TestFollow(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	both := nodes(t, 2, Config{})
	a, b := both[0], both[1]
	var heard []mail.AccountID
	b.OnChange(func(id mail.AccountID) { heard = append(heard, id) })
	must(t, a.AddDomain(ctx, "example.org"))
	anna, err := a.AddAccount(ctx, Account{Address: addr(t, "anna@example.org")}, "old")
	must(t, err)
	bert, err := a.AddAccount(ctx, Account{Address: addr(t, "bert@example.org")}, "x")
	must(t, err)
	m := map[string]Account{"anna": anna, "bert": bert}
	see := func(in, want string) {
		t.Helper()
		r, err := b.Resolve(ctx, addr(t, in))
		if got := describe(m, r, err); got != want {
			t.Errorf("%s resolved to %q, want %q", in, got, want)
		}
	}
	// Before anything was followed: what is new is there, for nobody may say from memory that it is not.
	see("anna@example.org", "anna")
	if _, _, err := b.Verify(ctx, "anna@example.org", "old"); err != nil {
		t.Error("a new account: ", err)
	}
	if b.isLocal("example.org") {
		t.Error("the test tests nothing: the other node knows the domain")
	}
	follow(t, b)
	if l, err := b.Domains(ctx); err != nil || !slices.Equal(l, []string{"example.org"}) {
		t.Error(l, err)
	}
	if _, _, err := b.Verify(ctx, "anna", "old"); err != nil {
		t.Error("login without domain: ", err)
	}
	if want := []mail.AccountID{anna.ID, bert.ID}; !slices.Equal(heard, want) {
		t.Errorf("heard of %v, want %v", heard, want)
	}

	heard = nil
	must(t, a.SetPassword(ctx, anna.ID, "new"))
	if _, _, err := b.Verify(ctx, "anna", "old"); err != nil {
		t.Error("the test tests nothing: the other node has forgotten anna before it was told: ", err)
	}
	follow(t, b)
	_, _, err = b.Verify(ctx, "anna", "old")
	wantKind(t, "old password", err, mail.AuthFailed)
	if _, _, err := b.Verify(ctx, "anna", "new"); err != nil {
		t.Error(err)
	}
	see("info@example.org", "NoSuchAccount")
	must(t, a.AddAlias(ctx, "info@example.org", []mail.Address{anna.Address}))
	see("info@example.org", "anna")
	must(t, a.AddAlias(ctx, "info@example.org", []mail.Address{bert.Address}))
	follow(t, b)
	see("info@example.org", "bert")
	bert.Disabled = true
	must(t, a.SetAccount(ctx, bert))
	see("anna@example.org", "anna")
	must(t, a.RemoveAccount(ctx, anna.ID))
	follow(t, b)
	_, _, err = b.Verify(ctx, "bert", "x")
	wantKind(t, "disabled", err, mail.Disabled)
	see("anna@example.org", "NoSuchAccount")
	_, err = b.Placement(ctx, anna.ID)
	wantKind(t, "placement of removed", err, mail.NoSuchAccount)
	if want := []mail.AccountID{anna.ID, bert.ID, anna.ID}; !slices.Equal(heard, want) {
		t.Errorf("heard of %v, want %v", heard, want)
	}
	if sa, sb := a.Stats(), b.Stats(); sa.ModSeq != sb.ModSeq || sa.Followed != 0 || sb.Followed != sb.ModSeq || sb.Forgotten != 0 {
		t.Errorf("stats %+v and %+v", sa, sb)
	}
}

// A node's own changes are told once, whoever else wrote in between.
func TestOwnChangesAreToldOnce(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	both := nodes(t, 2, Config{})
	a, b := both[0], both[1]
	must(t, a.AddDomain(ctx, "example.org"))
	var m []Account
	for i := range 2 {
		acc, err := a.AddAccount(ctx, Account{Address: addr(t, fmt.Sprintf("u%d@example.org", i))}, "")
		must(t, err)
		m = append(m, acc)
	}
	follow(t, b)
	heard := map[mail.AccountID]int{}
	b.OnChange(func(id mail.AccountID) { heard[id]++ })
	for i := range int64(5) {
		m[0].QuotaBytes, m[1].QuotaBytes = i, i
		must(t, a.SetAccount(ctx, m[0]))
		must(t, b.SetAccount(ctx, m[1]))
		if got, err := b.Account(ctx, m[1].ID); err != nil || got.QuotaBytes != i {
			t.Fatal("the node's own change does not hold at once: ", got, err)
		}
	}
	must(t, b.AddDomain(ctx, "b.example"))
	must(t, a.AddDomain(ctx, "a.example"))
	follow(t, b)
	follow(t, b)
	if want := map[mail.AccountID]int{m[0].ID: 5, m[1].ID: 5}; !maps.Equal(heard, want) {
		t.Errorf("heard %v, want %v", heard, want)
	}
	if n := len(b.follow.ahead); n != 0 {
		t.Errorf("%d changes are still ahead", n)
	}
	if l, _ := b.Domains(ctx); !slices.Equal(l, []string{"a.example", "b.example", "example.org"}) {
		t.Error(l)
	}
}

// What was read before something else was applied does not undo it, nor is it told again.
func TestFollowFromAnOldSnapshot(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	both := nodes(t, 2, Config{})
	a, b := both[0], both[1]
	told := 0
	b.OnChange(func(mail.AccountID) { told++ })
	must(t, a.AddDomain(ctx, "a.example"))
	p, err := b.look(ctx)
	must(t, err)
	must(t, b.AddDomain(ctx, "b.example"))
	if !b.take(p) {
		t.Error("an own commit after the snapshot, and it was taken")
	}
	follow(t, b)
	if l, _ := b.Domains(ctx); !slices.Equal(l, []string{"a.example", "b.example"}) {
		t.Error(l)
	}
	_, err = a.AddAccount(ctx, Account{Address: addr(t, "anna@a.example")}, "")
	must(t, err)
	p, err = b.look(ctx)
	must(t, err)
	follow(t, b)
	if !b.take(p) || told != 1 {
		t.Errorf("told %d times", told)
	}
}

// An address that another node gave to another account is found nowhere under the old one.
func TestFollowMovedAddress(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	both := nodes(t, 2, Config{})
	a, b := both[0], both[1]
	must(t, a.AddDomain(ctx, "example.org"))
	acc, err := a.AddAccount(ctx, Account{Address: addr(t, "old@example.org")}, "")
	must(t, err)
	follow(t, b)
	_, err = b.AccountByAddress(ctx, acc.Address)
	must(t, err)
	acc.Address = addr(t, "new@example.org")
	must(t, a.SetAccount(ctx, acc))
	_, err = b.AccountByAddress(ctx, acc.Address) // in one era with the first
	must(t, err)
	follow(t, b)
	_, err = b.AccountByAddress(ctx, addr(t, "old@example.org"))
	wantKind(t, "the old address", err, mail.NoSuchAccount)
}

// Who is too far behind, or finds that the directory has lost commits, forgets all, and all are told.
func TestFollowLosesTheThread(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, cut := range map[string][]string{
		"trimmed": {`DELETE FROM directory_changes WHERE modseq<=3`},
		"a gap":   {`DELETE FROM directory_changes WHERE modseq=3`},
		"no row":  {`DELETE FROM directory_changes`},
		"back":    {`UPDATE directory_counters SET value=1 WHERE name='modseq'`, `DELETE FROM directory_changes WHERE modseq>1`},
	} {
		both := nodes(t, 2, Config{})
		a, b := both[0], both[1]
		must(t, a.AddDomain(ctx, "example.org"))
		anna, err := a.AddAccount(ctx, Account{Address: addr(t, "anna@example.org")}, "old")
		must(t, err)
		follow(t, b)
		all := 0
		b.OnChange(func(id mail.AccountID) {
			if id == 0 {
				all++
			}
		})
		if _, _, err := b.Verify(ctx, "anna", "old"); err != nil {
			t.Fatal(err)
		}
		must(t, a.SetPassword(ctx, anna.ID, "new"))
		must(t, a.AddDomain(ctx, "second.example"))
		for _, sql := range cut {
			must(t, a.db.Update(ctx, func(tx *db.Tx) error { _, err := tx.Exec(sql); return err }, nil))
		}
		follow(t, b)
		if _, _, err = b.Verify(ctx, "anna@example.org", "new"); err != nil || all != 1 {
			t.Errorf("%s: %v, told %d times", name, err, all)
		}
		if l, _ := b.Domains(ctx); len(l) != 2 || b.Stats().Forgotten != 1 {
			t.Errorf("%s: domains %v, %+v", name, l, b.Stats())
		}
		anna.Name = "Anna"
		must(t, b.SetAccount(ctx, anna)) // and it goes on from there
		follow(t, b)
		if s := b.Stats(); s.Forgotten != 1 {
			t.Errorf("%s: lost again: %+v", name, s)
		}
	}
}

// The log of changes stays bounded, and one read page ends in the middle of it.
func TestChangesAreTrimmed(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	both := nodes(t, 2, Config{})
	a, b := both[0], both[1]
	must(t, a.AddDomain(ctx, "example.org"))
	must(t, a.db.Update(ctx, func(tx *db.Tx) error { // as if it had been busy for long
		_, err := tx.Exec(sqlSetModSeq, db.Int(changesKept))
		return err
	}, nil))
	follow(t, b)
	lost := b.Stats().Forgotten
	const n = 3*changesPage + 7
	must(t, a.ImportAccounts(ctx, func(yield func(ImportRow, error) bool) {
		for i := range n {
			if !yield(ImportRow{Account: Account{Address: mail.Address{Local: fmt.Sprintf("u%d", i), Domain: "example.org"}}}, nil) {
				return
			}
		}
	}, func(_ int, _ Account, _ bool, err error) { must(t, err) }))
	told := 0
	b.OnChange(func(mail.AccountID) { told++ })
	follow(t, b)
	if s := b.Stats(); told != n || s.ModSeq != changesKept+n || s.Forgotten != lost {
		t.Errorf("told %d of %d, %+v", told, n, s)
	}
	must(t, a.db.View(ctx, func(c *db.Conn) error {
		var first int64
		found, err := c.Row(`SELECT modseq FROM directory_changes ORDER BY modseq LIMIT 1`).Scan(&first)
		if !found || first < n-trimEvery {
			t.Errorf("the first of the changes is %d", first)
		}
		return err
	}))
}

// Whatever several nodes do to the same names at once: none of it fails but by a clear refusal, no
// address is both an account's and an alias, none has two accounts, and in the end all memories equal the tables.
func TestNodesAtOnce(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	all := nodes(t, 3, Config{})
	must(t, all[0].AddDomain(ctx, "example.org"))
	seed := rand.Uint64()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i, d := range all {
		for j := range 2 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(seed, uint64(10*i+j)))
				for range 60 {
					if err := d.anything(ctx, r); err != nil && mail.KindOf(err) != mail.Conflict && mail.KindOf(err) != mail.NoSuchAccount {
						t.Errorf("seed %d, node %d: %v", seed, i, err)
						return
					}
				}
			})
		}
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
					d.catchUp(ctx)
				}
			}
		}()
	}
	wg.Wait()
	close(stop)
	want := ""
	for i, d := range all {
		follow(t, d)
		cached := d.story(t)
		d.cache.forget()
		if fresh := d.story(t); cached != fresh {
			t.Errorf("seed %d, node %d knows\n%s\nand the tables say\n%s", seed, i, cached, fresh)
		}
		if i == 0 {
			want = cached
		} else if cached != want {
			t.Errorf("seed %d: node %d knows\n%s\nand node 0\n%s", seed, i, cached, want)
		}
	}
	taken := map[string]bool{}
	for a, err := range all[0].Accounts(ctx) {
		must(t, err)
		if taken[key(a.Address)] {
			t.Errorf("%v has two accounts", a.Address)
		}
		taken[key(a.Address)] = true
	}
	for al, err := range all[0].Aliases(ctx) {
		must(t, err)
		if taken[al.From] {
			t.Errorf("%s is an account and an alias", al.From)
		}
	}
}

func somebody(r *rand.Rand) mail.Address {
	return mail.Address{Local: string(rune('a' + r.IntN(6))), Domain: []string{"example.org", "second.example"}[r.IntN(2)]}
}

// anything makes a change, or a lookup that fills the cache.
func (d *Directory) anything(ctx context.Context, r *rand.Rand) error {
	a := somebody(r)
	acc, err := d.AccountByAddress(ctx, a)
	switch r.IntN(9) {
	case 0:
		_, err = d.AddAccount(ctx, Account{Address: a}, "")
	case 1:
		err = d.AddAlias(ctx, a.String(), []mail.Address{somebody(r), somebody(r)})
	case 2:
		err = d.RemoveAlias(ctx, a.String())
	case 3:
		if err == nil {
			err = d.RemoveAccount(ctx, acc.ID)
		}
	case 4:
		if err == nil {
			acc.Address, acc.QuotaBytes = somebody(r), r.Int64N(1000)
			err = d.SetAccount(ctx, acc)
		}
	case 5:
		if err = d.AddDomain(ctx, "second.example"); err != nil {
			err = d.RemoveDomain(ctx, "second.example")
		}
	case 6:
		_, err = d.Secret(ctx, a.String())
	default:
		_, err = d.Resolve(ctx, a)
	}
	return err
}

// story is all that the directory says about a few names.
func (d *Directory) story(t *testing.T) string {
	ctx := context.Background()
	var out strings.Builder
	l, _ := d.Domains(ctx)
	fmt.Fprintln(&out, l)
	for _, domain := range []string{"example.org", "second.example"} {
		for c := 'a'; c < 'a'+6; c++ {
			a := mail.Address{Local: string(c), Domain: domain}
			r, err := d.Resolve(ctx, a)
			acc, err2 := d.AccountByAddress(ctx, a)
			fmt.Fprintln(&out, a, r, mail.KindOf(err), acc, mail.KindOf(err2))
		}
	}
	return out.String()
}

// With hints nobody has to wait for the poll.
func TestRunHears(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	both := nodes(t, 2, Config{PollEvery: time.Hour})
	a, b := both[0], both[1]
	if !b.db.Shared() {
		t.Skip("SQLite has one node")
	}
	heard := make(chan mail.AccountID, 100)
	b.OnChange(func(id mail.AccountID) { heard <- id })
	done := make(chan struct{})
	go func() { b.Run(ctx); close(done) }()
	must(t, a.AddDomain(ctx, "example.org"))
	acc, err := a.AddAccount(ctx, Account{Address: addr(t, "anna@example.org")}, "")
	must(t, err)
	<-heard
	var took []time.Duration
	for range 30 {
		acc.QuotaBytes++
		must(t, a.SetAccount(ctx, acc))
		begin := time.Now()
		<-heard
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	t.Logf("from the answer to a change until the other node knows: median %v, at most %v", took[len(took)/2], took[len(took)-1])
	cancel()
	<-done
}

// Run hears of changes without being asked. On SQLite, where nobody else writes, it does nothing.
func TestRunFollows(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	both := nodes(t, 2, Config{PollEvery: 20 * time.Millisecond})
	a, b := both[0], both[1]
	heard := make(chan mail.AccountID, 10)
	b.OnChange(func(id mail.AccountID) { heard <- id })
	done := make(chan struct{})
	go func() { b.Run(ctx); close(done) }()
	must(t, a.AddDomain(ctx, "example.org"))
	acc, err := a.AddAccount(ctx, Account{Address: addr(t, "anna@example.org")}, "")
	must(t, err)
	if b.db.Shared() {
		if id := <-heard; id != acc.ID {
			t.Errorf("heard of %d", id)
		}
	}
	cancel()
	<-done
}
