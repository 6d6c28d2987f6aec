package blob

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	compactBytes = 4 << 20 // bodies in memory while they move
	compactCount = 64      // bodies that move together, and calls of moved at once
	smallPacks   = 8       // so many packs below an eighth of PackBytes are worth merging
)

// Compact rewrites what is live in packs that are mostly dead, and in small
// packs that restarts left behind, and removes those packs. live says whether
// a row refers to a body. moved is called when the new copy is durable; it
// must make every row point to it, durably, before it returns; if no row is
// left it returns an error that wraps fs.ErrNotExist. It is called from
// several goroutines at once, so that its commits can be grouped.
//
// An old pack can still be read by its old refs for DirConfig.Retire. A crash
// at any line leaves only garbage for Sweep. freed counts disk space.
func (d *Dir) Compact(ctx context.Context, live func(Ref) (bool, error), moved func(ctx context.Context, old, new Ref) error) (freed int64, err error) {
	if err := d.enter(); err != nil {
		return 0, err
	}
	defer d.writers.Done()
	d.chores.Lock()
	defer d.chores.Unlock()
	candidates, err := d.candidates(ctx)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, n := range candidates {
		got, err := d.compactPack(ctx, n, live, moved)
		freed += got
		if err != nil {
			errs = append(errs, fmt.Errorf("blob: compact pack %d: %w", n, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return freed, errors.Join(errs...)
}

// candidates chooses packs. To read all headers of all packs would read most
// of the store, so only those are looked into whose disk space says that a
// quarter or more was punched out.
func (d *Dir) candidates(ctx context.Context) (out []uint64, err error) {
	nums, err := d.packNumbers()
	if err != nil {
		return nil, err
	}
	var small []uint64
	for _, n := range nums {
		// The pack being written, and the newest one, stay: numbers are never reused.
		if n >= d.packs.newest() || n == nums[len(nums)-1] || d.isRetired(n) {
			continue
		}
		fi, err := os.Stat(d.packPath(n))
		if err != nil {
			return nil, err
		}
		size := fi.Size()
		if size < d.cfg.PackBytes/8 {
			small = append(small, n)
			continue
		}
		if allocated(fi) > size-size/4 && !d.solid.Load() {
			continue
		}
		kept, err := d.liveBytes(ctx, n)
		if err != nil {
			return nil, err
		}
		if kept <= size/2 {
			out = append(out, n)
		}
	}
	if len(small) >= smallPacks {
		out = append(out, small...)
	}
	return out, nil
}

func (d *Dir) liveBytes(ctx context.Context, pack uint64) (n int64, err error) {
	for r, err := range d.records(ctx, pack) {
		if errors.Is(err, ErrCorrupt) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if r.state == stateLive {
			n += recordSize(r.length)
		}
	}
	return n, nil
}

// compactPack moves what is live out of one pack and retires it. A body that
// no row knows is dropped, unless it is so young that its row may be under
// way: then the pack stays for another day.
func (d *Dir) compactPack(ctx context.Context, pack uint64, live func(Ref) (bool, error), moved func(context.Context, Ref, Ref) error) (freed int64, err error) {
	fi, err := os.Stat(d.packPath(pack))
	if err != nil {
		return 0, err
	}
	freed = allocated(fi)
	young := time.Now().Add(-d.cfg.Grace)
	var keep []record
	for r, err := range d.records(ctx, pack) {
		if err != nil {
			return 0, err // an unreadable pack is evidence; it stays
		}
		if r.state == stateDead {
			continue
		}
		ok, err := live(r.ref())
		if err != nil {
			return 0, err
		}
		switch {
		case ok:
			keep = append(keep, r)
		case r.when().After(young):
			return 0, nil
		}
	}
	any := len(keep) > 0
	for len(keep) > 0 {
		n, bytes := 0, int64(0)
		for n < len(keep) && n < compactCount && (n == 0 || bytes+keep[n].length <= compactBytes) {
			bytes += keep[n].length
			freed -= recordSize(keep[n].length)
			n++
		}
		if err := d.move(ctx, keep[:n], moved); err != nil {
			return 0, err
		}
		keep = keep[n:]
	}
	if !any {
		return freed, d.remove(pack)
	}
	d.retire(pack)
	return freed, nil
}

// move copies a group of records, makes the copies durable together and has the rows changed.
func (d *Dir) move(ctx context.Context, group []record, moved func(context.Context, Ref, Ref) error) error {
	refs := make([]Ref, 0, len(group))
	var last int64
	err := func() error {
		for _, r := range group {
			body, err := d.readRecord(r)
			if err != nil {
				return fmt.Errorf("%s: %w", r.ref(), err)
			}
			ref, seq, err := d.packs.stage(body, r.time)
			if err != nil {
				return err
			}
			refs, last = append(refs, ref), seq
		}
		d.packs.flushTo(last)
		if slices.ContainsFunc(refs, d.Lost) {
			return errLost
		}
		return nil
	}()
	if err != nil {
		return errors.Join(err, d.Delete(ctx, refs...)) // copies nobody knows
	}
	results := make([]error, len(refs))
	var wg sync.WaitGroup
	for i, ref := range refs {
		wg.Go(func() {
			err := moved(ctx, group[i].ref(), ref)
			if errors.Is(err, fs.ErrNotExist) {
				err = d.Delete(ctx, ref)
			}
			results[i] = err // the copy stays when the outcome is not known
		})
	}
	wg.Wait()
	return errors.Join(results...)
}

func (d *Dir) readRecord(r record) ([]byte, error) {
	rd, err := d.openRecord(r.place())
	if err != nil {
		return nil, err
	}
	defer rd.Close()
	if m, ok := rd.(memReader); ok {
		return m, nil
	}
	b := make([]byte, r.length)
	_, err = rd.ReadAt(b, 0)
	return b, err
}

// retire removes a pack after its grace.
func (d *Dir) retire(pack uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retired[pack] = time.AfterFunc(d.cfg.Retire, func() { d.remove(pack) })
}

func (d *Dir) isRetired(pack uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.retired[pack]
	return ok
}

// remove unlinks a pack. Readers that have it open keep reading.
func (d *Dir) remove(pack uint64) error {
	err := os.Remove(d.packPath(pack))
	d.handles.forget(pack)
	d.mu.Lock()
	delete(d.retired, pack)
	d.mu.Unlock()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// retireNow removes the packs that wait for the end of their grace.
func (d *Dir) retireNow() {
	d.mu.Lock()
	var packs []uint64
	for n, t := range d.retired {
		t.Stop()
		packs = append(packs, n)
	}
	d.mu.Unlock()
	for _, n := range packs {
		d.remove(n)
	}
}
