// Package clients drives real mail clients, headless, against a whole node.
// Each test proves a cycle: deliver, list, read with byte-exact body, flag,
// move, delete, and another client sees it. A client that is not installed
// skips its test, saying so; "make test" as root installs them all.
package clients

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"bahnpost/test/town"
)

const password = "s3cret-pw"

// clientTimeout bounds one run of a client.
const clientTimeout = 3 * time.Minute

// body has what clients and servers get wrong: leading dots, trailing blanks,
// 8-bit text, a long line, an empty line at the end.
var body = "Grüße aus München.\r\n.\r\n..two dots\r\ntrailing blank \r\n" + strings.Repeat("long ", 150) + "\r\n\r\nend\r\n"

// mailText is a whole message with that body.
func mailText(subject string) string {
	return "From: Bert <bert@example.org>\r\nTo: anna@example.org\r\nSubject: " + subject +
		"\r\nMessage-ID: <" + subject + "@client.example>\r\nDate: Tue, 24 Nov 2026 10:00:00 +0100\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body
}

// scene is a node with two people.
type scene struct {
	*town.Town
	t          *testing.T
	anna, bert string
	dir        string
}

func open(t *testing.T, programs ...string) *scene {
	t.Helper()
	if testing.Short() {
		t.Skip("drives other programs; not in -short")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
	s := &scene{Town: town.New(t), t: t, dir: t.TempDir()}
	s.anna, s.bert = s.Account("anna", password), s.Account("bert", password)
	s.Start()
	return s
}

// deliver puts messages into anna's INBOX by LMTP.
func (s *scene) deliver(subjects ...string) {
	s.t.Helper()
	c, err := town.DialLMTP(s.Addr("lmtp"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	for _, sub := range subjects {
		// The client's data must be dot-stuffed.
		rs, err := c.Deliver(strings.ReplaceAll(mailText(sub), "\r\n.", "\r\n.."), s.anna)
		if err != nil || !strings.HasPrefix(rs[0], "250") {
			s.t.Fatalf("deliver: %v %v", rs, err)
		}
	}
}

// run runs a program and returns what it printed; failing ends the test.
func (s *scene) run(stdin, program string, args ...string) string {
	s.t.Helper()
	out, err := s.try(stdin, program, args...)
	if err != nil {
		s.t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
	return out
}

func (s *scene) try(stdin, program string, args ...string) (string, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clientTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "LC_ALL=C.UTF-8", "TERM=vt100")
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// file writes a file into the scene's directory; "%PORT{imap}" becomes a port.
func (s *scene) file(name string, mode os.FileMode, content string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	content = portName.ReplaceAllStringFunc(content, func(m string) string {
		return fmt.Sprint(s.Port(portName.FindStringSubmatch(m)[1]))
	})
	content = strings.ReplaceAll(content, "%DIR", s.dir)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		s.t.Fatal(err)
	}
	return path
}

var portName = regexp.MustCompile(`%PORT\{(\w+)\}`)

// see asks a client of our own what the server holds: the lines of an IMAP command in mailbox.
func (s *scene) see(mailbox, command string) string {
	s.t.Helper()
	c, err := town.DialIMAP(s.Addr("imap"), s.anna, password)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Do("SELECT %q", mailbox); err != nil {
		s.t.Fatalf("SELECT %s: %v", mailbox, err)
	}
	lines, err := c.Do("%s", command)
	if err != nil {
		s.t.Fatalf("%s: %v", command, err)
	}
	return strings.Join(lines, "\n")
}

// holds fails unless what the server answers contains each of want.
func (s *scene) holds(mailbox, command string, want ...string) {
	s.t.Helper()
	got := s.see(mailbox, command)
	for _, w := range want {
		if !strings.Contains(got, w) {
			s.t.Errorf("%s in %s answers\n%s\nwithout %q", command, mailbox, got, w)
		}
	}
}

// count fails unless mailbox holds n messages.
func (s *scene) count(mailbox string, n int) {
	s.t.Helper()
	s.holds(mailbox, fmt.Sprintf("STATUS %q (MESSAGES)", mailbox), fmt.Sprintf("MESSAGES %d", n))
}

// exact fails unless got ends with the body, byte for byte (line ends as eol).
func (s *scene) exact(what, got, eol string) {
	s.t.Helper()
	if want := strings.ReplaceAll("\r\n\r\n"+body, "\r\n", eol); !strings.HasSuffix(got, want) {
		s.t.Errorf("%s: body differs\n got %q\nwant %q", what, got, want)
	}
}

// maildir lists the messages of a maildir folder.
func (s *scene) maildir(folder string) []string {
	s.t.Helper()
	var all []string
	for _, sub := range []string{"new", "cur"} {
		m, err := filepath.Glob(filepath.Join(s.dir, folder, sub, "*"))
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, m...)
	}
	return all
}

// one returns the only message of a maildir folder and its content.
func (s *scene) one(folder string) (path, content string) {
	s.t.Helper()
	m := s.maildir(folder)
	if len(m) != 1 {
		s.t.Fatalf("%s holds %v, want one message", folder, m)
	}
	b, err := os.ReadFile(m[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return m[0], string(b)
}

// rename moves a maildir file to a folder's cur with flags (":2,FS").
func (s *scene) rename(path, folder, base, flags string) string {
	s.t.Helper()
	to := filepath.Join(s.dir, folder, "cur", base+":2,"+flags)
	if err := os.Rename(path, to); err != nil {
		s.t.Fatal(err)
	}
	return to
}

// stored fails unless message n of mailbox has the body, byte for byte.
func (s *scene) stored(mailbox string, n int) {
	s.t.Helper()
	if got := s.see(mailbox, fmt.Sprintf("FETCH %d BODY.PEEK[TEXT]", n)); !strings.Contains(got, "\n"+body+")") {
		s.t.Errorf("message %d of %s: body differs\n got %q\nwant %q", n, mailbox, got, body)
	}
}

// read returns a file's content.
func (s *scene) read(path string) string {
	s.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}
