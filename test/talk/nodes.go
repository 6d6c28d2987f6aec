package talk

import (
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Nodes are equal servers of one cell, in real time.
type Nodes struct {
	Addrs []string           // host:port; each connection of a talk takes the next
	Lag   time.Duration      // after which a node has heard what was done over another
	User  func(n int) string // a user of the cell whose password is "secret"; each talk takes new ones
	Env   Env                // Login, Append and Literals of it are used
}

// RunOver holds talks of dir whose connections lead to different nodes. What they say of \Recent is passed over:
// of several sessions it is undefined which sees it (RFC 3501 §2.3.2), and nodes tell each other nothing of that.
func RunOver(t *testing.T, dir string, names []string, over Nodes) {
	for n, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(dir, name+".txtar")
			s := load(t, path, over.Env)
			s.lag, s.noRecent = over.Lag, true
			s.passOverRecent()
			for i := range aliased {
				s.alias(i, over.User(n*perTalk+i))
			}
			next := n // not always the same node begins
			s.env.Dial = func() (net.Conn, error) {
				next++
				return net.Dial("tcp", over.Addrs[next%len(over.Addrs)])
			}
			s.runReal(t, path)
		})
	}
}

var (
	recentLine = regexp.MustCompile(`^\* (\d+|\*|\$[a-z0-9]+) RECENT\r?\n?`)
	heardLine  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*<[~|]? *`)
	recentFlag = regexp.MustCompile(` ?\\Recent\b`)
)

// passOverRecent changes a script so that it says nothing of \Recent.
func (s *script) passOverRecent() {
	skips := false // a line that came after others is gone: those others come still
	for i, l := range s.lines {
		if skips && heardLine.MatchString(l) {
			l = strings.Replace(l, "< ", "<~ ", 1)
		}
		s.lines[i] = withoutRecent(l)
		skips = strings.HasPrefix(s.lines[i], "# ") && strings.Contains(l, "<~")
	}
}

// withoutRecent is a line of a script that says nothing of \Recent.
func withoutRecent(line string) string {
	head := heardLine.FindString(line)
	if head == "" {
		return line
	}
	if recentLine.MatchString(line[len(head):]) {
		return "# " + line
	}
	return head + plain(line[len(head):])
}

// plain is what a server said without the flag.
func plain(line string) string {
	if !strings.Contains(line, `\Recent`) {
		return line
	}
	return strings.ReplaceAll(recentFlag.ReplaceAllString(line, ""), "( ", "(")
}

// skipRecent drops the numbers of recent messages that come next, and the flag.
func (c *Conn) skipRecent() {
	for c.noRecent {
		n := len(recentLine.Find(c.buf))
		if n == 0 || c.buf[n-1] != '\n' {
			c.buf = []byte(plain(string(c.buf)))
			return
		}
		c.buf = slices.Delete(c.buf, 0, n)
	}
}
