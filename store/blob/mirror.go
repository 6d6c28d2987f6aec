package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// mirror is two shelves that each have all bodies. A body is put to both. It is read from the first that
// has it whole, and what the other lacks or has damaged is repaired. That a body is missing is said only
// when both say so.
type mirror struct {
	sides [2]shelf
	// degraded: a put succeeds with one side while the other is away; what that one is owed is kept durably in owed.
	degraded bool
	owed     *owed
	tmp      string
	log      *slog.Logger
	repairs  chan debt
	repaired atomic.Int64
	done     sync.WaitGroup
}

// debt is a body that a side lacks.
type debt struct {
	side int
	sealedName
}

const repairQueue = 1024 // repairs that wait; more are left to the next read or sweep

func openMirror(ctx context.Context, a, b shelf, degraded bool, dir, tmp string, log *slog.Logger) (*mirror, error) {
	m := &mirror{sides: [2]shelf{a, b}, degraded: degraded, tmp: tmp, log: log, repairs: make(chan debt, repairQueue)}
	var err error
	if m.owed, err = openOwed(dir); err != nil {
		return nil, err
	}
	m.done.Go(func() { m.run(ctx) })
	return m, nil
}

func (m *mirror) put(ctx context.Context, b sealed, fresh bool) error {
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() { errs[1] = m.sides[1].put(ctx, b, fresh) })
	errs[0] = m.sides[0].put(ctx, b, fresh)
	wg.Wait()
	for i := range errs {
		if m.degraded && errors.Is(errs[i], ErrAway) && errs[1-i] == nil {
			return m.owed.add(debt{i, b.sealedName})
		}
	}
	return errors.Join(errs[:]...)
}

func (m *mirror) read(ctx context.Context, n sealedName, first int, dst []byte) error {
	var errs [2]error
	for i, side := range m.sides {
		if errs[i] = side.read(ctx, n, first, dst); errs[i] == nil {
			if i == 1 && isLasting(errs[0]) {
				m.mend(debt{0, n}, errs[0])
			}
			if i == 0 && isThorough(ctx) {
				m.second(ctx, n, first, len(dst))
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	for _, err := range errs {
		if !isLasting(err) {
			return err // it may have it
		}
	}
	if errors.Is(errs[1], ErrCorrupt) {
		return errs[1]
	}
	return errs[0]
}

// second looks at the side that was not needed.
func (m *mirror) second(ctx context.Context, n sealedName, first, size int) {
	if err := m.sides[1].read(ctx, n, first, make([]byte, size)); isLasting(err) {
		m.mend(debt{1, n}, err)
	}
}

// mend has a body repaired, soon.
func (m *mirror) mend(d debt, why error) {
	select {
	case m.repairs <- d:
		m.log.Warn("a side of the mirror lacks a body; repairing it", "side", m.name(d.side), "body", string(d.ref()), "err", why)
	default:
	}
}

func (m *mirror) name(side int) string {
	var names []string
	for _, p := range m.sides[side].paths() {
		names = append(names, p.Name)
	}
	return strings.Join(names, ",")
}

// run repairs, and pays what is owed.
func (m *mirror) run(ctx context.Context) {
	pause := firstRetry
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-m.repairs:
			if err := m.repair(ctx, d); err != nil && ctx.Err() == nil {
				m.log.Warn("repair failed", "side", m.name(d.side), "body", string(d.ref()), "err", err)
			}
		case <-timer.C:
			if m.pay(ctx) {
				pause = firstRetry
			} else {
				pause = min(2*pause, mostRetry)
			}
			timer.Reset(pause)
		}
	}
}

// pay gives the sides what they are owed; false: not all, try later.
func (m *mirror) pay(ctx context.Context) bool {
	ok := true
	for _, d := range m.owed.all() {
		err := m.repair(ctx, d)
		switch {
		case errors.Is(err, fs.ErrNotExist): // deleted meanwhile
		case errors.Is(err, ErrAway) || ctx.Err() != nil:
			return false
		case err != nil:
			m.log.Error("what a side of the mirror is owed cannot be brought", "side", m.name(d.side), "body", string(d.ref()), "err", err)
			ok = false
			continue
		}
		if err := m.owed.drop(d); err != nil {
			m.log.Error("mirror", "err", err)
			ok = false
		}
	}
	return ok
}

// repair copies a body to a side from the other.
func (m *mirror) repair(ctx context.Context, d debt) error {
	b, err := fetchSealed(ctx, m.sides[1-d.side], d.sealedName, m.tmp)
	if err != nil {
		return err
	}
	defer b.from.(*os.File).Close()
	if err := m.sides[d.side].put(ctx, b, false); err != nil {
		return err
	}
	m.repaired.Add(1)
	return nil
}

// fetchSealed brings a whole body, verified, into a file without a name.
func fetchSealed(ctx context.Context, from shelf, n sealedName, tmp string) (sealed, error) {
	f, err := os.CreateTemp(tmp, "")
	if err != nil {
		return sealed{}, fmt.Errorf("blob: %w", err)
	}
	os.Remove(f.Name())
	hash := sha256.New()
	s := newSealer(n.id, f, hash)
	buf := make([]byte, min(n.length, mostSpan))
	for off := int64(0); off < n.length || off == 0; off += mostSpan {
		part := buf[:min(int64(len(buf)), n.length-off)]
		if err := from.read(ctx, n, int(off/blockSize), part); err != nil {
			f.Close()
			return sealed{}, err
		}
		if _, err := s.Write(part); err != nil {
			f.Close()
			return sealed{}, fmt.Errorf("blob: %w", err)
		}
	}
	if err := s.flush(); err != nil {
		f.Close()
		return sealed{}, fmt.Errorf("blob: %w", err)
	}
	b := sealed{sealedName: n, from: f}
	hash.Sum(b.sum[:0])
	return b, nil
}

func (m *mirror) remove(ctx context.Context, names []sealedName) error {
	for _, n := range names {
		for side := range m.sides {
			if err := m.owed.drop(debt{side, n}); err != nil {
				return err
			}
		}
	}
	return errors.Join(m.sides[0].remove(ctx, names), m.sides[1].remove(ctx, names))
}

// list merges both listings. What one side lacks or has cut short can be repaired from the other.
func (m *mirror) list(ctx context.Context) iter.Seq2[found, error] {
	return func(yield func(found, error) bool) {
		var next [2]func() (found, error, bool)
		var head [2]found
		var more [2]bool
		pull := func(i int) (err error) {
			head[i], err, more[i] = next[i]()
			return err
		}
		for i, side := range m.sides {
			n, stop := iter.Pull2(side.list(ctx))
			defer stop()
			next[i] = n
			if err := pull(i); err != nil {
				yield(found{}, err)
				return
			}
		}
		for more[0] || more[1] {
			f, from := m.lesser(head, more)
			if !yield(f, nil) {
				return
			}
			for i := range from {
				if from[i] {
					if err := pull(i); err != nil {
						yield(found{}, err)
						return
					}
				}
			}
		}
	}
}

// lesser takes the next entry of the two listings, and says which of them it is from.
func (m *mirror) lesser(head [2]found, more [2]bool) (f found, from [2]bool) {
	order := 0
	switch {
	case !more[1]:
		order = -1
	case !more[0]:
		order = 1
	case head[0].id != "" && head[1].id != "":
		order = strings.Compare(head[0].key(), head[1].key())
	case head[0].id != "":
		order = 1 // strays first
	default:
		order = -1
	}
	mendable := func(f found, side int) found {
		f.bad = nil
		f.repair = func(ctx context.Context) error { return m.repair(ctx, debt{side, f.sealedName}) }
		return f
	}
	switch {
	case order < 0 && head[0].bad == nil:
		return mendable(head[0], 1), [2]bool{true, false}
	case order < 0:
		return head[0], [2]bool{true, false}
	case order > 0 && head[1].bad == nil:
		return mendable(head[1], 0), [2]bool{false, true}
	case order > 0:
		return head[1], [2]bool{false, true}
	case head[0].bad == nil && head[1].bad != nil:
		return mendable(head[0], 1), [2]bool{true, true}
	case head[0].bad != nil && head[1].bad == nil:
		return mendable(head[1], 0), [2]bool{true, true}
	}
	return head[0], [2]bool{true, true}
}

func (m *mirror) found(ctx context.Context) error {
	return errors.Join(m.sides[0].found(ctx), m.sides[1].found(ctx))
}

func (m *mirror) ready(ctx context.Context) error {
	return errors.Join(m.sides[0].ready(ctx), m.sides[1].ready(ctx))
}

func (m *mirror) paths() []Path { return append(m.sides[0].paths(), m.sides[1].paths()...) }

func (m *mirror) close() {
	m.done.Wait()
	m.sides[0].close()
	m.sides[1].close()
}

// owed is a durable list of debts: an empty file for each.
type owed struct {
	dir string

	mu    sync.Mutex
	debts map[debt]struct{}
}

func openOwed(dir string) (*owed, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("blob: %w", err)
	}
	o := &owed{dir: dir, debts: make(map[debt]struct{})}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("blob: %w", err)
	}
	for _, e := range entries {
		side, ref, _ := strings.Cut(e.Name(), "-")
		n, err := parseSealed(Ref(ref))
		if err != nil || side != "0" && side != "1" {
			return nil, fmt.Errorf("blob: %s does not belong into %s", e.Name(), dir)
		}
		o.debts[debt{int(side[0] - '0'), n}] = struct{}{}
	}
	return o, nil
}

func (o *owed) file(d debt) string {
	return filepath.Join(o.dir, fmt.Sprintf("%d-%s", d.side, d.ref()))
}

func (o *owed) add(d debt) error {
	f, err := os.OpenFile(o.file(d), os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(f.Close(), syncDir(o.dir))
	}
	if err != nil {
		return fmt.Errorf("blob: debt of a mirror: %w", err)
	}
	o.mu.Lock()
	o.debts[d] = struct{}{}
	o.mu.Unlock()
	return nil
}

func (o *owed) drop(d debt) error {
	o.mu.Lock()
	_, ok := o.debts[d]
	o.mu.Unlock()
	if !ok {
		return nil
	}
	if err := os.Remove(o.file(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("blob: debt of a mirror: %w", err)
	}
	o.mu.Lock()
	delete(o.debts, d)
	o.mu.Unlock()
	return nil
}

func (o *owed) all() []debt {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]debt, 0, len(o.debts))
	for d := range o.debts {
		out = append(out, d)
	}
	return out
}

// wait passes d, half more or less, unless ctx ends.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
