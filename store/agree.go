package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"bahnpost/store/internal/db"
)

// schema is what the cell's nodes must agree on. Never change a step that was released.
var schema = []db.Step{`CREATE TABLE cell_settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)`}

const (
	sqlSetting    = `SELECT value FROM cell_settings WHERE name=?`
	sqlSetSetting = `INSERT INTO cell_settings (name, value) VALUES (?1,?2) ON CONFLICT (name) DO UPDATE SET value=?2`
	settingBodies = "bodies"
	settingBegun  = "founded"
	noPlace       = "rows" // of a cell whose bodies live in their rows
)

// errElsewhere begins what a node hears that would look for bodies where they are not.
var errElsewhere = errors.New("the cell keeps bodies elsewhere")

// Agree compares where this node keeps bodies with where the cell does, and writes it down if nobody has. A node that shares one
// place with the cell may add or leave out the other of a mirror; a cell that kept bodies in their rows may begin with a place. On
// a store of one node it does nothing. anew: the cell is being founded, whatever an earlier try has left.
func (s *Store) Agree(ctx context.Context, bodies []string, anew bool) error {
	if !s.DB.Shared() {
		return nil
	}
	if err := s.DB.Migrate(ctx, "cell", schema); err != nil {
		return err
	}
	mine := places(bodies)
	return s.DB.Update(ctx, func(tx *db.Tx) error {
		var theirs string
		found, err := tx.Row(sqlSetting, db.Text(settingBodies)).Scan(&theirs)
		if err != nil {
			return err
		}
		old := strings.Fields(theirs)
		switch {
		case found && slices.Equal(old, mine):
			return nil
		case found && !anew && theirs != noPlace && !slices.ContainsFunc(mine, func(p string) bool { return slices.Contains(old, p) }):
			return fmt.Errorf("store: %w: in %s, this node would in %s ([store] bodies)", errElsewhere, strings.Join(old, " and "), strings.Join(mine, " and "))
		}
		_, err = tx.Exec(sqlSetSetting, db.Text(settingBodies), db.Text(strings.Join(mine, " ")))
		return err
	}, nil)
}

// sqlSettings asks PostgreSQL's catalogue, in the schema that the DSN names.
const sqlSettings = `SELECT COUNT(*) FROM pg_catalog.pg_tables WHERE schemaname=current_schema() AND tablename='cell_settings'`

// Founded reports whether somebody has founded a cell in the database, to its end: one that
// is empty answers for every address that it is unknown, for good. It is for databases that nodes share.
func (s *Store) Founded(ctx context.Context) (there bool, err error) {
	err = s.DB.View(ctx, func(c *db.Conn) error {
		var tables int
		if _, err := c.Row(sqlSettings).Scan(&tables); err != nil || tables == 0 {
			return err
		}
		var when string
		there, err = c.Row(sqlSetting, db.Text(settingBegun)).Scan(&when)
		return err
	})
	return there, err
}

// SetFounded says that the cell has all that it needs. Agree comes before.
func (s *Store) SetFounded(ctx context.Context) error {
	return s.DB.Update(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(sqlSetSetting, db.Text(settingBegun), db.Text(time.Now().UTC().Format(time.RFC3339)))
		return err
	}, nil)
}

// places are URLs without what may differ between nodes: endpoints, credentials.
func places(urls []string) (out []string) {
	for _, u := range urls {
		if p, err := url.Parse(u); err == nil {
			out = append(out, p.Scheme+"://"+p.Host+strings.TrimRight(p.EscapedPath(), "/"))
		}
	}
	if out == nil {
		return []string{noPlace}
	}
	return out
}
