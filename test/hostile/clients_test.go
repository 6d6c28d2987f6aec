package hostile

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bahnpost/test/town"
)

// ports are all that a node listens on, and whether TLS comes first.
var ports = []string{"lmtp", "smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "http", "https"}

// fair is how long others may wait for their turn: not at all, but a busy machine is slow too. Who is kept from
// it by a stranger waits for minutes.
const fair = 30 * time.Second

// alive fails if somebody else is not served soon.
func alive(t *testing.T, w *town.Town) {
	t.Helper()
	begin := time.Now()
	c := imap(t, w, "u0")
	c.ok(t, "SELECT INBOX")
	c.ok(t, "LOGOUT")
	c.Close()
	if r := lmtp(t, w).deliver(t, "u0", letter("alive", 100)); !strings.HasPrefix(r, "250") {
		t.Errorf("delivery meanwhile: %s", r)
	}
	if d := time.Since(begin); d > fair {
		t.Errorf("others waited %v", d)
	}
}

// ended waits until the server closes the connection.
func ended(t *testing.T, c net.Conn, within time.Duration) {
	t.Helper()
	c.SetDeadline(time.Now().Add(within))
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("connection to %v is still open after %v", c.RemoteAddr(), within)
	}
}

// TestGarbage: random octets, TLS on ports in clear, clear text on ports with TLS. Nothing leaks, nobody else suffers.
func TestGarbage(t *testing.T) {
	w := start(t, 1)
	alive(t, w)
	before := held(t, w)
	hello := []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}
	r := rand.NewChaCha8([32]byte{7})
	var wg sync.WaitGroup
	for round := range pick(3, 20) {
		for _, port := range ports {
			noise := make([]byte, 1+rand.IntN(200_000))
			r.Read(noise)
			for _, attack := range [][]byte{noise, hello, append(hello, noise...), []byte("EHLO x\r\na LOGIN u0 secret\r\nUSER u0\r\n"), bytes.Repeat([]byte{0}, 100_000),
				[]byte(strings.Repeat("\r\n", 50_000)), []byte(strings.Repeat("\xff\xf4", 1000)), []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")} {
				wg.Go(func() {
					c, err := net.Dial("tcp", w.Addr(port))
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					c.SetDeadline(time.Now().Add(patience))
					c.Write(attack)
					c.(*net.TCPConn).CloseWrite()
					ended(t, c, patience)
				})
			}
		}
		wg.Wait()
		_ = round
	}
	alive(t, w)
	settled(t, w, before)
	quiet(t, w)
}

// TestEndlessLines: a line without an end is cut off by every protocol at a bounded cost.
func TestEndlessLines(t *testing.T) {
	w := start(t, 1)
	alive(t, w)
	before := held(t, w)
	bounded(t, w, "endless lines", 30<<10, func() {
		var wg sync.WaitGroup
		for _, port := range []string{"lmtp", "smtp", "submission", "imap", "pop3", "http"} {
			for _, first := range []string{"", "a LOGIN u0 secret\r\n"} {
				wg.Go(func() { endless(t, w, port, first, strings.Repeat("x", 10_000)) })
			}
		}
		wg.Go(func() { endless(t, w, "imap", "a LOGIN {", strings.Repeat("9", 10_000)) })
		wg.Go(func() {
			endless(t, w, "imap", "a LOGIN u0 secret\r\na SELECT INBOX\r\na UID FETCH 1", strings.Repeat(",3:77,9", 10_000))
		})
		wg.Go(func() {
			endless(t, w, "imap", "a LOGIN u0 secret\r\na SELECT INBOX\r\na SEARCH ", strings.Repeat("(", 10_000))
		})
		wg.Go(func() { endless(t, w, "imap", "a LOGIN u0 secret\r\na IDLE\r\n", strings.Repeat("z", 10_000)) })
		wg.Go(func() { endless(t, w, "imap", "a AUTHENTICATE PLAIN\r\n", strings.Repeat("QUFB", 10_000)) })
		wg.Go(func() { endless(t, w, "pop3", "AUTH PLAIN\r\n", strings.Repeat("QUFB", 10_000)) })
		wg.Go(func() { endless(t, w, "smtp", "EHLO x\r\nMAIL FROM:<", strings.Repeat("a.", 10_000)) })
		wg.Wait()
	})
	settled(t, w, before)
	alive(t, w)
	quiet(t, w)
}

// endless writes piece until the server hangs up; it must do so within 64 MB.
func endless(t *testing.T, w *town.Town, port, first, piece string) {
	c, err := net.Dial("tcp", w.Addr(port))
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	go io.Copy(io.Discard, c)
	io.WriteString(c, first)
	for sent := 0; sent < 64<<20; sent += len(piece) {
		if _, err := io.WriteString(c, piece); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s %q: the server neither reads nor hangs up", port, first)
			}
			return
		}
	}
	t.Errorf("%s %q: the server took 64 MB without a line end", port, first)
}

// TestLiterals: literals that are too long, before and after login, synchronising or not.
func TestLiterals(t *testing.T) {
	w := start(t, 1)
	alive(t, w)
	before := held(t, w)
	bounded(t, w, "literals", 20<<10, func() {
		for _, first := range []string{"LOGIN {99999999}", "LOGIN {18446744073709551615}", "LOGIN {99999999999999999999999}", "LOGIN {-1}", "LOGIN {1000000000+}", "APPEND INBOX {1000000000+}"} {
			c := dial(t, w.Addr("imap"))
			c.want(t, "* OK")
			s, err := c.do("%s", first)
			if errR, ok := errors.AsType[errRefused](err); !ok && err == nil {
				t.Errorf("%s: %q %v", first, s, errR)
			}
			c.Close()
		}
		c := imap(t, w, "u0")
		c.refused(t, "TOOBIG", "APPEND INBOX {999999999}")
		c.refused(t, "", "CREATE {999999999}")
		c.refused(t, "", "SEARCH SUBJECT {999999}")
		many := strings.Repeat("OR SUBJECT {100000+}\r\n"+strings.Repeat("q", 100000)+" ", 8)
		c.refused(t, "", "SEARCH %s ALL", many)
		c.ok(t, "NOOP")
		// A non-synchronising literal that nobody wants is read and dropped, or the line is cut.
		d := imap(t, w, "u0")
		d.say("x APPEND INBOX {%d+}\r\n", 4<<30)
		go func() {
			piece := make([]byte, 1<<20)
			for range 64 {
				if _, err := d.Write(piece); err != nil {
					return
				}
			}
			d.Close()
		}()
		io.Copy(io.Discard, d.r)
	})
	settled(t, w, before)
	alive(t, w)
	quiet(t, w)
}

// TestDyingClients: connections that end in the middle of a literal, DATA, BDAT, IDLE or FETCH leave nothing behind.
func TestDyingClients(t *testing.T) {
	w := start(t, 1)
	l := lmtp(t, w)
	for i := range 20 {
		l.deliver(t, "u0", letter(fmt.Sprint(i), 500_000))
	}
	l.Close()
	alive(t, w)
	before := held(t, w)
	for range pick(5, 50) {
		c := imap(t, w, "u0")
		c.say("a APPEND INBOX {1000000+}\r\n%s", letter("half", 300_000))
		c.Close()
		c = imap(t, w, "u0")
		c.ok(t, "SELECT INBOX")
		c.say("a IDLE\r\n")
		c.want(t, "+")
		c.Close()
		c = imap(t, w, "u0")
		c.ok(t, "SELECT INBOX")
		c.say("a FETCH 1:* BODY[]\r\n")
		c.want(t, "* 1 FETCH")
		c.Close()
		for _, tail := range []string{"DATA\r\n" + letter("half", 300_000), "BDAT 1000000\r\n" + letter("half", 300_000), "DATA\r\n", ""} {
			d := lmtp(t, w)
			d.begin(t, "u0")
			d.say("%s", tail)
			d.Close()
		}
		p := dial(t, w.Addr("pop3"))
		p.say("USER u0@example.org\r\nPASS secret\r\nDELE 1\r\nRETR 2\r\n")
		p.want(t, "+OK")
		p.Close()
	}
	settled(t, w, before)
	c := imap(t, w, "u0")
	if s := c.ok(t, "SELECT INBOX"); !strings.Contains(s, "* 21 EXISTS") {
		t.Errorf("half messages were kept, or POP3 deleted without QUIT: %s", s)
	}
	quiet(t, w)
	w.Kill()
	clean(t, w)
}

// TestNeverReads: a client that asks for all and reads nothing holds neither memory nor anybody else.
func TestNeverReads(t *testing.T) {
	w := start(t, 1)
	l := lmtp(t, w)
	for i := range 50 {
		l.deliver(t, "u0", letter(fmt.Sprint(i), 1_000_000))
	}
	n := pick(50, 300)
	idle := live(t, w)
	var cs []*wire
	for range n {
		c := imap(t, w, "u0")
		c.ok(t, "SELECT INBOX")
		c.say("%s", strings.Repeat("a FETCH 1:* BODY.PEEK[]\r\n", 20))
		cs = append(cs, c)
	}
	t.Logf("fetching: %d KB", (live(t, w)-idle)/n)
	for range n {
		c := imap(t, w, "u0")
		c.SetWriteDeadline(time.Now().Add(2 * time.Second))
		c.say("%s", strings.Repeat("a CAPABILITY\r\n", 5000))
		cs = append(cs, c)
	}
	begin := time.Now()
	c := imap(t, w, "u0")
	c.ok(t, "SELECT INBOX")
	c.ok(t, "STORE 1:* +FLAGS (seen2)")
	c.ok(t, "STORE 50 +FLAGS (\\Deleted)")
	c.ok(t, "EXPUNGE")
	alive(t, w)
	if d := time.Since(begin); d > fair {
		t.Errorf("others waited %v", d)
	}
	grown := live(t, w) - idle
	t.Logf("%d clients that do not read: +%.1f MB, %.0f KB each", 2*n, float64(grown)/1024, float64(grown)/float64(2*n))
	if grown/(2*n) > 700 { // every other one holds a decoded body, which is a megabyte here and at most
		t.Errorf("%d KB for each client that does not read", grown/(2*n))
	}
	for _, c := range cs {
		c.Close()
	}
	quiet(t, w)
}

// TestSilentConnections: thousands that say nothing cost little, a limit stops more of them, others are served, nothing stays behind.
func TestSilentConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a node of its own; not in -short")
	}
	most := min(pick(1500, 8000), (openFiles(t)-200)/2)
	if most < 200 {
		t.Skip("this process may open too few files")
	}
	w := town.New(t)
	people(w, 1)
	w.Configure("#max_connections = 20000", fmt.Sprintf("max_connections = %d", most))
	w.Serve()
	alive(t, w)
	before, idle := held(t, w), peakFrom(t, w)
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	n := most - 100
	for i := range n {
		c, err := net.Dial("tcp", w.Addr([]string{"imap", "smtp", "pop3", "imaps", "submission"}[i%5]))
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	// Fill one port to its limit.
	refused := ""
	for range most + 100 {
		c, err := net.Dial("tcp", w.Addr("pop3"))
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	last := conns[len(conns)-1]
	last.SetDeadline(time.Now().Add(patience))
	b, _ := io.ReadAll(last)
	refused = string(b)
	if !strings.HasPrefix(refused, "-ERR [SYS/TEMP]") {
		t.Errorf("over the limit: %q", refused)
	}
	alive(t, w)
	grown := peak(t, w) - idle
	t.Logf("%d connections: +%.1f MB, %.1f KB each", len(conns), float64(grown)/1024, float64(grown)/float64(len(conns)))
	if grown/len(conns) > 20 {
		t.Errorf("%d KB for each silent connection", grown/len(conns))
	}
	for _, c := range conns {
		c.Close()
	}
	conns = nil
	settled(t, w, before)
	quiet(t, w)
}

// TestSlowloris: an octet a time before login is cut off after the login timeout, on every port that has one.
func TestSlowloris(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a node of its own; not in -short")
	}
	w := town.New(t)
	people(w, 1)
	w.Configure(`#login_timeout = "1m"`, `login_timeout = "3s"`)
	w.Serve()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := net.Dial("tcp", w.Addr("imap"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go trickle(ctx, c)
	begin := time.Now()
	ended(t, c, patience)
	t.Logf("imap: cut after %v", time.Since(begin).Round(time.Millisecond))
	alive(t, w)
}

func trickle(ctx context.Context, c net.Conn) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, err := c.Write([]byte("a NOOP x y z"[i%12 : i%12+1])); err != nil {
				return
			}
		}
	}
}

// TestPipelinedFlood: 100,000 commands at once are answered in order, in bounded memory.
func TestPipelinedFlood(t *testing.T) {
	w := start(t, 1)
	n := pick(20_000, 100_000)
	bounded(t, w, "pipelined NOOP", 10<<10, func() {
		c := imap(t, w, "u0")
		go c.say("%s", strings.Repeat("n NOOP\r\n", n)+"end NOOP\r\n")
		c.want(t, "end OK")
		c.Close()
	})
	bounded(t, w, "pipelined LMTP", 10<<10, func() {
		c := lmtp(t, w)
		go c.say("%s", strings.Repeat("NOOP\r\n", n/2)+"QUIT\r\n")
		c.want(t, "221")
		c.Close()
	})
	quiet(t, w)
}

// TestStartTLSInjection: what came in clear behind STARTTLS is not run under TLS (RFC 9051 §6.2.1, RFC 3207 §4.2, RFC 2595 §4).
func TestStartTLSInjection(t *testing.T) {
	w := start(t, 1)
	for _, p := range []struct{ port, hello, start, inject, after, ok, wrong string }{
		{"imap", "* OK", "a STARTTLS\r\n", "evil NOOP\r\n", "b NOOP\r\n", "b OK", "evil"},
		{"smtp", "220", "EHLO x\r\nSTARTTLS\r\n", "VRFY evil\r\n", "NOOP\r\n", "250", "252"},
		{"submission", "220", "EHLO x\r\nSTARTTLS\r\n", "VRFY evil\r\n", "NOOP\r\n", "250", "252"},
		{"lmtp", "220", "LHLO x\r\nSTARTTLS\r\n", "VRFY evil\r\n", "NOOP\r\n", "250", "252"},
		{"pop3", "+OK", "STLS\r\n", "NONSENSE\r\n", "CAPA\r\n", "+OK", "-ERR"},
	} {
		c := dial(t, w.Addr(p.port))
		c.want(t, p.hello)
		c.say("%s", p.start+p.inject)
		c.want(t, map[string]string{"imap": "a OK", "pop3": "+OK"}[p.port]+map[bool]string{true: "220"}[strings.HasPrefix(p.hello, "220")])
		c.startTLS()
		c.SetDeadline(time.Now().Add(patience))
		c.say("%s", p.after)
		s, err := c.line()
		if err != nil || !strings.HasPrefix(s, p.ok) {
			t.Errorf("%s: after STARTTLS: %q %v", p.port, s, err)
		}
		c.Close()
	}
	quiet(t, w)
}

// TestDeflateBomb: a few octets that inflate to gigabytes meet the same line limits (RFC 4978).
func TestDeflateBomb(t *testing.T) {
	w := start(t, 1)
	var bomb bytes.Buffer
	f, _ := flate.NewWriter(&bomb, 9)
	piece := make([]byte, 1<<20)
	for i := range piece {
		piece[i] = 'x'
	}
	for range 500 {
		f.Write(piece)
	}
	f.Flush()
	t.Logf("%d octets inflate to 500 MB", bomb.Len())
	bounded(t, w, "bombs", 20<<10, func() {
		var wg sync.WaitGroup
		for range 8 {
			c := imap(t, w, "u0")
			c.ok(t, "COMPRESS DEFLATE")
			wg.Go(func() {
				c.Write(bomb.Bytes())
				ended(t, c.Conn, patience)
			})
		}
		wg.Wait()
	})
	alive(t, w)
	quiet(t, w)
}

// TestCostlyCommands: commands that are small to write and could be large to answer.
func TestCostlyCommands(t *testing.T) {
	w := start(t, 1)
	c := imap(t, w, "u0")
	c.ok(t, "CREATE big")
	fill(t, c, "big", pick(20_000, 100_000))
	name := strings.Repeat("a", 200)
	c.ok(t, "CREATE %s", strings.TrimSuffix(strings.Repeat(name+"/", 10), "/"))
	c.ok(t, "SELECT big")
	quick := func(what string, bound time.Duration, format string, args ...any) {
		t.Helper()
		idle, used, begin := peakFrom(t, w), w.CPU(), time.Now()
		_, err := c.do(format, args...)
		d := time.Since(begin)
		used = w.CPU() - used
		grown := peak(t, w) - idle
		if _, ok := errors.AsType[errRefused](err); err != nil && !ok {
			t.Fatalf("%s: %v", what, err)
		}
		t.Logf("%s: %v, CPU %v +%.1f MB %.100s", what, d.Round(time.Microsecond), used, float64(grown)/1024, fmt.Sprint(err))
		if d > bound && used > bound { // not what others use of the machine
			t.Errorf("%s took %v, CPU %v", what, d, used)
		}
		if grown > pick(40, 80)<<10 { // SORT and THREAD hold a few hundred octets a message
			t.Errorf("%s: memory grew by %d KB", what, grown)
		}
	}
	stars := strings.Repeat("*%", 400)
	quick("LIST wildcards", time.Second, `LIST "" "%s"`, strings.ReplaceAll(stars, "%", "%")+"b")
	quick("LIST letters", time.Second, `LIST "" "%s"`, strings.Repeat("*a", 500)+"b")
	quick("LSUB wildcards", time.Second, `LSUB "" "%s"`, strings.Repeat("%a*", 300)+"b")
	quick("SEARCH parentheses", time.Second, "SEARCH %sALL%s", strings.Repeat("(", 10_000), strings.Repeat(")", 10_000))
	quick("SEARCH NOT", time.Second, "SEARCH %sALL", strings.Repeat("NOT ", 10_000))
	quick("SEARCH OR", time.Second, "SEARCH %s", strings.Repeat("OR ALL ", 9_000)+"ALL")
	quick("SEARCH keys", 5*time.Second, "SEARCH %sALL", strings.Repeat("SEEN ", 10_000))
	quick("SEARCH wide keys", 20*time.Second, "SEARCH %sALL", strings.Repeat("NOT TEXT zq ", 900))
	quick("SEARCH headers", 20*time.Second, "SEARCH %sALL", strings.Repeat("NOT HEADER X-A b ", 900))
	quick("FETCH items", time.Second, "FETCH 1 (%s)", strings.TrimSpace(strings.Repeat("FLAGS ", 10_000)))
	quick("FETCH fields", time.Second, "FETCH 1 BODY.PEEK[HEADER.FIELDS (%s)]", strings.TrimSpace(strings.Repeat("To ", 10_000)))
	quick("FETCH bodies", 20*time.Second, "FETCH 1 (%s)", strings.TrimSpace(strings.Repeat("BODY.PEEK[] ", 999)))
	quick("section numbers", time.Second, "FETCH 1 BODY.PEEK[%s1]", strings.Repeat("1.", 5000))
	quick("UID set", 5*time.Second, "UID FETCH %s1 FLAGS", strings.Repeat("1:*,", 15_000))
	quick("UID set pairs", 5*time.Second, "UID SEARCH UID %s1", strings.Repeat("4000000000:1,", 4_900))
	quick("STORE set", 10*time.Second, `UID STORE %s1 FLAGS.SILENT (\Seen)`, strings.Repeat("1:*,", 15_000))
	quick("SORT", 5*time.Second, "SORT (SUBJECT REVERSE FROM TO CC DATE SIZE) UTF-8 ALL")
	quick("SORT criteria", 10*time.Second, "SORT (%s) UTF-8 ALL", strings.TrimSpace(strings.Repeat("SUBJECT ", 900)))
	quick("THREAD", 10*time.Second, "THREAD REFERENCES UTF-8 ALL")
	quick("THREAD subjects", 10*time.Second, "THREAD ORDEREDSUBJECT UTF-8 ALL")
	quick("COPY all", 20*time.Second, "COPY 1:* big")
	alive(t, w)
	quiet(t, w)
}

// TestLoginStorm: two thousand logins at once, right and wrong: argon2id does not eat the memory, others are
// served, answers are temporary (RFC 3206, RFC 5530 UNAVAILABLE), nothing is locked for good.
func TestLoginStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a node of its own; not in -short")
	}
	w := town.New(t)
	var csv strings.Builder
	csv.WriteString("address,password,name,quota\n")
	n := pick(400, 2000)
	for i := range n {
		fmt.Fprintf(&csv, "s%d@example.org,{SSHA512}%s,,\n", i, ssha512)
	}
	path := w.Dir + "/people.csv"
	if err := os.WriteFile(path, []byte(csv.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	people(w, 5)
	w.Run("account", "import", path)
	w.Serve()
	alive(t, w) // u0 is in the cache now
	before, idle := held(t, w), peakFrom(t, w)
	var good, bad, busy, odd atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range n {
		wg.Go(func() {
			c, err := net.DialTimeout("tcp", w.Addr("imap"), patience)
			if err != nil {
				odd.Add(1)
				return
			}
			defer c.Close()
			x := &wire{Conn: c}
			x.reset()
			user, pass := fmt.Sprintf("s%d", i), "secret"
			switch i % 4 {
			case 1:
				pass = fmt.Sprintf("wrong%d", i)
			case 2:
				user, pass = "u1", fmt.Sprintf("guess%d", i) // one account is attacked: throttled
			case 3:
				user = "nobody" + user // costs a hash too
			}
			x.line()
			_, err = x.do("LOGIN %s %s", user, pass)
			switch {
			case err == nil:
				good.Add(1)
			case strings.Contains(err.Error(), "AUTHENTICATIONFAILED"):
				bad.Add(1)
			case strings.Contains(err.Error(), "UNAVAILABLE"):
				busy.Add(1)
			default:
				odd.Add(1)
				t.Logf("%s: %v", user, err)
			}
		})
	}
	alive(t, w)
	wg.Wait()
	grown := peak(t, w) - idle
	t.Logf("%d logins in %v: %d good, %d wrong, %d put off, %d odd; +%.1f MB", n, time.Since(begin).Round(time.Millisecond), good.Load(), bad.Load(), busy.Load(), odd.Load(), float64(grown)/1024)
	if guesses := n / 4; busy.Load() < int64(guesses)*8/10 {
		t.Errorf("of %d guesses at one account only %d logins were put off", guesses, busy.Load())
	}
	if odd.Load() > 0 {
		t.Error("answers that are neither yes, no nor later")
	}
	if grown > pick(80, 150)<<10 { // the queue of the hash, some 80 KB each, and the connections themselves
		t.Errorf("memory grew by %d KB", grown)
	}
	settled(t, w, before)
	quiet(t, w)
}

// ssha512 is "secret", salted.
var ssha512 = func() string {
	sum := sha512Sum([]byte("secretsalt"))
	return base64.StdEncoding.EncodeToString(append(sum, "salt"...))
}()
