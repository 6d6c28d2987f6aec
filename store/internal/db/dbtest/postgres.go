package dbtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
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

// Server is a PostgreSQL server of the test's own, on a socket in a temporary
// directory. It ends with the test, and with the test's process too.
// Its commits are not synced: nobody cuts the power. Not safe for concurrent use.
type Server struct {
	DSN string

	t        testing.TB
	bin, dir string
	who      *syscall.SysProcAttr
	cmd      *exec.Cmd
	in       io.Closer
	log      strings.Builder
}

// Postgres starts a server and returns its DSN.
// Where PostgreSQL is not installed, or cannot run, the test is skipped; with -short too.
func Postgres(t testing.TB) (dsn string) {
	t.Helper()
	return Start(t).DSN
}

// Start is Postgres for a test that does the server harm.
func Start(t testing.TB) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a PostgreSQL server")
	}
	s := &Server{t: t, bin: binaries()}
	if s.bin == "" {
		t.Skip("PostgreSQL is not installed (Debian: postgresql)")
	}
	var err error
	if s.dir, err = os.MkdirTemp("", "bp-pg-"); err != nil { // short: a socket's path has at most 107 octets
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	if s.who, err = unprivileged(s.dir); err != nil {
		t.Skip("PostgreSQL will not run as root, and there is nobody else: ", err)
	}
	initdb := exec.Command(filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", "bahnpost", "-A", "trust", "-E", "UTF8", "--locale=C", "-N", "--no-instructions")
	initdb.Dir, initdb.SysProcAttr = s.dir, s.who
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Skipf("PostgreSQL cannot make its directory: %v\n%s", err, out)
	}
	s.DSN = fmt.Sprintf("host=%s user=bahnpost dbname=postgres", s.dir)
	t.Cleanup(func() {
		s.end()
		if t.Failed() && testing.Verbose() {
			t.Log(s.log.String())
		}
	})
	s.Run()
	if err := await(t.Context(), s.DSN); err != nil {
		t.Skipf("PostgreSQL does not answer: %v", err)
	}
	return s
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// Run starts the server, anew after Kill. It does not wait until the server answers.
func (s *Server) Run() {
	s.t.Helper()
	// The shell stops the server when its input ends, however this process does.
	s.cmd = exec.Command("/bin/sh", "-c", `"$@" <&- & p=$!; cat >/dev/null; kill -INT $p; wait $p`, "sh",
		filepath.Join(s.bin, "postgres"), "-D", s.data(), "-k", s.dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off",
		"-c", "max_connections=500", "-c", "shared_buffers=32MB", "-c", "max_wal_size=256MB", "-c", "autovacuum=off")
	s.cmd.Dir, s.cmd.SysProcAttr, s.cmd.Stdout, s.cmd.Stderr = s.dir, s.who, &s.log, &s.log
	in, err := s.cmd.StdinPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.in = in
}

// PID is the server's first process.
func (s *Server) PID() int {
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	first, _, _ := strings.Cut(string(text), "\n")
	pid, bad := strconv.Atoi(first)
	if err := errors.Join(err, bad); err != nil {
		s.t.Fatal(err)
	}
	return pid
}

// Kill ends the server at once and waits until it is gone.
func (s *Server) Kill() {
	syscall.Kill(s.PID(), syscall.SIGKILL)
	s.end()
}

func (s *Server) end() {
	if s.cmd != nil {
		s.in.Close()
		s.cmd.Wait()
		s.cmd = nil
	}
}

// Signal sends a signal to all the server's processes: SIGSTOP and SIGCONT.
func (s *Server) Signal(sig syscall.Signal) {
	pid := s.PID()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		s.t.Skip("the system does not tell the server's processes: ", err)
	}
	for _, f := range append(strings.Fields(string(children)), strconv.Itoa(pid)) {
		if n, err := strconv.Atoi(f); err == nil {
			syscall.Kill(n, sig)
			if sig == syscall.SIGSTOP {
				s.t.Cleanup(func() { syscall.Kill(n, syscall.SIGCONT) }) // a server that is stopped does not end
			}
		}
	}
}

// Bouncer starts a PgBouncer before the server, with the pool_mode given, and returns its DSN.
// Where PgBouncer is not installed the test is skipped.
func (s *Server) Bouncer(mode string) (dsn string) {
	s.t.Helper()
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		path = "/usr/sbin/pgbouncer"
	}
	if _, err := os.Stat(path); err != nil {
		s.t.Skip("PgBouncer is not installed (Debian: pgbouncer)")
	}
	dir, err := os.MkdirTemp("", "bp-pool-")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { os.RemoveAll(dir) })
	if _, err := unprivileged(dir); err != nil {
		s.t.Skip(err)
	}
	config := fmt.Sprintf("[databases]\npostgres = host=%s user=bahnpost\n[pgbouncer]\nlisten_port = 5432\nunix_socket_dir = %s\nauth_type = any\npool_mode = %s\nmax_client_conn = 400\ndefault_pool_size = 100\n"+
		"admin_users = bahnpost\n", s.dir, dir, mode)
	file := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `"$@" <&- & p=$!; cat >/dev/null; kill -TERM $p; wait $p`, "sh", path, file)
	var log strings.Builder
	cmd.Dir, cmd.SysProcAttr, cmd.Stdout, cmd.Stderr = dir, s.who, &log, &log
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		in.Close()
		cmd.Wait()
		if s.t.Failed() && testing.Verbose() {
			s.t.Log(log.String())
		}
	})
	dsn = strings.Replace(s.DSN, s.dir, dir, 1)
	if err := await(s.t.Context(), dsn); err != nil {
		s.t.Fatalf("PgBouncer does not answer: %v\n%s", err, log.String())
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
