package imapd

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bahnpost/serve/listen"
)

// FuzzSession throws octets at a session that has a mailbox selected. It must
// end when the client hangs up, say nothing malformed, and never panic.
func FuzzSession(f *testing.F) {
	files, err := filepath.Glob("testdata/talk/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatal("no talk files")
	}
	for _, name := range files { // what the stories send is the seed
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		var sent strings.Builder
		for line := range strings.Lines(string(text)) {
			if _, l, ok := strings.Cut(line, "> "); ok && !strings.HasPrefix(line, "#") {
				sent.WriteString(strings.TrimSpace(l) + "\r\n")
			}
		}
		f.Add([]byte(sent.String()))
	}
	f.Add([]byte("a APPEND INBOX {99+}\r\nx"))
	f.Add([]byte("a APPEND INBOX (\\Seen) {5+}\r\nA:b\r\n CATENATE (TEXT {1+}\r\nx)\r\n"))
	panicked := false
	w := newTown(f, Config{Metrics: Metrics{Panicked: func() { panicked = true }}})
	w.fill(3)
	f.Fuzz(func(t *testing.T, in []byte) {
		client, server := net.Pipe()
		done := make(chan struct{})
		go func() {
			w.porch.ServeConn(listen.Endpoint{Protocol: "imap", Handler: w.server}, server)
			close(done)
		}()
		heard := make(chan []byte)
		go func() {
			b, _ := io.ReadAll(client)
			heard <- b
		}()
		client.SetWriteDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(client, "a LOGIN alice secret\r\nb SELECT INBOX\r\n")
		client.Write(in)
		io.WriteString(client, "\r\nDONE\r\nzz LOGOUT\r\n")
		client.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		out := <-heard
		client.Close()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("session does not end")
		}
		if panicked {
			t.Fatal("panic")
		}
		if !strings.HasPrefix(string(out), "* OK [CAPABILITY ") {
			t.Fatalf("greeting %.60q", out)
		}
	})
}
