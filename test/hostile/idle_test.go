package hostile

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bahnpost/test/town"
)

// TestIdleCrowd: a hundred sessions idle on one mailbox while others deliver, flag and expunge; at the end each has been
// told exactly what is. With BAHNPOST_BINARY built by "go build -race" it is a hunt for races.
func TestIdleCrowd(t *testing.T) {
	w := start(t, 2)
	ls := make([]*listener, 100)
	for i := range ls {
		ls[i] = newListener(t, w, "u0", i%2 == 1)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var delivered, expunged atomic.Int64
	for i := range 3 {
		l := lmtp(t, w)
		wg.Go(func() {
			for n := 0; !over(stop); n++ {
				if r := l.deliver(t, "u0", letter(fmt.Sprintf("i%d-%d", i, n), 200)); strings.HasPrefix(r, "250") {
					delivered.Add(1)
				}
			}
		})
	}
	for i := range 3 {
		c := imap(t, w, "u0")
		c.ok(t, "SELECT INBOX")
		wg.Go(func() {
			for n := 0; !over(stop); n++ {
				expunged.Add(meddle(t, c, n+i))
			}
		})
	}
	<-time.After(time.Duration(pick(3, 20)) * time.Second)
	close(stop)
	wg.Wait()
	c := imap(t, w, "u0")
	exists := existing(c.ok(t, "SELECT INBOX"))
	for i, l := range ls {
		if n, err := l.leave(); err != nil || n != exists {
			t.Errorf("listener %d believes in %d messages, there are %d; %v", i, n, exists, err)
		}
	}
	t.Logf("%d deliveries, %d expunges, %d left", delivered.Load(), expunged.Load(), exists)
	quiet(t, w)
	if log, _ := os.ReadFile(w.Dir + "/log"); strings.Contains(string(log), "DATA RACE") {
		t.Errorf("%s", log)
	}
}

// existing is the number of messages that a SELECT tells.
func existing(answer string) (n int) {
	for line := range strings.Lines(answer) {
		if strings.HasSuffix(line, " EXISTS\n") {
			fmt.Sscanf(line, "* %d", &n)
		}
	}
	return n
}

func over(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

// meddle flags or expunges something, and returns how many went.
func meddle(t *testing.T, c *wire, n int) int64 {
	cmd := "NOOP"
	switch n % 4 {
	case 0:
		cmd = `STORE 1 +FLAGS (\Flagged k` + strconv.Itoa(n%7) + `)`
	case 1:
		cmd = `UID SEARCH RETURN (ALL) FLAGGED`
	case 2:
		cmd = `STORE 1:2 +FLAGS.SILENT (\Deleted)`
	case 3:
		cmd = "EXPUNGE"
	}
	s, err := c.do("%s", cmd)
	if _, ok := errors.AsType[errRefused](err); err != nil && !ok {
		t.Error(err)
	}
	return int64(strings.Count(s, " EXPUNGE\n"))
}

// listener idles and keeps count of what it is told (RFC 9051 §7.5.1, §6.3.13).
type listener struct {
	c      *wire
	ready  chan struct{}
	done   chan struct{}
	exists int
	err    error
}

func newListener(t *testing.T, w *town.Town, user string, qresync bool) *listener {
	c := imap(t, w, user)
	if qresync {
		c.ok(t, "ENABLE QRESYNC")
	}
	l := &listener{c: c, ready: make(chan struct{}), done: make(chan struct{})}
	l.exists = existing(c.ok(t, "SELECT INBOX"))
	c.SetDeadline(time.Now().Add(2 * patience))
	c.say("idle IDLE\r\n")
	go l.listen()
	<-l.ready
	return l
}

func (l *listener) listen() {
	defer close(l.done)
	began := false
	for {
		s, err := l.c.line()
		if err != nil {
			l.err = err
			if !began {
				close(l.ready)
			}
			return
		}
		n := 0
		switch {
		case strings.HasPrefix(s, "+") && !began:
			began = true
			close(l.ready)
		case strings.HasPrefix(s, "last OK"):
			return
		case strings.HasSuffix(s, " EXISTS"):
			fmt.Sscanf(s, "* %d EXISTS", &n)
			if n < l.exists {
				l.err = fmt.Errorf("EXISTS fell from %d to %d", l.exists, n)
			}
			l.exists = n
		case strings.HasSuffix(s, " EXPUNGE"):
			fmt.Sscanf(s, "* %d EXPUNGE", &n)
			if n < 1 || n > l.exists {
				l.err = fmt.Errorf("EXPUNGE %d of %d", n, l.exists)
			}
			l.exists--
		case strings.HasPrefix(s, "* VANISHED "):
			l.exists -= countUIDs(strings.TrimPrefix(s, "* VANISHED "))
		}
	}
}

// countUIDs is how many UIDs a set names.
func countUIDs(set string) (n int) {
	for r := range strings.SplitSeq(set, ",") {
		var a, b int
		if k, _ := fmt.Sscanf(r, "%d:%d", &a, &b); k == 2 {
			n += max(a, b) - min(a, b) + 1
		} else {
			n++
		}
	}
	return n
}

// leave ends the IDLE and says how many messages the listener believes in.
func (l *listener) leave() (int, error) {
	l.c.say("DONE\r\nlast NOOP\r\n")
	<-l.done
	return l.exists, l.err
}
