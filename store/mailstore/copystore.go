package mailstore

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
	"bahnpost/store/internal/tables"
)

// A store is copied row by row, so that nothing changes that a client or another
// node can see: UIDs, modseqs, ids, threads, history, keys of deliveries. Only bodies get other numbers, as their scope
// asks for (scope.go), and another place, as the destination's own rule says. Search indexes are not
// copied: the destination makes them.
//
// The source must not change meanwhile, and nobody but us may write to the destination.
// An account is there when its row in copy_marks is, which comes last, together
// with its row in accounts; what else a run finds of an account it deletes and copies again. A blob
// that was carried over is remembered in copy_blobs, so that it is carried once, whoever shares it and
// however often we begin.

// copySteps are tables of the destination; they are empty but while a copy is under way.
var copySteps = []db.Step{`
CREATE TABLE copy_marks (account_id INTEGER PRIMARY KEY, messages BIGINT NOT NULL);
CREATE TABLE copy_blobs (old TEXT PRIMARY KEY, ref TEXT NOT NULL) WITHOUT ROWID;
`}

var (
	// copyTables are carried over as they are, account by account.
	copyTables = []*tables.Table{
		tables.New("mailboxes", `account_id mailbox_id parent_id name:t special_use:t noselect uidvalidity created uidnext modseq
			msgs unseen deleted bytes`, "mailbox_id", "account_id=?"),
		tables.New("subscriptions", "account_id name:t", "name", "account_id=?"),
		tables.New("keywords", "account_id kw_id name:t", "kw_id", "account_id=?"),
		tables.New("acl", "account_id mailbox_id identifier:t rights:t", "mailbox_id, identifier", "account_id=?"),
		tables.New("metadata", "account_id mailbox_id entry:t value:b", "mailbox_id, entry", "account_id=?"),
		tables.New("msgidx", "account_id mailbox_id uid msg_id modseq flags size idate sdate added kw_more:b", "mailbox_id, uid", "account_id=?"),
		tables.New("thread_ref", "account_id ref thread_id", "ref", "account_id=?"),
		tables.New("dedup", "account_id token:b mailbox_id uid msg_id thread_id modseq expires", "token", "account_id=?"),
		tables.New("changelog", "account_id modseq mailbox_id kind at uids:b", "modseq, mailbox_id, kind", "account_id=?"),
		tables.New("gone", "account_id modseq part mailbox_id msgs:b", "modseq, part", "account_id=?"),
	}
	copyAccounts = tables.New("accounts", `account_id epoch modseq next_mailbox next_msg next_thread uidvalidity_next used_bytes used_msgs
		quota_bytes quota_msgs quota_warn:t log_floor removed shape`, "account_id", "account_id=?")
)

// describeCopied is what two stores must agree on of messages and their bodies.
func describeCopied(scope string) *tables.Table {
	return tables.Join("messages", `messages m LEFT JOIN bodies b ON b.account_id=m.account_id AND b.body_id=m.body_id
		LEFT JOIN summaries s ON s.account_id=m.account_id AND s.body_id=m.body_id`,
		"m.id m.mailbox_id m.uid m.thread_id m.pop_order m.uidl:t m.prefix:b m.summary:b m.origin b.codec b.rawsize b.sha256:b s.summary:b",
		"m.id", "m.account_id="+scope+" AND m.id BETWEEN (?1<<32) AND ((?1<<32)|4294967295)")
}

// copiedRows are describeCopied by what Store.shared says.
var copiedRows = map[bool]*tables.Table{false: describeCopied("0"), true: describeCopied("?1")}

// CopyOptions has a working zero value; defaults in brackets.
type CopyOptions struct {
	Workers  int // accounts at once [4]
	Progress func(CopySum)
}

const defaultCopyWorkers = 4

// CopySum counts what there is, what was done, or both.
type CopySum struct {
	Accounts int64 `json:"accounts"`
	Messages int64 `json:"messages"`
	Bodies   int64 `json:"bodies"` // each verified by its SHA-256
	Octets   int64 `json:"octets"` // of these
	Verified int64 `json:"verified"`
}

// CopyTotal counts the accounts and messages that there are to copy.
func (s *Store) CopyTotal(ctx context.Context) (sum CopySum, err error) {
	err = s.db.View(ctx, func(c *db.Conn) error {
		_, err := c.Row(`SELECT COUNT(*), COALESCE(SUM(used_msgs), 0), COALESCE(SUM(used_bytes), 0) FROM accounts`).Scan(&sum.Accounts, &sum.Messages, &sum.Octets)
		return err
	})
	return sum, err
}

// CopyEmpty reports whether no account has a message: then the store can be the destination of a copy.
func (s *Store) CopyEmpty(ctx context.Context) (empty bool, err error) {
	err = s.db.View(ctx, func(c *db.Conn) error {
		var one int64
		found, err := c.Row(`SELECT account_id FROM messages LIMIT 1`).Scan(&one)
		empty = !found
		return err
	})
	return empty, err
}

// CopyDifference says that two stores, which should hold the same, do not.
type CopyDifference struct{ Accounts []mail.AccountID }

func (e *CopyDifference) Error() string {
	return fmt.Sprintf("%d accounts still differ from the source (the first is %d): does somebody write to it? Run the copy again, it takes these anew", len(e.Accounts), e.Accounts[0])
}

// copying is one run.
type copying struct {
	from, to *Store
	o        CopyOptions
	have     map[mail.AccountID]bool // was there when the run began
	mu       sync.Mutex
	sum      CopySum
}

// CopyFrom copies all accounts of another store into s, and then compares them, account by account; those that differ are
// copied again. It may be ended at
// any time and called again; with fresh it forgets what earlier calls remembered. An account that s has already stays if it is the
// same as the source's, else it is replaced; accounts that the source does not have are
// removed from s, which is not told of any of this: it must not be used before, and is to be opened anew
// after. CopyEnd forgets the marks.
func (s *Store) CopyFrom(ctx context.Context, from *Store, fresh bool, o CopyOptions) (CopySum, error) {
	if o.Workers <= 0 {
		o.Workers = defaultCopyWorkers
	}
	c := &copying{from: from, to: s, o: o}
	if err := s.db.Migrate(ctx, "copystore", copySteps); err != nil {
		return c.sum, err
	}
	if fresh {
		if err := s.CopyEnd(ctx); err != nil {
			return c.sum, err
		}
	}
	ids, err := accountIDs(ctx, from, `SELECT account_id FROM accounts ORDER BY account_id`)
	if err != nil {
		return c.sum, err
	}
	marks, err := c.marks(ctx)
	if err != nil {
		return c.sum, err
	}
	if err := c.clean(ctx, ids); err != nil {
		return c.sum, err
	}
	var todo []mail.AccountID
	for _, id := range ids {
		n, done := marks[id]
		if !done {
			todo = append(todo, id)
		} else {
			c.add(CopySum{Accounts: 1, Messages: n})
		}
	}
	for round := 0; ; round++ {
		if err := c.each(ctx, todo, c.account); err != nil {
			return c.sum, err
		}
		if todo, err = c.compare(ctx, ids); err != nil || len(todo) == 0 {
			return c.sum, err
		}
		if round == copyRounds {
			return c.sum, &CopyDifference{todo}
		}
		ids = todo
		c.add(CopySum{Accounts: -int64(len(todo))})
	}
}

// copyRounds is how often accounts are copied again that turn out to differ.
const copyRounds = 2

// CopyEnd forgets what was remembered of a copy.
func (s *Store) CopyEnd(ctx context.Context) error {
	for _, sql := range []string{
		`DELETE FROM copy_marks WHERE account_id IN (SELECT account_id FROM copy_marks LIMIT 10000)`,
		`DELETE FROM copy_blobs WHERE old IN (SELECT old FROM copy_blobs LIMIT 10000)`,
	} {
		for n := int64(1); n > 0; {
			err := s.db.Update(ctx, func(t *db.Tx) (err error) { n, err = t.Exec(sql); return err }, nil)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *copying) add(d CopySum) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.sum
	s.Accounts, s.Messages, s.Bodies, s.Octets, s.Verified = s.Accounts+d.Accounts, s.Messages+d.Messages, s.Bodies+d.Bodies, s.Octets+d.Octets, s.Verified+d.Verified
	if c.o.Progress != nil {
		c.o.Progress(*s)
	}
}

// each runs fn for accounts, several at once.
func (c *copying) each(ctx context.Context, ids []mail.AccountID, fn func(context.Context, mail.AccountID) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.o.Workers)
	for _, id := range ids {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := fn(ctx, id); err != nil {
				return fmt.Errorf("account %d: %w", id, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func accountIDs(ctx context.Context, s *Store, sql string) (ids []mail.AccountID, err error) {
	err = s.db.View(ctx, func(c *db.Conn) error {
		ids = nil
		for r, err := range c.Rows(sql) {
			if err != nil {
				return err
			}
			ids = append(ids, mail.AccountID(r.Int(0)))
		}
		return nil
	})
	return ids, err
}

// marks are the accounts that are there already, and how many messages were copied for them.
func (c *copying) marks(ctx context.Context) (done map[mail.AccountID]int64, err error) {
	done = make(map[mail.AccountID]int64)
	err = c.to.db.View(ctx, func(q *db.Conn) error {
		for r, err := range q.Rows(`SELECT account_id, messages FROM copy_marks`) {
			if err != nil {
				return err
			}
			done[mail.AccountID(r.Int(0))] = r.Int(1)
		}
		return nil
	})
	return done, err
}

// clean removes the accounts that are none of the source's, and finds those that are there.
func (c *copying) clean(ctx context.Context, ids []mail.AccountID) error {
	have, err := accountIDs(ctx, c.to, `SELECT account_id FROM accounts ORDER BY account_id`)
	if err != nil {
		return err
	}
	var strange []mail.AccountID
	c.have = make(map[mail.AccountID]bool)
	for _, id := range have {
		if _, known := slices.BinarySearch(ids, id); known {
			c.have[id] = true
		} else {
			strange = append(strange, id)
		}
	}
	return c.each(ctx, strange, c.wipe)
}

// account copies one account, if it is not there as it should be.
func (c *copying) account(ctx context.Context, id mail.AccountID) error {
	if c.have[id] {
		same, messages, err := c.same(ctx, id)
		if err == nil && same {
			err = c.mark(ctx, id, messages)
			c.add(CopySum{Messages: messages})
		}
		if err != nil || same {
			return err
		}
	}
	if err := c.wipe(ctx, id); err != nil {
		return err
	}
	for _, t := range copyTables {
		if _, err := t.Copy(ctx, c.from.db, c.to.db, int64(id), int64(id), nil); err != nil {
			return err
		}
	}
	m := messageCopy{copying: c, id: id, bodies: make(map[int64]*copiedBody)}
	if err := m.run(ctx); err != nil {
		return err
	}
	if err := m.countCopies(ctx); err != nil {
		return err
	}
	if _, err := copyAccounts.Copy(ctx, c.from.db, c.to.db, int64(id), int64(id), nil); err != nil {
		return err
	}
	return c.mark(ctx, id, m.messages)
}

// mark notes that an account is there.
func (c *copying) mark(ctx context.Context, id mail.AccountID, messages int64) error {
	err := c.to.db.UpdateFor(ctx, int64(id), nil, func(t *db.Tx) error {
		t.Send(1, `INSERT INTO copy_marks (account_id, messages) VALUES (?,?)`, db.Int(id), db.Int(messages))
		return nil
	}, nil)
	if err == nil {
		c.add(CopySum{Accounts: 1})
	}
	return err
}

const (
	sqlCopyUnmark = `DELETE FROM copy_marks WHERE account_id=?`
	sqlCopyRest   = `SELECT id, body_id FROM messages WHERE account_id=?1 AND id BETWEEN (?2<<32) AND ((?2<<32)|4294967295) ORDER BY id LIMIT 500`
)

// wipe removes all that the destination has of an account, so that it can be copied from the beginning.
func (c *copying) wipe(ctx context.Context, id mail.AccountID) error {
	s := c.to
	err := s.db.UpdateFor(ctx, int64(id), nil, func(t *db.Tx) error {
		if _, err := t.Exec(sqlCopyUnmark, db.Int(id)); err != nil {
			return err
		}
		return copyAccounts.Clear(t, int64(id))
	}, nil)
	for more := true; more && err == nil; {
		err = s.db.UpdateFor(ctx, int64(id), nil, func(t *db.Tx) (err error) {
			more, err = c.wipeMessages(t, id)
			return err
		}, nil)
	}
	for done := false; !done && err == nil; {
		err = s.db.UpdateFor(ctx, int64(id), nil, func(t *db.Tx) (err error) {
			done, err = removeSearchIndex(t, id)
			return err
		}, nil)
	}
	if err != nil {
		return err
	}
	return s.db.UpdateFor(ctx, int64(id), nil, func(t *db.Tx) error {
		for _, table := range copyTables {
			if err := table.Clear(t, int64(id)); err != nil {
				return err
			}
		}
		return nil
	}, nil)
}

// wipeMessages removes a portion of messages and their bodies. Blobs that are taken up again by copy_blobs outlive their line in
// gone_refs, as they are in use when the reaper looks.
func (c *copying) wipeMessages(t *db.Tx, id mail.AccountID) (more bool, err error) {
	scope := c.to.scope(id)
	var keys [][2]int64
	for r, err := range t.Rows(sqlCopyRest, scope, db.Int(id)) {
		if err != nil {
			return false, err
		}
		keys = append(keys, [2]int64{r.Int(0), r.Int(1)})
	}
	for _, k := range keys {
		if _, err := t.Exec(`DELETE FROM messages WHERE account_id=? AND id=?`, scope, db.Int(k[0])); err != nil {
			return false, err
		}
		if err := c.to.unref(t, scope, k[1]); err != nil {
			return false, err
		}
	}
	return len(keys) > 0, nil
}

// digest is a number for all that the store has of an account, but for the octets of bodies, whose SHA-256 is in it.
func (s *Store) digest(ctx context.Context, id mail.AccountID) (sum [sha256.Size]byte, messages int64, err error) {
	h := sha256.New()
	for _, t := range append([]*tables.Table{copyAccounts, copiedRows[s.shared]}, copyTables...) {
		err := s.db.View(ctx, func(c *db.Conn) error {
			n, err := t.Digest(c, h, int64(id))
			if t.Name == copiedRows[s.shared].Name {
				messages = n
			}
			return err
		})
		if err != nil {
			return sum, 0, err
		}
	}
	h.Sum(sum[:0])
	return sum, messages, nil
}

// same says whether both sides have the same of an account, and how many messages that is.
func (c *copying) same(ctx context.Context, id mail.AccountID) (same bool, messages int64, err error) {
	a, messages, err := c.from.digest(ctx, id)
	if err != nil {
		return false, 0, err
	}
	b, _, err := c.to.digest(ctx, id)
	return a == b, messages, err
}

// compare looks at each account on both sides, and takes the mark of those that differ.
func (c *copying) compare(ctx context.Context, ids []mail.AccountID) (differ []mail.AccountID, err error) {
	err = c.each(ctx, ids, func(ctx context.Context, id mail.AccountID) error {
		same, _, err := c.same(ctx, id)
		if err != nil {
			return err
		}
		if same {
			c.add(CopySum{Verified: 1})
			return nil
		}
		c.mu.Lock()
		differ = append(differ, id)
		c.mu.Unlock()
		return c.to.db.Update(ctx, func(t *db.Tx) error { _, err := t.Exec(sqlCopyUnmark, db.Int(id)); return err }, nil)
	})
	slices.Sort(differ)
	return differ, err
}
