package imap

import (
	"bytes"
	"compress/flate"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// flushes holds what a source gives per Read, then blocks: a Read beyond the last chunk before all
// octets were delivered is the deadlock that RFC 4978 readers must not have.
type flushes struct {
	t      *testing.T
	chunks [][]byte
}

func (f *flushes) Read(p []byte) (int, error) {
	if len(f.chunks) == 0 {
		return 0, io.ErrNoProgress
	}
	n := copy(p, f.chunks[0])
	if f.chunks[0] = f.chunks[0][n:]; len(f.chunks[0]) == 0 {
		f.chunks = f.chunks[1:]
	}
	return n, nil
}

// RFC 4978 §3: streams made by zlib with Z_PARTIAL_FLUSH, Z_SYNC_FLUSH and Z_FULL_FLUSH (testdata/inflate/*.z, made by
// zlib 1.2.13 at levels 1, 6, 9 and with fixed codes) must be readable up to the flush without more input.
func TestInflaterDeliversAtEveryFlush(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob("testdata/inflate/*.z")
	if len(files) == 0 {
		t.Fatal("no testdata")
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		// Each file: lines "<clear text>\t<hex of what zlib emitted up to the flush>".
		for _, chunk := range []int{1, 3, 1000000} {
			t.Run(filepath.Base(f), func(t *testing.T) {
				src := &flushes{t: t}
				z := NewInflater(src, nil)
				for line := range strings.Lines(string(raw)) {
					want, enc := decodeFixture(t, line)
					for c := range bytesChunks(enc, chunk) {
						src.chunks = append(src.chunks, c)
					}
					got := make([]byte, 0, len(want))
					buf := make([]byte, 7)
					for len(got) < len(want) {
						n, err := z.Read(buf)
						got = append(got, buf[:n]...)
						z.Rest()
						if err != nil {
							t.Fatalf("after %d of %d octets: %v", len(got), len(want), err)
						}
					}
					if !bytes.Equal(got, want) {
						t.Fatalf("got %.60q\nwant %.60q", got, want)
					}
				}
			})
		}
	}
}

func bytesChunks(b []byte, n int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			m := min(n, len(b))
			if !yield(b[:m]) {
				return
			}
			b = b[m:]
		}
	}
}

func decodeFixture(t *testing.T, line string) (clear, enc []byte) {
	t.Helper()
	a, b, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
	if !ok {
		t.Fatalf("fixture line without tab: %.40q", line)
	}
	return unhex(t, a), unhex(t, b)
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b := make([]byte, len(s)/2)
	for i := range b {
		b[i] = nibble(s[2*i])<<4 | nibble(s[2*i+1])
	}
	return b
}

func nibble(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

// RFC 1951: what the standard library deflates at the levels -2 (Huffman only) to 8 comes out the same.
func TestInflaterAgainstFlate(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewSource(4978))
	for i := range 60 {
		data := make([]byte, r.Intn(200000))
		switch i % 3 {
		case 0:
			r.Read(data)
		case 1:
			for j := range data {
				data[j] = "abcdefgh \r\n"[r.Intn(11)]
			}
		default:
			for j := range data {
				data[j] = byte(j / 1000)
			}
		}
		var b bytes.Buffer
		w, _ := flate.NewWriter(&b, i%11-2)
		for d := data; len(d) > 0; {
			n := min(1+r.Intn(20000), len(d))
			w.Write(d[:n])
			w.Flush()
			d = d[n:]
		}
		w.Close()
		got, err := io.ReadAll(NewInflater(&b, nil))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("round %d: %v, %d octets of %d", i, err, len(got), len(data))
		}
	}
}

func FuzzInflater(f *testing.F) {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 9)
	io.WriteString(w, strings.Repeat("a1 NOOP\r\n", 30))
	w.Close()
	f.Add(b.Bytes())
	f.Add([]byte{0x01, 0x00, 0x00, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		const most = 1 << 20
		want, werr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(in)), most))
		got, gerr := io.ReadAll(io.LimitReader(NewInflater(bytes.NewReader(in), nil), most))
		if werr == nil && (gerr != nil || !bytes.Equal(got, want)) {
			t.Fatalf("flate reads %d octets, we %d, %v", len(want), len(got), gerr)
		}
		if !bytes.HasPrefix(got, want) {
			t.Fatalf("flate and we differ")
		}
	})
}

func BenchmarkInflater(b *testing.B) {
	var z bytes.Buffer
	w, _ := flate.NewWriter(&z, 6)
	line := []byte("* 12 FETCH (UID 44 FLAGS (\\Seen) RFC822.SIZE 4444 INTERNALDATE \"1-Jan-2024 00:00:00 +0000\")\r\n")
	for i := range 20000 {
		line[2] = byte('0' + i%10)
		w.Write(line)
	}
	w.Close()
	b.SetBytes(int64(20000 * len(line)))
	buf := make([]byte, 4096)
	for b.Loop() {
		r := NewInflater(bytes.NewReader(z.Bytes()), nil)
		for {
			if _, err := r.Read(buf); err != nil {
				break
			}
		}
	}
}
