package blob_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"bahnpost/store/blob"
	"bahnpost/store/blob/blobtest"
	"bahnpost/store/blob/s3/s3test"
)

// The child of TestRemoteKill: it puts bodies and says which were acknowledged, until it is killed.
func TestRemoteKillChild(t *testing.T) {
	dir := os.Getenv("BAHNPOST_KILL_DIR")
	if dir == "" {
		t.Skip("only as a child of TestRemoteKill")
	}
	r, err := blob.OpenRemote(killConfig(dir, strings.Fields(os.Getenv("BAHNPOST_KILL_URLS"))))
	if err != nil {
		t.Fatal(err)
	}
	for g := range 4 {
		go func() {
			for i := uint64(g); ; i += 4 {
				ref, err := r.Put(context.Background(), blobtest.Body(i, int(i*977%90_000)))
				if err == nil {
					fmt.Printf("acked %s %d\n", ref, i)
				}
			}
		}()
	}
	<-time.After(time.Minute)
}

func killConfig(dir string, urls []string) blob.RemoteConfig {
	return blob.RemoteConfig{URLs: urls, Dir: dir, Cache: 4 << 20, Spool: 1 << 30, Degraded: true}
}

// A node is killed at any instant while S3 is there, is away, and while one side of its mirror is: after its next
// start all that it acknowledged is there, and reaches where it belongs.
func TestRemoteKill(t *testing.T) {
	t.Parallel()
	s := s3test.Start(t)
	dir, side := t.TempDir(), "file://"+t.TempDir()
	remote(t, blob.RemoteConfig{URLs: []string{s.URL(), side}}).Close()
	acked := map[blob.Ref]uint64{}
	round := func(urls ...string) {
		t.Helper()
		child := exec.Command(os.Args[0], "-test.run=^TestRemoteKillChild$")
		child.Env = append(os.Environ(), "BAHNPOST_KILL_DIR="+dir, "BAHNPOST_KILL_URLS="+strings.Join(urls, " "))
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		before := len(acked)
		for lines := bufio.NewScanner(out); lines.Scan(); { // to the end: what was acknowledged before it died counts too
			f := strings.Fields(lines.Text())
			if len(f) != 3 || f[0] != "acked" {
				continue
			}
			n, err := strconv.ParseUint(f[2], 10, 64)
			if err != nil {
				continue // cut
			}
			acked[blob.Ref(f[1])] = n
			if len(acked) == before+60 {
				child.Process.Kill()
			}
		}
		child.Wait()
		if len(acked) < before+60 {
			t.Fatalf("the child acknowledged %d bodies only", len(acked)-before)
		}
	}
	both := []string{s.URL(), side}
	check := func(r *blob.Remote) {
		t.Helper()
		for ref, n := range acked {
			blobtest.Want(t, r, ref, blobtest.Body(n, int(n*977%90_000)))
		}
	}
	for range 3 {
		round(both...)
		s.Kill()
		round(both...) // the mirror owes
		round(s.URL()) // the spool takes
		r := again(t, killConfig(dir, both))
		check(r)
		r.Close()
		s.Run()
	}
	r := again(t, killConfig(dir, both))
	until(t, "debts are paid and the spool is empty", func() bool { st := r.Stats(); return st.MirrorOwed == 0 && st.SpoolBodies == 0 })
	check(r)
	if _, _, err := r.Sweep(t.Context(), time.Hour, func(ref blob.Ref) (bool, error) { _, ok := acked[ref]; return ok, nil }); err != nil {
		t.Fatal(err)
	}
	r.Close()
	for _, url := range both { // each array has all the data
		check(again(t, blob.RemoteConfig{URLs: []string{url}, Dir: t.TempDir()}))
	}
	t.Logf("%d bodies acknowledged in 9 lives, all there, on both sides", len(acked))
}
