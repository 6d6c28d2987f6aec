package directory

import (
	"context"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"bahnpost/mail"

	"golang.org/x/crypto/bcrypt"
)

func b64(sum []byte, salt string) string {
	return base64.StdEncoding.EncodeToString(append(sum, salt...))
}

// hashes of "pencil" by other systems.
func hashes(t testing.TB) map[string]string {
	s512 := sha512.Sum512([]byte("pencilsalt"))
	s1 := sha1.Sum([]byte("pencilsalt"))
	bc, err := bcrypt.GenerateFromPassword([]byte("pencil"), bcrypt.MinCost)
	must(t, err)
	return map[string]string{
		"ARGON2ID":       cheap.hash("pencil", nil),
		"BLF-CRYPT":      "{BLF-CRYPT}" + string(bc),
		"BLF-CRYPT 2y":   "{BLF-CRYPT}" + strings.Replace(string(bc), "$2a$", "$2y$", 1),
		"CRYPT bcrypt":   "{CRYPT}" + string(bc),
		"SSHA512":        "{SSHA512}" + b64(s512[:], "salt"),
		"SSHA":           "{SSHA}" + b64(s1[:], "salt"),
		"SHA512-CRYPT":   "{SHA512-CRYPT}$6$saltstring$" + sha512pencil,
		"CRYPT sha512":   "{CRYPT}$6$saltstring$" + sha512pencil,
		"SHA512 no salt": "{SHA512}" + b64(func() []byte { s := sha512.Sum512([]byte("pencil")); return s[:] }(), ""),
		"SHA256-CRYPT":   "{SHA256-CRYPT}$5$rounds=1000$saltstring$" + sha256pencil,
		"CRYPT yescrypt": "{CRYPT}$y$j9T$F5Jx5fExrKuPp53xLKQ..1$rPeawue/nS.5CE6nTU9GpACAbn46u5ZGm.W6wf1Q.RD",
		"SCRAM-SHA-256":  "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
		"MD5-CRYPT":      "{MD5-CRYPT}$1$saltstri$" + md5pencil,
	}
}

// Made by libcrypt and openssl.
const (
	sha512pencil = "Wspbkvh9VR9k.5FhrEX5QuXIhny1ZR6t1JcW7cUaNNlvGeocueB2IYFN40CbfZ4cl/WePSJC5pA/G1VTFwAkU."
	sha256pencil = "IDMRVjjzM7pxdq5saV3T0Syncing1KAt3iS2GewFZH1"
	md5pencil    = "SBXTfELEbSXkbRjVkJB6N/"
)

func TestSchemes(t *testing.T) {
	t.Parallel()
	for name, h := range hashes(t) {
		v, ok := verifierOf(h)
		if !ok {
			t.Errorf("%s: %s is not understood", name, h)
			continue
		}
		if !v("pencil") {
			t.Errorf("%s: the password does not fit", name)
		}
		for _, wrong := range []string{"", "pencil ", "Pencil", "pencilsalt"} {
			if v(wrong) {
				t.Errorf("%s: %q fits", name, wrong)
			}
		}
	}
	if h := cheap.hash("pencil", nil); h == cheap.hash("pencil", nil) {
		t.Error("two hashes have one salt")
	}
	v, ok := verifierOf("{SHA256-CRYPT}$5$saltstring$wuJ45iOx5v450rU6JtvcL8/irPJiQfTgbn.aeqNlOqB")
	if !ok || !v("pencil") {
		t.Error("SHA256-CRYPT with 5000 rounds")
	}
}

// What is malformed or would cost too much is refused when it is set, not at the first login.
func TestBadHashes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, m := town(t, "anna")
	for _, h := range []string{
		"{ARGON2ID}", "{ARGON2ID}$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"{ARGON2ID}$argon2id$v=19$m=99999999,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"{ARGON2ID}$argon2id$v=19$m=64,t=0,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1$x$AAAA",
		"{BLF-CRYPT}$2a$31$abcdefghijklmnopqrstuuWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW", "{BLF-CRYPT}$2a$10$short",
		"{BLF-CRYPT}$6$saltstring$" + sha512pencil,
		"{SHA512-CRYPT}$6$rounds=999999999$salt$" + sha512pencil, "{SHA512-CRYPT}$6$rounds=x$salt$" + sha512pencil, "{SHA512-CRYPT}x",
		"{SSHA512}" + base64.StdEncoding.EncodeToString(make([]byte, 64)), "{SSHA512}!!!", "{SSHA}AAAA",
		"{CRYPT}$y$jzT$F5Jx5fExrKuPp53xLKQ..1$rPeawue/nS.5CE6nTU9GpACAbn46u5ZGm.W6wf1Q.RD", "{CRYPT}$y$j9T$F5Jx5$x",
		"{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d,wfPL", "{SCRAM-SHA-256}0,AA==,,",
		"{NTLM}abc", "{CRYPT}*", "{SSHA512}" + strings.Repeat("A", 1000),
	} {
		wantKind(t, h, d.SetPassword(ctx, m["anna"].ID, h), mail.BadInput)
	}
	wantKind(t, "NUL", d.SetPassword(ctx, m["anna"].ID, "a\x00b"), mail.BadInput)
	wantKind(t, "long", d.SetPassword(ctx, m["anna"].ID, strings.Repeat("a", 1025)), mail.BadInput)
	if _, _, err := d.Verify(ctx, "anna", "pw-anna"); err != nil {
		t.Errorf("refused hashes took the password: %v", err)
	}
	for _, pw := range []string{"{not a scheme}x", "{", "{}", "{lower}x"} { // clear passwords
		must(t, d.SetPassword(ctx, m["anna"].ID, pw))
		if _, _, err := d.Verify(ctx, "anna", pw); err != nil {
			t.Errorf("%q: %v", pw, err)
		}
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, m := town(t, "anna", "bert")
	bert := m["bert"]
	bert.Disabled = true
	must(t, d.SetAccount(ctx, bert))
	for _, c := range []struct {
		login, password string
		want            mail.Kind // Internal: fine
	}{
		{"anna", "pw-anna", mail.Internal},
		{"ANNA@Example.ORG", "pw-anna", mail.Internal},
		{"anna", "wrong", mail.AuthFailed},
		{"anna", "", mail.AuthFailed},
		{"anna+x@example.org", "pw-anna", mail.AuthFailed},
		{"nobody", "x", mail.AuthFailed},
		{"anna@elsewhere.net", "pw-anna", mail.AuthFailed},
		{"not an address@", "x", mail.AuthFailed},
		{"anna", strings.Repeat("x", 2000), mail.AuthFailed},
		{"bert", "wrong", mail.AuthFailed},
		{"bert", "pw-bert", mail.Disabled},
	} {
		id, a, err := d.Verify(ctx, c.login, c.password)
		if c.want == mail.Internal {
			if err != nil || id != m["anna"].ID || a.String() != "anna@example.org" {
				t.Errorf("%s: %d %v %v", c.login, id, a, err)
			}
			continue
		}
		wantKind(t, c.login+" "+c.password, err, c.want)
		if err.Error() != "authentication failed" && c.want == mail.AuthFailed {
			t.Errorf("%s: text %q", c.login, err)
		}
	}
	must(t, d.SetPassword(ctx, m["anna"].ID, "")) // no login
	_, _, err := d.Verify(ctx, "anna", "")
	wantKind(t, "no credential", err, mail.AuthFailed)
	must(t, d.AddDomain(ctx, "second.example"))
	must(t, d.SetPassword(ctx, m["anna"].ID, "new"))
	_, _, err = d.Verify(ctx, "anna", "new")
	wantKind(t, "local part with two domains", err, mail.AuthFailed)
	if _, _, err = d.Verify(ctx, "anna@example.org", "new"); err != nil {
		t.Error(err)
	}
}

func TestUnicodePasswords(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, m := town(t, "anna")
	must(t, d.SetPassword(ctx, m["anna"].ID, "gru\u0308ße"))
	for _, pw := range []string{"grüße", "gru\u0308ße"} {
		if _, _, err := d.Verify(ctx, "anna", pw); err != nil {
			t.Errorf("%q: %v", pw, err)
		}
	}
	s := sha512.Sum512([]byte("gru\u0308ßesalt")) // a foreign hash of octets that nobody prepared
	must(t, d.SetPassword(ctx, m["anna"].ID, "{SSHA512}"+b64(s[:], "salt")))
	if _, _, err := d.Verify(ctx, "anna", "gru\u0308ße"); err != nil {
		t.Error(err)
	}
}

// The first login of an imported account makes its hash ours and its SCRAM keys.
func TestUpgradeAtLogin(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, m := town(t)
	changes := 0
	d.OnChange(func(mail.AccountID) { changes++ })
	hs := hashes(t)
	a, err := d.AddAccount(ctx, Account{Address: addr(t, "old@example.org")}, hs["SSHA512"])
	must(t, err)
	_ = m
	if _, ok, err := d.SCRAM(ctx, "old"); ok || err != nil {
		t.Error("SCRAM keys before the password was seen", ok, err)
	}
	if all, err := d.SCRAMForAll(ctx); all || err != nil {
		t.Error("SCRAM for all, and one has no keys", err)
	}
	_, _, err = d.Verify(ctx, "old", "wrong")
	wantKind(t, "wrong", err, mail.AuthFailed)
	before := changes
	if _, _, err := d.Verify(ctx, "old", "pencil"); err != nil {
		t.Fatal(err)
	}
	if changes != before {
		t.Error("a new hash of the same password was told as a change")
	}
	e, err := d.byID(ctx, a.ID)
	must(t, err)
	if !strings.HasPrefix(e.cred.hash, "{ARGON2ID}") || e.cred.storedKey == nil {
		t.Errorf("credential is %.20s, keys %v", e.cred.hash, e.cred.storedKey != nil)
	}
	k, ok, err := d.SCRAM(ctx, "old@example.org")
	if !ok || err != nil || k.Account != a.ID || k.Iterations != 4096 {
		t.Errorf("%+v %v %v", k, ok, err)
	}
	if all, err := d.SCRAMForAll(ctx); !all || err != nil {
		t.Error("no SCRAM for all, and all have keys", err)
	}
	if _, _, err := d.Verify(ctx, "old", "pencil"); err != nil {
		t.Errorf("after the upgrade: %v", err)
	}
	again, err := d.byID(ctx, a.ID)
	must(t, err)
	if again != e {
		t.Error("the second login wrote again")
	}
}

// Keys of another server serve SCRAM at once.
func TestImportedScramKeys(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, m := town(t, "anna")
	must(t, d.SetPassword(ctx, m["anna"].ID, hashes(t)["SCRAM-SHA-256"]))
	k, ok, err := d.SCRAM(ctx, "anna")
	if !ok || err != nil || k.Iterations != 4096 || base64.StdEncoding.EncodeToString(k.Salt) != "W22ZaJ0SNY7soEsUEjb6gQ==" {
		t.Errorf("%+v %v %v", k, ok, err)
	}
	if _, _, err := d.Verify(ctx, "anna", "pencil"); err != nil {
		t.Error(err)
	}
}

// A change of the password while an old one is being upgraded wins.
func TestUpgradeDoesNotUndoAChange(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, _ := town(t)
	a, err := d.AddAccount(ctx, Account{Address: addr(t, "old@example.org")}, hashes(t)["SSHA512"])
	must(t, err)
	e, err := d.byID(ctx, a.ID)
	must(t, err)
	must(t, d.SetPassword(ctx, a.ID, "new"))
	d.upgrade(ctx, e, "pencil")
	if _, _, err := d.Verify(ctx, "old", "new"); err != nil {
		t.Errorf("the new password: %v", err)
	}
	_, _, err = d.Verify(ctx, "old", "pencil")
	wantKind(t, "the old password", err, mail.AuthFailed)
}

func TestKeepHashes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d := open(t, "", Config{KeepHashes: true})
	must(t, d.AddDomain(ctx, "example.org"))
	h := hashes(t)["SSHA512"]
	a, err := d.AddAccount(ctx, Account{Address: addr(t, "old@example.org")}, h)
	must(t, err)
	if _, _, err := d.Verify(ctx, "old", "pencil"); err != nil {
		t.Fatal(err)
	}
	if e, _ := d.byID(ctx, a.ID); e.cred.hash != h || e.cred.storedKey == nil {
		t.Errorf("hash %s", e.cred.hash)
	}
}

func TestOnChangeHears(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, m := town(t, "anna")
	var heard []mail.AccountID
	d.OnChange(func(id mail.AccountID) { heard = append(heard, id) })
	a := m["anna"]
	must(t, d.SetPassword(ctx, a.ID, "x"))
	a.Disabled = true
	must(t, d.SetAccount(ctx, a))
	must(t, d.RemoveAccount(ctx, a.ID))
	if len(heard) != 3 || heard[0] != a.ID || heard[2] != a.ID {
		t.Errorf("heard %v", heard)
	}
}

func TestSecretStays(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	d, _ := town(t)
	a, err := d.Secret(ctx, "scram")
	must(t, err)
	b, err := d.Secret(ctx, "scram")
	must(t, err)
	c, err := d.Secret(ctx, "other")
	must(t, err)
	if len(a) != secretSize || string(a) != string(b) || string(a) == string(c) {
		t.Error("secrets are not stable or not different")
	}
}

// The reference implementation's own example (RFC 9106 §3.1).
func TestArgon2Reference(t *testing.T) {
	t.Parallel()
	const h = "{ARGON2ID}$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	v, ok := verifierOf(h)
	if !ok || !v("password") || v("Password") {
		t.Error("the reference hash is not understood")
	}
}

// The default cost is what its comment says, within a wide margin.
func TestDefaultCost(t *testing.T) {
	if testing.Short() {
		t.Skip("slow by nature")
	}
	a := Argon2{}.withDefaults()
	begin := time.Now()
	h := a.hash("pencil", nil)
	t.Logf("argon2id m=%d t=%d p=%d: %v", a.MemoryKB, a.Time, a.Lanes, time.Since(begin))
	if a.weaker(h) || !(Argon2{MemoryKB: a.MemoryKB * 2, Time: 2, Lanes: 1}).weaker(h) {
		t.Error("weaker is wrong")
	}
}

// Any stored text is read or refused, and never panics.
func FuzzHash(f *testing.F) {
	for _, h := range hashes(f) {
		f.Add(h, "pencil")
	}
	f.Fuzz(func(t *testing.T, h, pw string) {
		if strings.Contains(h, "argon2") || strings.Contains(h, "rounds=") || strings.Contains(h, "$2") {
			verifierOf(h) // costs are bounded, but not small
			return
		}
		if v, ok := verifierOf(h); ok {
			v(pw)
		}
	})
}

func BenchmarkResolve(b *testing.B) {
	d, _ := town(b, "anna")
	a := addr(b, "anna@example.org")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Resolve(b.Context(), a); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResolveCold(b *testing.B) {
	d, _ := town(b, "anna")
	a := addr(b, "anna@example.org")
	for b.Loop() {
		d.cache.changed(true, false)
		if _, err := d.Resolve(b.Context(), a); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPlacement(b *testing.B) {
	d, m := town(b, "anna")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Placement(b.Context(), m["anna"].ID); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkArgon2(b *testing.B) {
	a := Argon2{}.withDefaults()
	for b.Loop() {
		a.hash("pencil", nil)
	}
}
