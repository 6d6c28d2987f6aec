package directory

import (
	"context"
	"crypto/sha256"
	"errors"

	"bahnpost/store/internal/db"
	"bahnpost/store/internal/tables"
)

// A directory is copied row by row: ids, passwords' hashes, SCRAM keys, placements
// and secrets stay. Its changes are not: who follows begins anew. While a copy is under
// way, of the mail that belongs to it too, the secret copyingFrom names the source; a node must not serve then.

var (
	copyTables = []*tables.Table{
		tables.New("directory_domains", "name:t created", "name", ""),
		tables.New("directory_accounts", `account_id domain:t local_key:t local:t name:t quota_bytes quota_count disabled uidl_format:t role:t created
			home:t epoch phase moving_to:t`, "account_id", ""),
		tables.New("directory_credentials", "account_id hash:t salt:b iterations stored_key:b server_key:b changed", "account_id", ""),
		tables.New("directory_aliases", "domain:t local_key:t position local:t to_local:t to_domain:t", "domain, local_key, position", ""),
		tables.New("directory_secrets", "name:t value:b", "name", "name<>'"+copyingFrom+"'"),
		tables.New("directory_counters", "name:t value", "name", "name<>'modseq'"),
	}
)

// copyingFrom is the name of a secret: the identity of the store that is being copied into this one.
const copyingFrom = "copying from"

// storeIdentity is the name of a secret that tells a store from all others.
const storeIdentity = "store identity"

const (
	sqlSetSecret  = `INSERT INTO directory_secrets (name, value) VALUES (?1,?2) ON CONFLICT (name) DO UPDATE SET value=?2`
	sqlDropSecret = `DELETE FROM directory_secrets WHERE name=?`
)

// Identity tells this store from all others, but for its copies.
func (d *Directory) Identity(ctx context.Context) ([]byte, error) {
	return d.Secret(ctx, storeIdentity)
}

// CopyOf is the Identity, nil if the store has none yet.
func (d *Directory) CopyOf(ctx context.Context) ([]byte, error) { return d.known(ctx, storeIdentity) }

// CopyingFrom is the Identity of the store whose copy into this one has begun and
// is not finished; nil: none.
func (d *Directory) CopyingFrom(ctx context.Context) ([]byte, error) {
	return d.known(ctx, copyingFrom)
}

// known is a secret, nil if it was not made yet.
func (d *directory) known(ctx context.Context, name string) (value []byte, err error) {
	err = d.db.View(ctx, func(c *db.Conn) error {
		_, err := c.Row(sqlSecret, db.Text(name)).Scan(&value)
		return err
	})
	return value, wrap("secret", err)
}

// BeginCopy notes that this store is to become a copy of another.
func (d *Directory) BeginCopy(ctx context.Context, source []byte) error {
	return wrap("copy", d.change(ctx, func(tx *db.Tx) ([]change, error) {
		_, err := tx.Exec(sqlSetSecret, db.Text(copyingFrom), db.Blob(source))
		return nil, err
	}, nil))
}

// ErrCopyDiffers says that two directories, which should hold the same, do not.
var ErrCopyDiffers = errors.New("directory: the copy differs from the source: did somebody write to it? Run the copy again")

// CopyFrom replaces all that the directory holds by what another holds, and compares the two. progress hears of rows. It may be ended
// at any time and called again.
func (d *Directory) CopyFrom(ctx context.Context, from *Directory, progress func(rows int)) error {
	err := d.change(ctx, func(tx *db.Tx) ([]change, error) {
		for _, t := range copyTables {
			if err := t.Clear(tx, 0); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}, nil)
	for _, t := range copyTables {
		if err == nil {
			_, err = t.Copy(ctx, from.db, d.db, 0, lockKey, progress)
		}
	}
	if err != nil {
		return wrap("copy", err)
	}
	a, err := from.digest(ctx)
	if err != nil {
		return err
	}
	if b, err := d.digest(ctx); err != nil {
		return err
	} else if a != b {
		return ErrCopyDiffers
	}
	return nil
}

// EndCopy says that the copy is finished, of the mail too: from now on a node may
// serve. Whoever follows the directory begins anew.
func (d *Directory) EndCopy(ctx context.Context) error {
	err := d.change(ctx, func(tx *db.Tx) ([]change, error) {
		if _, err := tx.Exec(sqlDropSecret, db.Text(copyingFrom)); err != nil {
			return nil, err
		}
		var last int64
		if _, err := tx.Row(sqlModSeq).Scan(&last); err != nil {
			return nil, err
		}
		_, err := tx.Exec(sqlSetModSeq, db.Int(last+1)) // and no row in directory_changes
		return nil, err
	}, nil)
	if err == nil {
		err = d.catchUp(ctx)
	}
	return wrap("copy", err)
}

// digest is a number for all that the directory holds.
func (d *directory) digest(ctx context.Context) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	err = d.db.View(ctx, func(c *db.Conn) error {
		h.Reset()
		for _, t := range copyTables {
			if _, err := t.Digest(c, h, 0); err != nil {
				return err
			}
		}
		return nil
	})
	h.Sum(sum[:0])
	return sum, wrap("digest", err)
}
