package db

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Step is one migration, the text of one or more statements; steps are numbered
// from 1 by their place. Forward only. A plain text is a step that a program of the
// version before cannot work with; Expand and Contract make steps that nodes of
// neighbouring versions can take one after another, Engines makes one that differs by engine.
//
// A change that nobody notices takes two versions: version n expands (new tables,
// new columns with a default, which n-1 ignores) and stops to use what is old; n+1 contracts.
type Step string

// Expand marks a step that programs which do not know it can work with.
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

// oldestOf is the component under which the least version is kept whose programs can work
// with the tables; that of the tables if there is no such row.
func oldestOf(component string) string { return component + "/oldest" }

// migrate is DB.Migrate. A step may hold several statements.
func (s *core) migrate(ctx context.Context, component string, steps []Step) error {
	m := &migration{component: component, steps: steps}
	err := s.update(ctx, 0, nil, m.run, nil)
	for try := 0; pgClass(err, sqlStateLocked) && try < migrateTries && sleep(ctx, migratePause); try++ {
		err = s.update(ctx, 0, nil, m.run, nil) // behind a long transaction: whoever waits for a table's lock stops all who come after
	}
	if err != nil {
		return fmt.Errorf("db: migrate %s: %w", component, err)
	}
	return nil
}

const (
	sqlStateLocked = "55P03"
	migrateTries   = 100
	migratePause   = 500 * time.Millisecond
)

// migration is one call of Migrate.
type migration struct {
	component    string
	steps        []Step
	have, oldest int
}

func (m *migration) run(tx *Tx) error {
	if err := tx.first(); err != nil {
		return err
	}
	if _, err := tx.Exec(sqlVersions); err != nil {
		return err
	}
	m.have, m.oldest = 0, 0
	if _, err := tx.Row(sqlVersion, Text(m.component)).Scan(&m.have); err != nil {
		return err
	}
	kept, err := tx.Row(sqlVersion, Text(oldestOf(m.component))).Scan(&m.oldest)
	if err != nil {
		return err
	}
	if !kept {
		m.oldest = m.have
	}
	if m.oldest > len(m.steps) {
		return fmt.Errorf("the data has version %d, this program knows up to %d: use a newer program", m.have, len(m.steps))
	}
	if err := tx.know(m.component, len(m.steps)); err != nil {
		return err
	}
	if m.have >= len(m.steps) {
		return nil
	}
	had := m.have
	if err := m.take(tx); err != nil || m.have == had {
		return err
	}
	if _, err := tx.Exec(sqlSetVersion, Text(m.component), Int(m.have)); err != nil {
		return err
	}
	if kept || m.oldest != m.have {
		_, err = tx.Exec(sqlSetVersion, Text(oldestOf(m.component)), Int(m.oldest))
	}
	return err
}

// take runs the steps that can be taken now.
func (m *migration) take(tx *Tx) error {
	known, err := tx.known(m.component)
	if err != nil {
		return err
	}
	for n := m.have + 1; n <= len(m.steps); n++ {
		step := m.steps[n-1]
		switch {
		case strings.HasPrefix(string(step), string(expand)):
		case strings.HasPrefix(string(step), string(contract)):
			if known < n-1 {
				return m.putOff(n)
			}
			m.oldest = max(m.oldest, n-1)
		case known < n:
			return fmt.Errorf("step %d: nodes of an older version are running, and cannot work with it: stop them first (one that died counts for %v)", n, aliveFor)
		default:
			m.oldest = n
		}
		if err := tx.script(step.text(tx.pg != nil)); err != nil {
			return fmt.Errorf("step %d: %w", n, err)
		}
		m.have = n
	}
	return nil
}

// putOff leaves the steps from n on, which only take away, to a later start.
func (m *migration) putOff(n int) error {
	for i, step := range m.steps[n-1:] {
		if !strings.HasPrefix(string(step), string(contract)) {
			return fmt.Errorf("step %d comes after step %d, which must wait until no node of an older version is running: stop them first", n+i, n)
		}
	}
	return nil
}

// know notes, for other nodes, how many steps this one's program knows.
func (tx *Tx) know(component string, steps int) error {
	if tx.pg == nil {
		return nil
	}
	_, err := tx.Exec(sqlKnow, Int(tx.pg.marker.node), Text(component), Int(steps))
	return err
}

// known is the least number of steps that a living node's program knows.
func (tx *Tx) known(component string) (steps int, err error) {
	steps = math.MaxInt
	if tx.pg != nil {
		_, err = tx.Row(sqlKnown, Text(component), Int(tx.pg.marker.node), Int(int(aliveFor/time.Second)), Int(int64(math.MaxInt))).Scan(&steps)
	}
	return steps, err
}

const (
	sqlAlive = `CREATE TABLE IF NOT EXISTS db_alive(node bigint PRIMARY KEY, beat timestamptz NOT NULL);
		CREATE TABLE IF NOT EXISTS db_knows(node bigint, component text COLLATE "C", steps bigint NOT NULL, PRIMARY KEY(node, component))`
	sqlAliveNow = `INSERT INTO db_alive VALUES($1::bigint, clock_timestamp()) ON CONFLICT (node) DO UPDATE SET beat=excluded.beat`
	sqlKnow     = `INSERT INTO db_knows VALUES(?1,?2,?3) ON CONFLICT (node, component) DO UPDATE SET steps=?3`
	sqlKnown    = `SELECT coalesce(min(k.steps), ?4) FROM db_knows k JOIN db_alive a ON a.node=k.node
		WHERE k.component=?1 AND k.node<>?2 AND a.beat>clock_timestamp()-?3*interval '1 s'`
	sqlDeadNodes = `WITH dead AS (DELETE FROM db_alive WHERE beat<clock_timestamp()-$1::bigint*interval '1 s' RETURNING node),
		k AS (DELETE FROM db_knows WHERE node IN (SELECT node FROM dead)) DELETE FROM db_nodes WHERE node IN (SELECT node FROM dead)`
)

const (
	aliveEvery = 10 * time.Second
	aliveFor   = time.Minute        // a node that has not said for so long that it is alive is not waited for
	aliveKeep  = 7 * 24 * time.Hour // … and after this long it is forgotten; it could not go on
)

// live tells other nodes that this one lives.
func (g *gate) live() {
	for {
		if _, err := g.side.do(g.ctx, sqlAliveNow, g.node); err == nil {
			_, _ = g.side.do(g.ctx, sqlDeadNodes, strconv.Itoa(int(aliveKeep/time.Second))) // the next time does
		}
		if !sleep(g.ctx, aliveEvery) {
			return
		}
	}
}
