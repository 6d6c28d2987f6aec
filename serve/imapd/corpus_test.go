package imapd

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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
		if p := filepath.Join(dir, "..", "shared", "corpus"); isDir(p) {
			return p
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Skip("no shared/corpus directory beside the repository")
		}
		dir = up
	}
}

func isDir(p string) bool {
	st, err := os.Stat(p)
	return err == nil && st.IsDir()
}

type mailFile struct {
	name string
	data []byte
}

// corpus reads every file: any octets are a message.
func corpus(t testing.TB) (files []mailFile) {
	dir := corpusDir(t)
	for _, sub := range []string{"mime", "real", "bounces", "reports", "crypto", "authvectors"} {
		filepath.WalkDir(filepath.Join(dir, sub), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files = append(files, mailFile{strings.TrimPrefix(path, dir), data})
			return nil
		})
	}
	if len(files) < 500 {
		t.Fatalf("only %d files in the corpus", len(files))
	}
	return files
}

// dialStrict logs in over TCP with a client that checks the grammar of what it reads.
func dialStrict(t testing.TB, addr string) *strict {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	c := &strict{t: t, r: bufio.NewReaderSize(nc, 64<<10), w: nc}
	if _, err := c.r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	c.do("LOGIN alice secret")
	return c
}

// Every message of the corpus goes in by APPEND and comes out byte-exact; ENVELOPE and BODYSTRUCTURE obey the grammar
// and fit the parts; SEARCH, SORT and THREAD bear all of them (RFC 9051 §6.4.5, §7.5.2, RFC 5256).
func TestCorpus(t *testing.T) {
	t.Parallel()
	files := corpus(t)
	w := newTown(t, Config{})
	c := dialStrict(t, w.tcp())
	for i, f := range files {
		tilde := ""
		if bytes.IndexByte(f.data, 0) >= 0 {
			tilde = "~" // RFC 3516 §4.4
		}
		if _, status := c.try("APPEND INBOX %s{%d+}\r\n%s", tilde, len(f.data), f.data); !strings.HasPrefix(status, "OK [APPENDUID ") {
			if len(f.data) == 0 {
				files[i].name = ""
				continue
			}
			t.Fatalf("%s: %s", f.name, status)
		}
	}
	files = slices.DeleteFunc(files, func(f mailFile) bool { return f.name == "" })
	c.do("SELECT INBOX")
	for i, f := range files {
		checkMessage(t, c, i+1, f)
	}
	checkSearches(t, c, len(files))
}

func checkMessage(t *testing.T, c *strict, seq int, f mailFile) {
	items := fetchItems(t, c, seq, "(BODY.PEEK[] RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY PREVIEW BODY.PEEK[HEADER] BODY.PEEK[TEXT] "+
		"BODY.PEEK[HEADER.FIELDS (SUBJECT X-NONE)] BODY.PEEK[HEADER.FIELDS.NOT (SUBJECT)] BODY.PEEK[]<3.10> EMAILID THREADID INTERNALDATE)")
	if got := items["BODY[]"].text; got != string(f.data) {
		t.Fatalf("%s: body differs: %d octets of %d", f.name, len(got), len(f.data))
	}
	if items["BODY[HEADER]"].text+items["BODY[TEXT]"].text != string(f.data) {
		t.Errorf("%s: header and text are not the whole", f.name)
	}
	if n := items["RFC822.SIZE"].num(); n != int64(len(f.data)) {
		t.Errorf("%s: RFC822.SIZE %d of %d", f.name, n, len(f.data))
	}
	if want := string(f.data[min(3, len(f.data)):min(13, len(f.data))]); items["BODY[]<3>"].text != want {
		t.Errorf("%s: partial %q, want %q", f.name, items["BODY[]<3>"].text, want)
	}
	checkEnvelope(t, f.name, items["ENVELOPE"])
	var leaves []leaf
	structure(t, f.name, items["BODYSTRUCTURE"], "", true, &leaves)
	structure(t, f.name, items["BODY"], "", false, nil)
	for i, l := range leaves {
		if i == 40 {
			break // a few messages have very many
		}
		part := fetchItems(t, c, seq, fmt.Sprintf("(BODY.PEEK[%[1]s] BODY.PEEK[%[1]s.MIME] BINARY.SIZE[%[1]s])", l.part))
		if part == nil {
			part = fetchItems(t, c, seq, fmt.Sprintf("(BODY.PEEK[%[1]s] BODY.PEEK[%[1]s.MIME])", l.part))
		}
		got := part["BODY["+l.part+"]"].text
		if int64(len(got)) != l.octets {
			t.Errorf("%s: part %s has %d octets, BODYSTRUCTURE says %d", f.name, l.part, len(got), l.octets)
		}
		if l.lines >= 0 && l.lines != lines(got) {
			t.Errorf("%s: part %s has %d lines, BODYSTRUCTURE says %d", f.name, l.part, lines(got), l.lines)
		}
		if n := part["BINARY.SIZE["+l.part+"]"]; n.kind == 'a' {
			bin, _ := c.try("FETCH %d (BINARY.PEEK[%s])", seq, l.part)
			if b := find(bin, "BINARY["+l.part+"]"); int64(len(b.text)) != n.num() {
				t.Errorf("%s: BINARY[%s] has %d octets, BINARY.SIZE says %d", f.name, l.part, len(b.text), n.num())
			}
		}
	}
}

// lines counts the lines of a part; one without a line end at the end counts if octets are there.
func lines(s string) int64 { return int64(strings.Count(s, "\n")) }

// fetchItems fetches and returns the items by name; nil if the answer is NO.
func fetchItems(t *testing.T, c *strict, seq int, what string) map[string]node {
	t.Helper()
	rs, status := c.try("FETCH %d %s", seq, what)
	if strings.HasPrefix(status, "NO [UNKNOWN-CTE]") {
		return nil
	}
	if !strings.HasPrefix(status, "OK") {
		t.Fatalf("FETCH %d %s: %s", seq, what, status)
	}
	items := map[string]node{}
	for _, r := range rs {
		if len(r) == 3 && r[0].num() == int64(seq) && r[1].text == "FETCH" {
			for i := 0; i+1 < len(r[2].list); i += 2 {
				items[r[2].list[i].text] = r[2].list[i+1]
			}
		}
	}
	return items
}

func find(rs []response, item string) (n node) {
	for _, r := range rs {
		if len(r) == 3 && r[1].text == "FETCH" {
			for i := 0; i+1 < len(r[2].list); i += 2 {
				if r[2].list[i].text == item {
					n = r[2].list[i+1]
				}
			}
		}
	}
	return n
}

// checkEnvelope checks RFC 9051 §9 envelope.
func checkEnvelope(t *testing.T, name string, e node) {
	t.Helper()
	if e.kind != '(' || len(e.list) != 10 {
		t.Errorf("%s: ENVELOPE %v", name, e)
		return
	}
	for i, n := range e.list {
		if i < 2 || i > 7 {
			nstring(t, name, n)
			continue
		}
		if n.kind == 'n' {
			continue
		}
		if n.kind != '(' || len(n.list) == 0 {
			t.Errorf("%s: address list %v", name, n)
		}
		for _, a := range n.list {
			if a.kind != '(' || len(a.list) != 4 {
				t.Errorf("%s: address %v", name, a)
				continue
			}
			for _, x := range a.list {
				nstring(t, name, x)
			}
		}
	}
}

func nstring(t *testing.T, name string, n node) {
	t.Helper()
	if n.kind != 's' && n.kind != 'n' {
		t.Errorf("%s: %v is no nstring", name, n)
	}
}

// leaf is a part that has no parts, with what BODYSTRUCTURE says of it.
type leaf struct {
	part          string
	octets, lines int64 // lines -1: not said
}

// structure checks RFC 9051 §9 body and collects the leaves with their part numbers (§6.4.5.1).
func structure(t *testing.T, name string, b node, prefix string, ext bool, out *[]leaf) {
	t.Helper()
	if b.kind != '(' || len(b.list) == 0 {
		t.Errorf("%s: body %v", name, b)
		return
	}
	if b.list[0].kind == '(' {
		multipart(t, name, b, prefix, ext, out)
		return
	}
	if len(b.list) < 7 {
		t.Errorf("%s: body %v is too short", name, b)
		return
	}
	params(t, name, b.list[2])
	nstring(t, name, b.list[3])
	nstring(t, name, b.list[4])
	l := leaf{part: prefix + "1", octets: b.list[6].num(), lines: -1}
	if strings.HasSuffix(prefix, "!") {
		l.part = strings.TrimSuffix(prefix, "!")
	}
	if l.octets < 0 || b.list[0].kind != 's' || b.list[1].kind != 's' || b.list[5].kind != 's' {
		t.Errorf("%s: body %v", name, b)
	}
	rest := b.list[7:]
	typ, sub := strings.ToUpper(b.list[0].text), strings.ToUpper(b.list[1].text)
	switch {
	case typ == "TEXT":
		if len(rest) == 0 || rest[0].num() < 0 {
			t.Errorf("%s: text without lines: %v", name, b)
			return
		}
		l.lines, rest = rest[0].num(), rest[1:]
	case typ == "MESSAGE" && (sub == "RFC822" || sub == "GLOBAL") && len(rest) >= 3:
		checkEnvelope(t, name, rest[0])
		inner := l.part + "."
		if out != nil {
			*out = append(*out, leaf{l.part, l.octets, rest[2].num()})
		}
		structure(t, name, rest[1], inner, ext, out)
		l.part, rest = "", rest[3:]
	}
	if out != nil && l.part != "" {
		*out = append(*out, l)
	}
	extension(t, name, rest, ext, 4)
}

func multipart(t *testing.T, name string, b node, prefix string, ext bool, out *[]leaf) {
	n := 0
	for n < len(b.list) && b.list[n].kind == '(' {
		structure(t, name, b.list[n], strings.TrimSuffix(prefix, "!")+dot(prefix)+strconv.Itoa(n+1)+"!", ext, out)
		n++
	}
	if n == len(b.list) || b.list[n].kind != 's' {
		t.Errorf("%s: multipart without subtype", name)
		return
	}
	rest := b.list[n+1:]
	if ext && len(rest) > 0 {
		params(t, name, rest[0])
		rest = rest[1:]
	}
	extension(t, name, rest, ext, 3)
}

func dot(prefix string) string {
	if strings.HasSuffix(prefix, "!") {
		return "."
	}
	return ""
}

func extension(t *testing.T, name string, rest []node, ext bool, most int) {
	t.Helper()
	if !ext && len(rest) > 0 || len(rest) > most {
		t.Errorf("%s: %d pieces of extension data: %v", name, len(rest), rest)
	}
}

func params(t *testing.T, name string, p node) {
	t.Helper()
	if p.kind == 'n' {
		return
	}
	if p.kind != '(' || len(p.list) == 0 || len(p.list)%2 != 0 {
		t.Errorf("%s: parameters %v", name, p)
	}
	for _, x := range p.list {
		if x.kind != 's' {
			t.Errorf("%s: parameter %v is no string", name, x)
		}
	}
}

// checkSearches: no key fails on any message, and orders are permutations.
func checkSearches(t *testing.T, c *strict, n int) {
	for _, k := range []string{"TEXT hello", "BODY \"the\"", "SUBJECT re", "FROM @", "TO example.com", "CC a", "BCC a", "HEADER Content-Type multipart",
		"SENTSINCE 1-Jan-1990", "SENTBEFORE 1-Jan-2030", "NOT TEXT zzzzqqq", "FUZZY TEXT meeting", "HEADER Received \"\""} {
		rs := c.do("UID SEARCH %s", k)
		if len(rs) != 1 || rs[0][0].text != "SEARCH" {
			t.Errorf("SEARCH %s: %v", k, rs)
		}
	}
	for _, k := range []string{"ARRIVAL", "CC", "DATE", "FROM", "REVERSE SIZE", "SUBJECT", "TO", "DISPLAYFROM", "DISPLAYTO", "SUBJECT REVERSE DATE FROM"} {
		rs := c.do("SORT (%s) UTF-8 ALL", k)
		if len(rs) != 1 {
			t.Fatalf("SORT %s: %v", k, rs)
		}
		permutation(t, "SORT "+k, rs[0][1:], n)
	}
	for _, alg := range []string{"REFERENCES", "ORDEREDSUBJECT"} {
		rs := c.do("THREAD %s UTF-8 ALL", alg)
		if len(rs) != 1 {
			t.Fatalf("THREAD %s: %d responses", alg, len(rs))
		}
		var nums []node
		var flatten func([]node)
		flatten = func(ns []node) {
			for _, x := range ns {
				if x.kind == '(' {
					flatten(x.list)
				} else {
					nums = append(nums, x)
				}
			}
		}
		flatten(rs[0][1:])
		permutation(t, "THREAD "+alg, nums, n)
	}
}

func permutation(t *testing.T, what string, nums []node, n int) {
	t.Helper()
	seen := make([]bool, n+1)
	for _, x := range nums {
		k := x.num()
		if k < 1 || k > int64(n) || seen[k] {
			t.Errorf("%s: %v", what, x)
			return
		}
		seen[k] = true
	}
	if len(nums) != n {
		t.Errorf("%s: %d of %d", what, len(nums), n)
	}
}
