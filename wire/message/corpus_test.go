package message

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// corpusDir finds shared/corpus beside the repository; it is not part of the project.
func corpusDir(t testing.TB) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		for _, p := range []string{filepath.Join(dir, "shared", "corpus"), filepath.Join(dir, "..", "shared", "corpus")} {
			if st, err := os.Stat(p); err == nil && st.IsDir() {
				return p
			}
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Skip("no shared/corpus directory beside the repository")
		}
		dir = up
	}
}

// corpusFiles calls f for each file that may be taken for a message (all may).
func corpusFiles(t testing.TB, f func(name string, data []byte)) {
	dir := corpusDir(t)
	n := 0
	for _, sub := range []string{"mime", "real", "bounces", "reports", "crypto", "authvectors"} {
		err := filepath.WalkDir(filepath.Join(dir, sub), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				if errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				return err
			}
			if d.IsDir() {
				return nil
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			n++
			f(strings.TrimPrefix(path, dir), data)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n < 500 {
		t.Errorf("only %d files in the corpus", n)
	}
}

func TestCorpus(t *testing.T) {
	t.Parallel()
	corpusFiles(t, func(name string, data []byte) {
		s := parseBytes(data)
		if msg := checkSummary(s, data); msg != "" {
			t.Errorf("%s: %s", name, msg)
		}
		for _, n := range []int{1, 7, 100} {
			if c := parseChunks(data, n); !reflect.DeepEqual(s, c) {
				t.Errorf("%s: chunks of %d parse differently\n%s\n%s", name, n, Stored(s.Encode(nil)).BodyStructure(), Stored(c.Encode(nil)).BodyStructure())
			}
		}
	})
}

func parseBytes(b []byte) *Summary {
	p := NewParser()
	p.Write(b)
	return p.Finish()
}

func parseChunks(b []byte, n int) *Summary {
	p := NewParser()
	for len(b) > 0 {
		k := min(n, len(b))
		p.Write(b[:k])
		b = b[k:]
	}
	return p.Finish()
}

// checkSummary verifies what must hold for the summary of any octets.
func checkSummary(s *Summary, data []byte) string {
	if s.Size != int64(len(data)) {
		return "wrong size"
	}
	if s.Root.HeaderStart != 0 || s.Root.End != s.Size {
		return "root does not span the message"
	}
	if msg := checkPart(s.Root, data); msg != "" {
		return msg
	}
	e := Stored(s.Encode(nil))
	d, err := e.Decode()
	if err != nil {
		return "decode: " + err.Error() + "\n" + string(e.BodyStructure())
	}
	if !reflect.DeepEqual(s, d) {
		return "round trip differs: " + string(e.Envelope()) + string(e.BodyStructure())
	}
	for what, text := range map[string][]byte{"ENVELOPE": e.Envelope(), "BODYSTRUCTURE": e.BodyStructure(), "BODY": e.Body(nil)} {
		if rest, ok := sexp(text); !ok || len(rest) > 0 {
			return what + " is not well formed: " + string(text)
		}
	}
	if _, ok := readBody(e.BodyStructure(), true); !ok {
		return "BODYSTRUCTURE breaks the grammar: " + string(e.BodyStructure())
	}
	if _, ok := readBody(e.Body(nil), false); !ok {
		return "BODY breaks the grammar: " + string(e.Body(nil))
	}
	return ""
}

func checkPart(p *Part, data []byte) string {
	if p.HeaderStart < 0 || p.BodyStart < p.HeaderStart || p.End < p.BodyStart || p.End > int64(len(data)) {
		return "offsets out of order"
	}
	body := data[p.BodyStart:p.End]
	if n := int64(bytes.Count(body, []byte("\n"))); p.Lines != n && bytes.IndexByte(data, '\n') >= 0 {
		return "wrong number of lines in " + p.Type + "/" + p.Subtype
	}
	last := p.BodyStart
	kids := p.Parts
	if p.Inner != nil {
		if p.Inner.HeaderStart != p.BodyStart || p.Inner.End != p.End {
			return "nested message does not span the part"
		}
		kids = append(kids[:len(kids):len(kids)], p.Inner)
	}
	for _, c := range kids {
		if c.HeaderStart < last || c.End > p.End {
			return "child outside of its parent or overlapping"
		}
		last = c.End
		if msg := checkPart(c, data); msg != "" {
			return msg
		}
	}
	return ""
}

// sexp reads one value: list, string, number or NIL. It shares no code with imapText.
func sexp(b []byte) ([]byte, bool) {
	switch {
	case len(b) == 0:
		return b, false
	case b[0] == '(':
		b = b[1:]
		for first := true; ; first = false {
			if len(b) == 0 {
				return b, false
			}
			if b[0] == ')' {
				return b[1:], !first // the grammar has no empty list
			}
			if !first && b[0] == ' ' {
				b = b[1:]
			} else if !first && b[0] != '(' {
				return b, false
			}
			var ok bool
			if b, ok = sexp(b); !ok {
				return b, false
			}
		}
	case b[0] == '"':
		for i := 1; i < len(b); i++ {
			switch c := b[i]; {
			case c == '\\':
				if i++; i == len(b) || b[i] != '\\' && b[i] != '"' {
					return b, false
				}
			case c == '"':
				return b[i+1:], true
			case c == '\r' || c == '\n' || c == 0 || c >= 0x80:
				return b, false
			}
		}
		return b, false
	case b[0] == '{':
		i := bytes.Index(b, []byte("}\r\n"))
		if i < 0 {
			return b, false
		}
		n := 0
		for _, c := range b[1:i] {
			if c < '0' || c > '9' {
				return b, false
			}
			n = n*10 + int(c-'0')
		}
		b = b[i+3:]
		if n > len(b) || bytes.IndexByte(b[:n], 0) >= 0 {
			return b, false
		}
		return b[n:], true
	case b[0] >= '0' && b[0] <= '9':
		i := 0
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return b[i:], true
	case bytes.HasPrefix(b, []byte("NIL")):
		return b[3:], true
	}
	return b, false
}

// list splits the values of a list.
func list(b []byte) (l [][]byte, ok bool) {
	if len(b) < 2 || b[0] != '(' {
		return nil, false
	}
	b = b[1:]
	for len(b) > 0 && b[0] != ')' {
		if b[0] == ' ' {
			b = b[1:]
		}
		rest, ok := sexp(b)
		if !ok {
			return nil, false
		}
		l = append(l, b[:len(b)-len(rest)])
		b = rest
	}
	return l, len(b) == 1
}

// readBody checks body of RFC 9051 §9 and returns the number of its parts.
func readBody(b []byte, ext bool) (n int, ok bool) {
	l, ok := list(b)
	if !ok || len(l) == 0 {
		return 0, false
	}
	want := 0
	if l[0][0] == '(' {
		i := 0
		for i < len(l) && l[i][0] == '(' {
			k, ok := readBody(l[i], ext)
			if !ok {
				return 0, false
			}
			n += k
			i++
		}
		l = l[i:]
		if want = 1; ext {
			want = 5
		}
		return n, len(l) == want && l[0][0] == '"'
	}
	want = 7
	if string(l[0]) == `"TEXT"` {
		want = 8
	} else if string(l[0]) == `"MESSAGE"` && (string(l[1]) == `"RFC822"` || string(l[1]) == `"GLOBAL"`) {
		want = 10
		if env, ok := list(l[7]); !ok || len(env) != 10 {
			return 0, false
		}
		k, ok := readBody(l[8], ext)
		if !ok {
			return 0, false
		}
		n += k
	}
	if ext {
		want += 4
	}
	return n + 1, len(l) == want
}
