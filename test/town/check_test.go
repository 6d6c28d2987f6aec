package town

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"bahnpost/app"
)

// TestCheckFindsDamage: a whole store is clean, online and offline; each kind of damage to a copy of
// it makes check end with status 1 and say what is wrong.
func TestCheckFindsDamage(t *testing.T) {
	w, anna := serving(t)
	c, err := DialLMTP(w.Addr("lmtp"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 10 {
		if rs, err := c.Deliver(message(fmt.Sprintf("check-%d-%s", i, noise(i)), i), anna); err != nil || !strings.HasPrefix(rs[0], "250") {
			t.Fatal(rs, err)
		}
	}
	w.says(t, []string{"check", w.Dir}, "10 messages checked, 0 problems")
	w.says(t, []string{"check", w.Dir, "--json"}, `{"done":true,"problems":0,"checked":10}`)
	w.Kill()
	if err := os.Remove(app.SocketPath(w.Dir)); err != nil {
		t.Fatal(err)
	}
	w.says(t, []string{"check", w.Dir}, "10 messages checked, 0 problems")

	for name, d := range map[string]struct {
		do   func(t *testing.T, store string)
		want string
	}{
		"counter":        {sql("UPDATE mailboxes SET msgs=msgs+1 WHERE msgs>0"), "anna@example.org mailbox 1: FATAL: counters say 11 messages"},
		"uidnext":        {sql("UPDATE mailboxes SET uidnext=2 WHERE msgs>0"), "highest uid 10"},
		"message row":    {sql("DELETE FROM messages WHERE uid=3"), "anna@example.org mailbox 1 uid 3: FATAL: index row has no message"},
		"index row":      {sql("DELETE FROM msgidx WHERE uid=3"), "message 3 is in no mailbox"},
		"body row":       {sql("DELETE FROM bodies WHERE rowid=(SELECT MAX(rowid) FROM bodies)"), "message has no body"},
		"flipped octet":  {inPack(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), "checksum"},
		"truncated pack": {inPack(func(b []byte) []byte { return b[:len(b)/2] }), "stored message is damaged"},
		"database page":  {inFile("mail.db", func(b []byte) []byte { copy(b[3*4096:], make([]byte, 4*4096)); return b }), "malformed"},
		"domains":        {zeroed("directory_domains"), "FATAL: database: "},
		"no database":    {inFile("mail.db", func(b []byte) []byte { return b[:0] }), "Bring it back from the backup"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "node")
			if err := os.CopyFS(dir, os.DirFS(w.Dir)); err != nil {
				t.Fatal(err)
			}
			d.do(t, filepath.Join(dir, "store"))
			out, err := w.Try("", "check", dir)
			if err == nil || !strings.Contains(out, d.want) {
				t.Errorf("check ends with %v and says\n%s\nwithout %q", err, out, d.want)
			}
		})
	}
}

// noise does not compress, so that larger messages go to packs.
func noise(seed int) string {
	b := make([]byte, 20000)
	x := uint32(seed + 1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[x>>26]
	}
	return string(b)
}

func sql(statement string) func(*testing.T, string) {
	return func(t *testing.T, store string) {
		db, err := sqlite3.Open("file:" + filepath.Join(store, "mail.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
		if db.Changes() == 0 {
			t.Fatalf("%s changes nothing", statement)
		}
	}
}

func inFile(name string, change func([]byte) []byte) func(*testing.T, string) {
	return func(t *testing.T, store string) {
		path := filepath.Join(store, name)
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, change(b), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// zeroed clears the page that a table begins in.
func zeroed(table string) func(*testing.T, string) {
	return func(t *testing.T, store string) {
		db, err := sqlite3.Open("file:" + filepath.Join(store, "mail.db"))
		if err != nil {
			t.Fatal(err)
		}
		root, _, err := db.Prepare("SELECT rootpage FROM sqlite_schema WHERE name='" + table + "'")
		if err != nil || !root.Step() {
			t.Fatal(table, err)
		}
		page := root.ColumnInt(0)
		root.Close()
		if err := db.Close(); err != nil { // and what is in the log goes to the file
			t.Fatal(err)
		}
		inFile("mail.db", func(b []byte) []byte { clear(b[(page-1)*4096:][:4096]); return b })(t, store)
	}
}

// inPack changes the first pack that holds something.
func inPack(change func([]byte) []byte) func(*testing.T, string) {
	return func(t *testing.T, store string) {
		var pack string
		err := filepath.WalkDir(filepath.Join(store, "bodies"), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				if st, err := d.Info(); err == nil && st.Size() > 1<<16 {
					pack = path
				}
			}
			return err
		})
		if err != nil || pack == "" {
			t.Fatal("no pack:", err)
		}
		name, _ := filepath.Rel(store, pack)
		inFile(name, change)(t, store)
	}
}
