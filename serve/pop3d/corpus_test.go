package pop3d

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// corpusDir finds shared/corpus beside the repository; it is not part of the project.
func corpusDir(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	must(t, err)
	for {
		c := filepath.Join(filepath.Dir(dir), "shared", "corpus")
		if st, err := os.Stat(c); err == nil && st.IsDir() {
			return c
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Skip("no shared/corpus directory beside the repository: nothing to retrieve")
		}
		dir = up
	}
}

// Every message of the corpus is retrieved as it was stored. What POP3 cannot
// carry, bare line feeds and an end without CRLF, comes as CRLF.
func TestCorpus(t *testing.T) {
	t.Parallel()
	dir := corpusDir(t)
	h := newHouse(t, Config{})
	var names []string
	var want [][]byte
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		switch filepath.Ext(path) {
		case ".eml", ".msg", ".raw", ".txt":
		default:
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) == 0 {
			return err
		}
		if len(names)%2 == 0 { // half as the file has it, half as SMTP would bring it
			b = crlf(b)
		}
		h.deliver("anna", string(b), nil)
		names, want = append(names, path), append(want, crlf(b))
		return nil
	}))
	c := h.dial()
	c.SetDeadline(time.Now().Add(time.Minute))
	c.r = bufio.NewReaderSize(c.Conn, 256<<10)
	c.want("+OK")
	c.do("USER anna", "+OK")
	c.do("PASS pw-anna", fmt.Sprintf("+OK maildrop has %d messages", len(names)))
	for i, name := range names {
		c.do(fmt.Sprintf("RETR %d", i+1), "+OK")
		if got := c.raw(); !bytes.Equal(got, want[i]) {
			t.Errorf("%s: %d octets, want %d", name, len(got), len(want[i]))
		}
	}
	t.Logf("%d messages", len(names))
}

// crlf ends every line with CRLF, the last one too.
func crlf(b []byte) []byte {
	b = bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	if bytes.HasSuffix(b, []byte("\r\n")) {
		return b
	}
	if bytes.HasSuffix(b, []byte("\r")) {
		return append(b, '\n')
	}
	return append(b, "\r\n"...)
}

// raw reads a multi-line response, unstuffed, with lines as they come.
func (c *client) raw() []byte {
	c.t.Helper()
	var out []byte
	for {
		l, err := c.r.ReadBytes('\n')
		must(c.t, err)
		if string(l) == ".\r\n" {
			return out
		}
		out = append(out, bytes.TrimPrefix(l, []byte("."))...)
	}
}
