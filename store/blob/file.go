package blob

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A large body is a file of its own.

func (d *Dir) filePath(id string) string { return filepath.Join(d.path, "files", id[:2], id) }

// Create is Store.Create.
func (d *Dir) Create(ctx context.Context) (Writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	var raw [fileIDLen / 2]byte
	rand.Read(raw[:])
	id := hex.EncodeToString(raw[:])
	f, err := os.OpenFile(filepath.Join(d.path, "tmp", id), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		d.writers.Done()
		return nil, fmt.Errorf("blob: create: %w", err)
	}
	return &fileWriter{d: d, f: f, id: id}, nil
}

// fileWriter streams a body into a file and sums its blocks as they pass.
type fileWriter struct {
	d     *Dir
	f     *os.File
	id    string
	size  int64
	sum   uint32 // of the block that is not full yet
	table []uint32
	err   error
	ended bool
}

// Write keeps its first error: a body with a gap can't be committed.
func (w *fileWriter) Write(p []byte) (n int, err error) {
	if w.ended {
		return 0, errors.New("blob: write after the end of the body")
	}
	if w.err != nil {
		return 0, w.err
	}
	if err := w.d.cfg.disk.write(w.f, [][]byte{p}, w.size); err != nil {
		w.err = fmt.Errorf("blob: write: %w", err)
		return 0, w.err
	}
	n = len(p)
	for len(p) > 0 {
		m := min(len(p), int(blockSize-w.size%blockSize))
		w.sum = crc32.Update(w.sum, crc32.MakeTable(crc32.Castagnoli), p[:m])
		w.size += int64(m)
		p = p[m:]
		if w.size%blockSize == 0 {
			w.table, w.sum = append(w.table, w.sum), 0
		}
	}
	return n, nil
}

// Commit is Writer.Commit: data to the disk, then the name.
func (w *fileWriter) Commit() (Ref, error) {
	if w.ended {
		return "", errors.New("blob: commit after the end of the body")
	}
	defer w.Abort()
	if w.err != nil {
		return "", w.err
	}
	if err := w.commit(); err != nil {
		return "", fmt.Errorf("blob: commit: %w", err)
	}
	return Ref("f" + w.id), nil
}

func (w *fileWriter) commit() error {
	if w.size%blockSize != 0 {
		w.table = append(w.table, w.sum)
	}
	head := appendRecordHead(nil, 0, 0, header{state: stateLive, length: w.size, time: time.Now().Unix()}, w.table)
	tail := [][]byte{head[recHeader:], head[:recHeader]}
	disk := &w.d.cfg.disk
	if err := disk.write(w.f, tail, w.size); err != nil {
		return err
	}
	if err := disk.sync(w.f); err != nil {
		return err
	}
	to := w.d.filePath(w.id)
	if err := w.d.makeShard(w.id); err != nil {
		return err
	}
	if err := disk.rename(w.f.Name(), to); err != nil {
		return err
	}
	if err := disk.syncDir(filepath.Dir(to)); err != nil {
		os.Remove(to) // not acknowledged; better no garbage
		return err
	}
	w.d.recycler.wrote(to, w.size)
	return nil
}

// makeShard makes the directory for id, once; its name is durable when it
// returns, also if another Commit has just made it and not yet synced it.
func (d *Dir) makeShard(id string) error {
	var i [1]byte
	if _, err := hex.Decode(i[:], []byte(id[:2])); err != nil {
		return err
	}
	if d.sharded[i[0]].Load() {
		return nil
	}
	path := filepath.Dir(d.filePath(id))
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := d.cfg.disk.syncDir(filepath.Dir(path)); err != nil {
		return err
	}
	d.sharded[i[0]].Store(true)
	return nil
}

// Abort is Writer.Abort; after Commit it only closes.
func (w *fileWriter) Abort() {
	if w.ended {
		return
	}
	w.ended = true
	w.f.Close()
	os.Remove(w.f.Name()) // gone already after Commit
	w.d.writers.Done()
}

// readFooter returns header and block table of an open file.
func readFooter(f *os.File) (header, []byte, error) {
	fi, err := f.Stat()
	if err != nil {
		return header{}, nil, err
	}
	var b [recHeader]byte
	if fi.Size() < recHeader {
		return header{}, nil, fmt.Errorf("file cut short: %w", ErrCorrupt)
	}
	if _, err := f.ReadAt(b[:], fi.Size()-recHeader); err != nil {
		return header{}, nil, err
	}
	h, ok := parseHeader(b[:], 0, 0)
	if !ok || fi.Size() != h.length+4*int64(blocks(h.length))+recHeader {
		return header{}, nil, fmt.Errorf("footer: %w", ErrCorrupt)
	}
	table := make([]byte, 4*blocks(h.length))
	if _, err := f.ReadAt(table, h.length); err != nil && !errors.Is(err, io.EOF) {
		return header{}, nil, err
	}
	return h, table, nil
}

func (d *Dir) openFile(p place) (Reader, error) {
	f, err := os.Open(d.filePath(p.file))
	if err != nil {
		return nil, err
	}
	h, raw, err := readFooter(f)
	var table []uint32
	if err == nil {
		table, err = parseTable(raw, h)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &blockReader{f: f, size: h.length, table: table, bufs: &d.handles.bufs, end: func() { f.Close() }}, nil
}
