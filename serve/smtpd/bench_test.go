package smtpd

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"

	"bahnpost/mail"
)

// sink is an Intake that takes all, and keeps nothing.
type sink struct{}

func (sink) Sender(context.Context, mail.ReversePath, mail.AccountID) error { return nil }
func (sink) Recipient(_ context.Context, _ *mail.Envelope, _ int64, to mail.Recipient) ([]mail.Recipient, error) {
	to.Account = 1
	return []mail.Recipient{to}, nil
}
func (sink) Open(context.Context, *mail.Envelope) Incoming { return sinking{io.Discard} }

type sinking struct{ io.Writer }

func (sinking) Abort() {}
func (sinking) Deliver(_ context.Context, rcpts [][]mail.Recipient) ([][]mail.Receipt, error) {
	out := make([][]mail.Receipt, len(rcpts))
	for i := range out {
		out[i] = []mail.Receipt{{To: rcpts[i][0].Address, Mailbox: "INBOX", UID: 1}}
	}
	return out, nil
}

// BenchmarkSession is what the protocol itself costs for a mail of 10 KB, log
// line and the test's own client included.
func BenchmarkSession(b *testing.B) {
	h := newHouse(b, Config{Role: LMTP})
	srv := New(Config{Role: LMTP, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, sink{}, nil)
	h.end.Handler = srv
	c := h.dial(b)
	c.talk(b, "S: 220\nC: LHLO x\nS: 250")
	head := []byte("MAIL FROM:<sender@elsewhere.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n")
	body := []byte("Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 130) + ".\r\n")
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		c.Write(head)
		for range 3 {
			if _, err := c.r.ReadSlice('\n'); err != nil {
				b.Fatal(err)
			}
		}
		c.Write(body)
		if l, err := c.r.ReadSlice('\n'); err != nil || l[0] != '2' {
			b.Fatal(string(l), err)
		}
	}
}
