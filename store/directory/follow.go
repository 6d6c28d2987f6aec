package directory

import (
	"context"
	"errors"
	"sync"
	"time"

	"bahnpost/mail"
	"bahnpost/store/internal/db"
)

// How the memories of many nodes follow one directory.
//
// The directory has a modseq, a row. Every transaction that changes something
// locks it first, and so all of them come one after the other over the whole cell: what
// they check (an address is neither an account's nor an alias) holds until they
// commit, nobody waits for a row while holding another's, and modseqs become visible in their
// order. Each change takes the next modseq and leaves a row in directory_changes under it.
//
// A node applies its own changes with their commit. Then it sends a hint, that another
// node may lose: each also polls the modseq. Who finds it above its own reads the
// rows between and drops what they name from its cache. Who is behind further than the
// rows go back drops all. What a lookup read from a snapshot before a change cannot enter the cache
// after it (see cache).

// change is what a commit did to what memory knows: a row of directory_changes.
type change struct {
	account mail.AccountID // 0: no account
	what    int64
}

const (
	told     int64 = 1 << iota // OnChange hears of the account
	routed                     // addresses may resolve otherwise
	domained                   // the set of our domains is another
)

const (
	sqlModSeq    = `SELECT value FROM directory_counters WHERE name='modseq'`
	sqlSetModSeq = `UPDATE directory_counters SET value=? WHERE name='modseq'`
	sqlLog       = `INSERT INTO directory_changes (modseq, account_id, what) VALUES (?,?,?)`
	sqlTrim      = `DELETE FROM directory_changes WHERE modseq<=?`
	sqlChanges   = `SELECT modseq, account_id, what FROM directory_changes WHERE modseq>? ORDER BY modseq LIMIT 1000`
)

const (
	// changesKept is how far back directory_changes goes: 8 MB, an import of 100,000 accounts.
	changesKept = 100_000
	trimEvery   = 256 // changes between two trims
	// changesPage is the LIMIT of sqlChanges.
	changesPage = 1000
	maxAhead    = 10_000 // own changes remembered as applied; more are applied again, which costs no more than time
)

// lockKey stands for the directory where functions of one account keep their order.
const lockKey = -1

// follower knows how far the cache has followed.
type follower struct {
	wake chan struct{} // capacity 1: there may be something to follow

	// mu orders what is applied, and who listens hears under it. Taken before the cache's.
	mu        sync.Mutex
	seen      int64              // changes up to this are applied
	ahead     map[int64]struct{} // own changes above, applied at their commit
	domainsAt int64              // of the last own change of the set of domains
	followed  int64
	forgotten int64
}

func (f *follower) init() {
	f.wake = make(chan struct{}, 1)
	f.ahead = make(map[int64]struct{})
}

// rouse makes Run look at the tables.
func (f *follower) rouse() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// hear is told of the hints of other nodes.
func (d *directory) hear(list []db.Hint) {
	for _, h := range list {
		if h.Account == 0 {
			d.follow.rouse()
		}
	}
}

// change runs fn under the directory's lock and makes known what it says it
// changed. also is called first after the commit, to mirror in memory what is no account.
func (d *directory) change(ctx context.Context, fn func(*db.Tx) ([]change, error), also func()) error {
	var last int64
	var done []change
	return d.db.UpdateFor(ctx, lockKey, d.ask, func(tx *db.Tx) (err error) {
		done = nil
		if found, err := tx.Lock(sqlModSeq).Scan(&last); err != nil {
			return err
		} else if !found {
			return errors.New("the row of the directory's modseq is missing")
		}
		if done, err = fn(tx); err != nil || len(done) == 0 {
			return err
		}
		from := last
		for _, c := range done {
			last++
			tx.Send(1, sqlLog, db.Int(last), db.Int(c.account), db.Int(c.what))
		}
		tx.Send(1, sqlSetModSeq, db.Int(last))
		if last/trimEvery != from/trimEvery {
			tx.Send(db.AnyCount, sqlTrim, db.Int(last-changesKept))
		}
		return nil
	}, func() {
		if len(done) > 0 {
			d.own(last, done, also)
		}
	})
}

// own applies this node's changes up to last, at their commit.
func (d *directory) own(last int64, done []change, also func()) {
	d.db.Hint(0, last)
	f := &d.follow
	f.mu.Lock()
	defer f.mu.Unlock()
	if also != nil {
		also()
		f.domainsAt = last
	}
	d.apply(done)
	first := last - int64(len(done)) + 1
	if first == f.seen+1 {
		f.seen = last
	} else if last > f.seen { // another node was quicker
		if len(f.ahead) >= maxAhead {
			clear(f.ahead)
		}
		for m := first; m <= last; m++ {
			f.ahead[m] = struct{}{}
		}
		f.rouse()
	}
}

// apply drops what changes make untrue, and tells. The caller holds follower.mu.
func (d *directory) apply(list []change) {
	var what int64
	var loud, quiet []mail.AccountID
	for _, c := range list {
		what |= c.what
		switch {
		case c.account == 0:
		case c.what&told != 0:
			loud = append(loud, c.account)
		default:
			quiet = append(quiet, c.account)
		}
	}
	if len(quiet) > 0 {
		d.cache.changed(false, false, quiet...)
	}
	if len(loud) > 0 || what&routed != 0 {
		d.cache.changed(what&routed != 0, true, loud...)
	}
}

// Run follows the changes that other nodes make, until ctx ends. On an engine that no
// other process writes to there is nothing to follow. While the database is away the
// cache answers what it can.
func (d *Directory) Run(ctx context.Context) {
	if !d.db.Shared() {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(d.cfg.PollEvery)
	defer tick.Stop()
	behind := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-d.follow.wake:
		}
		err := d.catchUp(ctx)
		if err != nil && !behind && ctx.Err() == nil {
			d.cfg.Log.Warn("directory: changes of other nodes cannot be read now; what is known goes on holding", "err", err)
		}
		behind = err != nil
	}
}

// catchUp applies all that was committed before it was called.
func (d *directory) catchUp(ctx context.Context) error {
	for {
		p, err := d.look(ctx)
		if err != nil {
			return wrap("follow", err)
		}
		if p.last == p.from || !d.take(p) {
			return nil
		}
	}
}

// page is what was read of the directory's course, in one snapshot.
type page struct {
	from, last int64 // where we stood; where the directory stands
	first, end int64 // modseqs of the first and the last row; 0: none
	list       []change
	lost       bool            // rows between are gone, or history has another course
	domains    map[string]bool // nil: not read
}

// look reads what comes after the changes that are applied.
func (d *directory) look(ctx context.Context) (*page, error) {
	p := new(page)
	d.follow.mu.Lock()
	p.from = d.follow.seen
	d.follow.mu.Unlock()
	return p, d.db.View(ctx, p.read)
}

// begin reads where the directory stands; the cache is empty still.
func (d *directory) begin(ctx context.Context) error {
	p := &page{lost: true}
	if err := d.db.View(ctx, p.read); err != nil {
		return wrap("read", err)
	}
	d.cache.domains.Store(&p.domains)
	d.follow.seen = p.last
	return nil
}

// take applies what was read; more says whether to look again.
func (d *directory) take(p *page) (more bool) {
	f := &d.follow
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen != p.from || p.last < f.domainsAt && !p.lost && p.domains != nil {
		return true // own commits came after the snapshot
	}
	if p.domains != nil {
		d.cache.domains.Store(&p.domains)
	}
	if p.lost {
		f.forgotten++
		d.cache.forget()
		f.seen = p.last
		clear(f.ahead) // what is ours after the snapshot is followed once more
		return true
	}
	others := p.list[:0]
	for i, c := range p.list {
		m := p.first + int64(i)
		if _, ok := f.ahead[m]; ok {
			delete(f.ahead, m)
			continue
		}
		others = append(others, c)
	}
	f.followed += int64(len(others))
	d.apply(others)
	f.seen = p.end
	return f.seen < p.last
}

func (p *page) read(c *db.Conn) error {
	if found, err := c.Row(sqlModSeq).Scan(&p.last); err != nil {
		return err
	} else if !found {
		return errors.New("the row of the directory's modseq is missing")
	}
	if p.last == p.from && !p.lost {
		return nil
	}
	p.first, p.end, p.list = 0, 0, nil
	what := int64(0)
	if p.last > p.from && !p.lost {
		for r, err := range c.Rows(sqlChanges, db.Int(p.from)) {
			if err != nil {
				return err
			}
			if p.end = r.Int(0); p.first == 0 {
				p.first = p.end
			}
			p.list = append(p.list, change{mail.AccountID(r.Int(1)), r.Int(2)})
			what |= r.Int(2)
		}
		p.lost = p.first != p.from+1 || p.end-p.first+1 != int64(len(p.list))
	}
	p.lost = p.lost || p.last < p.from // a failover lost commits, or a backup came back
	if !p.lost && what&domained == 0 {
		return nil
	}
	var err error
	p.domains, err = readDomains(c)
	return err
}

// Stats are counters since the start.
type Stats struct {
	ModSeq    int64 // of the last change that holds in this process
	Followed  int64 // changes of other nodes that were followed
	Forgotten int64 // times that all was dropped from memory because the changes to follow were gone
}

// Stats returns the counters.
func (d *Directory) Stats() Stats {
	f := &d.follow
	f.mu.Lock()
	defer f.mu.Unlock()
	return Stats{f.seen, f.followed, f.forgotten}
}
