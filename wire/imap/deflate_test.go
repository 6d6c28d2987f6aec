package imap

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"math/rand"
	"testing"
)

// RFC 4978 §3: what was written can be read at once, also after Rest dropped most of the dictionary.
func TestDeflaterFlushesEachWrite(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewSource(1))
	var wire bytes.Buffer
	d := NewDeflater(&wire)
	src := &flushes{t: t}
	z := NewInflater(src, nil)
	for i := range 300 {
		var msg []byte
		switch i % 4 {
		case 0:
			msg = make([]byte, r.Intn(100000))
			r.Read(msg)
		default:
			for range r.Intn(200) {
				msg = fmt.Appendf(msg, "* %d FETCH (FLAGS (\\Seen) UID %d)\r\n", i, r.Intn(1000))
			}
		}
		if len(msg) == 0 {
			continue
		}
		wire.Reset()
		if n, err := d.Write(msg); n != len(msg) || err != nil {
			t.Fatal(n, err)
		}
		src.chunks = append(src.chunks, bytes.Clone(wire.Bytes()))
		got := make([]byte, len(msg))
		if _, err := io.ReadFull(z, got); err != nil || !bytes.Equal(got, msg) {
			t.Fatalf("write %d: %v", i, err)
		}
		if i%7 == 0 {
			d.Rest()
		}
	}
}

// The whole stream is also good for the standard library, that is for zlib.
func TestDeflaterAgainstFlate(t *testing.T) {
	t.Parallel()
	var wire, clear bytes.Buffer
	d := NewDeflater(&wire)
	for i := range 2000 {
		line := fmt.Appendf(nil, "* %d FETCH (FLAGS (\\Seen $Forwarded) UID %d RFC822.SIZE %d)\r\n", i, i*3, i*i)
		clear.Write(line)
		d.Write(line)
	}
	got, err := io.ReadAll(flate.NewReader(&wire))
	if err != io.ErrUnexpectedEOF || !bytes.Equal(got, clear.Bytes()) {
		t.Fatalf("%v, %d octets of %d", err, len(got), clear.Len())
	}
}

func BenchmarkDeflater(b *testing.B) {
	var text bytes.Buffer
	for i := range 200 {
		fmt.Fprintf(&text, "* %d FETCH (UID %d FLAGS (\\Seen) RFC822.SIZE %d)\r\n", i, i*7, i*i)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	n := &count{}
	d := NewDeflater(n)
	for b.Loop() {
		d.Write(text.Bytes())
	}
	b.ReportMetric(float64(n.n)/float64(b.N)/float64(text.Len()), "ratio")
}

type count struct{ n int }

func (c *count) Write(p []byte) (int, error) { c.n += len(p); return len(p), nil }
