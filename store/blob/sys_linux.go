package blob

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// punches says whether punch can work at all.
const punches = true

// writeAll writes bufs one after another at off, with as few calls as possible.
func writeAll(f *os.File, bufs [][]byte, off int64) error {
	for len(bufs) > 0 {
		if len(bufs) == 1 {
			_, err := f.WriteAt(bufs[0], off)
			return err
		}
		n, err := unix.Pwritev(int(f.Fd()), bufs[:min(len(bufs), 1024)], off)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "pwritev", Path: f.Name(), Err: err}
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		off += int64(n)
		for n > 0 && n >= len(bufs[0]) {
			n -= len(bufs[0])
			bufs = bufs[1:]
		}
		if n > 0 {
			if _, err := f.WriteAt(bufs[0][n:], off); err != nil {
				return err
			}
			off += int64(len(bufs[0]) - n)
			bufs = bufs[1:]
		}
	}
	return nil
}

// syncData makes data and size durable, not the times.
func syncData(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
		return nil
	}
}

// punch gives the disk blocks of a range back; it then reads as zeros. File
// systems that cannot (ok is false) keep the space until compaction.
func punch(f *os.File, off, n int64) (ok bool, err error) {
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return false, nil
	}
	return true, err
}

// readExactly turns reading ahead off: the records of a pack are of many
// mailboxes, so what comes next is seldom asked for next.
func readExactly(f *os.File) { unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM) }

// willRead has the disk begin with a range that is read soon, in one piece.
func willRead(f *os.File, off, n int64) { unix.Fadvise(int(f.Fd()), off, n, unix.FADV_WILLNEED) }

// dropPages asks the kernel to give up the clean pages of a file.
func dropPages(f *os.File) { unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

// allocated is the disk space a file takes, in octets.
func allocated(fi os.FileInfo) int64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return fi.Size()
}
