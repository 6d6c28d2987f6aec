package town

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// journal is what the clients were promised.
type journal struct {
	mu      sync.Mutex
	acked   map[string][]string // token → accounts that got its 250 or OK
	flagged map[string]bool     // token → \Flagged was acknowledged
	uids    map[string]string   // account/uid → token, once seen it must not change
}

func (j *journal) ack(token string, accounts ...string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.acked[token] = append(j.acked[token], accounts...)
}

// TestKillUnderLoad: a node is killed (SIGKILL) under deliveries, appends and
// flag changes, again and again. After each start: nothing acknowledged is
// missing, nothing is there twice, no UID was reused, the check is clean.
// RFC 5321 §6.1: 250 is a promise.
func TestKillUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("kills a process under load; not in -short")
	}
	rounds := 4
	if os.Getenv("BAHNPOST_LONG") != "" {
		rounds = 25
	}
	w := New(t)
	var users []string
	for i := range 6 {
		users = append(users, w.Account(fmt.Sprintf("u%d", i), "secret"))
	}
	j := &journal{acked: map[string][]string{}, flagged: map[string]bool{}, uids: map[string]string{}}
	for round := range rounds {
		w.Serve()
		loadUntilKilled(t, w, j, users, round)
		w.Serve()
		j.verify(t, w, users, round)
		w.Kill()
		if out, err := w.Try("", "check", w.Dir); err != nil {
			t.Fatalf("round %d: check: %v\n%s", round, err, out)
		}
	}
	t.Logf("%d messages acknowledged over %d kills, none lost", len(j.acked), rounds)
}

func loadUntilKilled(t *testing.T, w *Town, j *journal, users []string, round int) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { deliverers(w, j, users, fmt.Sprintf("r%d-l%d", round, i)) })
		wg.Go(func() { appenders(w, j, users[i], fmt.Sprintf("r%d-a%d", round, i)) })
	}
	<-time.After(time.Second + time.Duration(rand.IntN(500))*time.Millisecond)
	w.Kill()
	wg.Wait()
}

// deliverers send by LMTP until the line breaks.
func deliverers(w *Town, j *journal, users []string, name string) {
	c, err := DialLMTP(w.Addr("lmtp"))
	if err != nil {
		return
	}
	defer c.Close()
	for n := 0; ; n++ {
		token := fmt.Sprintf("%s-%d", name, n)
		to := []string{users[n%len(users)], users[(n+1)%len(users)]}
		rs, err := c.Deliver(message(token, n), to...)
		for i, r := range rs {
			if strings.HasPrefix(r, "250") {
				j.ack(token, to[i])
			}
		}
		if err != nil {
			return
		}
	}
}

// message has a size between a line and 200 KB, so that both inline bodies and packs are met.
func message(token string, n int) string {
	size := []int{100, 3000, 9000, 70000, 200000}[n%5]
	return "From: a@b.example\r\nSubject: " + token + "\r\nMessage-ID: <" + token + "@test>\r\n\r\n" +
		strings.Repeat(token+" lorem ipsum dolor\r\n", size/(len(token)+20)+1)
}

var appendUID = regexp.MustCompile(`APPENDUID \d+ (\d+)`)

// appenders APPEND and flag what they appended until the line breaks.
func appenders(w *Town, j *journal, user, name string) {
	c, err := DialIMAP(w.Addr("imap"), user, "secret")
	if err != nil {
		return
	}
	defer c.Close()
	if _, err := c.Do("SELECT INBOX"); err != nil {
		return
	}
	for n := 0; ; n++ {
		token := fmt.Sprintf("%s-%d", name, n)
		ok, err := c.Append("INBOX", message(token, n))
		if err != nil {
			return
		}
		j.ack(token, user)
		uid := appendUID.FindStringSubmatch(ok)
		if uid == nil {
			return
		}
		if _, err := c.Do("UID STORE %s +FLAGS.SILENT (\\Flagged)", uid[1]); err != nil {
			return
		}
		j.mu.Lock()
		j.flagged[token] = true
		j.mu.Unlock()
	}
}

var fetched = regexp.MustCompile(`(?s)FETCH \(UID (\d+) FLAGS \(([^)]*)\) BODY\[HEADER.FIELDS \(SUBJECT\)\] \{\d+\}\nSubject: (\S+)`)

func (j *journal) verify(t *testing.T, w *Town, users []string, round int) {
	t.Helper()
	have := map[string]map[string]int{}
	for _, u := range users {
		c, err := DialIMAP(w.Addr("imap"), u, "secret")
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		_, err1 := c.Do("SELECT INBOX")
		lines, err2 := c.Do("UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
		c.Close()
		if err := errors.Join(err1, err2); err != nil {
			t.Fatalf("round %d: %s: %v", round, u, err)
		}
		have[u] = map[string]int{}
		for _, l := range lines {
			if m := fetched.FindStringSubmatch(l); m != nil {
				j.seen(t, u, m[1], m[2], m[3])
				have[u][m[3]]++
			}
		}
	}
	for token, accounts := range j.acked {
		for _, u := range accounts {
			if n := have[u][token]; n != 1 {
				t.Errorf("round %d: %s was acknowledged for %s and is there %d times", round, token, u, n)
			}
		}
	}
}

// seen checks one message against what was known of it.
func (j *journal) seen(t *testing.T, user, uid, flags, token string) {
	key := user + "/" + uid
	if old, ok := j.uids[key]; ok && old != token {
		t.Errorf("UID %s was %s and is now %s", key, old, token)
	}
	j.uids[key] = token
	if j.flagged[token] && !strings.Contains(flags, `\Flagged`) {
		t.Errorf("%s lost its acknowledged flag", token)
	}
}
