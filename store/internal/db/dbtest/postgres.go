package dbtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bahnpost/store/internal/db"

	"github.com/jackc/pgx/v5/pgconn"
)

// Postgres starts a PostgreSQL server of the test's own, on a socket in a
// temporary directory, and returns its DSN. The server ends with the test, and
// with the test's process too. Its commits are not synced: nobody cuts the power.
// Where PostgreSQL is not installed, or cannot run, the test is skipped; with -short too.
func Postgres(t testing.TB) (dsn string) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a PostgreSQL server")
	}
	bin := binaries()
	if bin == "" {
		t.Skip("PostgreSQL is not installed (Debian: postgresql)")
	}
	dir, err := os.MkdirTemp("", "bp-pg-") // short: a socket's path has at most 107 octets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	who, err := unprivileged(dir)
	if err != nil {
		t.Skip("PostgreSQL will not run as root, and there is nobody else: ", err)
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "bahnpost", "-A", "trust", "-E", "UTF8", "--locale=C", "-N", "--no-instructions")
	initdb.Dir, initdb.SysProcAttr = dir, who
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Skipf("PostgreSQL cannot make its directory: %v\n%s", err, out)
	}
	var log strings.Builder
	// The shell stops the server when its input ends, however this process does.
	server := exec.Command("/bin/sh", "-c", `"$@" <&- & p=$!; cat >/dev/null; kill -INT $p; wait $p`, "sh",
		filepath.Join(bin, "postgres"), "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off",
		"-c", "max_connections=500", "-c", "shared_buffers=32MB", "-c", "max_wal_size=256MB", "-c", "autovacuum=off")
	server.Dir, server.SysProcAttr, server.Stdout, server.Stderr = dir, who, &log, &log
	in, err := server.StdinPipe()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		server.Wait()
		if t.Failed() && testing.Verbose() {
			t.Log(log.String())
		}
	})
	dsn = fmt.Sprintf("host=%s user=bahnpost dbname=postgres", dir)
	if err := await(t.Context(), dsn); err != nil {
		t.Skipf("PostgreSQL does not answer: %v", err)
	}
	return dsn
}

// binaries is the directory of the newest server installed, "" if there is none.
func binaries() string {
	list, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // Debian's
	newest, dir := 0, ""
	for _, p := range list {
		if v, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(p)))); err == nil && v > newest {
			newest, dir = v, filepath.Dir(p)
		}
	}
	if dir != "" {
		return dir
	}
	if p, err := exec.LookPath("postgres"); err == nil {
		return filepath.Dir(p)
	}
	return ""
}

// unprivileged gives dir to the user that the server shall run as, if that is not us.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}

// startPatience is how long a server may take to start on a busy machine.
const startPatience = 30 * time.Second

// await waits until the server answers.
func await(ctx context.Context, dsn string) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := pgconn.Connect(ctx, dsn)
		if err == nil {
			return c.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-tick.C:
		}
	}
}

// Schema makes a schema for path and returns the DSN of a database that holds
// nothing else. The same path leads to the same data, as a file's does.
func Schema(t testing.TB, dsn, path string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(path))
	name := fmt.Sprintf("t%x", sum[:10])
	c, err := pgconn.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if _, err := c.Exec(t.Context(), "CREATE SCHEMA IF NOT EXISTS "+name).ReadAll(); err != nil {
		t.Fatal(err)
	}
	return dsn + " search_path=" + name
}

// env tells a test's process to run on PostgreSQL, and on which.
const env = "BAHNPOST_TEST_POSTGRES"

// Config is how a test of what stands on db opens the database at path: on
// SQLite, or on PostgreSQL in the process that Again started.
func Config(t testing.TB, path string) db.Config {
	t.Helper()
	cfg := db.Config{Path: path, NoSync: true, Unordered: true}
	if dsn := os.Getenv(env); dsn != "" {
		cfg.Postgres = Schema(t, dsn, path)
	}
	return cfg
}

// OnPostgres reports whether this process runs on PostgreSQL.
func OnPostgres() bool { return os.Getenv(env) != "" }

// Again runs the tests of this package once more, in a process of their own, on
// PostgreSQL; without those that match sqlite, and slow ones only if BAHNPOST_LONG is set.
func Again(t *testing.T, sqlite, slow string) {
	t.Helper()
	if OnPostgres() {
		t.Skip("this is the second time")
	}
	dsn := Postgres(t)
	skip := "^(" + sqlite + ")$"
	if os.Getenv("BAHNPOST_LONG") == "" {
		skip = "^(" + sqlite + "|" + slow + ")$"
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^Test", "-test.skip="+skip, "-test.v="+strconv.FormatBool(testing.Verbose()))
	if end, ok := t.Deadline(); ok {
		cmd.Args = append(cmd.Args, "-test.timeout="+(time.Until(end)-deadlineMargin).String())
	}
	cmd.Env = append(os.Environ(), env+"="+dsn)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("on PostgreSQL: %v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
}

// deadlineMargin lets the second process say where it hangs before the first is ended.
const deadlineMargin = 10 * time.Second
