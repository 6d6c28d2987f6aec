package message

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	mox "github.com/mjl-/mox/message"
)

// moxShape lists parts in pre-order; base is where the message begins that p is of.
func moxShape(l []string, p *mox.Part, base int64) []string {
	typ, sub := p.MediaType, p.MediaSubType
	if typ == "" {
		typ, sub = "TEXT", "PLAIN"
	}
	end := base + p.EndOffset
	if len(p.Parts) > 0 { // mox does not count what we do: the line end of the close-delimiter, but not the next one's
		end = 0
	}
	l = append(l, fmt.Sprintf("%s/%s %d %d-%d", typ, sub, base+p.HeaderOffset, base+p.BodyOffset, end))
	for i := range p.Parts {
		l = moxShape(l, &p.Parts[i], base)
	}
	if p.Message != nil {
		l = moxShape(l, p.Message, base+p.BodyOffset)
	}
	return l
}

func ourShape(l []string, p *Part) []string {
	end := p.End
	if len(p.Parts) > 0 {
		end = 0
	}
	l = append(l, fmt.Sprintf("%s/%s %d %d-%d", p.Type, p.Subtype, p.HeaderStart, p.BodyStart, end))
	for _, c := range p.Parts {
		l = ourShape(l, c)
	}
	if p.Inner != nil {
		l = ourShape(l, p.Inner)
	}
	return l
}

// TestMox compares part trees and offsets with an independent parser, for the messages it takes.
func TestMox(t *testing.T) {
	t.Parallel()
	same := 0
	corpusFiles(t, func(name string, data []byte) {
		p, err := mox.Parse(slog.New(slog.DiscardHandler), true, bytes.NewReader(data))
		if err == nil {
			err = p.Walk(slog.New(slog.DiscardHandler), nil)
		}
		if err != nil {
			return // mox takes fewer messages than we do
		}
		want := strings.Join(moxShape(nil, &p, 0), "\n")
		got := strings.Join(ourShape(nil, parseBytes(data).Root), "\n")
		if got == want {
			same++
			return
		}
		if strings.HasPrefix(got, "MULTIPART/DIGEST") {
			return // mox does not know RFC 2046 §5.1.5
		}
		t.Errorf("%s\ngot:\n%s\nwant:\n%s", name, got, want)
	})
	if same < 300 {
		t.Errorf("only %d messages compared", same)
	}
}
