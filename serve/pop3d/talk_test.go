package pop3d

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"bahnpost/mail"
	"bahnpost/serve/listen"
	"bahnpost/store/directory"
	"bahnpost/store/mailstore"
)

// TestTalk plays testdata/talk: a story a file, in the language of the house's
// talk files, as far as POP3 needs it:
//
//	A> line       A sends (\r\n is added; \r \n \0 \\ are escapes)    A>> line  without line end
//	A< line       must come next; * at the end is free text, $x captures a word, later it must be the same
//	A<~ line      skip until
//	A.            the connection is closed by the server
//	A: connect    A: login anna    A: starttls    A: drop
//	deliver anna m.eml [uidl=… order=…]    expunge anna UID    disable anna    format anna %u    password anna new    kick anna
func TestTalk(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/talk/*.txtar")
	must(t, err)
	if len(files) == 0 {
		t.Fatal("no stories")
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(f)
			must(t, err)
			play(t, f, string(text))
		})
	}
}

type story struct {
	t     *testing.T
	h     *house
	at    string // file:line
	conns map[string]*client
	files map[string]string
	vars  map[string]string
}

func play(t *testing.T, file, text string) {
	s := &story{t: t, h: newHouse(t, Config{}), conns: make(map[string]*client), files: make(map[string]string), vars: make(map[string]string)}
	var lines []string
	name := ""
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, "\r\n")
		if strings.HasPrefix(l, "-- ") && strings.HasSuffix(l, " --") {
			name = strings.TrimSpace(l[3 : len(l)-3])
			continue
		}
		if name == "" {
			lines = append(lines, l)
		} else {
			s.files[name] += l + "\r\n"
		}
	}
	for i, l := range lines {
		if l, _, _ = strings.Cut(l+" ", " # "); strings.TrimSpace(l) == "" || l[0] == '#' {
			continue
		}
		s.at = file + ":" + count(i+1)
		s.step(strings.TrimRight(l, " "))
		if t.Failed() {
			t.Fatalf("%s: %s", s.at, l)
		}
	}
}

func (s *story) step(l string) {
	if len(l) > 1 && 'A' <= l[0] && l[0] <= 'Z' {
		who, what := l[:1], l[1:]
		switch {
		case strings.HasPrefix(what, ": "):
			s.verb(who, strings.Fields(what[2:]))
			return
		case what == ".":
			s.conns[who].closed()
			return
		case strings.HasPrefix(what, ">> "):
			s.conns[who].send("%s", unescape(what[3:]))
			return
		case what == ">" || strings.HasPrefix(what, "> "):
			s.conns[who].send("%s\r\n", unescape(strings.TrimPrefix(what[1:], " ")))
			return
		case strings.HasPrefix(what, "<~ "):
			for !s.matches(what[3:], s.conns[who].line()) {
			}
			return
		case what == "<" || strings.HasPrefix(what, "< "):
			want := strings.TrimPrefix(what[1:], " ")
			if got := s.conns[who].line(); !s.matches(want, got) {
				s.t.Errorf("%s: got %q, want %q", s.at, got, want)
			}
			return
		}
	}
	s.act(strings.Fields(l))
}

func unescape(l string) string {
	return strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\0`, "\x00", `\\`, `\`).Replace(l)
}

var variable = regexp.MustCompile(`\\\$([a-z]+)`)

func (s *story) matches(want, got string) bool {
	free := strings.HasSuffix(want, "*")
	p := regexp.QuoteMeta(strings.TrimSuffix(want, "*"))
	var names []string
	p = variable.ReplaceAllStringFunc(p, func(v string) string {
		name := v[2:]
		if known, ok := s.vars[name]; ok {
			return regexp.QuoteMeta(known)
		}
		names = append(names, name)
		return `(\S+)`
	})
	if !free {
		p += "$"
	}
	m := regexp.MustCompile("^" + p).FindStringSubmatch(got)
	for i := range m {
		if i > 0 {
			s.vars[names[i-1]] = m[i]
		}
	}
	return m != nil
}

func (s *story) verb(who string, words []string) {
	switch words[0] {
	case "connect":
		s.conns[who] = s.h.dial()
		s.conns[who].want("+OK")
	case "login":
		s.conns[who] = s.h.enter(words[1])
	case "starttls":
		s.conns[who].starttls()
	case "drop":
		s.conns[who].Close()
	default:
		s.t.Fatalf("%s: no such verb", s.at)
	}
}

func (s *story) act(words []string) {
	ctx := context.Background()
	change := func(fn func(*directory.Account)) {
		a, err := s.h.dir.Account(ctx, s.h.account[words[1]])
		must(s.t, err)
		fn(&a)
		must(s.t, s.h.dir.SetAccount(ctx, a))
	}
	switch words[0] {
	case "deliver":
		s.h.deliver(words[1], s.files[words[2]], importOptions(words[3:]))
	case "expunge":
		uid, _ := number(words[2])
		s.h.expunge(words[1], mailstore.UID(uid))
	case "disable":
		change(func(a *directory.Account) { a.Disabled = true })
	case "format":
		change(func(a *directory.Account) { a.UIDLFormat = words[2] })
	case "password":
		must(s.t, s.h.dir.SetPassword(ctx, s.h.account[words[1]], words[2]))
	case "kick":
		s.h.server.Kick(mail.AccountID(s.h.account[words[1]]))
	default:
		s.t.Fatalf("%s: no such verb", s.at)
	}
}

func importOptions(words []string) func(*mailstore.ImportedMessage) {
	if len(words) == 0 {
		return nil
	}
	return func(m *mailstore.ImportedMessage) {
		for _, w := range words {
			if v, ok := strings.CutPrefix(w, "uidl="); ok {
				m.UIDL = v
			} else if v, ok := strings.CutPrefix(w, "order="); ok {
				n, _ := number(v)
				m.Order = int64(n)
			}
		}
	}
}

var _ listen.Handler = (*Server)(nil)
