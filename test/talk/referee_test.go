package talk

import (
	"net"
	"strings"
	"testing"
)

// TestReferee: where a foreign server differs, that is told, what it says to
// the same command is passed over, and the talk goes on; names are translated.
func TestReferee(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			go echo(c)
		}
	}()
	story := []string{"A: connect", "A> a1 alice", "A< other", "A< never comes", "A.", "A> a2 alice x", "A< got a2 alice x", "A> quit", "A< EOF"}
	env := Env{Dial: func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }}
	s := &script{t: t, env: env, lines: story, conns: map[string]*Conn{}, captured: map[string]string{}}
	var told []string
	s.before(func(text string) { told = append(told, text) })
	s.alias(0, "user00007")
	defer s.hangUp()
	for i := range story {
		if err := s.stepReal(i); err != nil {
			t.Fatalf("%s: %v", story[i], err)
		}
	}
	if len(told) != 1 || !strings.HasPrefix(told[0], `3: after "a1 alice": got got a1 alice`) {
		t.Errorf("told %q", told)
	}
	if got := s.toReferee("LOGIN alice"); got != "LOGIN user00007" {
		t.Error(got)
	}
}
