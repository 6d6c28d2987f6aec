package drill

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patroniConfig is a server's; the numbers are those of deploy/patroni, with the shortest ttl that Patroni allows.
const patroniConfig = `scope: mail
namespace: /service/
name: %[1]s
restapi: {listen: "%[2]s:8008", connect_address: "%[2]s:8008"}
etcd3: {hosts: "10.213.0.1:2379,10.213.0.2:2379,10.213.0.3:2379"}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 5
    retry_timeout: 5
    maximum_lag_on_failover: 1048576
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters: {wal_level: replica, hot_standby: "on", max_wal_senders: 10, wal_log_hints: "on", max_connections: 200}
      pg_hba: ["local all all trust", "host all postgres samehost trust", "host replication repl samehost trust", "host all rew samehost trust", "host all all 10.213.0.0/16 scram-sha-256"]
  initdb: [{encoding: UTF8}, data-checksums, {locale: C.UTF-8}]
postgresql:
  listen: %[2]s:5432
  connect_address: %[2]s:5432
  data_dir: %[3]s/data
  bin_dir: %[4]s
  pgpass: %[3]s/pgpass
  authentication: {replication: {username: repl, password: x}, superuser: {username: postgres, password: x}, rewind: {username: rew, password: x}}
  parameters: {unix_socket_directories: %[3]s, %[5]s}
  create_replica_methods: [basebackup]
  basebackup: {checkpoint: fast}
`

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
			"--advertise-client-urls", "http://" + s.Addr + ":2379", "--initial-cluster", strings.Join(peers, ","), "--initial-cluster-state", "new",
			"--logger", "zap", "--log-level", "warn"}
		var parameters []string
		for _, v := range settings {
			name, value, _ := strings.Cut(v, "=")
			parameters = append(parameters, fmt.Sprintf("%s: %q", name, value))
		}
		conf := filepath.Join(home, "patroni.yml")
		if err := os.WriteFile(conf, fmt.Appendf(nil, patroniConfig, s.Name, s.Addr, home, bin, strings.Join(parameters, ", ")), 0o600); err != nil {
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
