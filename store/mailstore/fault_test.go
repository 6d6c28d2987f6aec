package mailstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"bahnpost/store/blob"
)

// shaky is the real body store whose n-th call fails.
type shaky struct {
	blob.Store
	left atomic.Int64
}

var errShaky = errors.New("disk is gone")

func (s *shaky) fails() bool { return s.left.Add(-1) == 0 }

func (s *shaky) Put(ctx context.Context, data []byte) (blob.Ref, error) {
	if s.fails() {
		return "", errShaky
	}
	return s.Store.Put(ctx, data)
}

func (s *shaky) Create(ctx context.Context) (blob.Writer, error) {
	if s.fails() {
		return nil, errShaky
	}
	w, err := s.Store.Create(ctx)
	return &shakyWriter{w, s}, err
}

func (s *shaky) Open(ctx context.Context, ref blob.Ref) (blob.Reader, error) {
	if s.fails() {
		return nil, errShaky
	}
	return s.Store.Open(ctx, ref)
}

func (s *shaky) Delete(ctx context.Context, refs ...blob.Ref) error {
	if s.fails() {
		return errShaky
	}
	return s.Store.Delete(ctx, refs...)
}

type shakyWriter struct {
	blob.Writer
	s *shaky
}

func (w *shakyWriter) Write(p []byte) (int, error) {
	if w.s.fails() {
		return len(p) / 2, errShaky
	}
	return w.Writer.Write(p)
}

func (w *shakyWriter) Commit() (blob.Ref, error) {
	if w.s.fails() {
		w.Abort()
		return "", errShaky
	}
	return w.Writer.Commit()
}

// TestFaultWalk fails the n-th call of the body store in a mailbox's life, for every n, and
// looks each time whether what was acknowledged is there, and nothing is broken.
func TestFaultWalk(t *testing.T) {
	t.Parallel()
	for n := int64(1); ; n++ {
		if n > 200 {
			t.Fatal("the walk does not end")
		}
		s := newSite(t, Config{InlineMax: 1, BlobGrace: -1})
		f := &shaky{Store: s.b}
		f.left.Store(n)
		s.blobs = f
		tk := s.account(1, Quota{})
		acked, failed := s.journey(tk)
		s.blobs = s.b
		for m, want := range acked {
			if got := s.read(1, m); got != want {
				t.Errorf("fault %d: message %d differs", n, m)
			}
		}
		for p, err := range s.Check(t.Context(), CheckOptions{Bodies: true}) {
			if err != nil || p.Fatal {
				t.Errorf("fault %d: %+v %v", n, p, err)
			}
		}
		s.close()
		if failed == 0 {
			t.Logf("%d fault points", n-1)
			return
		}
	}
}

// journey delivers, copies, deletes and reaps; it returns what must be there.
func (s *site) journey(tk Ticket) (acked map[MessageID]string, failed int) {
	ctx := context.Background()
	acked = make(map[MessageID]string)
	inbox := s.box(tk.Account, Inbox).ID
	note := func(err error) bool {
		if err != nil {
			failed++
			if !errors.Is(err, errShaky) {
				s.t.Error(err)
			}
		}
		return err == nil
	}
	for i := range 4 {
		txt := big(i, 1+i*700_000)
		w := s.NewBody(ctx)
		if _, err := w.Write([]byte(txt)); !note(err) {
			w.Abort()
			continue
		}
		b, err := w.Finish()
		if !note(err) {
			continue
		}
		var a Appended
		if note(s.try(tk, func(x *Tx) (err error) { a, err = x.Append(inbox, NewMessage{Body: b}); return err })) {
			acked[a.Message] = txt
		}
		b.Release()
		if r, err := s.OpenMessage(ctx, tk.Account, a.Message); note(err) {
			r.Close()
		}
		if i == 1 {
			note(s.try(tk, func(x *Tx) error { _, err := x.Expunge(inbox, UIDs(a.UID), false); return err }))
			delete(acked, a.Message)
			_, err := s.reap(ctx)
			note(err)
			note(s.deleteBlobs(ctx))
		}
	}
	return acked, failed
}

// A cancelled caller either did nothing or did it all.
func TestCancel(t *testing.T) {
	t.Parallel()
	s := newSite(t, Config{})
	tk := s.account(1, Quota{})
	inbox := s.box(1, Inbox).ID
	var wg sync.WaitGroup
	var sure, unsure atomic.Int64
	for i := range 200 {
		wg.Go(func() {
			b := s.body(text(i))
			ctx, cancel := context.WithCancel(context.Background())
			go cancel()
			err := s.Update(ctx, tk, func(x *Tx) error { _, err := x.Append(inbox, NewMessage{Body: b}); return err })
			switch {
			case err == nil:
				sure.Add(1)
			case errors.Is(err, context.Canceled):
				unsure.Add(1)
			default:
				t.Error(err)
			}
			cancel()
			b.Release()
		})
	}
	wg.Wait()
	if m := s.box(1, Inbox); int64(m.Messages) != sure.Load() {
		t.Errorf("%d messages, %d acknowledged, %d cancelled", m.Messages, sure.Load(), unsure.Load())
	}
	s.clean()
}

// Space comes back after a deletion: rows, bodies, pages of the database file.
func TestSpaceComesBack(t *testing.T) {
	t.Parallel()
	synced := func(s *site) int64 { // size of the file once the log is in it
		s.close()
		fi, err := os.Stat(filepath.Join(s.dir, "mail.db"))
		if err != nil {
			t.Fatal(err)
		}
		s.open()
		return fi.Size()
	}
	s := newSite(t, Config{Compression: "off", BlobGrace: -1})
	tk := s.account(1, Quota{})
	box := func(name string) MailboxID { return s.box(1, name).ID }
	empty := synced(s)
	for i := range 6000 {
		s.append(tk, box([]string{Inbox, "Junk"}[i%2]), big(i, 3500), 0)
	}
	full := synced(s)
	s.must(tk, func(x *Tx) error {
		if _, err := x.Expunge(x.a.wfind(Inbox).id, Range(1, maxUID), false); err != nil {
			return err
		}
		return x.DeleteMailbox(x.a.wfind("Junk").id)
	})
	for n := 1; n > 0; {
		var err error
		if n, err = s.reap(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	synced(s) // a fresh count of free pages
	if err := s.vacuum(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.clean()
	if after := synced(s); after-empty > (full-empty)*7/8 {
		t.Errorf("file has %d octets, %d when full, %d when empty", after, full, empty)
	} else {
		t.Logf("file had %d octets, has %d", full, after)
	}
}

const crashDir = "MAILSTORE_CRASH_DIR"

// TestCrash kills a process that delivers, flags and expunges with all its might, and looks what is left.
func TestCrash(t *testing.T) {
	if dir := os.Getenv(crashDir); dir != "" {
		crashChild(t, dir)
		return
	}
	t.Parallel()
	s := newSite(t, Config{InlineMax: 600, BlobGrace: -1})
	s.account(1, Quota{})
	acked := make(map[UID]string)
	for round := range 4 {
		s.close()
		for line := range killed(t, s.dir, 120+round*77) {
			var uid UID
			var n int
			if _, err := fmt.Sscanf(line, "ack %d %d", &uid, &n); err == nil {
				acked[uid] = big(n, n%4*5000)
			}
		}
		s.open()
		for p, err := range s.Check(t.Context(), CheckOptions{Bodies: true}) {
			if err != nil || p.Fatal {
				t.Fatalf("round %d: %+v %v", round, p, err)
			}
		}
		s.compareAcked(acked)
	}
	t.Logf("%d messages acknowledged in 4 lives", len(acked))
}

// compareAcked looks for each acknowledged message; those divisible by 5 may have been expunged.
func (s *site) compareAcked(acked map[UID]string) {
	s.t.Helper()
	b, err := s.OpenBox(context.Background(), 1, s.box(1, Inbox).ID)
	if err != nil {
		s.t.Fatal(err)
	}
	defer b.Close()
	if err := b.Load(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	for uid, want := range acked {
		r, ok := b.Row(uid)
		if !ok {
			if uid%5 != 0 {
				s.t.Errorf("uid %d was acknowledged and is not there", uid)
			}
			continue
		}
		if s.read(1, r.Message) != want {
			s.t.Errorf("uid %d has another body", uid)
		}
	}
}

// killed runs the child until it said n lines, kills it, and yields what it said.
func killed(t *testing.T, dir string, n int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrash$", "-test.v")
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewScanner(out)
		for i := 0; in.Scan(); i++ {
			if i == n {
				cmd.Process.Kill()
			}
			if strings.Contains(in.Text(), "FAIL") {
				t.Error(in.Text())
			}
			yield(in.Text())
		}
		cmd.Wait()
	}
}

// crashChild works until it is killed.
func crashChild(t *testing.T, dir string) {
	s := &site{t: t, dir: dir, cfg: Config{InlineMax: 600, BlobGrace: -1}}
	s.open()
	go s.Run(context.Background())
	tk := Ticket{1, 1}
	inbox := s.box(1, Inbox).ID
	var n atomic.Int64
	n.Store(int64(s.box(1, Inbox).UIDNext) * 100)
	var say sync.Mutex
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for {
				i := int(n.Add(1))
				a := s.append(tk, inbox, big(i, i%4*5000), 0)
				say.Lock()
				fmt.Printf("ack %d %d\n", a.UID, i)
				say.Unlock()
				s.must(tk, func(x *Tx) error {
					if _, err := x.StoreFlags(inbox, Range(1, a.UID), AddFlags, Seen, nil, false, 0); err != nil || a.UID%5 != 0 {
						return err
					}
					_, err := x.Expunge(inbox, UIDs(a.UID), false)
					return err
				})
			}
		})
	}
	wg.Wait()
}
