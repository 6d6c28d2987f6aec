package town

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The command line, once against a store that nobody serves and once against
// a running node: the same words, the same answers.
func TestCommandLine(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	for _, mode := range []string{"offline", "online"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := New(t)
			if mode == "online" {
				w.Start()
			}
			w.accountVerbs(t)
			w.domainVerbs(t)
			w.refusals(t)
			if out := w.Run("check", w.Dir); !strings.Contains(out, "0 problems") {
				t.Errorf("check: %s", out)
			}
		})
	}
}

// says runs a verb and fails unless its output has each of want.
func (w *Town) says(t *testing.T, args []string, want ...string) string {
	t.Helper()
	out := w.Run(args...)
	for _, x := range want {
		if !strings.Contains(out, x) {
			t.Errorf("bahnpost %v prints\n%swithout %q", args, out, x)
		}
	}
	return out
}

func words(s string) []string { return strings.Fields(s) }

func (w *Town) accountVerbs(t *testing.T) {
	t.Helper()
	w.says(t, words("account add Carla@EXAMPLE.org --name Carla --quota 5GB"), "added Carla@example.org", "password: ")
	w.says(t, words("account list"), "Carla@example.org", "5.0 GB", "admin@example.org")
	w.says(t, words("account set carla@example.org --quota 10MB --name Karla"), "changed")
	w.says(t, words("account show carla@example.org"), "Karla", "10.0 MB", "active")
	w.says(t, words("account disable carla@example.org"), "disabled")
	w.says(t, words("account show carla@example.org"), "disabled")
	w.says(t, words("account disable carla@example.org --enable"), "enabled")
	w.says(t, words("account passwd carla@example.org"), "password: ")
	var list []map[string]any
	if err := json.Unmarshal([]byte(w.Run("account", "list", "--json")), &list); err != nil || len(list) != 2 {
		t.Errorf("account list --json: %v %v", list, err)
	}
	w.says(t, words("account remove carla@example.org"), "removed")
	if out, err := w.Try("", "account", "show", "carla@example.org"); err == nil {
		t.Errorf("removed account is shown: %s", out)
	}
}

func (w *Town) domainVerbs(t *testing.T) {
	t.Helper()
	w.says(t, words("domain add Bücher.example"), "added")
	w.says(t, words("domain list"), "bücher.example", Domain)
	w.says(t, words("account add anna@xn--bcher-kva.example"), "anna@bücher.example")
	w.says(t, words("alias add team@bücher.example anna@bücher.example admin@example.org"), "added")
	w.says(t, words("alias add @bücher.example anna@bücher.example"), "added")
	w.says(t, words("alias list"), "team@bücher.example", "admin@example.org")
	w.says(t, words("alias remove team@bücher.example"), "removed")
	if out, err := w.Try("", "domain", "remove", "bücher.example"); err == nil {
		t.Errorf("a domain with accounts was removed: %s", out)
	}
	w.says(t, words("account remove anna@bücher.example"), "removed")
	w.says(t, words("alias remove @bücher.example"), "removed")
	w.says(t, words("domain remove bücher.example"), "removed")
}

func (w *Town) refusals(t *testing.T) {
	t.Helper()
	for args, want := range map[string]string{
		"account add nobody":                           "no @",
		"account add a..b@example.org":                 "misplaced dot",
		"account add a@nowhere.example":                "domain",
		"account add admin@example.org":                "",
		"account set admin@example.org --quota 5XB":    `"5XB" is no size`,
		"account show ghost@example.org":               "",
		"domain add -bad-.example":                     "domain",
		"alias add x@example.org not-an-address":       "no @",
		"account set admin@example.org --role emperor": "role",
	} {
		out, err := w.Try("", strings.Fields(args)...)
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("bahnpost %s: %v, prints %q without %q", args, err, out, want)
		}
	}
}

// 10,000 rows with ready hashes; the time is printed, the target is 20 s.
func TestImport(t *testing.T) {
	if testing.Short() {
		t.Skip("imports 10,000 accounts; not in -short")
	}
	t.Parallel()
	const rows = 10000
	w := New(t)
	hash := "{SHA512-CRYPT}$6$saltsalt$bcXJ8qxwY5sQ4v8MTl.0B1jeZ0z0JlA9jjmbUoCJZ3X6IC6V6p0bDN7TVkBqhnIXHTKJEvWFhC5TIeGiYVNgh0"
	var b strings.Builder
	b.WriteString("address,password,name,quota\n")
	for i := range rows {
		fmt.Fprintf(&b, "p%05d@example.org,%s,Person %d,1GB\n", i, hash, i)
	}
	b.WriteString("broken,x,y,z\n\"Anna, the first\"@example.org,geheim,Anna,\nanna@example.org,geheim,Anna,\n")
	path := filepath.Join(t.TempDir(), "people.csv")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _ := w.Try("", "account", "import", path, "--dry-run"); !strings.Contains(out, "10001 created, 0 updated") {
		t.Errorf("dry run: %s", tail(out))
	}
	start := time.Now()
	out, err := w.Try("", "account", "import", path)
	t.Logf("%d rows in %.1f s", rows, time.Since(start).Seconds())
	if err == nil {
		t.Error("an import with a bad row must end with status 1")
	}
	for _, want := range []string{"row 1: p00000@example.org: created", "row 10001: ", "error: address has no @", "anna@example.org: created"} {
		if !strings.Contains(out, want) {
			t.Errorf("import prints no %q:\n%s", want, tail(out))
		}
	}
	if out, _ := w.Try("", "account", "import", path); !strings.Contains(out, "0 created, 10001 updated") {
		t.Errorf("second import: %s", tail(out))
	}
	if out := w.Run("check", w.Dir); !strings.Contains(out, "0 problems") {
		t.Errorf("check: %s", tail(out))
	}
}

func tail(s string) string { return s[max(0, len(s)-1500):] }
