package db

import (
	"fmt"
	"strings"
	"sync"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// SQLite writes a commit to the WAL frame by frame, each in two pieces: sixty
// system calls for thirty pages. walBuffer gathers what adjoins and writes it
// with one call.
//
// Nobody sees the difference. Other connections look at frames once the WAL
// index has published them, which SQLite does after it has written a
// transaction's last frame, the one whose header holds the size of the database:
// with that frame all is written. Frames that spill earlier are read back
// through this very file, which writes first. A crash loses what was not synced, as before.
const (
	walVFS    = "bahnpost"
	walGather = 256 << 10 // octets gathered at most: it stays in the cache

	// The WAL format, https://sqlite.org/walformat.html: a frame is a header of 24
	// octets and a page; octets 4 to 7 are zero but in a commit's last frame.
	frameHeader = 24
)

// registerWAL makes the VFS known to SQLite, once for the process: its registry is global.
var registerWAL = sync.OnceFunc(func() {
	vfs.Register(walVFS, gatherVFS{vfs.Find("").(vfs.VFSFilename), nil})
})

// registerFault makes a VFS known that asks fault first, and returns its name; the pointer makes it unique.
func registerFault(fault *func(op string) error) string {
	name := fmt.Sprintf("%s-%p", walVFS, fault)
	vfs.Register(name, gatherVFS{vfs.Find("").(vfs.VFSFilename), *fault})
	return name
}

// gatherURI is the name under which SQLite opens path with that VFS.
func gatherURI(path, name string) string {
	return "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path) + "?vfs=" + name
}

type gatherVFS struct {
	vfs.VFSFilename
	fault func(op string) error // Config.Fault
}

// OpenFilename implements vfs.VFSFilename: only a WAL is wrapped.
func (v gatherVFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, out, err := v.VFSFilename.OpenFilename(name, flags)
	if err == nil && flags&vfs.OPEN_WAL != 0 {
		if v.fault != nil {
			f = faulty{f, v.fault}
		}
		f = &walBuffer{File: f}
	}
	return f, out, err
}

// faulty is a file that may fail.
type faulty struct {
	vfs.File
	fault func(op string) error
}

func (f faulty) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fault("write"); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f faulty) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fault("read"); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f faulty) Sync(flags vfs.SyncFlag) error {
	if err := f.fault("sync"); err != nil {
		return err
	}
	return f.File.Sync(flags)
}

// walBuffer is the WAL as its writing connection has it open. Not safe for concurrent use, like the connection.
type walBuffer struct {
	vfs.File
	off    int64 // of buf in the file
	buf    []byte
	commit bool // the page that comes next ends a transaction
}

// WriteAt implements vfs.File.
func (w *walBuffer) WriteAt(p []byte, off int64) (int, error) {
	if off != w.off+int64(len(w.buf)) || len(w.buf)+len(p) > walGather {
		if err := w.flush(); err != nil {
			return 0, err
		}
		w.off = off
	}
	if w.buf == nil {
		w.buf = make([]byte, 0, walGather)
	}
	w.buf = append(w.buf, p...)
	if w.commit {
		w.commit = false
		return len(p), w.flush()
	}
	w.commit = len(p) == frameHeader && [4]byte(p[4:8]) != [4]byte{}
	return len(p), nil
}

// flush writes what was gathered. After an error it is forgotten: SQLite hears
// of it and rolls the transaction back.
func (w *walBuffer) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.File.WriteAt(w.buf, w.off)
	if Full(err) {
		err = sqlite3.FULL // without this SQLite calls it an I/O error, see Full
	}
	w.off, w.buf = 0, w.buf[:0]
	return err
}

// ReadAt implements vfs.File.
func (w *walBuffer) ReadAt(p []byte, off int64) (int, error) {
	if err := w.flush(); err != nil {
		return 0, err
	}
	return w.File.ReadAt(p, off)
}

// Sync implements vfs.File.
func (w *walBuffer) Sync(flags vfs.SyncFlag) error {
	if err := w.flush(); err != nil {
		return err
	}
	return w.File.Sync(flags)
}

// Truncate implements vfs.File.
func (w *walBuffer) Truncate(size int64) error {
	if err := w.flush(); err != nil {
		return err
	}
	return w.File.Truncate(size)
}

// Size implements vfs.File.
func (w *walBuffer) Size() (int64, error) {
	if err := w.flush(); err != nil {
		return 0, err
	}
	return w.File.Size()
}

// Close implements vfs.File.
func (w *walBuffer) Close() error {
	err := w.flush()
	if e := w.File.Close(); err == nil {
		err = e
	}
	return err
}
