package mailstore

import (
	"sync"
	"testing"
	"time"
)

// BenchmarkStall says how long a delivery to another account waits at most while one step takes 100,000 messages along.
func BenchmarkStall(b *testing.B) {
	const n = 100_000
	s := durable(b, Config{})
	inbox := filled(b, s, 1, n)
	tk, other := Ticket{1, 1}, s.account(2, Quota{})
	archive, trash, neighbour := s.box(1, "Archive").ID, s.box(1, "Trash").ID, s.box(2, Inbox).ID
	body := s.finish([]byte(text(5)))
	for _, op := range []struct {
		name string
		fn   func(*Tx) error
	}{
		{"copy", func(t *Tx) error { _, err := t.Copy(inbox, Range(1, maxUID), archive); return err }},
		{"move", func(t *Tx) error { _, err := t.Move(archive, Range(1, maxUID), trash); return err }},
		{"flags", func(t *Tx) error {
			_, err := t.StoreFlags(trash, Range(1, maxUID), AddFlags, Deleted, nil, false, 0)
			return err
		}},
		{"expunge", func(t *Tx) error { _, err := t.Expunge(trash, nil, true); return err }},
		{"rename-inbox", func(t *Tx) error { return t.RenameMailbox(inbox, "old") }},
	} {
		b.Run(op.name, func(b *testing.B) {
			var worst, whole time.Duration
			done := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				for stop := false; !stop; {
					select {
					case <-done:
						stop = true // one more: what the step left to do counts
					default:
					}
					begin := time.Now()
					s.must(other, func(t *Tx) error { _, err := t.Append(neighbour, NewMessage{Body: body}); return err })
					worst = max(worst, time.Since(begin))
				}
			})
			begin := time.Now()
			s.must(tk, op.fn)
			whole = time.Since(begin)
			close(done)
			wg.Wait()
			b.ReportMetric(float64(whole.Milliseconds()), "ms/step")
			b.ReportMetric(float64(worst.Milliseconds()), "ms-worst-wait")
		})
	}
}
