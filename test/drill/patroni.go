package drill

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// shipped is the configuration that operators start from: what is drilled is what is shipped.
const shipped = "../../deploy/patroni/patroni.yml"

// own is the file's own lines about one server's parameters, which are for a larger machine.
var own = regexp.MustCompile(`(?m)^    (shared_buffers|max_wal_size|checkpoint_timeout): .*$`)

// patroniConfig is the shipped configuration with the addresses and paths of a world.
func patroniConfig(t testing.TB, s *Server, home, bin string) []byte {
	t.Helper()
	b, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	const hosts = "192.0.2.11:2379,192.0.2.12:2379,192.0.2.13:2379"
	text := strings.NewReplacer(
		hosts, "10.213.0.1:2379,10.213.0.2:2379,10.213.0.3:2379",
		"192.0.2.0/24", "10.213.0.0/16",
		"192.0.2.11", s.Addr,
		"name: pg1", "name: "+s.Name,
		"/var/lib/postgresql/15/mail", s.data,
		"/var/lib/postgresql/pgpass-mail", filepath.Join(home, "pgpass"),
		"/usr/lib/postgresql/15/bin", bin,
		"/var/run/postgresql", home,
	).Replace(string(b))
	text = own.ReplaceAllString(text, "")
	const last = "    wal_compression: \"on\"\n"
	if !strings.Contains(text, last) || strings.Contains(text, "192.0.2.") {
		t.Fatalf("%s is not as the drill knows it:\n%s", shipped, text)
	}
	return []byte(strings.Replace(text, last, last+"    shared_buffers: 64MB\n    max_wal_size: 512MB\n", 1))
}

// superuserPassword is the one in the shipped configuration.
const superuserPassword = "change-me-1"

// members of the replicated database.
const members = 3

// Patroni starts three servers, each with etcd, Patroni and PostgreSQL, with
// synchronous replication, and waits until there is a synchronous standby. The
// test skips where the programs are not installed.
func Patroni(t testing.TB, dir string) Databases {
	t.Helper()
	bin := postgresBin(t)
	for _, p := range []string{"patroni", "etcd"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed (Debian: patroni etcd-server python3-etcd)", p)
		}
	}
	var d Databases
	var peers []string
	for i := range members {
		s := newServer(t, dir, i+1)
		d = append(d, s)
		peers = append(peers, fmt.Sprintf("%s=http://%s:2380", s.Name, s.Addr))
	}
	for _, s := range d {
		home := filepath.Dir(s.data)
		s.etcdCmd = []string{"etcd", "--name", s.Name, "--data-dir", filepath.Join(home, "etcd"), "--listen-peer-urls", "http://" + s.Addr + ":2380",
			"--initial-advertise-peer-urls", "http://" + s.Addr + ":2380", "--listen-client-urls", "http://" + s.Addr + ":2379",
			"--advertise-client-urls", "http://" + s.Addr + ":2379", "--initial-cluster", strings.Join(peers, ","), "--initial-cluster-state", "new", "--enable-v2=true",
			"--logger", "zap", "--log-level", "warn"}
		conf := filepath.Join(home, "patroni.yml")
		if err := os.WriteFile(conf, patroniConfig(t, s, home, bin), 0o600); err != nil {
			t.Fatal(err)
		}
		s.own(conf)
		s.patroniCmd = []string{"patroni", conf}
	}
	for _, s := range d {
		s.Start()
	}
	d.create(t)
	d.AwaitStandby(t)
	return d
}

// AwaitStandby waits until a standby is synchronous and the third server streams too: from then on a machine may die.
func (d Databases) AwaitStandby(t testing.TB) {
	t.Helper()
	want := fmt.Sprint(len(d) - 1)
	until(t, startTimeout, "a synchronous standby, all servers streaming", func() bool {
		p := d.Primary()
		if p == nil {
			return false
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		n, err := p.ask(ctx, "SELECT CASE WHEN count(*) FILTER (WHERE sync_state='sync')=0 THEN 0 ELSE count(*) END FROM pg_stat_replication WHERE state='streaming'")
		return err == nil && n == want
	})
}
