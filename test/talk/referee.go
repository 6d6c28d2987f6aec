package talk

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The referee is a foreign server that holds the conversations in place of
// ours: where it says something else than a story wants, one of the two is
// wrong, and the RFC must tell which. Nothing there is in a bubble, so time is
// real and silence is only likely.
var (
	referee      = flag.String("referee", "", "host:port of a foreign server that holds the talks in place of ours")
	refereeUsers = flag.String("referee-users", "user%05d", "names of its users, whose password is \"secret\"; each talk takes new ones")
	refereeFirst = flag.Int("referee-first", 0, "number of the first user to take")
)

// Refereed reports whether talks are held with a foreign server: tests that
// hold the same talks once more have nothing to add then.
func Refereed() bool { return *referee != "" }

const (
	realPatience = 2 * time.Second        // for an answer of a referee
	realSilence  = 300 * time.Millisecond // what counts as silence of one
	maxRealSleep = 2 * time.Second        // no story waits longer for one
)

// perTalk is how many users one talk may name.
const perTalk = 2

var aliased = [perTalk]string{"alice", "bob"}

// refereed runs one file against the referee and reports where they differ.
func refereed(t *testing.T, n int, path string, env Env) {
	s := load(t, path, env)
	for i := range aliased {
		s.alias(i, fmt.Sprintf(*refereeUsers, *refereeFirst+n*perTalk+i))
	}
	s.env.Dial = func() (net.Conn, error) { return net.Dial("tcp", *referee) }
	s.runReal(t, path)
}

// runReal holds a loaded talk in real time with servers that know nothing of the test, and reports where they differ.
func (s *script) runReal(t *testing.T, path string) {
	s.before(func(text string) { t.Errorf("%s:%s", path, text) })
	login := s.env.Login
	s.env.Login = func(c *Conn, user string) error { return login(c, s.toReferee(user)) }
	s.env.Secure, s.env.Verbs, s.env.Heard = nil, nil, nil
	s.env.Deliver = s.place
	defer s.hangUp()
	for i := range s.lines {
		if s.skip > 0 {
			s.skip--
			continue
		}
		if err := s.stepReal(i); err != nil {
			t.Errorf("%s:%d: %v; the rest of the talk is left out\n--> %s", path, i+1, err, s.lines[i])
			return
		}
	}
}

// before makes s a talk with a referee; differ hears each line that differs.
func (s *script) before(differ func(text string)) {
	s.real, s.differ = true, differ
	s.deaf, s.sent = map[string]bool{}, map[string]string{}
}

// stepReal is step, but a line that differs is reported and the talk goes on
// behind the end of the command.
func (s *script) stepReal(i int) error {
	m := stepLine.FindStringSubmatch(s.lines[i])
	if m == nil {
		return s.step(i)
	}
	name, op := m[1], m[2]
	heard := strings.HasPrefix(op, "<") || op == "."
	if heard && s.deaf[name] {
		return nil
	}
	if !heard && s.lag > 0 {
		time.Sleep(s.lag)
	}
	if !heard && op != ":" {
		s.deaf[name] = false
		s.sent[name], _, _ = strings.Cut(m[3], " ")
	}
	err := s.step(i)
	if err == nil || !heard {
		return err
	}
	s.differ(fmt.Sprintf("%d: after %q: %v\n--> %s", i+1, s.lastSent(i, name), err, s.lines[i]))
	s.deaf[name] = true
	if errors.Is(err, io.EOF) || strings.Contains(err.Error(), "got "+s.sent[name]+" ") {
		return nil
	}
	for c := s.conns[name]; c != nil; {
		l, err := c.Line()
		if err != nil || strings.HasPrefix(l, s.sent[name]+" ") {
			break
		}
	}
	return nil
}

// lastSent finds what a connection said before line i.
func (s *script) lastSent(i int, name string) string {
	for i--; i >= 0; i-- {
		if m := stepLine.FindStringSubmatch(s.lines[i]); m != nil && m[1] == name && strings.HasPrefix(m[2], ">") {
			return m[3]
		}
	}
	return ""
}

// place delivers by the protocol itself, so that the message stays as it is.
func (s *script) place(user, mailbox string, message []byte) error {
	if s.env.Append == nil {
		return errors.New("mail can't be delivered to a referee here")
	}
	nc, err := s.env.Dial()
	if err != nil {
		return err
	}
	defer nc.Close()
	c := newConn(nc, s.env.Literals)
	c.real, c.noRecent = true, s.noRecent
	if err := s.env.Login(c, user); err != nil {
		return err
	}
	return s.env.Append(c, mailbox, message)
}

// alias gives the user i of the stories a name of the referee's.
func (s *script) alias(i int, theirs string) {
	s.theirs[i], s.aliases[i] = theirs, regexp.MustCompile(`\b`+aliased[i]+`\b`)
}

// toReferee and fromReferee translate the names of users.
func (s *script) toReferee(text string) string {
	for i, re := range s.aliases {
		if re != nil {
			text = re.ReplaceAllString(text, s.theirs[i])
		}
	}
	return text
}

func (s *script) fromReferee(line string) string {
	for i, name := range s.theirs {
		if name != "" {
			line = strings.ReplaceAll(line, name, aliased[i])
		}
	}
	return line
}

// settle waits until nobody has anything to do.
func settle(real bool) {
	if real {
		time.Sleep(realSilence)
		return
	}
	synctest.Wait()
}
