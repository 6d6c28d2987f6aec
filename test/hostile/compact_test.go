package hostile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bahnpost/mail"
	"bahnpost/store"
	"bahnpost/store/blob"
	"bahnpost/store/mailstore"
	"bahnpost/test/town"
)

// churnDir, in the environment, makes this test binary a process that only churns the store there, to be killed.
const churnDir = "HOSTILE_CHURN_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(churnDir); dir != "" {
		if err := churn(context.Background(), dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(town.Main(m))
}

// churn appends and expunges for ever, on small packs that are compacted all the time.
func churn(ctx context.Context, dir string) error {
	s, err := store.Open(ctx, store.Config{Dir: dir, Blob: blob.DirConfig{PackBytes: 1 << 20, Retire: 50 * time.Millisecond, Grace: time.Second}})
	if err != nil {
		return err
	}
	ms, err := mailstore.New(ctx, s.DB, s.Bodies, mailstore.Config{Compression: "off", CompactEvery: 20 * time.Millisecond,
		SweepEvery: 30 * time.Millisecond, ReapEvery: 5 * time.Millisecond, BlobGrace: -1})
	if err != nil {
		return err
	}
	go ms.Run(ctx)
	const account = mail.AccountID(1)
	acc, err := ms.Account(ctx, account)
	if err != nil {
		return err
	}
	ticket := mailstore.Ticket{Account: account, Epoch: acc.Epoch}
	inbox, err := ms.MailboxByName(ctx, account, "INBOX")
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		if err := turnOver(ctx, ms, ticket, inbox.ID, n); err != nil {
			return err
		}
	}
}

// turnOver adds some messages and takes most of the older ones away.
func turnOver(ctx context.Context, ms *mailstore.Store, ticket mailstore.Ticket, box mailstore.MailboxID, n int) error {
	var last mailstore.UID
	for range 8 {
		w := ms.NewBody(ctx)
		if _, err := w.Write([]byte(noise("churn", 5000+rand.IntN(150_000)))); err != nil {
			return err
		}
		body, err := w.Finish()
		if err != nil {
			return err
		}
		err = ms.Update(ctx, ticket, func(tx *mailstore.Tx) error {
			a, err := tx.Append(box, mailstore.NewMessage{Body: body})
			last = a.UID
			return err
		})
		body.Release()
		if err != nil {
			return err
		}
	}
	if last < 40 {
		return nil
	}
	gone := mailstore.Range(last-40, last-9) // some of each pack stays
	return ms.Update(ctx, ticket, func(tx *mailstore.Tx) error {
		_, err := tx.Expunge(box, gone, false)
		return err
	})
}

// TestKillDuringCompaction: a store whose packs are compacted all the time is killed; every body is there, and no more.
func TestKillDuringCompaction(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes; not in -short")
	}
	w := town.New(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	compacted := func() bool {
		ps, _ := filepath.Glob(filepath.Join(w.Dir, "store", "bodies", "packs", "*.pack"))
		return len(ps) > 0 && filepath.Base(ps[0]) != "00000001.pack"
	}
	for i := 0; i < pick(6, 40) || !compacted() && i < 100; i++ { // a slow disk needs more of them
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), churnDir+"="+filepath.Join(w.Dir, "store"))
		var out strings.Builder
		cmd.Stderr = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-time.After(1500*time.Millisecond + time.Duration(rand.IntN(1000))*time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		if out.Len() > 0 {
			t.Fatal(out.String())
		}
		clean(t, w)
	}
	ps := packs(t, w)
	if !compacted() {
		t.Errorf("nothing was compacted: %d packs from the first one on", len(ps))
	}
	t.Logf("packs %s to %s, %d left", filepath.Base(ps[0]), filepath.Base(ps[len(ps)-1]), len(ps))
}
