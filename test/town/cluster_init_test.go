package town

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"bahnpost/app"
	"bahnpost/store/storetest"
)

// TestInitCell: what "bahnpost init --store" does with an empty database, with a cell, and with mistakes.
func TestInitCell(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	wire := newWire(t, storetest.Postgres(t))
	dsn := "postgres://bahnpost:geheim@" + wire.Addr + "/postgres"
	w := &Town{Dir: filepath.Join(shortDir(t), "node"), Admin: "you@example.org", offset: takeOffset(t), t: t}
	init := func(args ...string) (string, error) {
		t.Helper()
		out, err := w.Try("", append([]string{"init", w.Dir, "--loopback", "--port-offset", strconv.Itoa(w.offset)}, args...)...)
		if strings.Contains(out, "geheim") {
			t.Errorf("%v shows the password: %s", args, out)
		}
		return out, err
	}
	fails := func(want string, args ...string) {
		t.Helper()
		if out, err := init(args...); err == nil || !strings.Contains(out, want) {
			t.Errorf("%v: %v, %s; want %q", args, err, out, want)
		}
		if _, err := os.Stat(filepath.Join(w.Dir, app.ConfigFile)); err == nil {
			t.Errorf("%v fails and leaves a configuration", args)
		}
	}
	fails("--domain is needed")
	fails("--blobs needs --store", "--domain", "example.org", "--blobs", "s3://bodies")
	fails("--hostname is needed", "--store", dsn)
	fails("is no address of a PostgreSQL database", "--domain", "example.org", "--store", "postgres://u:geheim@h:x/y")
	fails("store.bodies: ", "--domain", "example.org", "--store", dsn, "--blobs", "s3://u:geheim@bodies")
	fails("there is no cell in the PostgreSQL database", "--hostname", "a.example.org", "--store", dsn)
	fails("s3: credentials: ", "--domain", "example.org", "--store", dsn, "--blobs", "s3://bodies?endpoint=http://127.0.0.1:1&credentials=/nowhere")
	wire.Cut()
	fails("cannot be reached", "--domain", "example.org", "--store", dsn)
	wire.Mend()

	shelf := "file://" + filepath.Join(shortDir(t), "bodies")
	out, err := init("--domain", "example.org", "--hostname", "a.example.org", "--store", dsn, "--blobs", shelf)
	if err != nil || !strings.Contains(out, "administrator: admin@example.org\npassword: ") {
		t.Fatal(err, out)
	}
	st, err := os.Stat(filepath.Join(w.Dir, app.ConfigFile))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("a configuration with a password has mode %v, %v", st.Mode(), err)
	}
	w.finds(t, "ok config in order", "ok bodies "+shelf+" takes and gives", "ok secrets are private")
	if err := os.Chmod(filepath.Join(w.Dir, app.ConfigFile), 0o644); err != nil {
		t.Fatal(err)
	}
	w.finds(t, "BAD secrets bahnpost.toml can be read by everybody")

	w.Dir = filepath.Join(shortDir(t), "second")
	fails("is none of its domains (example.org): leave --domain out to join it", "--domain", "example.net", "--store", dsn, "--blobs", shelf)
	fails("the cell keeps bodies elsewhere: in "+shelf, "--hostname", "b.example.org", "--store", dsn, "--blobs", shelf+"2")
	fails("the cell keeps bodies elsewhere: in "+shelf+", this node would in rows", "--hostname", "b.example.org", "--store", dsn)
	out, err = init("--hostname", "b.example.org", "--store", dsn, "--blobs", shelf, "--json")
	if err != nil || !strings.Contains(out, `"joined": [
    "example.org"
  ]`) {
		t.Error(err, out)
	}
	w.Dir = filepath.Join(shortDir(t), "third") // the same command line as the first: for whoever starts containers
	out, err = init("--domain", "example.org", "--hostname", "c.example.org", "--store", "postgres://bahnpost@"+wire.Addr+"/postgres", "--blobs", shelf)
	if err != nil || !strings.Contains(out, "joined the cell of example.org") {
		t.Error(err, out)
	}
	if st, err = os.Stat(filepath.Join(w.Dir, app.ConfigFile)); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("a configuration without a password has mode %v, %v", st.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(w.Dir, "pw"), []byte("geheim\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.Configure(`#database_password_file = ""`, `database_password_file = "pw"`)
	w.finds(t, "BAD secrets pw can be read by everybody", "ok database the primary")
	w.Serve()
	w.Logged("a secret is none", "pw can be read by everybody")
	if strings.Contains(w.Log(), "geheim") {
		t.Error("the log holds the password")
	}
}

// TestThreeNodesInOneProcess: nothing of a node is the process's; what comes in over any is told to who idles on any.
func TestThreeNodesInOneProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a PostgreSQL; not in -short")
	}
	t.Parallel()
	c := StartCluster(t, 3)
	anna := c.Nodes[0].Account("anna", "secret")
	var idle []*IMAP
	for _, w := range c.Nodes {
		m, err := DialIMAP(w.Addr("imap"), anna, "secret")
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		m.says(t, "SELECT INBOX", `\* 0 EXISTS`)
		m.l.write("i IDLE\r\n")
		expect(t, m, "+ idling")
		idle = append(idle, m)
	}
	for i, w := range c.Nodes {
		w.deliver(t, anna, "250 ")
		for _, m := range idle {
			expect(t, m, "* "+strconv.Itoa(i+1)+" EXISTS")
		}
	}
	for _, w := range c.Nodes {
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	}
}

// TestCopiedDirectory: two nodes with one name say so.
func TestCopiedDirectory(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	c := NewCluster(t, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	a.Serve()
	id, err := os.ReadFile(filepath.Join(a.Dir, "node-id"))
	if err == nil {
		err = os.WriteFile(filepath.Join(b.Dir, "node-id"), id, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.Serve()
	a.Logged("level=ERROR", "another node has this one's name", "remove the file node-id")
	b.Logged("level=ERROR", "another node has this one's name")
}
