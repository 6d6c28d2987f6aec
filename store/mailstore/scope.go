package mailstore

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"bahnpost/mail"
	"bahnpost/store/blob"
	"bahnpost/store/internal/db"
)

// Messages and bodies have a scope, the account_id of their tables: 0 on a database that is ours alone, where all
// recipients of a mail share one row of bodies; the account where nodes share the database. There each statement
// concerns one account, whose row is its lock, so that nodes never wait for each other over a body, and a partition or a
// shard has all that its accounts need. A mail to ten recipients then has ten rows of bodies, small if the octets are in
// blob; the blob is shared all the same.

// scope is the account_id under which the tables keep messages and bodies of a.
func (s *Store) scope(a mail.AccountID) db.Value {
	if !s.shared {
		a = 0
	}
	return db.Int(a)
}

func (t *tx) scope() db.Value { return t.s.scope(t.a.id) }

// countBodies finds the next number of a body, where they are drawn from one sequence.
func (s *Store) countBodies(ctx context.Context) error {
	if s.shared {
		return nil
	}
	var last int64
	err := s.view(ctx, func(c *db.Conn) error {
		_, err := c.Row(`SELECT COALESCE(MAX(body_id), 0) FROM bodies WHERE account_id=0`).Scan(&last)
		return err
	})
	s.nextBody.Store(last)
	return err
}

// storedAs is a body that a step stored, its number, and how many more messages have it than its row says.
type storedAs struct {
	body     *Body
	id, more int64
}

// bodyRow is the row that b has in our scope already, 0 if none is known. Where the scope is an account only the
// running step's own rows count, see ownBody: those of other steps may be lost with them.
func (t *tx) bodyRow(b *Body) int64 {
	if t.s.shared {
		return 0
	}
	return b.row.Load()
}

// ownBody is the row that the running step has made for b, counted once more at its end; 0 if there is none.
func (t *tx) ownBody(b *Body) int64 {
	for i := range t.stored {
		if x := &t.stored[i]; x.body == b {
			x.more++
			return x.id
		}
	}
	return 0
}

const sqlAddRefs = `UPDATE bodies SET refs=refs+?3 WHERE account_id=?1 AND body_id=?2`

// countBodyRefs writes what ownBody counted.
func (t *tx) countBodyRefs() error {
	for _, x := range t.stored {
		if x.more > 0 {
			if err := t.send(1, sqlAddRefs, t.scope(), db.Int(x.id), db.Int(x.more)); err != nil {
				return err
			}
		}
	}
	return nil
}

// newBodyRow gives b a number. In an account's scope it is that of the message for which the body is stored: nobody
// has to count, and it is not given out again.
func (t *tx) newBodyRow(b *Body) int64 {
	if !t.s.shared {
		id := t.s.nextBody.Add(1)
		b.row.Store(id)
		return id
	}
	id := int64(t.a.wrk.nextMsg)
	b.row.Store(id)
	t.stored = append(t.stored, storedAs{body: b, id: id})
	return id
}

// errBodyLate: see claimBlob.
var errBodyLate = errors.New("mailstore: body was stored for others too long ago")

// claimBlob makes sure that the blob of b is there and stays.
//
// It may be that b was stored for another recipient before, and that this copy is gone by now and the blob on the list
// of those to be ended. If we are alone, it is taken off the list. If not, another node's reaper looks after BlobGrace
// whether a row refers to the blob; so nobody may make one who began longer ago than half of that.
func (t *tx) claimBlob(b *Body) error {
	if t.s.blobs.Lost(b.ref) {
		return t.fail(errBodyLost)
	}
	before := b.row.Load() != 0
	if !t.s.shared {
		if !before {
			return nil
		}
		_, err := t.exec(`DELETE FROM gone_refs WHERE account_id=? AND ref=?`, t.scope(), db.Text(string(b.ref)))
		return err
	}
	if now := t.time(); b.stored.CompareAndSwap(nil, &now) {
		return nil
	}
	if grace := t.s.cfg.BlobGrace; grace > 0 && t.time().Sub(*b.stored.Load()) > grace/2 {
		return t.fail(errBodyLate)
	}
	return nil
}

const (
	sqlUncopy     = `UPDATE copied SET refs=refs-1 WHERE account_id=? AND body_id=? RETURNING refs`
	sqlEndCopied  = `DELETE FROM copied WHERE account_id=? AND body_id=?`
	sqlUnrefBody  = `UPDATE bodies SET refs=refs-1 WHERE account_id=? AND body_id=? RETURNING refs, ref`
	sqlDropBody   = `DELETE FROM bodies WHERE account_id=? AND body_id=?`
	sqlDropSum    = `DELETE FROM summaries WHERE account_id=? AND body_id=?`
	sqlGoneRef    = `INSERT INTO gone_refs (account_id, ref, at) VALUES (?,?,unixepoch()) ON CONFLICT DO NOTHING`
	sqlDueRefs    = `SELECT account_id, ref FROM gone_refs WHERE at<=unixepoch()-? LIMIT ?`
	sqlEndGoneRef = `DELETE FROM gone_refs WHERE account_id=? AND ref=?`
	sqlRefUsed    = `SELECT 1 FROM bodies WHERE ref=? AND ref<>'' LIMIT 1`
)

// unref takes one use off a body: of those that COPY made first, and with the last one the body's rows go.
func (s *Store) unref(t *db.Tx, scope db.Value, body int64) error {
	var refs int64
	found, err := t.Row(sqlUncopy, scope, db.Int(body)).Scan(&refs)
	if err == nil && found && refs == 0 {
		_, err = t.Exec(sqlEndCopied, scope, db.Int(body))
	}
	if err != nil || found {
		return err
	}
	var ref string
	if found, err = t.Row(sqlUnrefBody, scope, db.Int(body)).Scan(&refs, &ref); err != nil || !found || refs > 0 {
		return err
	}
	for _, sql := range []string{sqlDropBody, sqlDropSum} {
		if _, err := t.Exec(sql, scope, db.Int(body)); err != nil {
			return err
		}
	}
	if ref != "" {
		_, err = t.Exec(sqlGoneRef, scope, db.Text(ref))
	}
	return err
}

// sqlReap takes messages, given as a list, away and tells what is left of the bodies they used. It is said to PostgreSQL only.
const sqlReap = `WITH dead AS (DELETE FROM messages WHERE account_id=?1 AND id = ANY(string_to_array(?2, ',')::bigint[]) RETURNING body_id),
	uses AS (SELECT body_id, COUNT(*) AS n FROM dead GROUP BY body_id)
	SELECT u.body_id, u.n, COALESCE(c.refs, 0), b.refs, b.ref FROM uses u JOIN bodies b ON b.account_id=?1 AND b.body_id=u.body_id
	LEFT JOIN copied c ON c.account_id=?1 AND c.body_id=u.body_id ORDER BY u.body_id`

const (
	sqlSetCopied = `UPDATE copied SET refs=?3 WHERE account_id=?1 AND body_id=?2`
	sqlSetRefs   = `UPDATE bodies SET refs=?3 WHERE account_id=?1 AND body_id=?2`
)

// reapAtOnce is reapMessages where a statement costs a round trip. The account is ours.
func (s *Store) reapAtOnce(t *db.Tx, a mail.AccountID, msgs []MessageID) error {
	list := make([]string, len(msgs))
	for i, m := range msgs {
		list[i] = strconv.FormatInt(messageKey(a, m), 10)
	}
	scope := s.scope(a)
	for r, err := range t.Rows(sqlReap, scope, db.Text(strings.Join(list, ","))) {
		if err != nil {
			return err
		}
		body, n, copied, refs, ref := r.Int(0), r.Int(1), r.Int(2), r.Int(3), r.Text(4)
		of := min(n, copied) // those that COPY made first
		switch {
		case of > 0 && of == copied:
			t.Send(1, sqlEndCopied, scope, db.Int(body))
		case of > 0:
			t.Send(1, sqlSetCopied, scope, db.Int(body), db.Int(copied-of))
		}
		switch n -= of; {
		case n == 0:
		case n < refs:
			t.Send(1, sqlSetRefs, scope, db.Int(body), db.Int(refs-n))
		default:
			t.Send(1, sqlDropBody, scope, db.Int(body))
			t.Send(db.AnyCount, sqlDropSum, scope, db.Int(body))
			if ref != "" {
				t.Send(db.AnyCount, sqlGoneRef, scope, db.Text(ref))
			}
		}
	}
	return nil
}

// goneRef is a line of gone_refs.
type goneRef struct {
	scope mail.AccountID
	ref   blob.Ref
	used  bool // by another row: only the line goes
}

// deleteBlobs ends blobs whose last row is gone for longer than BlobGrace, by the database's clock.
func (s *Store) deleteBlobs(ctx context.Context) error {
	for {
		due, err := s.dueRefs(ctx)
		if err != nil || len(due) == 0 {
			return err
		}
		var refs []blob.Ref
		for _, g := range due {
			if !g.used {
				refs = append(refs, g.ref)
			}
		}
		if len(refs) > 0 {
			if err := s.blobs.Delete(ctx, refs...); err != nil {
				return err
			}
		}
		err = s.db.Update(ctx, func(t *db.Tx) error {
			for _, g := range due {
				t.Send(db.AnyCount, sqlEndGoneRef, db.Int(g.scope), db.Text(string(g.ref)))
			}
			return nil
		}, nil)
		if err != nil || len(due) < reapStep {
			return err
		}
	}
}

// dueRefs lists a portion of the blobs whose time has come. Where bodies have an account's scope several rows may refer
// to one blob: whoever ended a row left a line, and the last of them finds no row any more.
func (s *Store) dueRefs(ctx context.Context) (due []goneRef, err error) {
	err = s.view(ctx, func(c *db.Conn) error {
		due = nil
		for r, err := range c.Rows(sqlDueRefs, db.Int(int64(max(s.cfg.BlobGrace, 0)/time.Second)), db.Int(reapStep)) {
			if err != nil {
				return err
			}
			if ref := blob.Ref(r.Text(1)); !s.bodies.isHeld(ref) {
				due = append(due, goneRef{scope: mail.AccountID(r.Int(0)), ref: ref})
			}
		}
		for i := range due {
			var one int
			used, err := c.Row(sqlRefUsed, db.Text(string(due[i].ref))).Scan(&one)
			if err != nil {
				return err
			}
			due[i].used = used
		}
		return nil
	})
	return due, err
}
