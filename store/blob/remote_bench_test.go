package blob_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bahnpost/store/blob"
	"bahnpost/store/blob/blobtest"
	"bahnpost/store/blob/s3/s3test"
)

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRemote is the cost of a body on this node: put, read from S3, read from the cache.
func BenchmarkRemote(b *testing.B) {
	s := s3test.Start(b)
	for _, size := range []int{16_000, 100_000, 1_000_000, 10_000_000} {
		for _, what := range []string{"put", "read", "cached"} {
			b.Run(fmt.Sprintf("%s/size=%d", what, size), func(b *testing.B) {
				cfg := blob.RemoteConfig{URLs: []string{s.URL()}}
				if what == "cached" {
					cfg.Cache = 1 << 30
				}
				r := remote(b, cfg)
				data := blobtest.Body(1, size)
				ref := put(b, r, data)
				work := func(buf []byte) error {
					if what == "put" {
						_, err := r.Put(b.Context(), data)
						return err
					}
					rd, err := r.Open(b.Context(), ref)
					if err != nil {
						return err
					}
					defer rd.Close()
					for off := int64(0); off < rd.Size(); off += int64(len(buf)) {
						if _, err := rd.ReadAt(buf[:min(int64(len(buf)), rd.Size()-off)], off); err != nil {
							return err
						}
					}
					return nil
				}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				cpu := cpuTime()
				var next atomic.Int64
				var wg sync.WaitGroup
				for range 8 {
					wg.Go(func() {
						buf := make([]byte, 64<<10)
						for next.Add(1) <= int64(b.N) {
							if err := work(buf); err != nil {
								b.Error(err)
							}
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				b.ReportMetric(float64(cpuTime()-cpu)/1e3/float64(b.N), "node-µs")
			})
		}
	}
}
