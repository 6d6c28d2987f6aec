package blob

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{6_000, 60_000} {
		for _, c := range []int{1, 8, 32} {
			b.Run(fmt.Sprintf("size=%d/c=%d", size, c), func(b *testing.B) {
				d, err := OpenDir(b.TempDir(), DirConfig{})
				if err != nil {
					b.Fatal(err)
				}
				data := body(1, size)
				b.SetBytes(int64(size))
				var next atomic.Int64
				var wg sync.WaitGroup
				b.ResetTimer()
				cpu := cpuTime()
				for range c {
					wg.Go(func() {
						for next.Add(1) <= int64(b.N) {
							if _, err := d.Put(context.Background(), data); err != nil {
								b.Error(err)
							}
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
				b.ReportMetric(float64(cpuTime()-cpu)/1e3/float64(b.N), "cpu-µs/msg")
				s := d.Stats()
				b.ReportMetric(float64(s.Puts)/float64(s.Flushes), "batch")
				d.Close()
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{6_000, 60_000, 1 << 20, 20 << 20} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			d, err := OpenDir(b.TempDir(), DirConfig{NoSync: true})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			ref, err := d.Put(b.Context(), body(1, size))
			if err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, 256<<10)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				r, err := d.Open(context.Background(), ref)
				if err != nil {
					b.Fatal(err)
				}
				for off := int64(0); off < r.Size(); {
					n, err := r.ReadAt(buf, off)
					if err != nil && err != io.EOF {
						b.Fatal(err)
					}
					off += int64(n)
				}
				r.Close()
			}
		})
	}
}

// Small sequential reads, as a literal is copied to a socket.
func BenchmarkRead4K(b *testing.B) {
	d, err := OpenDir(b.TempDir(), DirConfig{NoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	ref, err := d.Put(b.Context(), body(1, 1<<20))
	if err != nil {
		b.Fatal(err)
	}
	r, err := d.Open(b.Context(), ref)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	buf := make([]byte, 4096)
	b.SetBytes(1 << 20)
	for b.Loop() {
		for off := int64(0); off < 1<<20; off += 4096 {
			r.ReadAt(buf, off)
		}
	}
}
