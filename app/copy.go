package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"bahnpost/store"
	"bahnpost/store/mailstore"
)

// StoreCopy is what "bahnpost store copy" is to do.
type StoreCopy struct {
	From, To string // directories of nodes that do not run
	DryRun   bool   // look only
	Again    bool   // To may be a finished copy of From: what differs is taken anew
	Progress func(done, total int64)
}

// CopyReport says what was copied, or with DryRun what would be.
type CopyReport struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Resumed bool   `json:"resumed"` // an earlier run had begun
	DryRun  bool   `json:"dry_run"`
	mailstore.CopySum
	Seconds float64 `json:"seconds"`
}

// errCopyAgain is for those who changed a store while it was copied.
var errCopyAgain = errors.New("a node was started on the source meanwhile: stop it and run the copy again")

// CopyStore copies everything that the cell of the node in From remembers into
// the store of the node in To, which init has just made, compares the two, and lets To's be served. It may
// be ended at any instant, kill -9 included, and run again: it goes on. Until it has finished, To is refused to whoever would serve it.
func CopyStore(ctx context.Context, o StoreCopy) (r *CopyReport, err error) {
	begin := time.Now()
	r = &CopyReport{From: o.From, To: o.To, DryRun: o.DryRun}
	if a, err := filepath.EvalSymlinks(o.From); err == nil {
		if b, err := filepath.EvalSymlinks(o.To); err == nil && a == b {
			return r, errors.New("--from and --to are one directory")
		}
	}
	from, err := openCopy(ctx, o.From, opening{})
	if err != nil {
		return r, fmt.Errorf("--from: %w", err)
	}
	defer func() { err = errors.Join(err, from.close()) }()
	to, err := openCopy(ctx, o.To, opening{found: true, copying: true})
	if err != nil {
		return r, fmt.Errorf("--to: %w", err)
	}
	defer func() { err = errors.Join(err, to.close()) }()
	total, err := from.mailstore.CopyTotal(ctx)
	if err != nil {
		return r, err
	}
	if r.Resumed, err = copyBegun(ctx, from, to, o); err != nil || o.DryRun {
		r.CopySum = total
		return r, err
	}
	r.CopySum, err = to.mailstore.CopyFrom(ctx, from.mailstore, !r.Resumed, mailstore.CopyOptions{Progress: func(s mailstore.CopySum) {
		if o.Progress != nil {
			o.Progress(s.Messages, total.Messages)
		}
	}})
	if err == nil {
		err = to.directory.CopyFrom(ctx, from.directory, nil)
	}
	if err == nil && from.stopped(ctx) != nil {
		err = errCopyAgain
	}
	if err == nil {
		err = to.directory.EndCopy(ctx)
	}
	if err == nil {
		err = to.mailstore.CopyEnd(ctx)
	}
	r.Seconds = time.Since(begin).Seconds()
	return r, err
}

// openCopy opens a store that nobody serves.
func openCopy(ctx context.Context, dir string, how opening) (*floor, error) {
	c, err := LoadConfig(dir)
	if err != nil {
		return nil, err
	}
	f, err := openFloor(ctx, dir, c, slog.New(slog.DiscardHandler), how)
	if errors.Is(err, store.ErrLocked) {
		err = fmt.Errorf("%w: stop the node that serves it", err)
	}
	if err != nil {
		return nil, err
	}
	if err := f.stopped(ctx); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// stopped refuses a cell of which a node lives.
func (f *floor) stopped(ctx context.Context) error {
	list, err := f.store.DB.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range list {
		if n.Age < nodeSilent {
			return fmt.Errorf("node %s serves it: stop all nodes of the cell (one that was killed counts for %v more)", n.Name, nodeSilent)
		}
	}
	return nil
}

// copyBegun says whether to is a copy of from that was begun. A store that holds something else is refused.
func copyBegun(ctx context.Context, from, to *floor, o StoreCopy) (bool, error) {
	source, err := to.directory.CopyingFrom(ctx)
	if err != nil {
		return false, err
	}
	if source == nil {
		if err := to.fresh(ctx, from, o.Again); err != nil || o.DryRun {
			return false, err
		}
	}
	me, err := from.directory.Identity(ctx)
	switch {
	case err != nil:
		return false, err
	case source == nil:
		return false, to.directory.BeginCopy(ctx, me)
	case !bytes.Equal(source, me):
		return false, errors.New("--to: a copy of another store into it was begun and is not finished; let \"bahnpost init\" make a new one")
	}
	return true, nil
}

// fresh refuses a store that holds more than init put there; with again it may also hold a finished copy.
func (f *floor) fresh(ctx context.Context, from *floor, again bool) error {
	mine, err := f.directory.CopyOf(ctx)
	if err != nil {
		return err
	}
	its, err := from.directory.CopyOf(ctx)
	switch copied := mine != nil && bytes.Equal(mine, its); {
	case err != nil || copied && again:
		return err
	case copied:
		return errors.New("--to: it is a finished copy of --from already; with --again what differs is taken anew, and what --to got since is lost")
	case again:
		return errors.New("--to: it is no copy of --from, so there is nothing to do again")
	}
	accounts := 0
	for _, err := range f.directory.Accounts(ctx) {
		if accounts++; err != nil {
			return err
		}
		if accounts > 1 {
			return errors.New("--to: there are accounts in it already; a copy needs a store that \"bahnpost init\" has just made")
		}
	}
	empty, err := f.mailstore.CopyEmpty(ctx)
	if err == nil && !empty {
		err = errors.New("--to: there is mail in it already; a copy needs a store that \"bahnpost init\" has just made")
	}
	return err
}

// errCopying refuses to serve what is not all there: it would say of addresses, for good, that they are unknown.
var errCopying = errors.New("the store is the destination of a copy that is not finished: run \"bahnpost store copy\" again, with the same --from and --to")

// whole refuses a copy that is not finished.
func (f *floor) whole(ctx context.Context) error {
	source, err := f.directory.CopyingFrom(ctx)
	if err == nil && source != nil {
		err = errCopying
	}
	return err
}
