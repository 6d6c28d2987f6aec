package talk

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var update = flag.Bool("update", false, "rewrite the < lines of talk files that differ")

// Env is the server that a conversation is held with. It lives in the bubble of one file.
type Env struct {
	Dial     func() (net.Conn, error)         // a plain connection
	Secure   func() (net.Conn, error)         // one whose server side expects TLS at once; nil: none
	TLS      *tls.Config                      // of the client; nil: no starttls
	Login    func(c *Conn, user string) error // the login dialogue, greeting included
	Deliver  func(user, mailbox string, message []byte) error
	Verbs    map[string]func(args []string) error // further verbs without a connection
	Heard    func(line string) error              // sees each line of the server as it came; nil: nobody
	Literals bool                                 // {n} at a line's end announces a literal

	// Append puts a message into a mailbox over a connection that is logged in:
	// the delivery where a referee holds the talk; nil: none there.
	Append func(c *Conn, mailbox string, message []byte) error
}

// RunAll runs each file that the pattern finds, in parallel, in a bubble of its
// own; start makes its server and registers the end of it with t.Cleanup.
func RunAll(t *testing.T, pattern string, start func(t *testing.T) Env) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no talk files match %s", pattern)
	}
	for i, f := range files {
		if Refereed() {
			t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) { refereed(t, i, f, start(t)) })
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { run(t, f, start(t)) })
		})
	}
}

type script struct {
	t        *testing.T
	env      Env
	file     archive
	lines    []string
	files    map[string][]byte
	conns    map[string]*Conn
	captured map[string]string
	history  []string
	changed  bool
	skip     int // lines of a group that were done already

	real     bool          // with a referee; what follows is of it
	lag      time.Duration // before each command, so that all have heard of the one before
	noRecent bool          // what is said of \Recent does not count
	differ   func(text string)
	deaf     map[string]bool
	sent     map[string]string // the last command's tag, of each connection
	theirs   [perTalk]string
	aliases  [perTalk]*regexp.Regexp
}

// load reads a file.
func load(t *testing.T, path string, env Env) *script {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ar := parseArchive(data)
	s := &script{t: t, env: env, file: ar, files: map[string][]byte{}, conns: map[string]*Conn{}, captured: map[string]string{}}
	s.lines = strings.Split(strings.TrimSuffix(ar.script, "\n"), "\n")
	for _, f := range ar.files {
		s.files[f.name] = crlf(f.data)
	}
	return s
}

func run(t *testing.T, path string, env Env) {
	s := load(t, path, env)
	defer s.hangUp()
	for i := range s.lines {
		if s.skip > 0 {
			s.skip--
			continue
		}
		if err := s.step(i); err != nil {
			t.Fatalf("%s:%d: %v\n%s\n--> %s", path, i+1, err, strings.Join(s.history, "\n"), s.lines[i])
		}
	}
	if s.changed {
		s.file.script = strings.Join(s.lines, "\n") + "\n"
		if err := os.WriteFile(path, s.file.format(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// crlf gives a file the line ends of the wire.
func crlf(b []byte) []byte {
	return []byte(strings.ReplaceAll(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n", "\r\n"))
}

func (s *script) hangUp() {
	for _, c := range s.conns {
		c.nc.Close()
	}
	settle(s.real)
}

var stepLine = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9]*)(:|>>\.|>>|>q|>|<~|<\||<|\.)(?:\s+|$)(.*)$`)

func (s *script) step(i int) error {
	line := s.lines[i]
	if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
		return nil
	}
	m := stepLine.FindStringSubmatch(line)
	if m == nil || len(m[1]) > 4 && m[2] == "." {
		s.note(line)
		return s.verb(strings.Fields(line))
	}
	name, op, arg := m[1], m[2], m[3]
	if op == ":" {
		s.note(line)
		return s.action(name, strings.Fields(arg))
	}
	c := s.conns[name]
	if c == nil {
		return fmt.Errorf("connection %s is not open", name)
	}
	switch op {
	case "<", "<~":
		return s.expect(i, c, op, arg)
	case "<|":
		return s.anyOrder(i, c)
	case ".":
		if said := c.quiet(); said != "" {
			return fmt.Errorf("wanted silence, got %q", said)
		}
		s.note(line)
		return nil
	}
	s.note(line)
	return s.send(c, op, arg)
}

func (s *script) note(line string) { s.history = append(s.history, "    "+line) }

func (s *script) verb(f []string) error {
	switch f[0] {
	case "sleep":
		d, err := time.ParseDuration(f[1])
		if s.real {
			d = min(d, maxRealSleep)
		}
		time.Sleep(d)
		return err
	case "deliver":
		if len(f) < 3 || s.files[f[2]] == nil {
			return errors.New("deliver USER FILE [MAILBOX]")
		}
		mailbox := "INBOX"
		if len(f) > 3 {
			mailbox = f[3]
		}
		return s.env.Deliver(f[1], mailbox, s.files[f[2]])
	}
	v := s.env.Verbs[f[0]]
	if v == nil {
		return fmt.Errorf("verb %q is not known here", f[0])
	}
	return v(f[1:])
}

func (s *script) action(name string, f []string) error {
	if len(f) == 0 {
		return errors.New("what shall the connection do?")
	}
	switch f[0] {
	case "connect", "login", "handshake":
		return s.connect(name, f)
	case "starttls":
		c, err := s.conns[name].startTLS(s.env.TLS)
		if err == nil {
			c.real, c.noRecent = s.real, s.noRecent
			s.conns[name] = c
		}
		return err
	case "close":
		err := s.conns[name].nc.Close()
		settle(s.real)
		return err
	}
	return fmt.Errorf("a connection can't %q", f[0])
}

func (s *script) connect(name string, f []string) error {
	dial := s.env.Dial
	if f[0] == "handshake" {
		dial = s.env.Secure
	}
	if dial == nil {
		return errors.New("no TLS from the first octet here")
	}
	nc, err := dial()
	if err != nil {
		return err
	}
	if f[0] == "handshake" {
		nc = tls.Client(nc, s.env.TLS)
	}
	c := newConn(nc, s.env.Literals)
	c.real, c.noRecent = s.real, s.noRecent
	s.conns[name] = c
	if f[0] == "login" {
		return s.env.Login(c, f[1])
	}
	return nil
}

func (s *script) send(c *Conn, op, arg string) error {
	switch op {
	case ">q":
		text, err := strconv.Unquote(arg)
		if err != nil {
			return err
		}
		return c.Send(text)
	case ">>", ">>.":
		data, ok := s.files[arg]
		if !ok {
			return fmt.Errorf("no file %q", arg)
		}
		if op == ">>" {
			return c.Send(string(data))
		}
		return c.Send(stuffed(string(data)))
	}
	return s.sendLine(c, s.toReferee(s.expand(arg)))
}

func stuffed(text string) string {
	text = strings.ReplaceAll("\r\n"+text, "\r\n.", "\r\n..")[2:]
	if !strings.HasSuffix(text, "\r\n") && text != "" {
		text += "\r\n"
	}
	return text + ".\r\n"
}

var literalRef = regexp.MustCompile(`\{([A-Za-z][A-Za-z0-9_.-]*)(!?)\}`)

// sendLine sends a line with its literals.
func (s *script) sendLine(c *Conn, text string) error {
	for s.env.Literals {
		m := literalRef.FindStringSubmatchIndex(text)
		if m == nil {
			break
		}
		data, ok := s.files[text[m[2]:m[3]]]
		if !ok {
			break
		}
		plus := "+"
		if m[5] > m[4] {
			plus = ""
		}
		if err := c.Send(fmt.Sprintf("%s{%d%s}\r\n", text[:m[0]], len(data), plus)); err != nil {
			return err
		}
		if plus == "" {
			if l, err := c.Line(); err != nil || !strings.HasPrefix(l, "+") {
				return fmt.Errorf("wanted a continuation request, got %q %v", l, err)
			}
		}
		if err := c.Send(string(data)); err != nil {
			return err
		}
		text = text[m[1]:]
	}
	return c.Send(text + "\r\n")
}

// expect compares what comes next with a pattern.
func (s *script) expect(i int, c *Conn, op, pattern string) error {
	for {
		line, err := c.Line()
		if pattern == "EOF" && errors.Is(err, io.EOF) {
			s.note(s.lines[i])
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.heard(line); err != nil {
			return err
		}
		shown := s.fromReferee(s.show(line))
		s.note(s.lines[i][:strings.IndexByte(s.lines[i], '<')] + "< " + shown)
		switch {
		case pattern != "EOF" && s.match(pattern, shown):
			return nil
		case op == "<~":
			continue
		case *update:
			s.lines[i] = s.lines[i][:strings.IndexByte(s.lines[i], '<')] + "< " + shown
			s.changed = true
			return nil
		}
		return fmt.Errorf("got %s", shown)
	}
}

func (s *script) heard(line string) error {
	if s.env.Heard == nil {
		return nil
	}
	if err := s.env.Heard(line); err != nil {
		return fmt.Errorf("%q: %w", line, err)
	}
	return nil
}

// anyOrder compares a group of <| lines with as many lines of the server.
func (s *script) anyOrder(i int, c *Conn) error {
	name, _, _ := strings.Cut(s.lines[i], "<|")
	var want []string
	for _, l := range s.lines[i:] {
		p, ok := strings.CutPrefix(l, name+"<|")
		if !ok {
			break
		}
		want = append(want, strings.TrimSpace(p))
	}
	s.skip = len(want) - 1
	for range len(want) {
		line, err := c.Line()
		if err != nil {
			return fmt.Errorf("%w; still wanted %q", err, want)
		}
		if err := s.heard(line); err != nil {
			return err
		}
		shown := s.fromReferee(s.show(line))
		s.note(name + "< " + shown)
		k := 0
		for k < len(want) && !s.match(want[k], shown) {
			k++
		}
		if k == len(want) {
			return fmt.Errorf("got %s, wanted one of %q", shown, want)
		}
		want = append(want[:k], want[k+1:]...)
	}
	return nil
}
