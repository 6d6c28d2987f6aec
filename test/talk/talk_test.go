package talk

import (
	"bufio"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, line string
		want          bool
	}{
		{"a1 OK *", "a1 OK [X] done", true},
		{"a1 OK *", "a1 OK", true},
		{"a1 OK *", "a1 NO no", false},
		{"* 1 EXISTS", "* 1 EXISTS", true},
		{"* 1 EXISTS", "x 1 EXISTS", false},
		{"[UID * $n] *", "[UID 5 6] text", true},
		{"[UID * 7] *", "[UID 5 6] text", false},
		{`(\Seen \*)`, `(\Seen \*)`, true},
		{`(\Seen \*)`, `(\Seen \x)`, false},
		{"AUTH=*", "AUTH=PLAIN X", true},
		{"a $Junk", "a $Junk", true},
		{"a.c", "abc", false},
	} {
		s := &script{captured: map[string]string{}}
		if got := s.match(c.pattern, c.line); got != c.want {
			t.Errorf("%q matches %q: %v", c.pattern, c.line, got)
		}
	}
}

func TestCaptures(t *testing.T) {
	t.Parallel()
	s := &script{captured: map[string]string{}}
	if !s.match("UID $u and $v", "UID 5 and 6") || s.expand("FETCH $u:$v $Junk") != "FETCH 5:6 $Junk" {
		t.Errorf("captured %v", s.captured)
	}
	if s.match("again $u", "again 6") || !s.match("again $u", "again 5") {
		t.Error("a captured word must compare")
	}
}

func TestShow(t *testing.T) {
	t.Parallel()
	s := &script{env: Env{Literals: true}, files: map[string][]byte{"m.eml": []byte("a\r\n")}}
	if got := s.show("* 1 FETCH (A {3}\r\na\r\n B ~{2}\r\nx\x00 C {4}\r\n\"q\" )"); got != `* 1 FETCH (A {m.eml} B ~{2|x\x00} C {4|"q" })` {
		t.Error(got)
	}
}

// echo answers each line with itself, and "later" after a minute too.
func echo(c net.Conn) {
	defer c.Close()
	r := bufio.NewScanner(c)
	for r.Scan() {
		switch r.Text() {
		case "quit":
			return
		case "later":
			time.Sleep(time.Minute)
		}
		if _, err := c.Write([]byte("got " + r.Text() + "\r\n")); err != nil {
			return
		}
	}
}

func dialEcho() (net.Conn, error) {
	c, s := net.Pipe()
	go echo(s)
	return c, nil
}

func TestConversation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	story := "A: connect\nB: connect\n# a comment\nA> one\nA< got one\nB.\nB> later\nB.\nsleep 1m\nB< got later\nA>> f\nA<~ got two\nA> quit\nA< EOF\n-- f --\none and a half\ntwo\n"
	if err := os.WriteFile(filepath.Join(dir, "x.txtar"), []byte(story), 0o644); err != nil {
		t.Fatal(err)
	}
	RunAll(t, filepath.Join(dir, "*.txtar"), func(*testing.T) Env { return Env{Dial: dialEcho} })
}

// TestWrong: what is not said, or said without being expected, is an error.
func TestWrong(t *testing.T) {
	t.Parallel()
	for want, lines := range map[string][]string{
		"got got one":    {"A: connect", "A> one", "A< two"},
		"silence":        {"A: connect", "A< x"},
		"wanted silence": {"A: connect", "A> one", "A."},
		"is not open":    {"A> x"},
		"verb":           {"frobnicate"},
		"still wanted":   {"A: connect", "A> quit", "A<| x"},
		"EOF":            {"A: connect", "A> quit", "A< x"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{t: t, env: Env{Dial: dialEcho}, lines: lines, conns: map[string]*Conn{}, captured: map[string]string{}}
			defer s.hangUp()
			var err error
			for i := range lines {
				if err = s.step(i); err != nil {
					break
				}
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v", lines, err)
			}
		})
	}
}

func TestArchive(t *testing.T) {
	t.Parallel()
	text := "script\n-- a --\nx\n-- b.eml --\n"
	a := parseArchive([]byte(text))
	if a.script != "script\n" || len(a.files) != 2 || string(a.files[0].data) != "x\n" || string(a.format()) != text {
		t.Errorf("%+v", a)
	}
}
