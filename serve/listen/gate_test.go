package listen

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bahnpost/mail"
	"bahnpost/wire/sasl"

	"github.com/xdg-go/scram"
)

func wantKind(t testing.TB, what string, err error, k mail.Kind) {
	t.Helper()
	if err == nil || mail.KindOf(err) != k {
		t.Errorf("%s: error %v, want kind %d", what, err, k)
	}
}

func plain(s *Server) *Server { s.cfg.AllowPlaintext = true; return s }

func TestPasswordIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPeople("anna", "bert")
		g := NewGate(p, GateConfig{})
		c := conn(t, plain(New(Config{})), "127.0.0.1")
		ctx := t.Context()
		login := func(pw string) (Login, error) { return g.Password(ctx, c, "anna", pw) }
		for range 3 {
			l, err := login("pw-anna")
			if err != nil || l.Account != 1 || l.Epoch != 1 {
				t.Fatal(l, err)
			}
		}
		if n := p.verified.Load(); n != 1 {
			t.Errorf("%d verifications, want 1", n)
		}
		p.epoch = 7 // a move: the cache must not keep the epoch
		if l, err := login("pw-anna"); err != nil || l.Epoch != 7 {
			t.Error(l, err)
		}
		time.Sleep(DefaultCacheFor + time.Second)
		login("pw-anna")
		if n := p.verified.Load(); n != 2 {
			t.Errorf("%d verifications after the cache's time, want 2", n)
		}
		p.set("anna", "new")
		g.Forget(2)
		if _, err := login("pw-anna"); err != nil {
			t.Errorf("forgetting another account took anna's: %v", err)
		}
		g.Forget(1)
		_, err := login("pw-anna")
		wantKind(t, "old password", err, mail.AuthFailed)
		if _, err := login("new"); err != nil {
			t.Error(err)
		}
		if s := g.Stats(); s.Cached != 1 || s.Failed != 1 || s.CacheHits == 0 {
			t.Errorf("%+v", s)
		}
		p.set("anna", "newer")
		g.Forget(0) // anybody may have changed
		_, err = login("new")
		wantKind(t, "old password, all forgotten", err, mail.AuthFailed)
	})
}

// An import may change more accounts than the gate remembers.
func TestForgetIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPeople("anna")
		g := NewGate(p, GateConfig{CacheSize: 10})
		c := conn(t, plain(New(Config{})), "127.0.0.1")
		if _, err := g.Password(t.Context(), c, "anna", "pw-anna"); err != nil {
			t.Fatal(err)
		}
		p.set("anna", "new")
		for a := range mail.AccountID(100) {
			g.Forget(1 + a)
		}
		if n := len(g.changed); n > 10 {
			t.Errorf("%d changed accounts are remembered", n)
		}
		_, err := g.Password(t.Context(), c, "anna", "pw-anna")
		wantKind(t, "old password", err, mail.AuthFailed)
	})
}

// A verification that began before Forget must not fill the cache after it.
func TestForgetBeatsVerificationUnderWay(t *testing.T) {
	t.Parallel()
	p := newPeople("anna")
	g := NewGate(p, GateConfig{})
	c := conn(t, plain(New(Config{})), "127.0.0.1")
	p.enter = func() { p.set("anna", "new"); g.Forget(1) }
	if _, err := g.Password(t.Context(), c, "anna", "pw-anna"); err != nil {
		t.Fatal(err)
	}
	p.enter = nil
	_, err := g.Password(t.Context(), c, "anna", "pw-anna")
	wantKind(t, "old password", err, mail.AuthFailed)
}

func TestIdenticalLoginsFlyTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPeople("anna")
		p.hashing = time.Second
		g := NewGate(p, GateConfig{})
		s := plain(New(Config{}))
		var wg sync.WaitGroup
		for i := range 50 {
			c, pw := conn(t, s, "127.0.0.1"), "pw-anna"
			if i%2 == 1 {
				pw = "wrong"
			}
			wg.Go(func() {
				_, err := g.Password(t.Context(), c, "anna", pw)
				if (err == nil) != (pw == "pw-anna") {
					t.Errorf("%s: %v", pw, err)
				}
			})
		}
		wg.Wait()
		if n := p.verified.Load(); n != 2 {
			t.Errorf("%d verifications, want 2", n)
		}
	})
}

// If the session of the one that verifies ends, the others do not suffer.
func TestFlightOutlivesItsLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPeople("anna", "bert")
		p.hashing = time.Second
		g := NewGate(p, GateConfig{HashConcurrency: 1})
		s := plain(New(Config{}))
		go g.Password(t.Context(), conn(t, s, "127.0.0.1"), "bert", "pw-bert") // has the slot
		synctest.Wait()
		ctx, cancel := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := g.Password(ctx, conn(t, s, "127.0.0.1"), "anna", "pw-anna")
			if !errors.Is(err, ErrDraining) {
				t.Errorf("leader: %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := g.Password(t.Context(), conn(t, s, "127.0.0.1"), "anna", "pw-anna"); err != nil {
				t.Errorf("follower: %v", err)
			}
		})
		synctest.Wait()
		cancel(ErrDraining)
		wg.Wait()
	})
}

func TestHashesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPeople()
		p.hashing = time.Second
		g := NewGate(p, GateConfig{HashConcurrency: 3, HashWait: 4500 * time.Millisecond})
		s := plain(New(Config{}))
		var wg sync.WaitGroup
		var mu sync.Mutex
		kinds := map[mail.Kind]int{}
		for i := range 30 {
			c := conn(t, s, "127.0.0.1")
			wg.Go(func() {
				_, err := g.Password(t.Context(), c, fmt.Sprint("user", i), "x")
				mu.Lock()
				kinds[mail.KindOf(err)]++
				mu.Unlock()
			})
		}
		wg.Wait()
		if n := p.most.Load(); n != 3 {
			t.Errorf("%d hashes at once, want 3", n)
		}
		if kinds[mail.AuthFailed] != 15 || kinds[mail.Unavailable] != 15 {
			t.Errorf("kinds %v, want 15 failed and 15 busy", kinds)
		}
	})
}

// A burst of guesses on many connections gets no more looks than one after the other.
func TestThrottleHoldsForABurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPeople("anna")
		p.hashing = 10 * time.Millisecond
		g := NewGate(p, GateConfig{HashConcurrency: 2})
		s := plain(New(Config{}))
		var wg sync.WaitGroup
		for i := range 500 {
			c := conn(t, s, "127.0.0.1")
			wg.Go(func() { g.Password(t.Context(), c, "anna", fmt.Sprint("guess", i)) })
		}
		wg.Wait()
		if n := p.verified.Load(); n > DefaultFailuresPerAccount+2 {
			t.Errorf("%d of 500 guesses were looked at, want %d and those under way", n, DefaultFailuresPerAccount)
		}
	})
}

// A storm of logins holds no more than the queue: the rest hears at once to come later.
func TestHashQueueIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPeople()
		p.hashing = time.Second
		g := NewGate(p, GateConfig{HashConcurrency: 1, HashQueue: 5})
		s := plain(New(Config{}))
		var wg sync.WaitGroup
		var atOnce atomic.Int64
		for i := range 50 {
			c := conn(t, s, "127.0.0.1")
			wg.Go(func() {
				begin := time.Now()
				if _, err := g.Password(t.Context(), c, fmt.Sprint("user", i), "x"); mail.KindOf(err) == mail.Unavailable && time.Since(begin) == 0 {
					atOnce.Add(1)
				}
			})
		}
		wg.Wait()
		if n := atOnce.Load(); n != 50-1-5 {
			t.Errorf("%d were put off at once, want 44", n)
		}
	})
}

func TestThrottleByAccount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPeople("anna", "bert")
		g := NewGate(p, GateConfig{})
		s := plain(New(Config{}))
		ctx := t.Context()
		c := conn(t, s, "127.0.0.1")
		try := func(login, pw string) error { _, err := g.Password(ctx, c, login, pw); return err }
		must(t, try("anna", "pw-anna")) // remembered
		for range 30 {
			wantKind(t, "the same wrong password", try("bert", "old one"), mail.AuthFailed)
		}
		must(t, try("bert", "pw-bert")) // a telephone with the old password does not lock its owner out
		for i := range 10 {
			wantKind(t, "wrong", try("anna", fmt.Sprint(i)), mail.AuthFailed)
		}
		wantKind(t, "too many", try("ANNA", "11"), mail.AuthThrottled)
		must(t, try("anna", "pw-anna")) // who is remembered goes on working
		must(t, try("bert", "pw-bert"))
		before := p.verified.Load()
		wantKind(t, "too many", try("anna", "12"), mail.AuthThrottled)
		if p.verified.Load() != before {
			t.Error("a throttled login was hashed")
		}
		time.Sleep(31 * time.Second) // one of ten leaks away in 30 s
		wantKind(t, "one more", try("anna", "13"), mail.AuthFailed)
		wantKind(t, "and no more", try("anna", "14"), mail.AuthThrottled)
		time.Sleep(31 * time.Second)
		g.Forget(1)
		must(t, try("anna", "pw-anna")) // never for good; and the right one clears
		wantKind(t, "after the right one", try("anna", "15"), mail.AuthFailed)
		wantKind(t, "after the right one", try("anna", "16"), mail.AuthFailed)
	})
}

func TestThrottleByAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPeople("anna")
		g := NewGate(p, GateConfig{FailuresPerIP: 20})
		s := New(Config{})
		secure := func(ip string) *Conn { c := conn(t, s, ip); c.secure.Store(true); return c }
		ctx := t.Context()
		for i := range 20 {
			_, err := g.Password(ctx, secure("2001:db8::1"), fmt.Sprint("u", i), "x")
			wantKind(t, "wrong", err, mail.AuthFailed)
		}
		_, err := g.Password(ctx, secure("2001:db8::ffff:2"), "anna", "pw-anna") // the same /64
		wantKind(t, "neighbour", err, mail.AuthThrottled)
		if _, err := g.Password(ctx, secure("2001:db8:0:1::1"), "anna", "pw-anna"); err != nil {
			t.Errorf("another network: %v", err)
		}
		plain(s)
		for i := range 100 {
			_, err := g.Password(ctx, conn(t, s, "127.0.0.1"), fmt.Sprint("l", i), "x")
			wantKind(t, "loopback", err, mail.AuthFailed)
		}
	})
}

func TestFaultsCountAgainstNobody(t *testing.T) {
	t.Parallel()
	p := newPeople("anna")
	g := NewGate(p, GateConfig{FailuresPerAccount: 2})
	c := conn(t, plain(New(Config{})), "127.0.0.1")
	p.err = errors.New("disk is on fire")
	for range 5 {
		_, err := g.Password(t.Context(), c, "anna", "pw-anna")
		if mail.KindOf(err) != mail.Internal || err == nil {
			t.Errorf("fault became %v", err)
		}
	}
	p.err = nil
	if _, err := g.Password(t.Context(), c, "anna", "pw-anna"); err != nil {
		t.Errorf("after the fault: %v", err)
	}
	p.disabled["anna"] = true
	g.Forget(1)
	_, err := g.Password(t.Context(), c, "anna", "pw-anna")
	wantKind(t, "disabled", err, mail.Disabled)
}

func TestNoSecretInLog(t *testing.T) {
	t.Parallel()
	var log logbook
	p := newPeople("anna")
	g := NewGate(p, GateConfig{Log: log.logger(), FailuresPerAccount: 2})
	c := conn(t, plain(New(Config{})), "127.0.0.1")
	for _, pw := range []string{"hunter2-a", "hunter2-b", "hunter2-c", "hunter2-a"} {
		g.Password(t.Context(), c, "anna", pw)
	}
	x, err := g.Begin(t.Context(), c, "PLAIN")
	must(t, err)
	x.Next(t.Context(), []byte("\x00anna\x00hunter2-d"))
	if got := log.String(); strings.Contains(got, "hunter2") || strings.Count(got, "login failed") != 3 || strings.Count(got, "login throttled") != 2 {
		t.Errorf("log:\n%s", got)
	}
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	var c cache[int]
	c.init(100, time.Minute)
	for i := range 1000 {
		c.put(loginKey{byte(i), byte(i >> 8)}, i)
		if len(c.m) > 100 {
			t.Fatalf("%d entries", len(c.m))
		}
		if v, ok := c.get(loginKey{byte(i), byte(i >> 8)}); !ok || v != i {
			t.Fatalf("entry %d is %d %v", i, v, ok)
		}
	}
	var th throttle
	th.init(3, time.Minute)
	for i := range maxThrottled + 1000 {
		th.hit(uint64(i))
	}
	if len(th.empty) > maxThrottled {
		t.Errorf("throttle has %d entries", len(th.empty))
	}
}

// converse plays a SASL conversation and returns what the server said.
func converse(t *testing.T, g *Gate, c *Conn, mechanism string, say ...string) ([]string, *Exchange, error) {
	t.Helper()
	x, err := g.Begin(t.Context(), c, mechanism)
	if err != nil {
		return nil, nil, err
	}
	var heard []string
	for i, m := range say {
		var in []byte
		if m != "-" {
			in = []byte(m)
		}
		ch, done, err := x.Next(t.Context(), in)
		if err != nil {
			return heard, x, err
		}
		heard = append(heard, string(ch))
		if done != (i == len(say)-1) {
			t.Errorf("%s: done %v after %d messages", mechanism, done, i+1)
		}
	}
	return heard, x, nil
}

// RFC 4422 §3: with and without initial response, authorization as another, malformed; RFC 4616, RFC 5802.
func TestExchanges(t *testing.T) {
	t.Parallel()
	p := newPeople("anna", "bert")
	p.disabled["bert"] = true
	g := NewGate(p, GateConfig{})
	c := conn(t, plain(New(Config{})), "127.0.0.1")
	for _, k := range []struct {
		mechanism string
		say       []string
		want      mail.Kind // Internal: success
	}{
		{"PLAIN", []string{"\x00anna\x00pw-anna"}, mail.Internal},
		{"plain", []string{"-", "\x00anna\x00pw-anna"}, mail.Internal},
		{"PLAIN", []string{"anna\x00anna\x00pw-anna"}, mail.Internal},
		{"PLAIN", []string{"Anna@EXAMPLE.org\x00anna\x00pw-anna"}, mail.Internal},
		{"PLAIN", []string{"bert\x00anna\x00pw-anna"}, mail.AuthFailed},
		{"PLAIN", []string{"\x00anna\x00wrong"}, mail.AuthFailed},
		{"PLAIN", []string{"\x00bert\x00pw-bert"}, mail.Disabled},
		{"PLAIN", []string{"anna"}, mail.BadInput},
		{"PLAIN", []string{"-", ""}, mail.BadInput},
		{"LOGIN", []string{"-", "anna", "pw-anna"}, mail.Internal},
		{"LOGIN", []string{"anna", "pw-anna"}, mail.Internal},
		{"LOGIN", []string{"anna", ""}, mail.BadInput},
		{"SCRAM-SHA-256", []string{"-", "rubbish"}, mail.BadInput},
		{"SCRAM-SHA-256", []string{"n,,n=anna,r=abc", "c=biws,r=abc,p=AAAA"}, mail.AuthFailed},
		{"SCRAM-SHA-256-PLUS", nil, mail.BadInput}, // not without TLS
		{"GSSAPI", nil, mail.BadInput},
	} {
		heard, x, err := converse(t, g, c, k.mechanism, k.say...)
		if k.want == mail.Internal {
			if err != nil || x.Login().Account != 1 {
				t.Errorf("%s %q: %v", k.mechanism, k.say, err)
			}
			continue
		}
		wantKind(t, fmt.Sprintf("%s %q %q", k.mechanism, k.say, heard), err, k.want)
	}
	far := conn(t, plain(New(Config{})), "192.0.2.1")
	if g.Mechanisms(far) != nil {
		t.Error("mechanisms are offered in clear")
	}
	_, err := g.Begin(t.Context(), far, "PLAIN")
	wantKind(t, "in clear", err, mail.Policy)
	_, err = g.Password(t.Context(), far, "anna", "pw-anna")
	wantKind(t, "in clear", err, mail.Policy)
}

func TestScramGate(t *testing.T) {
	t.Parallel()
	p := newPeople("anna", "bert")
	p.disabled["bert"] = true
	g := NewGate(p, GateConfig{FailuresPerAccount: 3})
	c := conn(t, plain(New(Config{})), "127.0.0.1")
	talk := func(name, password, authz string) (string, error) {
		client, err := scram.SHA256.NewClient(name, password, authz)
		must(t, err)
		conv := client.NewConversation()
		x, err := g.Begin(t.Context(), c, sasl.ScramSHA256)
		must(t, err)
		m1, _ := conv.Step("")
		m2, _, err := x.Next(t.Context(), []byte(m1))
		if err != nil {
			return "", err
		}
		m3, err := conv.Step(string(m2))
		must(t, err)
		m4, done, err := x.Next(t.Context(), []byte(m3))
		if err == nil {
			if _, err := conv.Step(string(m4)); err != nil || !conv.Valid() || !done || x.Login().Account == 0 {
				t.Errorf("%s: %v, done %v", name, err, done)
			}
		}
		_, salt, _ := strings.Cut(string(m2), ",s=")
		return salt, err
	}
	if _, err := talk("anna", "pw-anna", ""); err != nil {
		t.Error(err)
	}
	if _, err := talk("anna", "pw-anna", "anna"); err != nil {
		t.Error(err)
	}
	_, err := talk("anna", "pw-anna", "bert")
	wantKind(t, "as bert", err, mail.AuthFailed)
	_, err = talk("bert", "pw-bert", "")
	wantKind(t, "disabled", err, mail.Disabled)
	_, err = talk("bert", "wrong", "") // that it is disabled hears only who knows the password
	wantKind(t, "disabled and wrong", err, mail.AuthFailed)
	s1, err := talk("nobody", "x", "")
	wantKind(t, "nobody", err, mail.AuthFailed)
	s2, _ := talk("Nobody", "y", "")
	if s1 != s2 || s1 == "" {
		t.Errorf("salts of an unknown account are %q and %q", s1, s2)
	}
	talk("nobody", "x", "")
	_, err = talk("nobody", "x", "")
	wantKind(t, "too many", err, mail.AuthThrottled)
}

func BenchmarkPasswordCached(b *testing.B) {
	p := newPeople("anna@example.org")
	g := NewGate(p, GateConfig{})
	c := conn(b, plain(New(Config{})), "127.0.0.1")
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Password(ctx, c, "anna@example.org", "pw-anna@example.org"); err != nil {
			b.Fatal(err)
		}
	}
}
