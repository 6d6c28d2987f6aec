package db

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// cutter stands between a node and its server, and cuts a connection at the next COMMIT.
type cutter struct {
	real string
	mode atomic.Value // "", "before": COMMIT is lost; "after": its answer is; "late": it arrives when the node has given up
	late chan struct{}
	read chan []byte // what the server said to a late one
}

// cutterFor returns the DSN of a cutter before the server of dsn.
func cutterFor(t *testing.T, dsn string) (*cutter, string) {
	t.Helper()
	host := strings.TrimPrefix(strings.Fields(dsn)[0], "host=")
	dir, err := os.MkdirTemp("", "bp-cut-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	x := &cutter{real: filepath.Join(host, ".s.PGSQL.5432"), late: make(chan struct{}), read: make(chan []byte, 1)}
	x.mode.Store("")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go x.serve(c)
		}
	}()
	return x, strings.Replace(dsn, "host="+host, "host="+dir, 1)
}

func (x *cutter) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("unix", x.real)
	if err != nil {
		return
	}
	defer server.Close()
	var deaf atomic.Bool
	answers := make(chan []byte, 100)
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, err := server.Read(buf)
			if deaf.Load() {
				answers <- bytes.Clone(buf[:n])
			} else {
				client.Write(buf[:n])
			}
			if err != nil {
				client.Close()
				return
			}
		}
	}()
	buf := make([]byte, 1<<16)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		mode := x.mode.Load()
		if mode == "" || !bytes.Contains(buf[:n], []byte("COMMIT\x00")) {
			server.Write(buf[:n])
			continue
		}
		x.mode.Store("")
		deaf.Store(true)
		switch mode {
		case "after":
			server.Write(buf[:n])
			<-answers
		case "late":
			client.Close()
			<-x.late
			server.Write(buf[:n])
			x.read <- <-answers
		}
		return
	}
}

// together runs n updates that share a commit, and returns their errors and how many were announced.
func together(t *testing.T, d *DB, from, n int) (errs []error, announced int64) {
	t.Helper()
	errs = make([]error, n)
	var told atomic.Int64
	var wg sync.WaitGroup
	inside := make(chan struct{})
	var once sync.Once
	for i := range n {
		wg.Go(func() {
			errs[i] = d.Update(context.Background(), func(tx *Tx) error {
				once.Do(func() {
					close(inside)
					for end := time.Now().Add(10 * time.Second); d.Stats().Waiting < n-1 && time.Now().Before(end); {
						tx.Row(`SELECT 1`).Scan(new(int)) // until all the others wait
					}
				})
				_, err := tx.Exec(`INSERT INTO t VALUES(?)`, Int(from+i))
				return err
			}, func() { told.Add(1) })
		})
		<-inside // the first is alone at first
	}
	wg.Wait()
	return errs, told.Load()
}

// A connection that is lost during a commit: whoever hears yes has its row, and whoever hears no never gets one.
func postgresOutcome(t *testing.T, direct *DB) {
	x, dsn := cutterFor(t, direct.cfg.Postgres)
	d, err := Open(t.Context(), Config{Postgres: dsn})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	rows := 0
	check := func(what string, errs []error, announced int64, want int) {
		t.Helper()
		for _, err := range errs {
			if (err == nil) != (want > 0) || errors.Is(err, ErrUnknown) {
				t.Errorf("%s: %v", what, err)
			}
		}
		rows += want
		if n := postgresCount(t, direct); n != rows || announced != int64(want) {
			t.Errorf("%s: %d rows, want %d; %d announced, want %d", what, n, rows, announced, want)
		}
	}
	for round, mode := range []string{"before", "after", "after", "before"} {
		x.mode.Store(mode)
		errs, told := together(t, d, 1000*round, 10)
		check(mode+", ten", errs, told, 10)
	}
	x.mode.Store("after")
	errs, told := together(t, d, 5000, 1)
	check("after, one", errs, told, 1)
	x.mode.Store("late")
	errs, told = together(t, d, 6000, 1)
	close(x.late)
	if said := <-x.read; !bytes.Contains(said, []byte("22012")) { // division by zero
		t.Errorf("the server said %q to a commit that comes too late", said)
	}
	check("late", errs, told, 0)
	errs, told = together(t, d, 7000, 3)
	check("at last", errs, told, 3)
}
