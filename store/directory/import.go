package directory

import (
	"context"
	"iter"
	"runtime"
	"sync"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// importBatch is the rows of one transaction: enough that commits cost
// nothing, few enough that other writers wait some tens of milliseconds only. Where nodes share
// the database a row costs some round trips, and others may want the directory's lock.
const (
	importBatch       = 500
	importBatchShared = 100
)

// importing is a row on its way.
type importing struct {
	row     ImportRow
	cred    credential
	created bool
	err     error
	out     Account
}

func (d *directory) importAccounts(ctx context.Context, rows iter.Seq2[ImportRow, error], report func(int, Account, bool, error)) error {
	n, most := 0, importBatch
	if d.db.Shared() {
		most = importBatchShared
	}
	batch := make([]importing, 0, most)
	flush := func() error {
		if err := d.importBatch(ctx, batch); err != nil {
			return wrap("import", err)
		}
		for i := range batch {
			n++
			report(n, batch[i].out, batch[i].created, batch[i].err)
		}
		batch = batch[:0]
		return nil
	}
	for row, err := range rows {
		batch = append(batch, importing{row: row, err: err, out: row.Account})
		if len(batch) == most {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// importBatch hashes what must be hashed, then stores all in one transaction.
func (d *directory) importBatch(ctx context.Context, batch []importing) error {
	if len(batch) == 0 {
		return nil
	}
	if err := d.prepareBatch(ctx, batch); err != nil {
		return err
	}
	return d.change(ctx, func(tx *db.Tx) ([]change, error) {
		var done []change
		for i := range batch {
			b := &batch[i]
			if b.err != nil && mail.KindOf(b.err) == mail.BadInput {
				continue
			}
			c, err := importOne(tx, b)
			if b.err = err; err != nil {
				if mail.KindOf(err) == mail.Internal {
					return nil, err
				}
				continue
			}
			done = append(done, c...)
		}
		return done, nil
	}, nil)
}

// prepareBatch fills cred, in parallel: clear passwords are slow to hash.
func (d *directory) prepareBatch(ctx context.Context, batch []importing) error {
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i := range batch {
		b := &batch[i]
		if b.err == nil {
			role := b.row.Account.Role
			b.err = b.row.Account.check()
			b.row.Account.Role = role // "" keeps an existing one
		} else if mail.KindOf(b.err) != mail.BadInput {
			b.err = &mail.Error{Kind: mail.BadInput, Text: "row cannot be read", Err: b.err}
		}
		if b.err != nil {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			b.cred, b.err = d.newCredential(b.row.Password)
		})
	}
	wg.Wait()
	return ctx.Err()
}

// importOne adds or updates. All refusals are found before anything is
// written, so that a row never leaves half of itself (and an engine that
// aborts transactions on errors has nothing to abort).
func importOne(tx *db.Tx, b *importing) ([]change, error) {
	a := b.row.Account
	b.created = false
	old, err := find(&tx.Conn, sqlByAddress, db.Text(a.Address.Domain), db.Text(fold(a.Address.Local)))
	if err != nil {
		return nil, err
	}
	if old == nil {
		if a.Role == "" {
			a.Role = RoleUser
		}
		err := insert(tx, &a, b.cred)
		b.out, b.created = a, err == nil
		return []change{{a.ID, told | routed}}, err
	}
	a.ID, a.Created = old.acct.ID, old.acct.Created
	if a.Role == "" {
		a.Role = old.acct.Role
	}
	if a.UIDLFormat == "" {
		a.UIDLFormat = old.acct.UIDLFormat
	}
	b.out = a
	done, err := update(tx, a, old.acct)
	if err != nil || b.cred.hash == "" {
		return done, err
	}
	putCredential(tx, a.ID, b.cred)
	return done, nil
}
