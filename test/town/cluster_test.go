package town

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"bahnpost/serve/admin"
	"bahnpost/store"
	"bahnpost/store/blob/s3/s3test"
)

// TestCluster: two nodes on one PostgreSQL are one cell: who is added over one can be delivered to over either and reads over either.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	c := NewCluster(t, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	a.Serve()
	b.Serve()
	anna := a.Account("anna", "secret")
	for _, w := range c.Nodes {
		w.deliver(t, anna, "250 ")
	}
	bert := a.Account("bert", "secret")
	lmtp, err := DialLMTP(a.Addr("lmtp"))
	if err != nil {
		t.Fatal(err)
	}
	defer lmtp.Close()
	for size, want := range map[int]string{store.RowMax - 1000: "250 ", store.RowMax + 1000: "552 "} { // of a cell without a place for bodies
		random := make([]byte, size/4*3)
		rand.Read(random)
		rs, err := lmtp.Deliver("Subject: x\r\n\r\n"+base64.StdEncoding.EncodeToString(random)+"\r\n", bert, "postmaster@"+Domain)
		if err != nil || !strings.HasPrefix(rs[0], want) || !strings.HasPrefix(rs[1], want) {
			t.Errorf("%d octets to two: %v, %v; want %s", size, rs, err, want)
		}
	}
	for _, w := range c.Nodes {
		m, err := DialIMAP(w.Addr("imap"), anna, "secret")
		if err != nil {
			t.Fatal(err)
		}
		m.until(t, "STATUS INBOX (MESSAGES)", `MESSAGES 2`) // the other node's hint may be under way
		m.says(t, "SELECT INBOX", `\* 2 EXISTS`)
		m.Close()
	}
	for _, w := range c.Nodes {
		if out := w.Run("account", "list"); !strings.Contains(out, anna) {
			t.Errorf("a node does not know %s:\n%s", anna, out)
		}
		var list []admin.Node
		if err := json.Unmarshal([]byte(w.Run("node", "list", "--json")), &list); err != nil || len(list) != 2 {
			t.Fatal(list, err)
		}
		w.finds(t, "ok node is running", "ok database "+w.Wire.Addr+" is the primary, PostgreSQL", "note replication there is no standby", "ok commit median",
			"ok clock agrees with the database's", "note bodies have no place", "ok secrets are private", "ok nodes in the cell")
		if strings.Contains(w.Log(), "secret") {
			t.Error("the log holds a password")
		}
	}
	for _, w := range c.Nodes {
		w.metric(t, "bahnpost_nodes 2")
		w.metric(t, "bahnpost_database_away 0")
		w.figure(t, `bahnpost_hints_told_total [1-9]`)
		if out := w.Run("check", w.Dir); !strings.Contains(out, "this is about the whole cell, which 1 other nodes serve meanwhile\n") || !strings.Contains(out, "4 messages checked, 0 problems") {
			t.Error(out)
		}
	}
	b.Signal(syscall.SIGTERM)
	if err := b.Wait(); err != nil {
		t.Error(err)
	}
	if out := b.Run("check", b.Dir); !strings.Contains(out, "which 1 other nodes serve meanwhile\n") || !strings.Contains(out, "4 messages checked, 0 problems") {
		t.Errorf("check of a node that does not run: %s", out)
	}
	if out := b.Run("account", "show", anna); !strings.Contains(out, anna) { // so does each verb
		t.Error(out)
	}
	if t.Failed() {
		t.Log(a.Log(), b.Log())
	}
}

// deliver sends a mail by LMTP and wants the answer to begin so.
func (w *Town) deliver(t *testing.T, to, want string) {
	t.Helper()
	lmtp, err := DialLMTP(w.Addr("lmtp"))
	if err != nil {
		t.Fatal(err)
	}
	defer lmtp.Close()
	if rs, err := lmtp.Deliver("Subject: x\r\n\r\nhello\r\n", to); err != nil || !strings.HasPrefix(rs[0], want) {
		t.Errorf("delivery: %v, %v, want %s", rs, err, want)
	}
}

// TestDatabaseAway: what a node does whose database goes and comes, and one that starts without.
func TestDatabaseAway(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	c := NewCluster(t, 1)
	w := c.Nodes[0]
	w.Wire.Cut()
	w.finds(t, "BAD database "+w.Wire.Addr+" can't be used", "BAD database no host takes writes")
	w.Configure(`#start_wait = "2m"`, `start_wait = "1s"`)
	out, err := w.Try("", "serve", w.Dir)
	for _, want := range []string{"waiting for the database", "PostgreSQL database postgres on " + w.Wire.Addr, "can't be reached, waited 1s"} {
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("a start without database: %v, want %q in\n%s", err, want, out)
		}
	}
	w.Configure(`start_wait = "1s"`, `start_wait = "2m"`)
	w.launch()
	w.Logged("waiting for the database")
	w.Wire.Mend()
	w.await()
	w.Logged("the database is there")
	anna := w.Account("anna", "secret")
	w.deliver(t, anna, "250 ")

	m, err := DialIMAP(w.Addr("imap"), anna, "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.says(t, "SELECT INBOX", `\* 1 EXISTS`)
	w.Wire.Cut()
	w.until(t, "/readyz", 503)
	if status, _ := w.Get("/healthz"); status != 200 {
		t.Errorf("/healthz without database: %d", status)
	}
	w.deliver(t, anna, "451 ")                    // at once: the sender knows another node
	m.l.write("s STORE 1 +FLAGS (\\Flagged)\r\n") // a session waits
	w.metric(t, `bahnpost_path_up{kind="database",name="`+w.Wire.Addr+`"} 0`)
	w.Wire.Mend()
	if got, err := m.answer("s"); err != nil || !strings.Contains(strings.Join(got, "\n"), `FLAGS (\Flagged`) {
		t.Errorf("a session that waited: %q, %v", got, err)
	}
	w.until(t, "/readyz", 200)
	w.deliver(t, anna, "250 ")
	w.metric(t, `bahnpost_path_up{kind="database",name="`+w.Wire.Addr+`"} 1`)

	w.Kill()
	w.Configure(`#patience = "30s"`, `patience = "1s"`)
	w.Serve()
	m, err = DialIMAP(w.Addr("imap"), anna, "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.says(t, "SELECT INBOX", `\* 2 EXISTS`)
	p, err := dial(w.Addr("pop3"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	say := func(command, want string) {
		t.Helper()
		p.write("%s\r\n", command)
		if s, err := p.read(); err != nil || !strings.HasPrefix(s, want) {
			t.Errorf("POP3 %s: %q, %v; want %s", command, s, err, want)
		}
	}
	if _, err := p.read(); err != nil {
		t.Fatal(err)
	}
	say("USER "+anna, "+OK")
	say("PASS secret", "+OK")
	w.Wire.Cut()
	say("RETR 1", "-ERR [SYS/TEMP]")
	if got, err := m.Do("STORE 1 -FLAGS (\\Flagged)"); err == nil || !strings.HasPrefix(err.Error(), "NO [UNAVAILABLE]") {
		t.Errorf("a session whose patience is over: %q, %v", got, err)
	}
	if c, err := DialIMAP(w.Addr("imap"), "nobody@example.org", "secret"); err == nil || !strings.HasPrefix(err.Error(), "NO [UNAVAILABLE]") {
		t.Errorf("a login whose patience is over: %v, %v", c, err)
	}
	w.Wire.Mend()
	if t.Failed() {
		t.Fatal(w.Log())
	}
	m.until(t, "STORE 1 -FLAGS (\\Flagged)", `FLAGS \(`)
	if log := w.Log() + out; strings.Contains(log, "secret") {
		t.Error("the log holds a password")
	}
	if t.Failed() {
		t.Log(w.Log())
	}
}

// until repeats a command until its answer matches.
func (c *IMAP) until(t *testing.T, command, want string) {
	t.Helper()
	deadline := time.After(startTimeout)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := c.Do("%s", command)
		if err == nil && regexp.MustCompile(want).MatchString(strings.Join(got, "\n")) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: %q, %v; never %s", command, got, err, want)
		}
	}
}

// until asks the HTTP port until the answer has the status.
func (w *Town) until(t *testing.T, path string, want int) {
	t.Helper()
	deadline := time.After(startTimeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		status, _ := w.Get(path)
		if status == want {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s stays at %d\n%s", path, status, w.Log())
		}
	}
}

// TestNewerTables: a program that is older than the cell's tables says so and does not start; nodes of two versions say that they are two.
func TestNewerTables(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	c := NewCluster(t, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	a.Start() // its version is "test"
	b.Serve()
	b.Logged("an upgrade is under way", `versions="dev, test"`)
	a.finds(t, "note nodes run different versions: dev, test")
	b.Kill()
	db, err := pgconn.Connect(t.Context(), c.Database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.Background())
	if _, err := db.Exec(t.Context(), "UPDATE schema_versions SET version=999 WHERE component LIKE 'directory%'").ReadAll(); err != nil {
		t.Fatal(err)
	}
	out, err := b.Try("", "serve", b.Dir)
	for _, want := range []string{"the data has version 999, this program knows up to", "use a newer program", "this is version dev, the cell's nodes run dev, test"} {
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("a program that is older than the tables: %v, %s; want %q", err, out, want)
		}
	}
}

// TestDrainAnother: a node is taken out of service over another one, its sessions go on there.
func TestDrainAnother(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	c := NewCluster(t, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	a.Serve()
	b.Serve()
	anna := a.Account("anna", "secret")
	m, err := DialIMAP(b.Addr("imap"), anna, "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.l.write("i IDLE\r\n")
	expect(t, m, "+ idling")
	name := func(w *Town) string {
		_, after, _ := strings.Cut(w.Logged("msg=started"), " node=")
		name, _, _ := strings.Cut(after, " ")
		return name
	}
	if out, err := a.Try("", "node", "drain", "mx.example.org"); err == nil || !strings.Contains(out, "several nodes begin so: ") {
		t.Errorf("%v, %s", err, out)
	}
	if out := a.Run("node", "drain", name(b), "--wait", "2m"); !strings.Contains(out, "drained, 0 connections") {
		t.Error(out)
	}
	expect(t, m, "* BYE [UNAVAILABLE] server is shutting down")
	b.until(t, "/readyz", 503)
	a.finds(t, "note nodes "+name(b)+" is out of service")
	b.Kill() // and stays drained when it comes back: the wish was not taken back
	b.Serve()
	b.until(t, "/readyz", 503)
	a.Run("node", "undrain", name(b), "--wait", "2m")
	b.until(t, "/readyz", 200)
	b.deliver(t, anna, "250 ")
	b.Signal(syscall.SIGTERM)
	if err := b.Wait(); err != nil {
		t.Error(err)
	}
	var list []admin.Node
	if err := json.Unmarshal([]byte(a.Run("node", "list", "--json")), &list); err != nil || len(list) != 1 {
		t.Errorf("a node that stopped is listed: %v, %v", list, err)
	}
}

// TestNodeDrain: what "node" shows and does on a cell of one node.
func TestNodeDrain(t *testing.T) {
	w, anna := serving(t)
	c, err := DialIMAP(w.Addr("imap"), anna, "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.l.write("i IDLE\r\n")
	expect(t, c, "+ idling")
	var list []admin.Node
	if err := json.Unmarshal([]byte(w.Run("node", "list", "--json")), &list); err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	n := list[0]
	if !strings.HasPrefix(n.Name, "mx.example.org-") || n.State != admin.NodeServing || n.Version == "" || n.Started.IsZero() {
		t.Errorf("%+v", n)
	}
	if out, err := w.Try("", "node", "show", "mx.elsewhere"); err == nil || !strings.Contains(out, "no such node") {
		t.Errorf("%v, %s", err, out)
	}
	if out := w.Run("node", "drain", "mx.example.org", "--wait", "2m"); !strings.Contains(out, "drained, 0 connections") {
		t.Error(out)
	}
	expect(t, c, "* BYE [UNAVAILABLE] server is shutting down")
	if status, _ := w.Get("/readyz"); status != 503 {
		t.Errorf("/readyz of a drained node: %d", status)
	}
	if status, _ := w.Get("/healthz"); status != 200 {
		t.Errorf("/healthz of a drained node: %d", status)
	}
	if c, err := DialIMAP(w.Addr("imap"), anna, "secret"); err == nil {
		c.Close()
		t.Error("a drained node takes sessions")
	}
	if out := w.Run("node", "undrain", n.Name, "--wait", "2m"); !strings.Contains(out, "serving") {
		t.Error(out)
	}
	w.Logged("in service again", "node="+n.Name)
	c, err = DialIMAP(w.Addr("imap"), anna, "secret")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if status, _ := w.Get("/readyz"); status != 200 {
		t.Errorf("/readyz of a node that is back: %d", status)
	}
	if out := w.Run("node", "show", n.Name); !strings.Contains(out, "serving") {
		t.Error(out)
	}
}

// metric waits until the metrics have a line.
func (w *Town) metric(t *testing.T, want string) {
	t.Helper()
	deadline := time.After(startTimeout)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		_, m := w.Get("/metrics")
		if strings.Contains(m, want+"\n") {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("metrics never have %s\n%s", want, m)
		}
	}
}

// TestClusterOnS3: bodies of a cell live in a bucket; large mail that one node took is read over another, S3 away or not as the cache has it.
func TestClusterOnS3(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	s := s3test.Start(t)
	c := NewCluster(t, 2, "s3://"+s3test.Bucket+"/mail?endpoint="+s.Endpoint+"&credentials="+s.Keys)
	a, b := c.Nodes[0], c.Nodes[1]
	a.Serve()
	b.Serve()
	anna := a.Account("anna", "secret")
	text := strings.Repeat("a large mail has a body of its own\r\n", 1<<16) // 2.3 MB, some KB when packed
	random := make([]byte, 300<<10)
	rand.Read(random)
	text += base64.StdEncoding.EncodeToString(random) + "\r\n"
	large := "Subject: large\r\n\r\n" + text
	lmtp, err := DialLMTP(a.Addr("lmtp"))
	if err != nil {
		t.Fatal(err)
	}
	defer lmtp.Close()
	if rs, err := lmtp.Deliver(large, anna); err != nil || !strings.HasPrefix(rs[0], "250 ") {
		t.Fatal(rs, err)
	}
	read := func(w *Town) error {
		m, err := DialIMAP(w.Addr("imap"), anna, "secret")
		if err != nil {
			return err
		}
		defer m.Close()
		if _, err := m.Do("SELECT INBOX"); err != nil {
			return err
		}
		got, err := m.Do("FETCH 1 BODY.PEEK[TEXT]")
		if err == nil && !strings.Contains(strings.Join(got, "\n"), text) {
			err = errors.New("the body is another")
		}
		return err
	}
	if err := read(b); err != nil {
		t.Errorf("over the other node: %v", err)
	}
	a.finds(t, "ok bodies s3://"+s3test.Bucket+" at "+s.Endpoint+" takes and gives", "note bodies there is one way")
	a.metric(t, `bahnpost_path_up{kind="bodies",name="`+strings.TrimPrefix(s.Endpoint, "http://")+`"} 1`)
	s.Kill()
	for range 3 { // so that the breaker opens
		if rs, err := lmtp.Deliver(large, anna); err != nil || !strings.HasPrefix(rs[0], "451 ") {
			t.Errorf("large mail without S3: %v, %v; want 451", rs, err)
		}
	}
	for _, w := range c.Nodes { // both have a copy: one wrote it, the other has read it
		if err := read(w); err != nil {
			t.Errorf("without S3: %v", err)
		}
	}
	for _, w := range c.Nodes {
		w.deliver(t, anna, "250 ") // small mail needs no bucket
	}
	a.metric(t, `bahnpost_path_up{kind="bodies",name="`+strings.TrimPrefix(s.Endpoint, "http://")+`"} 0`)
	a.finds(t, "BAD bodies s3://"+s3test.Bucket+" at "+s.Endpoint+" can't be used")
	s.Run()
	a.metric(t, `bahnpost_path_up{kind="bodies",name="`+strings.TrimPrefix(s.Endpoint, "http://")+`"} 1`)
	if rs, err := lmtp.Deliver(large, anna); err != nil || !strings.HasPrefix(rs[0], "250 ") {
		t.Errorf("large mail when S3 is back: %v, %v", rs, err)
	}
	a.Run("check", a.Dir)
	c.Nodes[1].Configure("/mail?", "/elsewhere?")
	b.Kill()
	if out, err := b.Try("", "serve", b.Dir); err == nil || !strings.Contains(out, "the cell keeps bodies elsewhere: in s3://"+s3test.Bucket+"/mail, this node would in s3://"+s3test.Bucket+"/elsewhere") {
		t.Errorf("a node with another bucket: %v, %s", err, out)
	}
	if t.Failed() {
		t.Log(a.Log(), b.Log())
	}
}

// TestRewound: a node whose database has gone back takes no mail, and ends for its supervisor to start it anew.
func TestRewound(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the binary; not in -short")
	}
	t.Parallel()
	c := NewCluster(t, 1)
	w := c.Nodes[0]
	w.Serve()
	anna := w.Account("anna", "secret")
	w.deliver(t, anna, "250 ")
	db, err := pgconn.Connect(t.Context(), c.Database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context())
	if _, err := db.Exec(t.Context(), `UPDATE db_nodes SET commits=1`).ReadAll(); err != nil {
		t.Fatal(err)
	}
	w.deliver(t, anna, "451 ")
	if err := w.Wait(); err == nil || !strings.Contains(w.Log(), "the database has gone back to an earlier state") {
		t.Errorf("ended with %v\n%s", err, w.Log())
	}
	w.Serve()
	w.deliver(t, anna, "250 ")
}
