package store

import (
	"net"
	"strings"
	"testing"
	"time"

	"bahnpost/store/internal/db/dbtest"
)

// TestExamineDatabase: what a doctor learns of a server that is well, and of one that does not answer.
func TestExamineDatabase(t *testing.T) {
	t.Parallel()
	dsn := dbtest.Postgres(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().(*net.TCPAddr)
	l.Close()
	dir, rest, _ := strings.Cut(strings.TrimPrefix(dsn, "host="), " ")
	hosts, err := ExamineDatabase(t.Context(), "host="+dir+",127.0.0.1 port=5432,"+strings.TrimPrefix(nobody.String(), "127.0.0.1:")+" "+rest+" password=hidden")
	if err != nil || len(hosts) != 2 {
		t.Fatal(hosts, err)
	}
	h := hosts[0]
	if h.Err != nil || h.Host != dir || !h.Primary || h.Version < MinPostgres || h.Encoding != "UTF8" || h.Durable == "off" || h.Wanted != "" ||
		len(h.Standbys) != 0 || h.Answers <= 0 || h.Commit <= 0 || h.Skew.Abs() > time.Minute {
		t.Errorf("%+v", h)
	}
	if h = hosts[1]; h.Host != nobody.String() || h.Err == nil || strings.Contains(h.Err.Error(), "hidden") {
		t.Errorf("%+v", h)
	}
	if _, err := ExamineDatabase(t.Context(), "postgres://hidden:x"); err == nil || strings.Contains(err.Error(), "hidden") {
		t.Errorf("a DSN that is none: %v", err)
	}
}
