package db

import (
	"context"
	"fmt"
	"strings"
)

// Step is one migration, the text of one or more statements; steps are numbered
// from 1 by their place. Forward only. A plain text is a step that a program of the
// version before cannot work with; Expand and Contract make steps that nodes of
// neighbouring versions can take one after another, Engines makes one that differs by engine.
//
// A change that nobody notices takes two versions: version n expands (new tables,
// new columns with a default, which n-1 ignores) and stops to use what is old; n+1 contracts.
type Step string

// Expand marks a step that programs which know all steps but this one, and later ones like it, can work with.
func Expand(s Step) Step { return expand + s }

// Contract marks a step that takes away what the program before it no longer uses.
// It is put off while a node that does not know the step before it is alive; programs must work without it.
func Contract(s Step) Step { return contract + s }

// Engines is a step with a text for each engine; either may be empty.
func Engines(sqlite, postgres string) Step { return Step(engines + sqlite + engines + postgres) }

const (
	expand   = "\x00expand\x00"
	contract = "\x00contract\x00"
	engines  = "\x00"
)

// text is the step's SQL.
func (s Step) text(postgres bool) string {
	t := strings.TrimPrefix(strings.TrimPrefix(string(s), expand), contract)
	if rest, ok := strings.CutPrefix(t, engines); ok {
		lite, pg, _ := strings.Cut(rest, engines)
		if postgres {
			return pg
		}
		return lite
	}
	return t
}

const (
	sqlVersions = `CREATE TABLE IF NOT EXISTS schema_versions(
		component TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID`
	sqlVersion    = `SELECT version FROM schema_versions WHERE component=?`
	sqlSetVersion = `INSERT INTO schema_versions(component, version) VALUES(?1,?2)
		ON CONFLICT(component) DO UPDATE SET version=?2`
)

// migrate is DB.Migrate. A step may hold several statements.
func (s *core) migrate(ctx context.Context, component string, steps []Step) error {
	err := s.update(ctx, 0, nil, func(tx *Tx) error {
		if err := tx.first(); err != nil {
			return err
		}
		if _, err := tx.Exec(sqlVersions); err != nil {
			return err
		}
		var have int
		if _, err := tx.Row(sqlVersion, Text(component)).Scan(&have); err != nil {
			return err
		}
		if have > len(steps) {
			return fmt.Errorf("the data has version %d, this program knows up to %d: use a newer program", have, len(steps))
		}
		if have == len(steps) {
			return nil
		}
		for i, step := range steps[have:] {
			if err := tx.script(step.text(tx.pg != nil)); err != nil {
				return fmt.Errorf("step %d: %w", have+i+1, err)
			}
		}
		_, err := tx.Exec(sqlSetVersion, Text(component), Int(len(steps)))
		return err
	}, nil)
	if err != nil {
		return fmt.Errorf("db: migrate %s: %w", component, err)
	}
	return nil
}
