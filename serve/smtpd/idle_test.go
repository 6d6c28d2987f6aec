package smtpd

import (
	"bufio"
	"runtime"
	"testing"
)

// BenchmarkIdle tells the memory of a connection that waits after a mail, with the test's own end of it.
func BenchmarkIdle(b *testing.B) {
	h := newHouse(b, Config{Role: LMTP})
	var before, after runtime.MemStats
	const conns = 500
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		var cs []*client
		for range conns {
			c := h.dial(b)
			c.r = bufio.NewReaderSize(c.Conn, 16)
			c.talk(b, "S: 220\nC: LHLO x\nS: 250\nC: MAIL FROM:<>\nS: 250\nC: RCPT TO:<bob@example.org>\nS: 250\nC: DATA\nS: 354\nC: x\nC: .\nS: 250")
			cs = append(cs, c)
		}
		h.in.got = nil
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapInuse-before.HeapInuse)/conns, "heap-B/conn")
		b.ReportMetric(float64(after.StackInuse-before.StackInuse)/conns, "stack-B/conn")
		for _, c := range cs {
			c.Close()
			<-c.done
		}
	}
}
