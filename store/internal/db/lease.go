package db

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// Hold runs fn while this process holds the lease called name, which nobody else
// does meanwhile. held is false if another has it; fn did not run then. The lease is
// renewed while fn runs; if it cannot be, fn's ctx ends before another can get it, with cause
// ErrLeaseLost, and what fn does to the database after that must not harm:
// a lease saves double work, the account's row keeps order. Only the database's
// clock counts. A holder that dies is succeeded after ttl (2 s at least). err is fn's, or says why the lease could not be had.
// On SQLite, where no other process writes, it is always to be had. Safe for concurrent use; of two calls with one name one gets it.
func (d *DB) Hold(ctx context.Context, name string, ttl time.Duration, fn func(ctx context.Context) error) (held bool, err error) {
	if d.gate == nil {
		if !d.alone.take(name) {
			return false, nil
		}
		defer d.alone.release(name)
		return true, fn(ctx)
	}
	l := lease{g: d.gate, name: name, owner: strconv.FormatInt(rand.Int64(), 10), ttl: max(ttl, leaseShortest)}
	err = d.gate.retry(ctx, func() (bool, error) {
		held, err = l.take(ctx)
		return held, err
	})
	if err != nil || !held {
		return false, err
	}
	return true, l.during(ctx, fn)
}

const (
	leaseShortest = 2 * time.Second
	leaseRenewals = 3  // tries to renew within ttl
	leaseMargin   = 10 // a holder gives up this part of ttl before its end
)

const (
	sqlLeases = `CREATE TABLE IF NOT EXISTS db_leases(name text COLLATE "C" PRIMARY KEY, owner bigint NOT NULL, node bigint NOT NULL, until timestamptz NOT NULL)`
	sqlTakeIt = `INSERT INTO db_leases AS l (name, owner, node, until) VALUES ($1,$2::bigint,$3::bigint,clock_timestamp()+$4::bigint*interval '1 ms')
		ON CONFLICT (name) DO UPDATE SET owner=excluded.owner, node=excluded.node, until=excluded.until WHERE l.until<clock_timestamp() RETURNING 1`
	sqlRenew   = `UPDATE db_leases SET until=clock_timestamp()+$3::bigint*interval '1 ms' WHERE name=$1 AND owner=$2::bigint RETURNING 1`
	sqlRelease = `DELETE FROM db_leases WHERE name=$1 AND owner=$2::bigint`
)

// lease is one call of Hold.
type lease struct {
	g           *gate
	name, owner string
	ttl         time.Duration
	end         time.Time // by our clock, which only measures how long ago we asked
}

func (l *lease) take(ctx context.Context) (bool, error) {
	asked := time.Now()
	rows, err := l.g.side.do(ctx, sqlTakeIt, l.name, l.owner, l.g.node, l.millis())
	l.end = asked.Add(l.ttl - l.ttl/leaseMargin)
	return len(rows) == 1, err
}

func (l *lease) millis() string { return strconv.FormatInt(l.ttl.Milliseconds(), 10) }

// during runs fn and renews meanwhile.
func (l *lease) during(parent context.Context, fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(parent)
	var renewing sync.WaitGroup
	renewing.Go(func() {
		if err := l.renew(ctx); err != nil {
			cancel(err)
		}
	})
	defer func() {
		cancel(nil)
		renewing.Wait()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(parent), sidePatience)
		defer cancel()
		_, _ = l.g.side.do(ctx, sqlRelease, l.name, l.owner) // it ends by itself
	}()
	return fn(ctx)
}

// renew keeps the lease until ctx ends, or says that it is lost.
func (l *lease) renew(ctx context.Context) error {
	pause := l.ttl / leaseRenewals
	for sleep(ctx, pause) {
		try, cancel := context.WithDeadline(ctx, l.end)
		asked := time.Now()
		rows, err := l.g.side.do(try, sqlRenew, l.name, l.owner, l.millis())
		cancel()
		switch {
		case err == nil && len(rows) == 1:
			l.end, pause = asked.Add(l.ttl-l.ttl/leaseMargin), l.ttl/leaseRenewals
		case err == nil:
			return ErrLeaseLost
		case ctx.Err() != nil:
			return nil
		case !time.Now().Before(l.end):
			return errors.Join(ErrLeaseLost, err)
		default: // away, perhaps not for long
			pause = min(l.ttl/leaseRenewals/4, time.Until(l.end))
		}
	}
	return nil
}
