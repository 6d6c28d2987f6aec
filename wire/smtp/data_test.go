package smtp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// endings are DATA contents: what a correct reader makes of them. The
// smuggling attempts are those published in December 2023: each hides an end
// of data that some servers see and others don't.
var endings = []struct {
	name, in, out string
	refused       error
	rest          string // what must still be in the reader
}{
	{"plain", "a\r\nb\r\n.\r\n", "a\r\nb\r\n", nil, ""},
	{"empty", ".\r\n", "", nil, ""},
	{"empty line", "\r\n.\r\n", "\r\n", nil, ""},
	{"RFC 5321 §4.5.2 dots", "..\r\n...\r\n.a\r\n..b\r\n.\r\n", ".\r\n..\r\na\r\n.b\r\n", nil, ""},
	{"pipelined behind", "a\r\n.\r\nQUIT\r\n", "a\r\n", nil, "QUIT\r\n"},
	{"LF . LF", "a\n.\nMAIL\r\n.\r\n", "", ErrBareLF, ""},
	{"LF . CRLF", "a\n.\r\nMAIL FROM:<x>\r\n.\r\n", "", ErrBareLF, ""},
	{"CRLF . LF", "a\r\n.\nMAIL FROM:<x>\r\n.\r\n", "", ErrBareLF, ""},
	{"CR . CR", "a\r.\rMAIL\r\n.\r\n", "", ErrBareCR, ""},
	{"CR . CRLF", "a\r.\r\nMAIL\r\n.\r\n", "", ErrBareCR, ""},
	{"CRLF . CR", "a\r\n.\rMAIL\r\n.\r\n", "", ErrBareCR, ""},
	{"CRLF . CR CR LF", "a\r\n.\r\r\nx\r\n.\r\n", "", ErrBareCR, ""},
	{"CRLF NUL . CRLF", "a\r\n\x00.\r\nMAIL\r\n.\r\n", "a\r\n\x00.\r\nMAIL\r\n", nil, ""},
	{"CR CR LF", "a\r\r\n.\r\n", "", ErrBareCR, ""},
	{"LF CR", "a\n\r.\n\r\r\n.\r\n", "", ErrBareLF, ""},
	{"LF at begin", "\n.\r\n", "", ErrBareLF, "MORE"},
	{"dot dot LF", "..\n.\r\n.\r\n", "", ErrBareLF, ""},
	{"CR at begin", "\rx\r\n.\r\n", "", ErrBareCR, ""},
}

func TestDataEndings(t *testing.T) {
	t.Parallel()
	for _, c := range endings {
		for _, size := range []int{64, 65, 4096} {
			for name, wrap := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "octets": iotest.OneByteReader} {
				if c.rest == "MORE" { // the end is still to come
					r := NewReader(wrap(strings.NewReader(c.in)), make([]byte, size))
					if _, refused, err := r.Data(io.Discard, 1<<20); refused != c.refused || err != io.ErrUnexpectedEOF {
						t.Errorf("%s: refused %v, err %v", c.name, refused, err)
					}
					continue
				}
				var out bytes.Buffer
				r := NewReader(wrap(strings.NewReader(c.in)), make([]byte, size))
				_, refused, err := r.Data(&out, 1<<20)
				if err != nil || !errors.Is(refused, c.refused) {
					t.Errorf("%s %s %d: refused %v, err %v", c.name, name, size, refused, err)
				}
				if c.refused == nil && out.String() != c.out {
					t.Errorf("%s %s %d: got %q, want %q", c.name, name, size, out.String(), c.out)
				}
				if rest, _ := io.ReadAll(io.MultiReader(bytes.NewReader(r.buf[r.r:r.w]), r.src)); string(rest) != c.rest {
					t.Errorf("%s %s %d: rest %q, want %q", c.name, name, size, rest, c.rest)
				}
			}
		}
	}
}

// slowData is the specification in its plainest form.
func slowData(in []byte) (out []byte, used int, ok bool, refused error) {
	end := -1
	if bytes.HasPrefix(in, []byte(".\r\n")) {
		end = 0
	} else if i := bytes.Index(in, []byte("\r\n.\r\n")); i >= 0 {
		end = i + 2
	}
	if end < 0 {
		return nil, 0, false, nil
	}
	body := in[:end]
	for i, c := range body {
		if c == '\n' && (i == 0 || body[i-1] != '\r') {
			refused = ErrBareLF
		}
		if c == '\r' && (i+1 >= len(body) || body[i+1] != '\n') {
			refused = ErrBareCR
		}
	}
	body = bytes.ReplaceAll(append([]byte("\r\n"), body...), []byte("\r\n."), []byte("\r\n"))[2:]
	return body, end + 3, true, refused
}

func FuzzData(f *testing.F) {
	for _, c := range endings {
		f.Add([]byte(c.in), uint8(64))
	}
	f.Add([]byte(strings.Repeat("0123456789\r\n..\r\n", 20)+".\r\n"), uint8(70))
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		want, used, ok, refused := slowData(in)
		var out bytes.Buffer
		r := NewReader(bytes.NewReader(in), make([]byte, 64+int(size)))
		n, got, err := r.Data(&out, 1<<20)
		if (err == nil) != ok {
			t.Fatalf("%q: err %v, want end %v", in, err, ok)
		}
		if !ok {
			return
		}
		if (got == nil) != (refused == nil) {
			t.Fatalf("%q: refused %v, want %v", in, got, refused)
		}
		if left := r.Buffered() + r.src.(*bytes.Reader).Len(); left != len(in)-used {
			t.Fatalf("%q: %d octets left, want %d", in, left, len(in)-used)
		}
		if refused == nil && (!bytes.Equal(out.Bytes(), want) || n != int64(len(want))) {
			t.Fatalf("%q: got %q, want %q", in, out.Bytes(), want)
		}
	})
}

func TestDataLimits(t *testing.T) {
	t.Parallel()
	in := strings.Repeat("0123456789\r\n", 10) + ".\r\n"
	for limit, want := range map[int64]error{120: nil, 119: ErrTooLarge, 60: ErrTooLarge} {
		var out bytes.Buffer
		r := NewReader(iotest.OneByteReader(strings.NewReader(in)), make([]byte, 64))
		if _, refused, err := r.Data(&out, limit); refused != want || err != nil || int64(out.Len()) > limit {
			t.Errorf("limit %d: refused %v, err %v, %d octets written", limit, refused, err, out.Len())
		}
	}
	r := NewReader(strings.NewReader(strings.Repeat(in[:12], 1000)), make([]byte, 64))
	if _, _, err := r.Data(io.Discard, 10); err != ErrFlood {
		t.Errorf("endless: %v", err)
	}
	bad := errors.New("disk full")
	r = NewReader(strings.NewReader(in+"NOOP\r\n"), make([]byte, 64))
	if _, refused, err := r.Data(failing{bad}, 1000); refused != bad || err != nil {
		t.Errorf("writer fails: refused %v, err %v", refused, err)
	}
	if l, err := r.ReadLine(100); string(l) != "NOOP" || err != nil {
		t.Errorf("after it: %q %v", l, err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestReadLine(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200)
	in := "NOOP\r\n\r\nbad\nbad\rbad\r\n" + long + "\r\n" + long + long + "\r\nEND\r\nrest"
	want := []struct {
		line string
		err  error
	}{{"NOOP", nil}, {"", nil}, {"", ErrBareLF}, {"", ErrBareCR}, {long, nil}, {"", ErrLineTooLong}, {"END", nil}, {"", io.ErrUnexpectedEOF}}
	for _, one := range []bool{true, false} {
		var src io.Reader = strings.NewReader(in)
		if one {
			src = iotest.OneByteReader(src)
		}
		r := NewReader(src, make([]byte, 64))
		for i, w := range want {
			l, err := r.ReadLine(202)
			if string(l) != w.line || err != w.err {
				t.Errorf("line %d: %q %v, want %q %v", i, l, err, w.line, w.err)
			}
		}
	}
	r := NewReader(endless{}, make([]byte, 64))
	if _, err := r.ReadLine(100); err != ErrFlood {
		t.Errorf("endless line: %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestExchange(t *testing.T) {
	t.Parallel()
	r := NewReader(strings.NewReader("one\r\ntwo\r\n"), make([]byte, 64))
	r.ReadLine(100)
	small := make([]byte, 64)
	if r.Exchange(small[:3]) != nil || r.Exchange(small) == nil {
		t.Error("exchange: small buffer taken or good one refused")
	}
	if l, _ := r.ReadLine(100); string(l) != "two" {
		t.Errorf("after exchange: %q", l)
	}
}

func BenchmarkData(b *testing.B) {
	for name, line := range map[string]string{
		"lines":  strings.Repeat("x", 76) + "\r\n",
		"short":  "abc def ghi\r\n",
		"dots":   "..dots\r\n" + strings.Repeat("x", 76) + "\r\n",
		"longer": strings.Repeat("y", 900) + "\r\n",
	} {
		in := []byte(strings.Repeat(line, 1<<20/len(line)) + ".\r\n")
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			src := bytes.NewReader(in)
			r := NewReader(src, make([]byte, 64<<10))
			for b.Loop() {
				src.Reset(in)
				r.Drop()
				if _, refused, err := r.Data(io.Discard, 1<<30); refused != nil || err != nil {
					b.Fatal(refused, err)
				}
			}
		})
	}
}
