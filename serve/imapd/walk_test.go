package imapd

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"bahnpost/wire/imap"
)

// walker is a client that believes only what it is told (RFC 9051 §7.5.1).
type walker struct {
	t       *testing.T
	whole   *testing.T // outlives the steps
	c       net.Conn
	r       *bufio.Reader
	name    string
	addr    string
	session string
	mode    string // what it enabled: "", "QRESYNC", "UIDONLY"
	n       int
	idle    string            // tag of a running IDLE
	uids    []uint32          // by message number, 0: not known yet
	flags   map[uint32]string // what was said of each, without \Recent
	owner   *owners           // of all walkers
	log     []string
	high    uint64 // mod-sequence up to which all is known (RFC 7162 §6)
	seen    uint64 // largest MODSEQ said in this command
	told    bool   // HIGHESTMODSEQ was said in this command
	valid   uint32
	num     bool // a command that uses message numbers is running
}

func newWalker(t *testing.T, addr, name, mode string, owner *owners) *walker {
	w := &walker{t: t, whole: t, name: name, mode: mode, addr: addr, flags: map[uint32]string{}, owner: owner}
	w.connect()
	w.do("SELECT INBOX")
	w.learn()
	return w
}

func (w *walker) connect() {
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.whole.Cleanup(func() { c.Close() })
	w.c, w.r = c, bufio.NewReader(c)
	w.session = c.LocalAddr().String()
	w.line()
	w.do("LOGIN alice secret")
	if w.mode != "" {
		w.do("ENABLE %s", w.mode)
	}
}

// reconnect breaks the connection and catches up by QRESYNC: what is said must
// turn what was known into what is (RFC 7162 §3.2.5).
func (w *walker) reconnect() {
	for w.learn(); slices.Contains(w.uids, 0); w.learn() {
		w.do("NOOP") // those that FETCH does not answer for are gone
	}
	w.idle = ""
	w.c.Close()
	w.connect()
	known := imap.AppendRanges(nil, rangesOf(w.uids))
	if len(known) > 0 {
		known = append([]byte(" "), known...)
	}
	w.send(fmt.Sprintf("resync SELECT INBOX (QRESYNC (%d %d%s))", w.valid, w.high, known))
	exists, nums, late := 0, map[uint32]int{}, false
	w.told = false
	for l := w.line(); !strings.HasPrefix(l, "resync OK"); l = w.line() {
		w.modSeq(l)
		if set, ok := strings.CutPrefix(l, "* VANISHED (EARLIER) "); ok {
			for _, r := range ranges(set) {
				w.uids = slices.DeleteFunc(w.uids, func(u uint32) bool { return u >= r.Lo && u <= r.Hi })
			}
			continue
		}
		if set, ok := strings.CutPrefix(l, "* VANISHED "); ok { // news, at the end of SELECT
			for _, r := range ranges(set) {
				exists -= int(r.Hi - r.Lo + 1)
				w.uids = slices.DeleteFunc(w.uids, func(u uint32) bool { return u >= r.Lo && u <= r.Hi })
			}
			late = true
			continue
		}
		var n int
		var word string
		if k, _ := fmt.Sscanf(l, "* %d %s", &n, &word); k == 2 && word == "EXISTS" {
			exists = n
		}
		var u uint32
		if k, _ := fmt.Sscanf(l, "* %d FETCH (UID %d", &n, &u); k == 2 {
			if nums[u] = n; !slices.Contains(w.uids, u) {
				w.uids = append(w.uids, u)
			}
			w.flagged(u, l)
		}
	}
	slices.Sort(w.uids)
	if len(w.uids) < exists && len(known) > 0 { // with known UIDs only those are reported; what is new is last
		w.uids = append(w.uids, make([]uint32, exists-len(w.uids))...)
	}
	if len(w.uids) != exists {
		w.fail("resynchronised to %v, there are %d", w.uids, exists)
	}
	for u, n := range nums {
		if !late && (n > len(w.uids) || w.uids[n-1] != u) {
			w.fail("message %d is said to be UID %d, is in %v", n, u, w.uids)
		}
	}
}

// modSeq follows RFC 7162 §6: a HIGHESTMODSEQ said is the new mark, else the largest MODSEQ of a command.
func (w *walker) modSeq(l string) {
	if _, after, ok := strings.Cut(l, "[HIGHESTMODSEQ "); ok {
		fmt.Sscanf(after, "%d", &w.high)
		w.told = true
	}
	if _, after, ok := strings.Cut(l, "MODSEQ ("); ok {
		var m uint64
		fmt.Sscanf(after, "%d", &m)
		w.seen = max(w.seen, m)
	}
	if _, after, ok := strings.Cut(l, "[UIDVALIDITY "); ok {
		fmt.Sscanf(after, "%d", &w.valid)
	}
}

func rangesOf(uids []uint32) (rs []imap.NumRange) {
	for _, u := range uids {
		if u != 0 {
			rs = append(rs, imap.NumRange{Lo: u, Hi: u})
		}
	}
	return imap.Normalize(rs)
}

func (w *walker) fail(format string, args ...any) {
	w.t.Helper()
	tail := w.log[max(0, len(w.log)-60):]
	w.t.Fatalf("%s: %s\n%s", w.name, fmt.Sprintf(format, args...), strings.Join(tail, "\n"))
}

func (w *walker) line() string {
	l, err := w.r.ReadString('\n')
	if err != nil {
		w.fail("%v", err)
	}
	l = strings.TrimRight(l, "\r\n")
	w.log = append(w.log, w.name+"< "+l)
	return l
}

func (w *walker) send(text string) {
	w.log = append(w.log, w.name+"> "+text)
	fmt.Fprintf(w.c, "%s\r\n", text)
}

// do runs a command to its end.
func (w *walker) do(format string, args ...any) {
	w.stopIdle()
	w.n++
	tag := fmt.Sprintf("%s%d", w.name, w.n)
	cmd := fmt.Sprintf(format, args...)
	w.num = strings.HasPrefix(cmd, "FETCH") || strings.HasPrefix(cmd, "STORE") || strings.HasPrefix(cmd, "SEARCH")
	w.send(tag + " " + cmd)
	w.until(tag, strings.HasPrefix(cmd, "STORE") || strings.HasPrefix(cmd, "FETCH"))
	w.num = false
}

// until takes in what is said up to the tagged answer.
func (w *walker) until(tag string, mayFail bool) {
	w.seen, w.told = 0, false
	defer func() {
		if !w.told {
			w.high = max(w.high, w.seen)
		}
	}()
	for {
		l := w.line()
		w.modSeq(l)
		if rest, ok := strings.CutPrefix(l, tag+" "); ok {
			if !strings.HasPrefix(rest, "OK") && !mayFail {
				w.fail("refused")
			}
			return
		}
		w.take(l)
	}
}

func (w *walker) take(l string) {
	var n int
	var word string
	if set, ok := strings.CutPrefix(l, "* VANISHED "); ok {
		if w.mode == "" || w.num {
			w.fail("VANISHED is not allowed here")
		}
		for _, r := range ranges(set) {
			for u := r.Lo; u <= r.Hi; u++ {
				w.vanish(u)
			}
		}
		return
	}
	if k, _ := fmt.Sscanf(l, "* %d %s", &n, &word); k != 2 {
		return
	}
	switch word {
	case "EXISTS":
		if n < len(w.uids) {
			w.fail("EXISTS shrank from %d", len(w.uids))
		}
		w.uids = append(w.uids, make([]uint32, n-len(w.uids))...)
	case "EXPUNGE":
		if w.num || w.mode != "" || n < 1 || n > len(w.uids) {
			w.fail("EXPUNGE is not allowed here")
		}
		delete(w.flags, w.uids[n-1])
		w.uids = slices.Delete(w.uids, n-1, n)
	case "FETCH", "UIDFETCH":
		w.fetched(n, word, l)
	}
}

func (w *walker) vanish(u uint32) {
	i := slices.Index(w.uids, u)
	if i < 0 { // one it never asked for: it lies between its neighbours
		i = 0
		for k, known := range w.uids {
			if known != 0 && known < u {
				i = k + 1
			}
		}
		if i == len(w.uids) || w.uids[i] != 0 {
			i = -1
		}
	}
	if i < 0 {
		w.fail("UID %d vanished, but was not there", u)
	}
	delete(w.flags, u)
	w.uids = slices.Delete(w.uids, i, i+1)
}

func (w *walker) fetched(n int, word, l string) {
	uid := uint32(n)
	if word == "FETCH" {
		_, after, ok := strings.Cut(l, "UID ")
		if w.mode == "UIDONLY" || !ok && w.mode == "QRESYNC" || n < 1 || n > len(w.uids) {
			w.fail("FETCH is not allowed here")
		}
		if uid = w.uids[n-1]; ok { // what STORE answers may have none
			fmt.Sscan(strings.TrimRight(after, ")"), &uid)
		}
		if old := w.uids[n-1]; old != 0 && old != uid {
			w.fail("message %d has UID %d, was %d", n, uid, old)
		}
		w.uids[n-1] = uid
	}
	w.flagged(uid, l)
}

// flagged takes in FLAGS. \Recent is a message in one session only (RFC 3501 §2.3.2).
func (w *walker) flagged(uid uint32, l string) {
	_, after, ok := strings.Cut(l, "FLAGS (")
	if !ok {
		return
	}
	f, _, _ := strings.Cut(after, ")")
	if stored, recent := strings.CutSuffix(f, `\Recent`); recent {
		f = strings.TrimSuffix(stored, " ")
		if other := w.owner.of(uid, w.session); other != w.session {
			w.fail("UID %d was recent to %s, and is to %s", uid, other, w.session)
		}
	}
	w.flags[uid] = f
}

// owners knows to which session each message is \Recent.
type owners struct {
	mu    sync.Mutex
	first map[uint32]string
}

func (o *owners) of(uid uint32, session string) string {
	if uid == 0 { // a message that this client has no UID of yet
		return session
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if first, ok := o.first[uid]; ok {
		return first
	}
	o.first[uid] = session
	return session
}

// learn asks for what is not known yet.
func (w *walker) learn() {
	if w.mode == "UIDONLY" {
		w.uids = w.uids[:0]
		w.send("learn UID SEARCH ALL")
		for l := w.line(); !strings.HasPrefix(l, "learn "); l = w.line() {
			if s, ok := strings.CutPrefix(l, "* SEARCH "); ok {
				for f := range strings.FieldsSeq(s) {
					var u uint32
					fmt.Sscan(f, &u)
					w.uids = append(w.uids, u)
				}
				continue
			}
			if strings.Contains(l, " VANISHED ") || strings.Contains(l, " EXISTS") {
				continue // contained in the answer that follows, or learned again
			}
			w.take(l)
		}
		w.do("UID FETCH 1:* (FLAGS)")
		return
	}
	if i := slices.Index(w.uids, 0); i >= 0 {
		w.do("FETCH %d:%d (UID FLAGS)", i+1, len(w.uids))
	}
}

func (w *walker) stopIdle() {
	if w.idle == "" {
		return
	}
	tag := w.idle
	w.idle = ""
	w.send("DONE")
	w.until(tag, false)
}

func (w *walker) startIdle() {
	w.stopIdle()
	w.n++
	w.idle = fmt.Sprintf("%s%d", w.name, w.n)
	w.send(w.idle + " IDLE")
	for l := w.line(); !strings.HasPrefix(l, "+"); l = w.line() {
		w.take(l)
	}
}

// step does something at random.
func (w *walker) step(r *rand.Rand) {
	uid := "UID "
	lo, hi := 1, 1
	if n := len(w.uids); n > 0 {
		lo = 1 + r.IntN(n)
		hi = min(n, lo+r.IntN(3))
		if w.mode == "UIDONLY" || r.IntN(2) == 0 {
			lo, hi = int(w.uids[lo-1]), int(w.uids[hi-1])
		} else {
			uid = ""
		}
	}
	if lo == 0 || hi == 0 || len(w.uids) == 0 { // not known yet
		lo, hi, uid = 1, 5, "UID "
	}
	flag := []string{`\Seen`, `\Flagged`, `\Deleted`, `\Deleted`, `$a`, `$b`}[r.IntN(6)]
	sign := []string{"+", "-", ""}[r.IntN(3)]
	switch r.IntN(14) {
	case 0, 1, 2:
		w.do("APPEND INBOX (%s) {15+}\r\nSubject: xy\r\n\r\n", flag)
	case 3, 4, 5:
		silent := []string{"", ".SILENT"}[r.IntN(2)]
		w.do("%sSTORE %d:%d %sFLAGS%s (%s)", uid, lo, hi, sign, silent, flag)
		if silent != "" {
			w.do("%sFETCH %d:%d (UID FLAGS)", uid, lo, hi)
		}
	case 6:
		w.do("EXPUNGE")
	case 7:
		w.do("UID EXPUNGE %d:%d", max(lo, 1), max(hi, 1))
	case 8:
		w.do("UID MOVE %d:%d Trash", max(lo, 1), max(lo, 1))
	case 9:
		w.do("NOOP")
	case 10:
		w.startIdle()
	case 11:
		w.do("%sFETCH %d:%d (UID FLAGS BODY[])", uid, lo, hi)
	case 12:
		w.do("UID COPY %d:%d INBOX", max(lo, 1), max(hi, 1))
	case 13:
		if w.mode == "QRESYNC" {
			w.reconnect()
			return
		}
		w.do("CHECK")
	}
}

// TestWalk has clients of all kinds do things at random in one mailbox. What each
// was told must add up to what is, and nothing may be said when it is forbidden.
func TestWalk(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			addr := newTown(t, Config{}).tcp()
			r := rand.New(rand.NewPCG(seed, 1))
			var ws []*walker
			owner := &owners{first: map[uint32]string{}}
			for i, mode := range []string{"", "QRESYNC", "", "UIDONLY", "QRESYNC"} {
				ws = append(ws, newWalker(t, addr, string(rune('a'+i)), mode, owner))
			}
			for range 400 {
				ws[r.IntN(len(ws))].step(r)
			}
			agree(ws, newWalker(t, addr, "z", "", owner))
		})
	}
}

// TestWalkTogether is TestWalk with all clients at once: what others do comes
// between any two steps of a command.
func TestWalkTogether(t *testing.T) {
	t.Parallel()
	addr := newTown(t, Config{}).tcp()
	owner := &owners{first: map[uint32]string{}}
	var ws []*walker
	for i, mode := range []string{"", "QRESYNC", "", "UIDONLY", "QRESYNC"} {
		ws = append(ws, newWalker(t, addr, string(rune('a'+i)), mode, owner))
	}
	t.Run("all", func(t *testing.T) {
		for i, w := range ws {
			t.Run(w.name, func(t *testing.T) {
				t.Parallel()
				w.t = t
				r := rand.New(rand.NewPCG(uint64(i), 2))
				for range 400 {
					w.step(r)
				}
				w.stopIdle()
			})
		}
	})
	for _, w := range ws {
		w.t = t
	}
	if !t.Failed() {
		agree(ws, newWalker(t, addr, "z", "", owner))
	}
}

// agree compares what all clients believe with what one is told that comes now.
func agree(ws []*walker, truth *walker) {
	for _, w := range ws {
		w.do("NOOP")
		w.learn()
		w.do("NOOP")
		if !slices.Equal(w.uids, truth.uids) {
			w.fail("believes %v, there are %v", w.uids, truth.uids)
		}
		for u, f := range truth.flags {
			if w.flags[u] != f {
				w.fail("UID %d has (%s), believed (%s)", u, f, w.flags[u])
			}
		}
	}
}

func ranges(set string) (rs []imap.NumRange) {
	for part := range strings.SplitSeq(set, ",") {
		var r imap.NumRange
		if n, _ := fmt.Sscanf(part, "%d:%d", &r.Lo, &r.Hi); n == 1 {
			r.Hi = r.Lo
		}
		rs = append(rs, r)
	}
	return rs
}
