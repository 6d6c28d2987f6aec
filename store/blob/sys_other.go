//go:build !linux

package blob

import "os"

// punches says whether punch can work at all.
const punches = false

func writeAll(f *os.File, bufs [][]byte, off int64) error {
	for _, b := range bufs {
		if _, err := f.WriteAt(b, off); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

func syncData(f *os.File) error { return f.Sync() }

// punch does nothing here: the space comes back by compaction.
func punch(*os.File, int64, int64) (ok bool, err error) { return false, nil }

func readExactly(*os.File) {}

func willRead(*os.File, int64, int64) {}

func dropPages(*os.File) {}

func allocated(fi os.FileInfo) int64 { return fi.Size() }
