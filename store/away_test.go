package store

import (
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"bahnpost/store/internal/db/dbtest"
)

// TestAway: a database that is not there now is told from one that will never let us in, and no error shows the password.
func TestAway(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	dsn := dbtest.Postgres(t)
	for _, c := range []struct {
		dsn  string
		away bool
	}{
		{"postgres://u:hidden@" + nobody + "/x", true},
		{"postgres://u:hidden@" + nobody + "," + nobody + "/x?target_session_attrs=read-write", true},
		{"postgres://u:hidden@host.invalid/x", true},
		{strings.Replace(dsn, "dbname=postgres", "dbname=nowhere password=hidden", 1), false},
		{strings.Replace(dsn, "user=bahnpost", "user=nobody password=hidden", 1), false},
	} {
		s, err := Open(t.Context(), Config{Dir: t.TempDir(), Database: c.dsn})
		if err == nil {
			s.Close()
			t.Errorf("%s opens", c.dsn)
			continue
		}
		if Away(err) != c.away {
			t.Errorf("%s: Away says %v of %v", c.dsn, !c.away, err)
		}
		if strings.Contains(err.Error(), "hidden") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

// TestDatabasePlace: what a DSN says is shown without its password, wherever that stands.
func TestDatabasePlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		dsn, want string
		holds     bool
	}{
		{"postgres://u:hidden@a:1,b/mail?target_session_attrs=read-write", "PostgreSQL database mail on a:1, b:5432", true},
		{"postgres://u@a/mail?password=hidden", "PostgreSQL database mail on a:5432", true},
		{"host=/run/pg user=u dbname=mail password='hid den'", "PostgreSQL database mail on /run/pg", true},
		{"postgres://u@a/mail", "PostgreSQL database mail on a:5432", false},
		{"host=a dbname=mail user=u", "PostgreSQL database mail on a:5432", false},
	} {
		p, err := ParseDatabase(c.dsn)
		if err != nil || p.String() != c.want {
			t.Errorf("%s: %v, %v; want %s", c.dsn, p, err, c.want)
		}
		if HoldsPassword(c.dsn) != c.holds {
			t.Errorf("%s: HoldsPassword is %v", c.dsn, !c.holds)
		}
	}
	for _, dsn := range []string{"postgres://u:hidden@a:x/mail", "mysql://u:hidden@a", "hidden", "postgres://u:hidden@a/mail?sslmode=hidden", "port=hidden"} {
		if p, err := ParseDatabase(dsn); err == nil {
			t.Errorf("%s is taken for %v", dsn, p)
		} else if strings.Contains(err.Error(), "hidden") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	for _, dsn := range []string{"postgres://u@a/mail", "postgres://u@a/mail?sslmode=disable", "host=a user=u"} {
		for _, pw := range []string{"plain", `a'b\c d`, "%&?=+@/:#"} {
			c, err := passwordOf(WithPassword(dsn, pw))
			if err != nil || c != pw {
				t.Errorf("%s with %q: %q, %v", dsn, pw, c, err)
			}
		}
	}
}

func passwordOf(dsn string) (string, error) {
	c, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return "", err
	}
	return c.Password, nil
}
