package imapd

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestScratch(t *testing.T) {
	w := newTown(t, Config{})
	k := dialClient(t, w.tcp())
	k.do("LOGIN alice secret")
	data, _ := os.ReadFile("/tmp/cmds.txt")
	for _, l := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		if strings.HasPrefix(l, "!deliver ") {
			f := strings.Fields(l)
			w.deliver(f[1], f[2], []byte("From: a@b\r\nSubject: x\r\n\r\nbody\r\n"))
			continue
		}
		if strings.HasPrefix(l, "\"") {
			l, _ = strconv.Unquote(l)
		}
		fmt.Println("C:", l)
		fmt.Fprintf(k.c, "%s\r\n", l)
		tag, _, _ := strings.Cut(l, " ")
		for {
			r, err := k.r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			fmt.Print("   S: ", r)
			if strings.HasPrefix(r, tag+" ") {
				break
			}
		}
	}
}
