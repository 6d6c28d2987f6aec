package app

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"bahnpost/store"
)

// TestDoctorReplication: what is said of each way to keep a second copy, and of none.
func TestDoctorReplication(t *testing.T) {
	t.Parallel()
	sync := store.Standby{Name: "pg2", Sync: true, State: "streaming", Known: true}
	async := store.Standby{Name: "pg3", State: "streaming", Known: true}
	for _, c := range []struct {
		h    store.DatabaseHost
		mark Mark
		want string
	}{
		{store.DatabaseHost{Durable: "on"}, Note, "there is no standby"},
		{store.DatabaseHost{Durable: "on", Wanted: "pg2", Standbys: []store.Standby{sync, async}}, Good, "1 of 2 standbys are synchronous (pg2)"},
		{store.DatabaseHost{Durable: "on", Standbys: []store.Standby{async}}, Bad, "0 of 1 standbys are synchronous (pg3): what is acknowledged is on one machine"},
		{store.DatabaseHost{Durable: "on", Wanted: "pg2"}, Bad, `commits wait for a standby (synchronous_standby_names is "pg2") and none is there`},
		{store.DatabaseHost{Durable: "local", Wanted: "pg2", Standbys: []store.Standby{sync}}, Bad, "synchronous_commit is local"},
		{store.DatabaseHost{Durable: "off", Standbys: []store.Standby{sync}}, Bad, "synchronous_commit is off"},
		{store.DatabaseHost{Durable: "on", Wanted: "pg2", Standbys: []store.Standby{{Name: "pg2"}}}, Good, "one answers"},
		{store.DatabaseHost{Durable: "on", Standbys: []store.Standby{{Name: "pg2"}}}, Note, "GRANT pg_monitor"},
	} {
		if f := doctorReplication(c.h); f.Mark != c.mark || !strings.Contains(f.Text, c.want) {
			t.Errorf("%+v: %v %s; want %v %s", c.h, f.Mark, f.Text, c.mark, c.want)
		}
	}
}

// TestDoctorHost: old, foreign, unencrypted and missing servers, slow commits, clocks that differ.
func TestDoctorHost(t *testing.T) {
	t.Parallel()
	well := store.DatabaseHost{Host: "db1:5432", Version: 150014, Encoding: "UTF8", Primary: true, Answers: time.Millisecond, Commit: time.Millisecond}
	with := func(change func(*store.DatabaseHost)) store.DatabaseHost {
		h := well
		change(&h)
		return h
	}
	for _, c := range []struct {
		f    Finding
		mark Mark
		want string
	}{
		{doctorHost(well), Good, "db1:5432 is the primary, PostgreSQL 15.14, and answers in 1.00 ms"},
		{doctorHost(with(func(h *store.DatabaseHost) { h.Primary = false })), Good, "is a standby"},
		{doctorHost(with(func(h *store.DatabaseHost) { h.Err = errors.New("refused:\n\tby all") })), Bad, "can't be used: refused: by all"},
		{doctorHost(with(func(h *store.DatabaseHost) { h.Version = 130001 })), Bad, "is PostgreSQL 13, 14 is needed"},
		{doctorHost(with(func(h *store.DatabaseHost) { h.Encoding = "LATIN1" })), Bad, "the encoding is LATIN1"},
		{doctorHost(with(func(h *store.DatabaseHost) { h.Clear = true })), Note, "without TLS"},
		{doctorCommit(well), Good, "median 1.00 ms"},
		{doctorCommit(with(func(h *store.DatabaseHost) { h.Commit = time.Second })), Bad, "slow"},
		{doctorCommit(with(func(h *store.DatabaseHost) { h.NoCommit = errors.New("timeout") })), Bad, "did not end well: timeout"},
		{doctorSkew(well), Good, "agrees"},
		{doctorSkew(with(func(h *store.DatabaseHost) { h.Skew = -3 * time.Minute })), Note, "-3m0s off"},
	} {
		if c.f.Mark != c.mark || !strings.Contains(c.f.Text, c.want) {
			t.Errorf("%v %s; want %v %s", c.f.Mark, c.f.Text, c.mark, c.want)
		}
	}
}

// TestCellNames: the resolvers are asked for names only, each once, of databases and endpoints.
func TestCellNames(t *testing.T) {
	t.Parallel()
	c := defaults()
	c.Store.Database = "postgres://u@db1,db2:6432,192.0.2.1,db1/mail?target_session_attrs=read-write"
	c.Store.Bodies = []string{"s3://bodies?endpoint=https://s3a.example.org:9000,https://192.0.2.9", "file:///srv/bodies"}
	p, err := store.ParseDatabase(c.Store.Database)
	if err != nil {
		t.Fatal(p, err)
	}
	if got, want := cellNames(p, &c), []string{"db1", "db2", "s3a.example.org"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	got := ways(c.Store.Bodies[0])
	if len(got) != 2 || got[1].name != "s3://bodies at https://192.0.2.9" || !strings.HasSuffix(got[1].url, "endpoint=https%3A%2F%2F192.0.2.9") {
		t.Errorf("%q", got)
	}
}
