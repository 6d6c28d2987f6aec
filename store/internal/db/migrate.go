package db

import (
	"context"
	"fmt"
)

const (
	sqlVersions = `CREATE TABLE IF NOT EXISTS schema_versions(
		component TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID`
	sqlVersion    = `SELECT version FROM schema_versions WHERE component=?`
	sqlSetVersion = `INSERT INTO schema_versions(component, version) VALUES(?1,?2)
		ON CONFLICT(component) DO UPDATE SET version=?2`
)

// migrate is DB.Migrate. A step may hold several statements.
func (s *core) migrate(ctx context.Context, component string, steps []Step) error {
	err := s.update(ctx, func(tx *Tx) error {
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
			if err := tx.script(string(step)); err != nil {
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
