package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"
)

// record is a record found by walking a pack.
type record struct {
	pack uint64
	off  int64
	header
}

func (r record) ref() Ref     { return packRef(r.pack, r.off, r.length) }
func (r record) place() place { return place{pack: r.pack, off: r.off, length: r.length} }

// scanWindow is read at once while walking from header to header.
const scanWindow = 4096

// records walks a pack, dead records included. A torn tail ends the walk in
// silence; unreadable octets with records behind them are reported with
// ErrCorrupt and the walk goes on.
func (d *Dir) records(ctx context.Context, pack uint64) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		h, err := d.handles.get(pack)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) { // compacted away meanwhile: its records are elsewhere
				yield(record{}, err)
			}
			return
		}
		defer h.release()
		fi, err := h.f.Stat()
		if err != nil {
			yield(record{}, err)
			return
		}
		w := window{f: h.f, size: fi.Size()}
		for off := int64(packHeader); off+recHeader <= w.size; {
			if err := ctx.Err(); err != nil {
				yield(record{}, err)
				return
			}
			hd, ok, err := w.header(pack, off)
			if err == nil && !ok {
				var bad int64
				bad, off, err = off, 0, nil
				if off, err = w.resync(pack, bad); err == nil {
					if off == 0 {
						return
					}
					err = fmt.Errorf("blob: pack %d: octets %d to %d hold no record: %w", pack, bad, off, ErrCorrupt)
					if !yield(record{}, err) {
						return
					}
					continue
				}
			}
			if err != nil {
				yield(record{}, err)
				return
			}
			if !yield(record{pack, off, hd}, nil) {
				return
			}
			off += recordSize(hd.length)
		}
	}
}

// window reads a file in small pieces.
type window struct {
	f    *os.File
	size int64
	buf  [scanWindow]byte
	from int64
	n    int
}

// header parses the header at off. A record that does not end inside the file is none.
func (w *window) header(pack uint64, off int64) (header, bool, error) {
	if off < w.from || off+recHeader > w.from+int64(w.n) {
		n, err := w.f.ReadAt(w.buf[:], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return header{}, false, err
		}
		w.from, w.n = off, n
	}
	i := off - w.from
	h, ok := parseHeader(w.buf[i:w.n], pack, off)
	if ok && (h.length > maxPutLimit || off+bodyOffset(h.length)+h.length > w.size) {
		ok = false
	}
	return h, ok, nil
}

// resync finds the next header behind off, 0 if there is none.
func (w *window) resync(pack uint64, off int64) (int64, error) {
	for off += recAlign; off+recHeader <= w.size; off += recAlign {
		if _, ok, err := w.header(pack, off); err != nil || ok {
			return off, err
		}
	}
	return 0, nil
}

// All walks everything that is stored, packs first, for `bahnpost check`.
// Errors about single bodies wrap ErrCorrupt; the walk goes on after them.
// What is stored while it runs may or may not be seen.
func (d *Dir) All(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		nums, err := d.packNumbers()
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for _, n := range nums {
			if d.isRetired(n) {
				continue
			}
			for r, err := range d.records(ctx, n) {
				if err == nil && r.state == stateDead {
					continue
				}
				e := Entry{Ref: r.ref(), Size: r.length, Time: r.when()}
				if err != nil {
					e = Entry{}
				}
				if !yield(e, err) {
					return
				}
			}
		}
		d.allFiles(ctx, yield)
	}
}

func (d *Dir) allFiles(ctx context.Context, yield func(Entry, error) bool) {
	for i := range shards {
		list, err := os.ReadDir(filepath.Join(d.path, "files", fmt.Sprintf("%02x", i)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for _, f := range list {
			if err := ctx.Err(); err != nil {
				yield(Entry{}, err)
				return
			}
			e, err := d.fileEntry(f.Name())
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func (d *Dir) fileEntry(id string) (Entry, error) {
	ref := Ref("f" + id)
	if _, err := parseRef(ref); err != nil {
		return Entry{}, fmt.Errorf("blob: stray file %q among the bodies", id)
	}
	f, err := os.Open(d.filePath(id))
	if err != nil {
		return Entry{}, err
	}
	defer f.Close()
	h, _, err := readFooter(f)
	if err != nil {
		return Entry{}, fmt.Errorf("blob: %s: %w", ref, err)
	}
	return Entry{Ref: ref, Size: h.length, Time: h.when()}, nil
}

// Sweep removes bodies that are older than olderThan and that live does not
// know: what a crash between body and row has left. olderThan must be longer
// than any delivery takes; a day is right. It never runs beside Compact.
func (d *Dir) Sweep(ctx context.Context, olderThan time.Duration, live func(Ref) (bool, error)) (removed int, bytes int64, err error) {
	d.chores.Lock()
	defer d.chores.Unlock()
	limit := time.Now().Add(-olderThan)
	var errs []error
	for e, err := range d.All(ctx) {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if e.Time.After(limit) {
			continue
		}
		ok, err := live(e.Ref)
		if err != nil {
			return removed, bytes, errors.Join(append(errs, err)...)
		}
		if ok {
			continue
		}
		if err := d.Delete(ctx, e.Ref); err != nil {
			errs = append(errs, err)
			continue
		}
		removed++
		bytes += e.Size
	}
	return removed, bytes, errors.Join(errs...)
}
