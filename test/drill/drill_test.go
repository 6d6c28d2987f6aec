package drill

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDrill: three nodes, three PostgreSQL servers under Patroni, an S3 server; everything breaks, one after the other, under load.
func TestDrill(t *testing.T) {
	chosen := os.Getenv("BAHNPOST_DRILL")
	if chosen == "" {
		t.Skip(`takes a quarter of an hour: "make drill" runs it`)
	}
	Sealed(t, func(t *testing.T, dir string) {
		// File systems of their own, to be filled.
		for i := range members {
			mountDisk(t, filepath.Join(dir, fmt.Sprint("pg", i+1)), 2000)
		}
		mountDisk(t, filepath.Join(dir, "n1"), 200)
		c := newCell(t, dir, 3, Patroni(t, dir), S3(t, dir, 1))
		var table strings.Builder
		table.WriteString("\n" + tableHead)
		for _, f := range allFaults {
			if !wanted(f, chosen) {
				continue
			}
			r := c.endure(f)
			t.Log(r)
			fmt.Fprintln(&table, r)
			r.check(t)
		}
		secrets(t, dir)
		t.Log(table.String())
	})
}

// wanted says whether a fault is among those chosen by parts of their names.
func wanted(f fault, chosen string) bool {
	for part := range strings.SplitSeq(chosen, ",") {
		if part == "all" || strings.Contains(f.name, part) {
			return true
		}
	}
	return false
}

// secrets looks for passwords in the logs of the nodes.
func secrets(t *testing.T, dir string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "n*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatal("no logs: ", err)
	}
	for _, path := range logs {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{databasePassword, s3Secret} {
			if strings.Contains(string(b), s) {
				t.Errorf("%s has a password in it", filepath.Base(path))
			}
		}
	}
}
