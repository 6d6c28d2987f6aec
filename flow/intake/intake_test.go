package intake

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"bahnpost/mail"
)

// world is everything that the gate asks: a directory of a few names, a place
// for bodies, and doors that fail on demand.
type world struct {
	mu    sync.Mutex
	fail  map[mail.AccountID]error
	got   map[mail.AccountID][]string
	calls int
	epoch int64
	open  int // bodies not released
}

func newWorld() *world {
	return &world{fail: map[mail.AccountID]error{}, got: map[mail.AccountID][]string{}}
}

var names = map[string][]mail.AccountID{"alice": {1}, "bob": {2}, "carol": {3}, "team": {1, 2, 3}, "far": {1, 0}, "full": {9}}

func (w *world) Resolve(_ context.Context, a mail.Address) ([]mail.Recipient, error) {
	if a.Domain != "example.org" {
		return []mail.Recipient{{Address: a}}, nil
	}
	base, detail, _ := strings.Cut(a.Local, "+")
	ids, ok := names[base]
	if !ok {
		return nil, errNobody
	}
	var rs []mail.Recipient
	for _, id := range ids {
		to := a
		if len(ids) > 1 {
			to.Local = fmt.Sprintf("user%d", id)
		}
		if id == 0 {
			to.Domain = "elsewhere.example"
		}
		rs = append(rs, mail.Recipient{Address: to, Account: id, Detail: detail})
	}
	return rs, nil
}

func (w *world) Room(_ context.Context, a mail.AccountID, size int64) error {
	if a == 9 || size > 1000 {
		return &mail.Error{Kind: mail.OverQuota, Text: "mailbox is full"}
	}
	return nil
}

type memory struct {
	bytes.Buffer
	w *world
}

func (w *world) NewBody(context.Context) BodyWriter {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open++
	return &memory{w: w}
}

func (m *memory) Finish() (Body, error) { return body{m}, nil }
func (m *memory) Abort()                { m.w.mu.Lock(); m.w.open--; m.w.mu.Unlock() }

type body struct{ m *memory }

func (b body) Size() int64      { return int64(b.m.Len()) }
func (b body) SHA256() [32]byte { return sha256.Sum256(b.m.Bytes()) }
func (b body) Release()         { b.m.Abort() }
func (b body) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(b.m.Bytes())
	return int64(n), err
}

type door struct{ w *world }

func (w *world) Door(_ context.Context, a mail.AccountID) (Door, int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a == 7 {
		return nil, 0, errors.New("directory is down")
	}
	return door{w}, w.epoch, nil
}

func (d door) Deliver(_ context.Context, env *mail.Envelope, b Body, epoch int64) []mail.Receipt {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	d.w.calls++
	var rs []mail.Receipt
	for _, to := range env.To {
		err := d.w.fail[to.Account]
		if mail.KindOf(err) == mail.Moved && epoch != 0 {
			err = nil
		}
		if err == nil {
			d.w.got[to.Account] = append(d.w.got[to.Account], b.(body).m.String())
		}
		rs = append(rs, mail.Receipt{To: to.Address, Err: err})
	}
	if mail.KindOf(d.w.fail[1]) == mail.Moved {
		d.w.epoch = 5
	}
	return rs
}

var _ Resolver = (*world)(nil)

// send is one mail; it gives the errors of each RCPT's receipts.
func send(t *testing.T, in *Intake, protocol, text string, rcpts ...string) ([][]mail.Receipt, error) {
	t.Helper()
	env := &mail.Envelope{Protocol: protocol, From: mail.ReversePath{Address: mail.Address{Local: "s", Domain: "x.example"}}, Received: time.Now()}
	var groups [][]mail.Recipient
	for _, r := range rcpts {
		g, err := in.Recipient(t.Context(), env, 0, mail.Recipient{Orig: r, Address: mail.Address{Local: r, Domain: "example.org"}})
		if err != nil {
			t.Fatal(err)
		}
		groups = append(groups, g)
	}
	m := in.Open(t.Context(), env)
	for i := range text { // any chunks
		if _, err := m.Write([]byte(text[i : i+1])); err != nil {
			t.Fatal(err)
		}
	}
	return m.Deliver(t.Context(), groups)
}

func (w *world) gate(cfg Config) *Intake { return New(cfg, w, w, w) }

// counts tells how many copies accounts 1 to 3 have.
func (w *world) counts() [3]int { return [3]int{len(w.got[1]), len(w.got[2]), len(w.got[3])} }

const text = "Subject: x\r\n\r\nbody\r\n"

func TestOncePerPlace(t *testing.T) {
	t.Parallel()
	w := newWorld()
	rs, err := send(t, w.gate(Config{}), "LMTP", text, "alice", "team", "alice+x", "alice+X", "bob")
	if err != nil || len(rs) != 5 || len(rs[1]) != 3 {
		t.Fatal(rs, err)
	}
	if got := w.counts(); got != [3]int{2, 1, 1} || w.calls != 1 { // alice and alice+x are two places
		t.Errorf("copies %v in %d calls", got, w.calls)
	}
	if w.open != 0 {
		t.Errorf("%d bodies are still held", w.open)
	}
}

// SMTP has one answer: who has the mail is remembered until the client came again.
func TestRetryOfPartlyDelivered(t *testing.T) {
	t.Parallel()
	w := newWorld()
	in := w.gate(Config{})
	w.fail[2] = errors.New("disk")
	send(t, in, "ESMTP", text, "alice", "bob", "carol")
	if got := w.counts(); got != [3]int{1, 0, 1} {
		t.Fatal(got)
	}
	send(t, in, "ESMTP", strings.Replace(text, "x", "y", 1), "alice") // another mail is no retry
	delete(w.fail, 2)
	rs, _ := send(t, in, "ESMTP", text, "alice", "bob", "carol")
	if got := w.counts(); got != [3]int{2, 1, 1} || rs[0][0].Err != nil || rs[0][0].To.Local != "alice" {
		t.Fatal(got, rs)
	}
	send(t, in, "ESMTP", text, "alice", "bob", "carol") // done: now the same octets are a new mail
	if got := w.counts(); got != [3]int{3, 2, 2} {
		t.Fatal(got)
	}
}

// LMTP answers for each: only an alias can be mixed.
func TestRetryOfAlias(t *testing.T) {
	t.Parallel()
	w := newWorld()
	in := w.gate(Config{})
	w.fail[2] = errors.New("disk")
	send(t, in, "LMTP", text, "alice", "bob")
	send(t, in, "LMTP", text, "alice")
	if got := w.counts(); got != [3]int{2, 0, 0} {
		t.Fatal("LMTP for single accounts is not remembered", got)
	}
	send(t, in, "LMTP", text, "team")
	delete(w.fail, 2)
	send(t, in, "LMTP", text, "team")
	if got := w.counts(); got != [3]int{3, 1, 1} {
		t.Fatal(got)
	}
}

func TestMovedIsAskedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.fail[1] = &mail.Error{Kind: mail.Moved, Text: "moved"}
	rs, err := send(t, w.gate(Config{}), "LMTP", text, "alice", "bob")
	if err != nil || rs[0][0].Err != nil || w.calls != 2 || w.counts() != [3]int{1, 1, 0} {
		t.Error(rs, err, w.calls, w.counts())
	}
}

func TestRecipients(t *testing.T) {
	t.Parallel()
	w := newWorld()
	in := w.gate(Config{})
	for _, c := range []struct {
		local, domain, login string
		size                 int64
		want                 mail.Kind
	}{
		{"nobody", "example.org", "", 0, mail.NoSuchAccount},
		{"x", "elsewhere.example", "", 0, mail.Policy},
		{"x", "elsewhere.example", "alice", 0, mail.Unavailable},
		{"far", "example.org", "", 0, mail.Unavailable}, // an alias that leads out
		{"full", "example.org", "", 0, mail.OverQuota},
		{"alice", "example.org", "", 2000, mail.OverQuota},
	} {
		_, err := in.Recipient(t.Context(), &mail.Envelope{Login: c.login}, c.size, mail.Recipient{Address: mail.Address{Local: c.local, Domain: c.domain}})
		if err == nil || mail.KindOf(err) != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestSender(t *testing.T) {
	t.Parallel()
	w := newWorld()
	from := func(l, d string) mail.ReversePath {
		return mail.ReversePath{Address: mail.Address{Local: l, Domain: d}}
	}
	for _, c := range []struct {
		from  mail.ReversePath
		login mail.AccountID
		any   bool
		ok    bool
	}{
		{from("alice", "example.org"), 1, false, true}, {from("team", "example.org"), 2, false, true}, {mail.ReversePath{}, 2, false, true},
		{from("alice", "example.org"), 2, false, false}, {from("nobody", "example.org"), 2, false, false},
		{from("alice", "elsewhere.example"), 1, false, false}, {from("x", "y"), 1, true, true},
	} {
		err := w.gate(Config{AnySender: c.any}).Sender(t.Context(), c.from, c.login)
		if (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestLoops(t *testing.T) {
	t.Parallel()
	w := newWorld()
	in := w.gate(Config{MaxHops: 3})
	hop := "Received: from a\r\n\tby b; x\r\n"
	if _, err := send(t, in, "LMTP", strings.Repeat(hop, 3)+text, "alice"); err != nil {
		t.Error(err)
	}
	if _, err := send(t, in, "LMTP", strings.Repeat(hop, 4)+text, "alice"); mail.KindOf(err) != mail.Loop {
		t.Error(err)
	}
	rs, err := send(t, in, "LMTP", "DELIVERED-TO: alice@EXAMPLE.org\r\nDelivered-To: carol@elsewhere.example\r\n"+text, "alice+tag", "carol")
	if err != nil || mail.KindOf(rs[0][0].Err) != mail.Loop || rs[1][0].Err != nil {
		t.Error(rs, err)
	}
	if rs, _ := send(t, in, "LMTP", text+"Delivered-To: alice@example.org\r\n", "alice"); rs[0][0].Err != nil {
		t.Error("a body is not a header:", rs)
	}
}

// RFC 6409 §8: what a submission lacks stands before it; octets of a complete mail stay as they are.
func TestSubmissionHeader(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]string{
		text:                                  {"Message-ID: <", "Date: "},
		"Date: x\r\n" + text:                  {"Message-ID: <"},
		"date: x\r\nMessage-Id: y\r\n" + text: {},
		"\r\nno header\r\n":                   {"Message-ID: <", "Date: "},
		"no header end":                       {"Message-ID: <", "Date: "},
	} {
		w := newWorld()
		g := w.gate(Config{Hostname: "mx.example.org"})
		env := &mail.Envelope{Login: "alice@example.org", Received: time.Now()}
		to, _ := g.Recipient(t.Context(), env, 0, mail.Recipient{Address: mail.Address{Local: "alice", Domain: "example.org"}})
		m := g.Open(t.Context(), env)
		for _, half := range []string{in[:len(in)/2], in[len(in)/2:]} {
			if n, err := m.Write([]byte(half)); err != nil || n != len(half) {
				t.Fatal(n, err)
			}
		}
		if _, err := m.Deliver(t.Context(), [][]mail.Recipient{to}); err != nil {
			t.Fatal(err)
		}
		got := w.got[1][0]
		added, ok := strings.CutSuffix(got, in)
		if !ok || strings.Count(added, "\r\n") != len(want) {
			t.Errorf("%q became %q", in, got)
		}
		for _, f := range want {
			if !strings.Contains(added, f) {
				t.Errorf("%q lacks %s", got, f)
			}
		}
	}
}

type refuser struct{}

func (refuser) Judge(_ context.Context, _ *mail.Envelope, header []byte, _ Body) error {
	if bytes.Contains(header, []byte("Subject: x")) && !bytes.Contains(header, []byte("body")) {
		return &mail.Error{Kind: mail.Policy, Text: "spam"}
	}
	return nil
}

func TestFilter(t *testing.T) {
	t.Parallel()
	w := newWorld()
	_, err := send(t, w.gate(Config{Filters: []Filter{refuser{}}}), "LMTP", text, "alice")
	if mail.KindOf(err) != mail.Policy || w.calls != 0 || w.open != 0 {
		t.Error(err, w.calls, w.open)
	}
}

func TestLedgerIsBounded(t *testing.T) {
	t.Parallel()
	var l ledger
	for i := range 2 * ledgerMax {
		var k [32]byte
		k[0], k[1], k[2] = byte(i), byte(i>>8), byte(i>>16)
		l.add(k)
	}
	if len(l.mails) > ledgerMax || len(l.order) > ledgerMax {
		t.Error(len(l.mails), len(l.order))
	}
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte("Received: a\r\nDelivered-To: <a@b>\r\n\r\nx"), uint8(3))
	f.Add([]byte("\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		w := newWorld()
		g := w.gate(Config{})
		m := g.Open(t.Context(), &mail.Envelope{}).(*message)
		for i := 0; i < len(in); i += int(step) + 1 {
			m.Write(in[i:min(len(in), i+int(step)+1)])
		}
		if !bytes.HasPrefix(in, m.head) {
			t.Fatalf("head %q of %q", m.head, in)
		}
		if i := endOfHeader(in, 0); i >= 0 && len(m.head) != i {
			t.Fatalf("head %q of %q, want %d octets", m.head, in, i)
		}
		readTrace(m.head)
	})
}

func BenchmarkWatch(b *testing.B) {
	w := newWorld()
	g := w.gate(Config{})
	head := []byte(strings.Repeat("X-Header: some words that fill a line of a usual header field\r\n", 40) + "\r\n" + strings.Repeat("x", 50000))
	b.ReportAllocs()
	b.SetBytes(int64(len(head)))
	for b.Loop() {
		m := &message{in: g}
		if p, ok := g.heads.Get().(*[]byte); ok {
			m.head = (*p)[:0]
		}
		m.watch(head)
		readTrace(m.head)
		m.free()
	}
}
