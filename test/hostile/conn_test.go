package hostile

import (
	"bufio"
	"crypto/sha512"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"bahnpost/test/town"
)

// patience bounds every exchange: what takes longer hangs, however busy the machine is.
const patience = 3 * time.Minute

// long reports whether the tests shall go to the limits.
func long() bool { return os.Getenv("BAHNPOST_LONG") != "" }

// pick is small by default and large in a long run.
func pick(small, large int) int {
	if long() {
		return large
	}
	return small
}

// start runs a node with accounts u0, u1 … (password "secret").
func start(t *testing.T, accounts int) *town.Town {
	t.Helper()
	if testing.Short() {
		t.Skip("runs a node of its own; not in -short")
	}
	w := town.New(t)
	people(w, accounts)
	w.Serve()
	return w
}

func people(w *town.Town, n int) {
	for i := range n {
		w.Account(fmt.Sprintf("u%d", i), "secret")
	}
}

// wire is a raw connection.
type wire struct {
	net.Conn
	r *bufio.Reader
	n int
}

func dial(t testing.TB, addr string) *wire {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &wire{Conn: c, r: bufio.NewReaderSize(c, 64<<10)}
}

// startTLS wraps the connection; for tests, any certificate will do.
func (w *wire) startTLS() {
	w.Conn = tls.Client(w.Conn, &tls.Config{InsecureSkipVerify: true})
	w.r = bufio.NewReader(w.Conn)
}

func (w *wire) line() (string, error) {
	s, err := w.r.ReadString('\n')
	return strings.TrimRight(s, "\r\n"), err
}

// say writes; errors show when reading.
func (w *wire) say(format string, args ...any) { fmt.Fprintf(w, format, args...) }

// want reads lines up to one that begins with prefix and returns it.
func (w *wire) want(t testing.TB, prefix string) string {
	t.Helper()
	for {
		s, err := w.line()
		if err != nil {
			t.Fatalf("waiting for %q: %v", prefix, err)
		}
		if strings.HasPrefix(s, prefix) {
			return s
		}
	}
}

// reply reads an SMTP reply and returns its last line.
func (w *wire) reply() (string, error) {
	for {
		s, err := w.line()
		if err != nil || len(s) < 4 || s[3] == ' ' {
			return s, err
		}
	}
}

// must sends an SMTP or POP3 line and wants a reply that begins with prefix.
func (w *wire) must(t testing.TB, prefix, format string, args ...any) string {
	t.Helper()
	if format != "" {
		w.say(format+"\r\n", args...)
	}
	s, err := w.reply()
	if err != nil || !strings.HasPrefix(s, prefix) {
		t.Fatalf("%.60s: want %s, got %q %v", fmt.Sprintf(format, args...), prefix, s, err)
	}
	return s
}

// imap logs in.
func imap(t testing.TB, w *town.Town, user string) *wire {
	t.Helper()
	c := dial(t, w.Addr("imap"))
	c.want(t, "* OK")
	c.ok(t, "LOGIN %s secret", user)
	return c
}

// ok runs an IMAP command that must succeed and returns its answer.
func (w *wire) ok(t testing.TB, format string, args ...any) string {
	t.Helper()
	s, err := w.do(format, args...)
	if err != nil {
		t.Fatalf("%.80s: %v", fmt.Sprintf(format, args...), err)
	}
	return s
}

// errRefused is a tagged NO or BAD; the text is its message.
type errRefused string

func (e errRefused) Error() string { return string(e) }

// do runs an IMAP command and returns all that came, literals inlined.
func (w *wire) do(format string, args ...any) (string, error) {
	w.n++
	tag := "h" + strconv.Itoa(w.n)
	w.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(w, tag+" "+format+"\r\n", args...); err != nil {
		return "", err
	}
	return w.answer(tag)
}

func (w *wire) answer(tag string) (string, error) {
	var b strings.Builder
	for {
		s, err := w.line()
		if err != nil {
			return b.String(), err
		}
		b.WriteString(s)
		b.WriteByte('\n')
		if rest, ok := strings.CutPrefix(s, tag+" "); ok {
			if strings.HasPrefix(rest, "OK") {
				return b.String(), nil
			}
			return b.String(), errRefused(rest)
		}
		if n, ok := literal(s); ok {
			if _, err := io.CopyN(&b, w.r, n); err != nil {
				return b.String(), err
			}
		}
	}
}

// literal is the length that a line announces at its end.
func literal(s string) (int64, bool) {
	i := strings.LastIndexAny(s, "{")
	if i < 0 || !strings.HasSuffix(s, "}") {
		return 0, false
	}
	n, err := strconv.ParseInt(s[i+1:len(s)-1], 10, 64)
	return n, err == nil
}

// refused runs a command that must get NO or BAD with text in it.
func (w *wire) refused(t testing.TB, text, format string, args ...any) {
	t.Helper()
	_, err := w.do(format, args...)
	if r, ok := errors.AsType[errRefused](err); !ok || !strings.Contains(string(r), text) {
		t.Errorf("%.80s: want a refusal with %q, got %v", fmt.Sprintf(format, args...), text, err)
	}
}

// lmtp says LHLO.
func lmtp(t testing.TB, w *town.Town) *wire {
	t.Helper()
	c := dial(t, w.Addr("lmtp"))
	c.must(t, "220", "")
	c.must(t, "250", "LHLO client.example")
	return c
}

// begin names sender and recipients.
func (w *wire) begin(t testing.TB, to ...string) {
	t.Helper()
	w.must(t, "250", "MAIL FROM:<sender@elsewhere.example>")
	for _, r := range to {
		w.must(t, "250", "RCPT TO:<%s@%s>", r, town.Domain)
	}
}

// letter is a message of about size octets that names its token.
func letter(token string, size int) string {
	line := token + " lorem ipsum dolor sit amet\r\n"
	return "From: a@b.example\r\nSubject: " + token + "\r\nMessage-ID: <" + token + "@test>\r\n\r\n" + strings.Repeat(line, size/len(line)+1)
}

// deliver sends one letter by LMTP and returns the reply.
func (w *wire) deliver(t testing.TB, to, msg string) string {
	t.Helper()
	w.SetDeadline(time.Now().Add(patience))
	w.begin(t, to)
	w.must(t, "354", "DATA")
	w.say("%s.\r\n", msg)
	s, err := w.reply()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// reset gives a bare connection its reader.
func (w *wire) reset() {
	w.SetDeadline(time.Now().Add(patience))
	w.r = bufio.NewReader(w.Conn)
}

func sha512Sum(b []byte) []byte { s := sha512.Sum512(b); return s[:] }
