package hostile

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"bahnpost/test/town"
)

// disk is a small file system of its own.
type disk struct {
	t          *testing.T
	image, dir string
}

// newDisk mounts an ext4 of size MB; without the rights or tools the test is skipped.
func newDisk(t *testing.T, mb int) *disk {
	t.Helper()
	if testing.Short() {
		t.Skip("mounts a file system; not in -short")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a file system")
	}
	base := t.TempDir()
	d := &disk{t, filepath.Join(base, "image"), filepath.Join(base, "disk")}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, int64(mb)<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", "-m", "0", d.image).CombinedOutput(); err != nil {
		t.Skipf("no ext4 here: %v %s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.dir).CombinedOutput(); err != nil {
		t.Skipf("mount is not possible here: %v %s", err, out)
	}
	t.Cleanup(d.unmount)
	return d
}

func (d *disk) mount() {
	d.t.Helper()
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.dir).CombinedOutput(); err != nil {
		d.t.Fatalf("mount: %v %s", err, out)
	}
}

func (d *disk) unmount() { exec.Command("umount", "-l", d.dir).Run() }

// fill leaves about leave octets free and returns how to free the rest.
func (d *disk) fill(leave int64) (free func()) {
	d.t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &st); err != nil {
		d.t.Fatal(err)
	}
	path := filepath.Join(d.dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	piece := make([]byte, 4096)
	for left := int64(st.Bavail)*st.Bsize - leave; left > 0; left -= int64(len(piece)) {
		if _, err := f.Write(piece); err != nil {
			break
		}
	}
	f.Sync()
	return func() {
		if err := os.Remove(path); err != nil {
			d.t.Error(err)
		}
	}
}

// cut is a power cut: from now on the file system answers EIO, and what was
// not synced is lost (EXT4_IOC_SHUTDOWN without flushing the journal).
func (d *disk) cut() {
	d.t.Helper()
	f, err := os.Open(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	const shutdown, noFlush = 0x8004587d, 2
	flags := uint32(noFlush)
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&flags))); e != 0 {
		d.t.Skipf("this file system can't be cut off: %v", e)
	}
}

// noise is a letter that does not compress.
func noise(token string, size int) string {
	raw := make([]byte, size*3/4)
	rand.Read(raw)
	text := base64.StdEncoding.EncodeToString(raw)
	var b strings.Builder
	fmt.Fprintf(&b, "From: a@b.example\r\nSubject: %s\r\n\r\n", token)
	for len(text) > 76 {
		b.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	b.WriteString(text + "\r\n")
	return b.String()
}

// TestDiskFull: mail is put off, not lost and not bounced; reading goes on; once there is room again all goes on without a restart.
func TestDiskFull(t *testing.T) {
	d := newDisk(t, 64)
	w := town.NewIn(t, filepath.Join(d.dir, "node"))
	people(w, 2)
	w.Serve()
	c, l := imap(t, w, "u0"), lmtp(t, w)
	kept := 0
	for ; kept < 20; kept++ {
		if r := l.deliver(t, "u0", noise("first", 20_000)); !strings.HasPrefix(r, "250") {
			t.Fatal(r)
		}
	}
	for round, leave := range []int64{4 << 20, 300 << 10, 0} {
		free := d.fill(leave)
		for _, size := range []int{500, 20_000, 2_000_000} {
			kept += fillUp(t, l, size)
		}
		readable(t, w, c, kept)
		// Changes are refused or done, and the session stays.
		for _, cmd := range []string{`STORE 1:* FLAGS (a b)`, `CREATE box%d`, `COPY 1:* Trash`} {
			cmd = strings.Replace(cmd, "%d", fmt.Sprint(round), 1)
			if _, err := c.do("%s", cmd); err != nil {
				refusal(t, cmd, err)
			}
		}
		if _, err := c.do("APPEND Sent {%d+}\r\n%s", 3_000_000, strings.Repeat("x", 3_000_000)); err != nil {
			refusal(t, "APPEND", err)
		}
		// With the same bytes, submission's cousin SMTP.
		s := dial(t, w.Addr("smtp"))
		s.must(t, "220", "")
		s.must(t, "250", "EHLO x")
		s.begin(t, "u0")
		s.must(t, "354", "DATA")
		s.say("%s.\r\n", noise("smtp", 3_000_000))
		if r, err := s.reply(); err != nil || !strings.HasPrefix(r, "4") && !strings.HasPrefix(r, "250") {
			t.Errorf("SMTP on a full disk: %q %v", r, err)
		} else if r[0] == '2' {
			kept++
		}
		free()
		for range 3 {
			if r := l.deliver(t, "u0", noise("after", 20_000)); !strings.HasPrefix(r, "250") {
				t.Errorf("round %d, after space was freed: %s", round, r)
			} else {
				kept++
			}
		}
		c.ok(t, "APPEND Drafts {10+}\r\nSubject: x")
		readable(t, w, c, kept)
	}
	w.Kill()
	clean(t, w)
	w.Serve()
	readable(t, w, imap(t, w, "u0"), kept)
}

// fillUp delivers until refused and returns how many were taken; the refusal must be temporary.
func fillUp(t *testing.T, l *wire, size int) (taken int) {
	t.Helper()
	for refused := 0; refused < 3; {
		r := l.deliver(t, "u0", noise("fill", size))
		switch {
		case strings.HasPrefix(r, "250"):
			if taken++; taken > 5000 {
				t.Fatal("the disk does not become full")
			}
		case strings.HasPrefix(r, "4"):
			if refused++; refused == 1 {
				t.Logf("%d octets, after %d: %s", size, taken, r)
			}
			if !strings.HasPrefix(r, "452 4.3.1") { // RFC 5321 §4.2.2, RFC 3463 §3.4
				t.Errorf("disk full is said as %q", r)
			}
		default:
			t.Fatalf("disk full is said as %q", r)
		}
	}
	return taken
}

// refusal wants a NO, and not a broken connection.
func refusal(t *testing.T, what string, err error) {
	t.Helper()
	r, ok := errors.AsType[errRefused](err)
	if !ok || !strings.HasPrefix(string(r), "NO [UNAVAILABLE]") && !strings.HasPrefix(string(r), "NO [SERVERBUG]") {
		t.Fatalf("%s: %v", what, err)
	}
	t.Logf("%s: %s", what, r)
}

// readable wants n messages in INBOX, all of them readable.
func readable(t *testing.T, w *town.Town, c *wire, n int) {
	t.Helper()
	if s := c.ok(t, "SELECT INBOX"); !strings.Contains(s, fmt.Sprintf("* %d EXISTS\n", n)) {
		t.Errorf("want %d messages: %s", n, s)
	}
	if s := c.ok(t, "FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY.PEEK[TEXT])"); strings.Count(s, "* ") < n {
		t.Errorf("FETCH shows %d of %d", strings.Count(s, "* "), n)
	}
}

// TestPowerCutOnDisk: the machine loses power under load (ext4 is cut off, what was not synced is gone).
// After the journal's recovery everything acknowledged is there, once, and the check is clean.
func TestPowerCutOnDisk(t *testing.T) {
	d := newDisk(t, pick(600, 3000))
	w := town.NewIn(t, filepath.Join(d.dir, "node"))
	people(w, 4)
	acked := map[string]string{} // token → user
	for round := range pick(3, 15) {
		w.Serve()
		underLoad(t, w, round, acked, d.cut, false)
		w.Kill()
		if out, err := exec.Command("umount", d.dir).CombinedOutput(); err != nil {
			t.Fatalf("umount: %v %s", err, out)
		}
		d.mount()
		clean(t, w)
	}
	w.Serve()
	allThere(t, w, acked)
}

// allThere wants each acknowledged token once, at its user.
func allThere(t *testing.T, w *town.Town, acked map[string]string) {
	t.Helper()
	have := map[string]int{}
	for i := range 4 {
		user := fmt.Sprintf("u%d", i)
		c := imap(t, w, user)
		c.ok(t, "SELECT INBOX")
		for _, m := range subject.FindAllStringSubmatch(c.ok(t, "FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]"), -1) {
			have[user+" "+m[1]]++
		}
		c.ok(t, "FETCH 1:* BODY.PEEK[]")
	}
	for token, user := range acked {
		if n := have[user+" "+token]; n != 1 {
			t.Errorf("%s was acknowledged for %s and is there %d times", token, user, n)
		}
	}
	t.Logf("%d acknowledged", len(acked))
}

var subject = regexp.MustCompile(`Subject: (\S+)`)

// underLoad delivers from several connections until end has ended the node or its disk. What is acknowledged once end has
// begun counts only if late is set: for an fdatasync under way while ext4 is shut down, Linux 6.18 says "done" once in twenty
// times although nothing was written (a bare loop of write and fdatasync shows it).
func underLoad(t *testing.T, w *town.Town, round int, acked map[string]string, end func(), late bool) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	ending := false
	for i := range 6 {
		user := fmt.Sprintf("u%d", i%4)
		c, err := town.DialLMTP(w.Addr("lmtp"))
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer c.Close()
			for n := 0; n < 2000; n++ {
				token := fmt.Sprintf("r%d-c%d-n%d", round, i, n)
				rs, err := c.Deliver(noise(token, []int{300, 9000, 100_000, 1_600_000}[n%4]), user+"@"+town.Domain)
				if err != nil {
					return
				}
				switch {
				case strings.HasPrefix(rs[0], "250"):
					mu.Lock()
					if late || !ending {
						acked[token] = user
					}
					mu.Unlock()
				case strings.HasPrefix(rs[0], "4"):
					return
				default:
					t.Errorf("on a broken disk: %s", rs[0])
				}
			}
		})
	}
	<-time.After(700 * time.Millisecond)
	mu.Lock()
	ending = true
	mu.Unlock()
	end()
	wg.Wait()
}

// TestDiskGone: the file system fails for good. What is asked is refused temporarily, the process neither hangs nor acknowledges.
func TestDiskGone(t *testing.T) {
	d := newDisk(t, 64)
	w := town.NewIn(t, filepath.Join(d.dir, "node"))
	people(w, 1)
	w.Serve()
	l, c := lmtp(t, w), imap(t, w, "u0")
	l.deliver(t, "u0", noise("before", 50_000))
	c.ok(t, "SELECT INBOX")
	d.cut()
	for _, size := range []int{300, 50_000, 3_000_000} {
		if r := l.deliver(t, "u0", noise("gone", size)); !strings.HasPrefix(r, "4") {
			t.Errorf("on a disk that is gone: %s", r)
		} else {
			t.Log(r)
		}
	}
	for _, cmd := range []string{`STORE 1 +FLAGS (x)`, `CREATE y`, `APPEND INBOX {11+}` + "\r\nSubject: x\r\n"} {
		if _, err := c.do("%s", cmd); err == nil {
			t.Errorf("%s was acknowledged on a disk that is gone", cmd)
		} else {
			refusal(t, cmd, err)
		}
	}
}

// TestReadOnlyDisk: the kernel has made the file system read-only after an error. Reading goes on, writing is put off.
func TestReadOnlyDisk(t *testing.T) {
	d := newDisk(t, 64)
	w := town.NewIn(t, filepath.Join(d.dir, "node"))
	people(w, 1)
	w.Serve()
	l, c := lmtp(t, w), imap(t, w, "u0")
	for range 5 {
		l.deliver(t, "u0", noise("before", 50_000))
	}
	readable(t, w, c, 5)
	if out, err := exec.Command("mount", "-o", "remount,abort", d.dir).CombinedOutput(); err != nil {
		t.Skipf("this file system can't be made read-only under its users: %v %s", err, out)
	}
	for _, size := range []int{300, 50_000, 3_000_000} {
		if r := l.deliver(t, "u0", noise("gone", size)); !strings.HasPrefix(r, "4") {
			t.Errorf("on a read-only disk: %s", r)
		}
	}
	for _, cmd := range []string{`STORE 1 +FLAGS (x)`, `CREATE y`, `APPEND INBOX {11+}` + "\r\nSubject: x\r\n"} {
		if _, err := c.do("%s", cmd); err == nil {
			t.Errorf("%s was acknowledged on a read-only disk", cmd)
		} else {
			refusal(t, cmd, err)
		}
	}
	readable(t, w, c, 5)
	readable(t, w, imap(t, w, "u0"), 5)
}

// packs lists the pack files of a node.
func packs(t *testing.T, w *town.Town) []string {
	t.Helper()
	ps, err := filepath.Glob(filepath.Join(w.Dir, "store", "bodies", "packs", "*.pack"))
	if err != nil || len(ps) == 0 {
		t.Fatalf("no packs: %v", err)
	}
	return ps
}

// TestDamagedPack: one octet of a body flips on the disk. That message gives an error, the others are read, the check names it.
func TestDamagedPack(t *testing.T) {
	w := start(t, 1)
	const n = 20
	l := lmtp(t, w)
	marks := map[int]string{}
	for i := range n {
		m := noise(fmt.Sprint("m", i), []int{20_000, 200_000}[i%2])
		marks[i] = m[len(m)/2 : len(m)/2+40]
		if r := l.deliver(t, "u0", m); !strings.HasPrefix(r, "250") {
			t.Fatal(r)
		}
	}
	// Large ones have a file of their own.
	big := noise("big", 3_000_000)
	l.deliver(t, "u0", big)
	c := imap(t, w, "u0")
	c.ok(t, "SELECT INBOX")
	hurt := 0
	for _, p := range packs(t, w) {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if at := bytes.Index(b, []byte(marks[i])); i%7 == 3 && at > 0 {
				flip(t, p, int64(at)+5)
				hurt++
			}
		}
	}
	if hurt == 0 {
		t.Skip("bodies are not stored plainly: nothing to flip by hand")
	}
	flip(t, bodyFile(t, w), 1_500_000)
	bad := 0
	for i := 1; i <= n+1; i++ {
		c = imap(t, w, "u0")
		c.ok(t, "SELECT INBOX")
		s, err := c.do("FETCH %d BODY.PEEK[]", i)
		if err == nil && strings.Contains(s, "BODY[] {") {
			c.Close()
			continue
		}
		bad++
		t.Logf("message %d: %.120q %v", i, s[max(0, len(s)-120):], err)
		// Headers and flags still come; the session or a new one goes on.
		x := imap(t, w, "u0")
		x.ok(t, "SELECT INBOX")
		x.ok(t, "FETCH %d (FLAGS ENVELOPE)", i)
		x.Close()
		c.Close()
	}
	// From now on it is known where the damage is: the others are read past it, in one session.
	c = imap(t, w, "u0")
	c.ok(t, "SELECT INBOX")
	for range 2 {
		s, err := c.do("FETCH 1:* BODY.PEEK[]")
		if err == nil || !strings.Contains(err.Error(), "[CORRUPTION]") {
			t.Errorf("FETCH of all: %v", err)
		}
		if got := strings.Count(s, " FETCH (BODY[] {"); got != n+1-bad {
			t.Errorf("FETCH of all shows %d of %d sound messages", got, n+1-bad)
		}
	}
	c.ok(t, "FETCH 1:* (FLAGS ENVELOPE BODY.PEEK[]<0.5>)")
	p := dial(t, w.Addr("pop3"))
	p.must(t, "+OK", "")
	p.must(t, "+OK", "USER u0@example.org")
	p.must(t, "+OK", "PASS secret")
	p.say("RETR 4\r\n")
	p.want(t, "-ERR [SYS/TEMP]")
	p.must(t, "+OK", "RETR 5")
	p.want(t, ".")
	if bad != hurt+1 {
		t.Errorf("%d messages are damaged, %d give an error", hurt+1, bad)
	}
	c = imap(t, w, "u0")
	c.ok(t, "SELECT INBOX")
	c.do("SEARCH TEXT nothing")
	if r := l.deliver(t, "u0", noise("more", 20_000)); !strings.HasPrefix(r, "250") {
		t.Error(r)
	}
	out, err := w.Try("", "check", w.Dir)
	if err == nil {
		t.Errorf("the check found nothing:\n%s", out)
	}
	t.Logf("check: %s", out)
	w.Kill()
	if out2, err := w.Try("", "check", w.Dir); err == nil {
		t.Errorf("the offline check found nothing:\n%s", out2)
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// bodyFile finds a body with a file of its own.
func bodyFile(t *testing.T, w *town.Town) (path string) {
	t.Helper()
	filepath.WalkDir(filepath.Join(w.Dir, "store", "bodies", "files"), func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			path = p
		}
		return nil
	})
	if path == "" {
		t.Fatal("no body has a file of its own")
	}
	return path
}

// TestDamagedDatabase: a database that is no database, has lost its end, or pages of garbage is refused in clear words, at the start or by the check; nothing is made anew over it.
func TestDamagedDatabase(t *testing.T) {
	if testing.Short() {
		t.Skip("runs nodes; not in -short")
	}
	for _, damage := range []struct {
		name string
		do   func(b []byte) []byte
	}{
		{"garbage at the front", func(b []byte) []byte { rand.Read(b[:4096]); return b }},
		{"empty", func([]byte) []byte { return nil }},
		{"half", func(b []byte) []byte { return b[:len(b)/2/4096*4096] }},
		{"garbage pages", func(b []byte) []byte {
			for at := 3 * 4096; at < len(b); at += 5 * 4096 {
				rand.Read(b[at : at+4096])
			}
			return b
		}},
		{"one page of zeros", func(b []byte) []byte { clear(b[3*4096:][:4096]); return b }}, // one that is in use,
		{"gone", nil},
	} {
		t.Run(damage.name, func(t *testing.T) { damaged(t, damage.do) })
	}
}

func damaged(t *testing.T, do func([]byte) []byte) {
	w := town.New(t)
	people(w, 1)
	w.Serve()
	l := lmtp(t, w)
	for i := range 200 {
		l.deliver(t, "u0", letter(fmt.Sprint(i), 3000))
	}
	l.Close()
	w.Signal(syscall.SIGTERM)
	if err := w.Wait(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.Dir, "store", "mail.db")
	if do == nil {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	} else {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, do(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := w.Try("", "check", w.Dir)
	t.Logf("check: %v %s", err, tail(out))
	if err == nil {
		t.Error("the check found nothing")
	}
	if strings.Contains(out, "goroutine ") {
		t.Error("the check panicked")
	}
	bin, err := town.Binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "serve", w.Dir)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		t.Logf("serve refused: %v %s", err, tail(log.String()))
		if err == nil || log.Len() == 0 {
			t.Error("serve ended without a word")
		}
	case <-time.After(3 * time.Second):
		t.Log("serve runs on what is left")
		cmd.Process.Kill()
		<-ended
	}
	if strings.Contains(log.String(), "goroutine ") {
		t.Errorf("serve panicked: %s", log.String())
	}
}

func tail(s string) string { return s[max(0, len(s)-400):] }
