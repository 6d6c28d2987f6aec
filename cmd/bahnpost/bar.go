package main

import (
	"fmt"
	"os"
	"strings"
)

// bar is a progress bar on standard error; silent where that is no terminal.
type bar struct {
	title string
	on    bool
	drawn bool
}

const barWidth = 40

func newBar(title string) *bar {
	st, err := os.Stderr.Stat()
	return &bar{title: title, on: err == nil && st.Mode()&os.ModeCharDevice != 0}
}

func (b *bar) set(done, total int64) {
	if !b.on || total <= 0 {
		return
	}
	n := int(min(done, total) * barWidth / total)
	fmt.Fprintf(os.Stderr, "\r%s [%s%s] %d/%d", b.title, strings.Repeat("=", n), strings.Repeat(" ", barWidth-n), done, total)
	b.drawn = true
}

// end clears the line, so that words can follow.
func (b *bar) end() {
	if b.drawn {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
		b.drawn = false
	}
}
