package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Server is a machine with PostgreSQL on it: alone, or under Patroni with etcd.
type Server struct {
	Name string
	Addr string

	data          string // PostgreSQL's directory
	etcd, patroni *process
	plain         *process // PostgreSQL without Patroni
	etcdCmd       []string
	patroniCmd    []string
	plainCmd      []string
	logs          string
	who           *syscall.Credential
	t             testing.TB
}

// Databases are the servers on which the cell's one database lives.
type Databases []*Server

// database and its owner, as the nodes know them.
const (
	databaseName = "mail"
	databaseUser = "mail"
	// databasePassword shows in no log; a search for it at the end of a drill finds out.
	databasePassword = "pa55-of-the-drill"
)

// URL is what the nodes' --store gets.
func (d Databases) URL() string {
	var hosts []string
	for _, s := range d {
		hosts = append(hosts, s.Addr+":5432")
	}
	return fmt.Sprintf("postgres://%s:%s@%s/%s?target_session_attrs=read-write", databaseUser, databasePassword, strings.Join(hosts, ","), databaseName)
}

// postgresBin is the directory of the server's programs; the test skips without.
func postgresBin(t testing.TB) string {
	t.Helper()
	list, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // Debian's
	newest, dir := 0, ""
	for _, p := range list {
		if v, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(p)))); err == nil && v > newest {
			newest, dir = v, filepath.Dir(p)
		}
	}
	if dir == "" {
		t.Skip("PostgreSQL is not installed (Debian: postgresql)")
	}
	return dir
}

// settings are for three servers on one small machine; all that matters for durability is as in production.
var settings = []string{"shared_buffers=64MB", "max_wal_size=512MB", "max_connections=200", "fsync=on", "synchronous_commit=on", "full_page_writes=on", "wal_compression=on"}

// newServer makes ready what each server needs: an address and a directory of user postgres.
func newServer(t testing.TB, dir string, number int) *Server {
	t.Helper()
	who, err := unprivileged("postgres")
	if err != nil {
		t.Skip("PostgreSQL does not run as root, and there is no user postgres: ", err)
	}
	s := &Server{Name: fmt.Sprint("pg", number), Addr: fmt.Sprint("10.213.0.", number), logs: dir, who: who, t: t}
	s.data = filepath.Join(dir, s.Name, "data")
	if err := os.MkdirAll(filepath.Join(dir, s.Name), 0o755); err != nil { // or a disk is mounted there
		t.Fatal(err)
	}
	s.own(filepath.Join(dir, s.Name))
	run(t, "ip", "addr", "add", s.Addr+"/32", "dev", "lo")
	return s
}

// own gives a file or directory to user postgres.
func (s *Server) own(path string) {
	s.t.Helper()
	if err := os.Chown(path, int(s.who.Uid), int(s.who.Gid)); err != nil {
		s.t.Fatal(err)
	}
}

// OnePostgres starts a server without any replication.
func OnePostgres(t testing.TB, dir string) Databases {
	t.Helper()
	bin := postgresBin(t)
	s := newServer(t, dir, 1)
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", s.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions", "-k")
	initdb.Dir, initdb.SysProcAttr = "/", &syscall.SysProcAttr{Credential: s.who}
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	hba := filepath.Join(s.data, "pg_hba.conf")
	if err := os.WriteFile(hba, []byte("local all all trust\nhost all postgres samehost trust\nhost all all 10.213.0.0/16 scram-sha-256\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// As a supervisor would: started again until it can, for orphans of a killed postmaster keep the next from starting for a moment.
	s.plainCmd = []string{"/bin/sh", "-c", `while :; do "$@"; sleep 0.1; done`, "sh", filepath.Join(bin, "postgres"), "-D", s.data, "-k", filepath.Dir(s.data), "-c", "listen_addresses=" + s.Addr}
	for _, v := range settings {
		s.plainCmd = append(s.plainCmd, "-c", v)
	}
	s.Start()
	d := Databases{s}
	d.create(t)
	return d
}

// Start starts what runs on the server and does not yet: in order etcd, Patroni (which starts PostgreSQL), or PostgreSQL alone.
func (s *Server) Start() {
	s.t.Helper()
	log := func(what string) string { return filepath.Join(s.logs, s.Name+"-"+what+".log") }
	if s.plainCmd != nil && !s.plain.alive() {
		s.plain = start(s.t, log("postgres"), s.who, s.plainCmd...)
	}
	if s.etcdCmd != nil && !s.etcd.alive() {
		s.etcd = start(s.t, log("etcd"), s.who, s.etcdCmd...)
	}
	if s.patroniCmd != nil && !s.patroni.alive() {
		s.patroni = start(s.t, log("patroni"), s.who, s.patroniCmd...)
	}
}

// postmaster is the process id of PostgreSQL's first process, 0 without.
func (s *Server) postmaster() int {
	b, err := os.ReadFile(filepath.Join(s.data, "postmaster.pid"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.SplitN(string(b), "\n", 2)[0])
	if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); !strings.HasPrefix(string(name), "postgres") {
		return 0 // left by one that was killed
	}
	return pid
}

// KillPostmaster kills PostgreSQL's first process; its children end when they notice.
func (s *Server) KillPostmaster() {
	s.t.Helper()
	pid := s.postmaster()
	if pid == 0 {
		s.t.Fatalf("%s: PostgreSQL does not run", s.Name)
	}
	signal(syscall.SIGKILL, pid)
}

// processes are all of the server's.
func (s *Server) processes() (pids []int) {
	for _, p := range []*process{s.patroni, s.etcd, s.plain} {
		if p.alive() {
			pids = append(pids, family(p.cmd.Process.Pid)...)
		}
	}
	if pm := s.postmaster(); pm != 0 && s.plain == nil { // Patroni is not its parent
		pids = append(pids, family(pm)...)
	}
	return pids
}

// Kill kills all that runs on the server at once, as its power would.
func (s *Server) Kill() {
	// Twice: a process may have begun another meanwhile.
	signal(syscall.SIGKILL, s.processes()...)
	signal(syscall.SIGKILL, s.processes()...)
	for _, p := range []*process{s.patroni, s.etcd, s.plain} {
		if p != nil {
			<-p.ended
		}
	}
}

// Pause stops the server's processes where they are, as a hypervisor does with a machine; Continue lets them go on.
func (s *Server) Pause()    { signal(syscall.SIGSTOP, s.processes()...) }
func (s *Server) Continue() { signal(syscall.SIGCONT, s.processes()...) }

// connect opens a connection as the superuser.
func (s *Server) connect(ctx context.Context, database string) (*pgconn.PgConn, error) {
	return pgconn.Connect(ctx, fmt.Sprintf("host=%s user=postgres password=%s dbname=%s connect_timeout=2", s.Addr, superuserPassword, database))
}

// ask runs a query that gives one value.
func (s *Server) ask(ctx context.Context, query string) (string, error) {
	c, err := s.connect(ctx, "postgres")
	if err != nil {
		return "", err
	}
	defer c.Close(ctx)
	r := c.ExecParams(ctx, query, nil, nil, nil, nil).Read()
	if r.Err != nil {
		return "", r.Err
	}
	if len(r.Rows) == 0 || len(r.Rows[0]) == 0 {
		return "", errors.New("no rows")
	}
	return string(r.Rows[0][0]), nil
}

// Writable says whether the server takes writes now.
func (s *Server) Writable() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	answer, err := s.ask(ctx, "SELECT pg_is_in_recovery()")
	return err == nil && answer == "f"
}

// Primary is the server that takes writes, nil if there is none just now.
func (d Databases) Primary() *Server {
	found := make([]bool, len(d))
	var wg sync.WaitGroup
	for i, s := range d {
		wg.Go(func() { found[i] = s.Writable() })
	}
	wg.Wait()
	for i, s := range d {
		if found[i] {
			return s
		}
	}
	return nil
}

// create makes the nodes' user and database.
func (d Databases) create(t testing.TB) {
	t.Helper()
	until(t, startTimeout, "there is a primary", func() bool { return d.Primary() != nil })
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	c, err := d.Primary().connect(ctx, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	for _, q := range []string{"CREATE ROLE " + databaseUser + " LOGIN PASSWORD '" + databasePassword + "'", "CREATE DATABASE " + databaseName + " OWNER " + databaseUser} {
		if _, err := c.Exec(ctx, q).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
}
