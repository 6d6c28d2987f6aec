package db

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// A request is one Update on its way. Its state decides the race between a
// caller whose context ends and the writer who is about to run it.
type request struct {
	fn        func(*Tx) error
	committed func()
	key       int64
	ask       []Question
	told      []answer  // to ask, on PostgreSQL
	barred    time.Time // when it had to go back to the queue for a lock
	err       error
	state     atomic.Int32
	done      chan struct{} // capacity 1: answering never blocks the writer
}

const (
	waiting int32 = iota
	started
	abandoned
)

// writer owns the writing connection. Its goroutine runs all waiting
// functions in one transaction and commits once: group commit.
type writer struct {
	cfg     Config
	tx      *Tx
	n       counters
	free    sync.Pool // *request
	wake    chan struct{}
	stopped chan struct{}

	mu     sync.Mutex
	queue  []*request
	closed bool

	// Only the writer's goroutine touches these.
	batch       []*request     // tried in the running transaction, in order
	spare       []*request     // backing store of the queue that was taken before
	taken       []*request     // taken from the queue, not yet tried
	later       []*request     // wait for a lock, and come first in the next transaction
	staged      []*request     // PostgreSQL: for this batch, not yet tried
	keys        map[int64]bool // … of this transaction's members
	foreseen    int            // members of the running transaction whose questions were sent ahead
	inTx        bool
	kept        int // members of batch whose work is in the running transaction
	replaying   bool
	alone       int // commits of one member in a row
	crowd       int // how many the last turns saw, falling slowly
	lastCommit  time.Duration
	timer       *time.Timer
	walPages    int
	nextCkpt    int // WAL pages at which to try the next checkpoint
	nextRestart int // … and to wait for readers
	statsTime   time.Time
}

func (w *writer) start(cfg Config, tx *Tx) {
	w.cfg = cfg
	w.tx = tx
	w.free.New = func() any { return &request{done: make(chan struct{}, 1)} }
	w.wake = make(chan struct{}, 1)
	w.timer = time.NewTimer(time.Hour)
	w.stopped = make(chan struct{})
	w.keys = make(map[int64]bool)
	if tx.pg == nil {
		w.watchWAL()
	}
	go w.run()
}

// watchWAL prepares SQLite's housekeeping.
func (w *writer) watchWAL() {
	w.nextCkpt = w.checkpointPages()
	w.nextRestart = restartFactor * w.nextCkpt
	// The hook replaces SQLite's own checkpointing inside COMMIT: ours runs after the callers got their answer.
	w.tx.h.WALHook(func(_ *sqlite3.Conn, _ string, pages int) error { w.walPages = pages; return nil })
	w.gauge()
}

func (w *writer) checkpointPages() int { return max(w.cfg.CheckpointKB/(pageSize/1024), 16) }

// update is DB.Update.
func (s *core) update(ctx context.Context, key int64, ask []Question, fn func(*Tx) error, committed func()) error {
	if s.gate == nil {
		return s.once(ctx, nil, key, ask, fn, committed)
	}
	return s.gate.retry(ctx, func() (final bool, err error) {
		down, turned := s.gate.state()
		if down != nil {
			return false, down
		}
		return false, s.once(ctx, turned, key, ask, fn, committed)
	})
}

// once gives fn to the writer. It is taken back when ctx ends or turned says that the database is away, if it has not started.
func (s *core) once(ctx context.Context, turned <-chan struct{}, key int64, ask []Question, fn func(*Tx) error, committed func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &s.writer
	r := w.free.Get().(*request)
	r.fn, r.committed, r.err = fn, committed, nil
	r.key, r.ask, r.barred = key, ask, time.Time{}
	r.state.Store(waiting)
	if !w.push(r) {
		return ErrClosed
	}
	for ended := false; !ended; {
		select {
		case <-r.done:
			ended = true
		case <-ctx.Done():
			if r.state.CompareAndSwap(waiting, abandoned) {
				return ctx.Err() // the writer still holds r and drops it
			}
			<-r.done
			ended = true
		case <-turned:
			down, next := s.gate.state()
			if turned = next; down != nil && r.state.CompareAndSwap(waiting, abandoned) {
				return down
			}
		}
	}
	err := r.err
	r.fn, r.committed, r.ask = nil, nil, nil
	clear(r.told)
	r.told = r.told[:0]
	w.free.Put(r)
	return err
}

func (w *writer) push(r *request) bool {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return false
	}
	w.queue = append(w.queue, r)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return true
}

func (w *writer) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.queue)
}

// pop returns the next request that still wants to run, nil if none waits.
func (w *writer) pop() *request {
	for {
		if len(w.taken) == 0 {
			w.mu.Lock()
			w.taken, w.queue = w.queue, w.spare[:0]
			w.mu.Unlock()
			w.spare = w.taken
			if len(w.taken) == 0 {
				return nil
			}
		}
		r := w.taken[0]
		w.taken[0] = nil
		w.taken = w.taken[1:]
		if r.state.CompareAndSwap(waiting, started) {
			return r
		}
	}
}

// close lets the writer finish what waits, then closes its connection.
func (w *writer) close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	<-w.stopped
	if w.tx.pg != nil {
		return w.tx.close()
	}
	w.tx.h.WALHook(nil)
	_, _, err := w.tx.h.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
	if errors.Is(err, sqlite3.BUSY) {
		err = nil // another process reads; the WAL stays and is read at the next start
	}
	return errors.Join(err, w.tx.close())
}

// run is the writer's goroutine.
func (w *writer) run() {
	ended := false
	defer func() {
		if !ended { // a function called runtime.Goexit, as t.Fatal does
			go w.revive()
			return
		}
		close(w.stopped)
	}()
	for {
		if w.gather() {
			continue
		}
		w.mu.Lock()
		end := w.closed && len(w.queue) == 0
		w.mu.Unlock()
		if end {
			ended = true
			return
		}
		<-w.wake
	}
}

// revive answers those who were in the batch when the writer's goroutine was ended, and goes on.
func (w *writer) revive() {
	w.rollback()
	for _, r := range w.batch {
		r.err = errors.New("db: a function ended the writer's goroutine")
	}
	w.finish()
	w.later = append(w.later, w.staged...)
	w.staged = w.staged[:0]
	w.requeue()
	w.run()
}

// gather runs one transaction with everyone who waits now or comes while it
// runs. It reports whether there was anything to do.
//
// Before the commit it lets others run, as long as that brings new members:
// those whom the last commit woke are about to queue again, and one more
// member costs far less than one more commit. A lone client is not made to
// wait for others to run, except once in a while, to notice that it is not
// alone: the scheduler likes to hand the core from caller to writer and back
// while everyone else waits for it.
//
// A crowd that is known splits into two halves that commit in turn, each
// waiting for the other's sync. So while fewer are here than the last turns
// saw, the writer waits for the rest, for a fraction of what a commit takes.
func (w *writer) gather() bool {
	fruitless := false
	var patience time.Duration
	for {
		n := len(w.batch) + len(w.staged)
		if n == w.cfg.BatchMax {
			break
		}
		if r := w.pop(); r != nil {
			if w.tx.pg == nil {
				w.try(r)
			} else {
				w.staged = append(w.staged, r)
			}
			fruitless = false
			continue
		}
		if n == 0 || n == 1 && w.alone%aloneProbe != 0 {
			break
		}
		if !fruitless {
			fruitless = true
			runtime.Gosched()
			continue
		}
		if patience == 0 {
			patience = min(w.lastCommit/patienceShare, maxPatience)
		}
		if n >= w.crowd || patience < minPatience {
			break
		}
		begin := time.Now()
		w.timer.Reset(patience)
		select {
		case <-w.wake:
			w.timer.Stop()
			patience -= time.Since(begin)
			fruitless = false
		case <-w.timer.C:
			patience = minPatience - 1
		}
	}
	w.runStaged()
	n := len(w.batch) + len(w.later)
	switch n {
	case 0:
		return false
	case 1:
		w.alone++
	default:
		w.alone = 0
	}
	w.finish()
	w.requeue()
	w.crowd = max(n+w.waiting(), w.crowd-1-w.crowd/16)
	w.tend()
	return true
}

const (
	// patienceShare: the writer waits at most this part of a commit for the rest of a crowd.
	patienceShare = 2
	minPatience   = 10 * time.Microsecond // less is not worth a timer
	maxPatience   = 2 * time.Millisecond
)

// aloneProbe is how many commits of a single member pass between two looks for others.
const aloneProbe = 8

// try runs r inside the running transaction, or begins one. A member that
// finds work of others there is wrapped in a savepoint; the first one is not:
// if it fails the whole transaction goes.
func (w *writer) try(r *request) {
	if w.tx.pg != nil {
		w.tryQueued(r)
		return
	}
	w.batch = append(w.batch, r)
	if !w.inTx {
		if r.err = w.exec("BEGIN IMMEDIATE"); r.err != nil {
			return
		}
		w.inTx, w.kept = true, 0
		w.tx.serial++
	}
	shared := w.kept > 0
	if shared {
		if r.err = w.exec("SAVEPOINT s"); r.err != nil {
			w.replay()
			return
		}
	}
	r.err = w.call(r.fn)
	w.tx.settle()
	switch {
	case w.tx.idle(): // SQLite itself rolled back: disk full, I/O error, no memory
		w.inTx = false
		if r.err == nil {
			r.err = errors.New("db: transaction ended inside an update")
		}
		if shared {
			w.replay()
		}
	case r.err == nil:
		w.kept++
		if shared && w.exec("RELEASE s") != nil {
			w.replay()
		}
	case shared:
		if w.exec("ROLLBACK TO s") != nil || w.exec("RELEASE s") != nil {
			w.replay()
		}
	default:
		w.rollback()
	}
}

// requeue puts those who could not have their lock before all others: the first
// of a transaction holds nothing, so it may wait.
func (w *writer) requeue() {
	if len(w.later) == 0 {
		return
	}
	for _, r := range w.later {
		r.err = nil
		r.state.Store(waiting)
	}
	w.taken = append(w.later, w.taken...)
	w.later = nil
}

// call runs fn and turns a panic into an error.
func (w *writer) call(fn func(*Tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("db: panic in update: %v\n%s", p, debug.Stack())
		}
	}()
	w.tx.sent = nil
	if err = fn(w.tx); err == nil {
		err = w.tx.sent
	}
	return err
}

// finish commits what batch did and answers everyone in it.
func (w *writer) finish() {
	if w.inTx {
		if again, err := w.commit(); err != nil {
			w.rollback()
			if (again || len(w.batch) > 1) && !w.replaying && !errors.Is(err, ErrUnknown) {
				w.replay()
				return
			}
			for _, r := range w.batch {
				r.err = cmp.Or(r.err, err)
			}
		}
	}
	for _, r := range w.batch {
		w.n.updates.Add(1)
		if r.err == nil && r.committed != nil {
			r.err = announce(r.committed)
		}
		if r.err != nil {
			w.n.failed.Add(1)
		}
	}
	for i, r := range w.batch {
		r.done <- struct{}{}
		w.batch[i] = nil
	}
	w.batch = w.batch[:0]
	if w.tx.pg != nil {
		clear(w.keys)
		w.tx.pg.hasty = false
	}
}

// commit makes the running transaction durable. again says that it is worth
// trying even for a single member: what the rows refer to was not flushed, and
// the function finds out which of it.
func (w *writer) commit() (again bool, err error) {
	begin := time.Now()
	if w.cfg.BeforeCommit != nil && w.kept > 0 {
		if err := w.cfg.BeforeCommit(); err != nil {
			return true, fmt.Errorf("db: before commit: %w", err)
		}
	}
	if err := w.exec("COMMIT"); err != nil {
		err = fmt.Errorf("db: commit: %w", err)
		if again = w.tx.lost() && !errors.Is(err, ErrUnknown); again {
			err = away(err)
		}
		return again, err
	}
	w.inTx = false
	w.n.commits.Add(1)
	w.lastCommit = time.Since(begin)
	w.n.commitNanos.Add(int64(w.lastCommit))
	return false, nil
}

// announce calls a committed callback. The work is durable whatever it does.
func announce(committed func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("db: panic after commit: %v\n%s", p, debug.Stack())
		}
	}()
	committed()
	return nil
}

// replay gives every member of a transaction that was lost as a whole one of
// its own, in the same order, so that one poisonous member fails alone.
func (w *writer) replay() {
	w.rollback()
	if w.replaying { // a single member that failed at the savepoint of nothing: not again
		return
	}
	w.replaying = true
	defer func() { w.replaying = false }()
	members := append([]*request(nil), w.batch...)
	for i, r := range members {
		w.n.replays.Add(1)
		w.batch = w.batch[:0]
		r.err = nil
		w.try(r)
		w.finish()
		members[i] = nil
	}
}

// rollback ends the running transaction if there is one.
func (w *writer) rollback() {
	w.tx.settle()
	if !w.tx.idle() {
		w.exec("ROLLBACK")
	}
	w.inTx, w.kept = false, 0
	w.untell()
}

func (w *writer) exec(sql string) error {
	_, err := w.tx.Exec(sql)
	return err
}

// tend does the writer's housework between two transactions.
func (w *writer) tend() {
	if w.tx.pg != nil {
		return // its server does its own
	}
	if w.walPages >= w.nextCkpt {
		w.checkpoint()
	}
	if time.Since(w.statsTime) > statsEvery {
		w.gauge()
	}
}

// checkpoint copies the WAL into the database file. Readers that hold old
// snapshots can keep it from finishing or the WAL from starting over. Then the
// next try comes a quarter later. When the WAL is four times too large we wait
// for the readers once, and again whenever it has doubled: one very long
// reader costs a few stalls, not one at every turn.
func (w *writer) checkpoint() {
	begin, limit := time.Now(), w.checkpointPages()
	mode := sqlite3.CHECKPOINT_PASSIVE
	if w.walPages >= w.nextRestart {
		mode = sqlite3.CHECKPOINT_RESTART
		w.tx.h.BusyTimeout(min(restartPatience*time.Duration(w.walPages/(restartFactor*limit)), restartLongest))
		defer w.tx.h.BusyTimeout(time.Duration(w.cfg.BusyTimeoutMS) * time.Millisecond)
	}
	pages, copied, err := w.tx.h.WALCheckpoint("main", mode)
	w.n.checkpoints.Add(1)
	w.n.checkpointNanos.Add(int64(time.Since(begin)))
	done := err == nil && copied >= pages
	w.nextCkpt = limit
	if !done {
		w.nextCkpt = max(limit, w.walPages+limit/4)
	}
	if mode == sqlite3.CHECKPOINT_RESTART {
		w.nextRestart = restartFactor * limit
		if !done {
			w.nextRestart = max(w.nextRestart, 2*w.walPages)
		}
	}
}

const (
	restartFactor = 4
	// restartPatience bounds how long all writes wait for the readers that
	// keep an oversized WAL from being reset; it grows with the WAL.
	restartPatience = 100 * time.Millisecond
	restartLongest  = 2 * time.Second
)

// gauge refreshes the page counts of Stats.
func (w *writer) gauge() {
	var pages, free int64
	w.tx.Row("PRAGMA page_count").Scan(&pages)
	w.tx.Row("PRAGMA freelist_count").Scan(&free)
	w.n.pages.Store(pages)
	w.n.freePages.Store(free)
	w.statsTime = time.Now()
}
