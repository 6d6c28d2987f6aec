// Command repl ("make talk") starts a node and holds the conversation one types with its
// IMAP server, in the language of talk files; what was said becomes a story file. Time and silence
// are the wall's here, not a bubble's: before the story goes to testdata/talk, write * for what
// differs from run to run, and cite the RFC section it tells.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"bahnpost/app"
)

const usage = `A: login alice              connects and logs in (alice, bob)     A: connect   only connects
A> a1 SELECT INBOX          sends a line; without "A>" on the last connection
A> a2 APPEND INBOX {m.eml}  sends a file of this directory as a literal
# words                     a comment; an empty line looks again; Ctrl-D ends and writes ` + out + "\n"

const (
	out   = "story.txtar"
	quiet = 200 * time.Millisecond // how long nobody must speak before it is one's own turn
)

type story struct {
	addr, last string
	logins     map[string]string        // "alice" → her LOGIN
	conns      map[string]net.Conn      // by the name in the story
	said       map[string](chan string) // what each hears, line by line with literals; closed at the end
	lines      []string
	files      map[string]string
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "repl:", err)
		os.Exit(1)
	}
}

func run() error {
	dir, err := os.MkdirTemp("", "bahnpost-talk-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	offset := 20000 + rand.IntN(40000) // a port that is taken makes Start fail, and say so
	demo, err := app.PrepareDemo(ctx, dir, offset)
	if err != nil {
		return err
	}
	n, err := app.Start(ctx, dir, app.Options{Version: "talk", Log: io.Discard})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	s := &story{addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(143+offset)), logins: map[string]string{}, conns: map[string]net.Conn{}, said: map[string](chan string){}, files: map[string]string{}}
	for i, u := range []string{"alice", "bob"} {
		s.logins[u] = "LOGIN " + demo.Accounts[i].Address + " " + demo.Accounts[i].Password
	}
	fmt.Print(usage)
	for r := bufio.NewScanner(os.Stdin); r.Scan(); s.listen() {
		if err := s.step(r.Text()); err != nil {
			fmt.Println("!", err)
		}
	}
	text := "# RFC …: what this tells.\n" + strings.Join(s.lines, "\n") + "\n"
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		text += "-- " + name + " --\n" + s.files[name]
	}
	stop()
	return errors.Join(<-ended, os.WriteFile(out, []byte(text), 0o644))
}

// step does what one line of the story says, and records it.
func (s *story) step(line string) error {
	if line == "" || line[0] == '#' {
		s.lines = append(s.lines, line)
		return nil
	}
	if len(line) < 3 || line[1] != ':' && line[1] != '>' {
		line = s.last + "> " + line
	}
	name, arg := line[:1], strings.TrimSpace(line[2:])
	who, ok := strings.CutPrefix(arg, "login ")
	switch {
	case line[1] == ':' && (arg == "connect" || ok && s.logins[who] != ""):
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			return err
		}
		s.conns[name], s.said[name], s.last, s.lines = c, make(chan string, 1000), name, append(s.lines, line)
		go read(c, s.said[name])
		if ok { // said but not recorded, as the engine's verb does it
			fmt.Fprintf(c, "l %s\r\n", s.logins[who])
			for l := range s.said[name] {
				if strings.HasPrefix(l, "l ") {
					break
				}
			}
		}
		return nil
	case line[1] == ':' || s.conns[name] == nil:
		return fmt.Errorf("%s is not open; first: A: login alice, or A: connect", line)
	}
	s.last, s.lines = name, append(s.lines, line)
	_, err := io.WriteString(s.conns[name], literalRef.ReplaceAllStringFunc(arg, s.literal)+"\r\n")
	return err
}

var literalRef = regexp.MustCompile(`\{[A-Za-z][A-Za-z0-9_.-]*\}`)

// literal turns {file} into a literal that waits for nobody (RFC 7888); what is no file stays.
func (s *story) literal(ref string) string {
	name := strings.Trim(ref, "{}")
	b, err := os.ReadFile(name)
	if err != nil {
		return ref
	}
	s.files[name] = strings.ReplaceAll(string(b), "\r\n", "\n")
	data := strings.ReplaceAll(s.files[name], "\n", "\r\n")
	return fmt.Sprintf("{%d+}\r\n%s", len(data), data)
}

var literal = regexp.MustCompile(`\{(\d+)\}$`)

// read passes lines on, their literals shown as the engine shows them: {5|text}.
func read(c net.Conn, said chan<- string) {
	defer close(said)
	line := ""
	for r := bufio.NewReader(c); ; {
		l, err := r.ReadString('\n')
		line += strings.TrimRight(l, "\r\n")
		m := literal.FindStringSubmatchIndex(line)
		switch {
		case err != nil:
			return
		case m == nil:
			said <- line
			line = ""
			continue
		}
		n, _ := strconv.Atoi(line[m[2]:m[3]])
		b := make([]byte, n)
		io.ReadFull(r, b) // an end shows at the next line
		q := strconv.Quote(string(b))
		line = fmt.Sprintf("%s{%d|%s}", line[:m[0]], n, strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`))
	}
}

// listen shows and records what is said until all are quiet.
func (s *story) listen() {
	for end := time.After(quiet); ; {
		for _, name := range slices.Sorted(maps.Keys(s.said)) {
			select {
			case l, ok := <-s.said[name]:
				if !ok {
					l = "EOF"
					delete(s.said, name)
					delete(s.conns, name)
				}
				fmt.Println(name+"<", l)
				s.lines = append(s.lines, name+"< "+l)
				end = time.After(quiet)
			default:
			}
		}
		select {
		case <-end:
			return
		case <-time.After(time.Millisecond):
		}
	}
}
