package imapd

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strings"
	"testing"
)

func dovecot(t *testing.T) *strict {
	os.RemoveAll("/tmp/dvc/mail"); os.MkdirAll("/tmp/dvc/mail", 0o777); os.Chmod("/tmp/dvc/mail", 0o777)
	cmd := exec.Command("/usr/lib/dovecot/imap", "-c", "/tmp/dvc/dovecot.conf")
	cmd.Env = []string{"USER=nobody", "HOME=/tmp/dvc/home"}
	w, _ := cmd.StdinPipe()
	r, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil { t.Fatal(err) }
	t.Cleanup(func() { w.Close(); cmd.Wait() })
	c := &strict{t: t, r: bufio.NewReaderSize(r, 1<<20), w: w}
	c.r.ReadString('\n')
	return c
}

func crlfs(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	b = bytes.ReplaceAll(b, []byte("\r"), []byte(""))
	return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
}

func TestRef(t *testing.T) {
	files := corpus(t)
	w := newTown(t, Config{})
	us, them := dialStrict(t, w.tcp()), dovecot(t)
	var kept []mailFile
	for _, f := range files {
		if bytes.IndexByte(f.data, 0) >= 0 || len(f.data) == 0 { continue }
		f.data = crlfs(f.data)
		cmd := fmt.Sprintf("APPEND INBOX \"%02d-Jan-2021 10:00:%02d +0000\" {%d+}\r\n%s", 1+len(kept)%28, len(kept)%60, len(f.data), f.data)
		us.do("%s", cmd); them.do("%s", cmd)
		kept = append(kept, f)
	}
	us.do("SELECT INBOX"); them.do("SELECT INBOX")
	fmt.Println(len(kept), "messages")
	q := []string{}
	data, _ := os.ReadFile("/tmp/dvc/queries.txt")
	for _, l := range strings.Split(strings.TrimSpace(string(data)), "\n") { if l != "" { q = append(q, l) } }
	for _, c := range q {
		a, as := us.try("%s", c)
		b, bs := them.try("%s", c)
		x, y := pick(a), pick(b)
		fmt.Printf("%-50s us %d them %d %.20s|%.20s\n", c, len(x), len(y), as, bs)
		if strings.Contains(c, "SORT") {
			n := 0
			for i := range x { if i < len(y) && x[i] != y[i] { if n++; n < 4 { fmt.Println("   pos", i, "us", x[i], kept[atoi(x[i])-1].name, "them", y[i], kept[atoi(y[i])-1].name) } } }
			fmt.Println("   different positions", n)
			continue
		}
		if strings.Contains(c, "THREAD") {
			ta, tb := threads(a), threads(b)
			n := 0
			for k := range ta { if !tb[k] { if n++; n < 6 { fmt.Println("   only us  ", k) } } }
			n = 0
			for k := range tb { if !ta[k] { if n++; n < 6 { fmt.Println("   only them", k) } } }
			continue
		}
		diff(kept, "only us  ", x, y); diff(kept, "only them", y, x)
	}
}
func threads(rs []response) map[string]bool { m := map[string]bool{}; for _, r := range rs { if r[0].text == "THREAD" { for _, n := range r[1:] { m[n.String()] = true } } }; return m }
func atoi(s string) (n int) { fmt.Sscan(s, &n); return n }
func pick(rs []response) (out []string) {
	for _, r := range rs { if r[0].text == "SEARCH" || r[0].text == "SORT" { for _, n := range r[1:] { out = append(out, n.String()) } } }
	return out
}
func diff(kept []mailFile, what string, x, y []string) {
	m := map[string]bool{}
	for _, v := range y { m[v] = true }
	var only []string
	for _, v := range x { if !m[v] { only = append(only, v) } }
	sort.Strings(only)
	for i, v := range only { if i > 7 { fmt.Println("   ...", len(only)); break }; fmt.Println("  ", what, v, kept[atoi(v)-1].name) }
}
