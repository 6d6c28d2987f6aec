package mailstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bahnpost/store/internal/db"
	"bahnpost/store/internal/db/dbtest"
)

// Connections of three nodes break at any moment, most of all while they commit. What was acknowledged is there
// once; no step is told that is not there; memory ends as the tables are, and watchers have heard of all.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	if !dbtest.OnPostgres() {
		t.Skip("SQLite has no connections")
	}
	const a, writers, each = 5, 3, 40
	first := &site{t: t, dir: t.TempDir(), cfg: Config{InlineMax: 200, BlobGrace: -1, PollEvery: 20 * time.Millisecond}, label: "broken"}
	first.open()
	t.Cleanup(first.close)
	nodes := []*site{first, first.join(), first.join()}
	tk := first.account(a, Quota{})
	inbox, archive, trash := first.box(a, Inbox).ID, first.box(a, "Archive").ID, first.box(a, "Trash").ID
	axe := &site{t: t, dir: first.dir, b: first.b, guest: true, label: "axe"}
	axe.open()
	t.Cleanup(func() { axe.d.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var work, watch, rest sync.WaitGroup
	var retried atomic.Int64
	followers := make([]*follower, len(nodes))
	for i, s := range nodes {
		rest.Go(func() { s.runPoll(ctx) })
		watch.Go(func() {
			for { // what a watcher has read stands; one that breaks is begun anew
				if followers[i] = follow(ctx, s, a, trash); followers[i].err == nil || ctx.Err() != nil {
					return
				}
			}
		})
		for w := range writers {
			work.Go(func() {
				ctx := context.Background()
				if w > 0 {
					ctx = s.Patient(ctx)
				}
				r := rand.New(rand.NewPCG(uint64(i), uint64(w)))
				for k := range each {
					retried.Add(s.insist(ctx, tk, inbox, archive, fmt.Sprintf("%d/%d/%d", i, w, k), r))
				}
			})
		}
	}
	var struck atomic.Int64
	rest.Go(func() { axe.swing(ctx, &struck) })
	work.Wait()
	nodes[2].insist(nodes[2].Patient(ctx), tk, trash, trash, "end", rand.New(rand.NewPCG(1, 1)))
	watch.Wait()
	cancel()
	rest.Wait()
	t.Logf("%d connections broke, %d tries failed", struck.Load(), retried.Load())
	if struck.Load() == 0 {
		t.Error("no connection broke")
	}
	for i, s := range nodes {
		if _, err := s.refresh(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if err := followers[i].err; err != nil {
			t.Errorf("node %d: %v", i, err)
		}
		for _, id := range []MailboxID{inbox, archive} {
			if got := s.uids(a, id); !got.Equal(followers[i].box[id]) {
				t.Errorf("node %d, mailbox %d: heard of %v, there are %v", i, id, followers[i].box[id], got)
			}
		}
		if n := s.box(a, Inbox).Messages + s.box(a, "Archive").Messages; n != len(nodes)*writers*each {
			t.Errorf("node %d: %d messages, %d were acknowledged", i, n, len(nodes)*writers*each)
		}
	}
	for p, err := range first.Check(t.Context(), CheckOptions{Bodies: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if !p.Note { // bodies of tries that failed are swept
			t.Errorf("check: %+v", p)
		}
	}
}

// insist delivers a message until it is acknowledged, and moves some; it says how many tries failed.
func (s *site) insist(ctx context.Context, tk Ticket, inbox, archive MailboxID, key string, r *rand.Rand) (failed int64) {
	b := s.body(big(len(key), r.IntN(2)*3000))
	defer b.Release()
	move := r.IntN(4) == 0 && inbox != archive
	for {
		err := s.UpdateWith(ctx, tk, []Expect{{b, key}}, func(x *Tx) error {
			_, err := x.Append(inbox, NewMessage{Body: b, Dedup: key})
			if err == nil && move {
				_, err = x.Move(inbox, UIDs(UID(1+r.IntN(100))), archive)
			}
			return err
		})
		if err == nil {
			return failed
		}
		failed++
		sleep(ctx, time.Millisecond, nil)
	}
}

// swing ends connections of the nodes, one after the other.
func (s *site) swing(ctx context.Context, struck *atomic.Int64) {
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.d.Update(context.Background(), func(x *db.Tx) error {
			for _, err := range x.Rows(`SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity
				WHERE application_name='broken' AND state<>'idle' ORDER BY random() LIMIT 1`) {
				if err != nil {
					return err
				}
				struck.Add(1)
			}
			return nil
		}, nil)
		if err != nil {
			s.t.Error(err)
		}
	}
}
